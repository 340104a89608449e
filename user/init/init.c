/*
 * Process 1. With arguments: runs that command on the console, says how it ended, and powers off.
 * Without: keeps a job-controlled shell on the console. In both cases it adopts and reaps orphans.
 *
 * It is an ordinary Linux program: the same initramfs boots Debian's kernel and Rampart.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What a signal to process 1 asks for, as busybox's poweroff, reboot and halt send it. */
static const struct {
	int signal;
	int how;
} requests[] = {
	{ SIGUSR1, RB_HALT_SYSTEM },
	{ SIGUSR2, RB_POWER_OFF },
	{ SIGTERM, RB_AUTOBOOT },
	{ SIGINT, RB_AUTOBOOT },
};
#define REQUESTS (sizeof(requests) / sizeof(requests[0]))

/* A shell that ends sooner than this (seconds) is not started again at once. */
#define RESPAWN_PAUSE 1

/* One line on the console, in one write so that nothing falls between. */
static void __attribute__((format(printf, 1, 2)))
say(const char *format, ...)
{
	char line[512];
	va_list args;
	int size;

	va_start(args, format);
	size = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	if (size < 0)
		return;
	if ((size_t)size > sizeof(line) - 2)
		size = sizeof(line) - 2;
	line[size++] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)size) < 0)
		return;		/* No console: nobody to tell. */
}

/*
 * A file system that is mounted already (EBUSY), or a kernel that lacks the type (ENODEV), is no
 * reason to stop; optional ones are not even mentioned.
 */
static void
mount_at(const char *type, const char *where, const char *options, unsigned long flags,
	 bool optional)
{
	if (mkdir(where, 0755) < 0 && errno != EEXIST)
		say("init: cannot make %s: %s", where, strerror(errno));
	if (mount(type, where, type, flags, options) < 0 && errno != EBUSY && !optional)
		say("init: cannot mount %s on %s: %s", type, where, strerror(errno));
}

static void
mount_all(void)
{
	mount_at("proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false);
	mount_at("devtmpfs", "/dev", "mode=0755", MS_NOSUID, false);
	mount_at("devpts", "/dev/pts", "mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC, true);
	mount_at("tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV, false);
	mount_at("sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true);
}

/*
 * Standard input, output and error on the console. A kernel opens them for us if the initramfs
 * holds /dev/console; devtmpfs may bring it only now.
 */
static void
open_console(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		return;
	for (int i = 0; i < 3; i++)
		if (fd != i)
			dup2(fd, i);
	if (fd > 2)
		close(fd);
}

static void
set_hostname(void)
{
	char name[64] = "rampart";
	FILE *file = fopen("/etc/hostname", "re");

	if (file) {
		if (fgets(name, sizeof(name), file))
			name[strcspn(name, "\n")] = '\0';
		fclose(file);
	}
	if (sethostname(name, strlen(name)) < 0)
		say("init: cannot set the host name: %s", strerror(errno));
}

/*
 * A serial line does not tell how large the terminal at its end is. Without a size, programs ask by
 * escape sequences or refuse; the classic one is what they would assume.
 */
static void
set_window_size(void)
{
	struct winsize size;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col)
		return;
	size.ws_row = 24;
	size.ws_col = 80;
	ioctl(STDIN_FILENO, TIOCSWINSZ, &size);
}

/* The signals that process 1 waits for stay blocked; a child starts with none blocked. */
static void
block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (size_t i = 0; i < REQUESTS; i++)
		sigaddset(set, requests[i].signal);
	sigprocmask(SIG_BLOCK, set, NULL);
}

/* In the child: a session of its own with the console as its terminal, then the program. */
static void __attribute__((noreturn))
become(char *const argv[])
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	open_console();
	if (ioctl(STDIN_FILENO, TIOCSCTTY, 1) < 0)
		say("init: the console is not a terminal that can be owned: %s", strerror(errno));
	execvp(argv[0], argv);
	say("init: cannot run %s: %s", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static pid_t
start(char *const argv[])
{
	pid_t pid = fork();

	if (pid == 0)
		become(argv);
	if (pid < 0)
		say("init: cannot fork: %s", strerror(errno));
	return pid;
}

/* Ends every process but this one, then the machine. Does not return where the kernel can do it. */
static void
shut_down(int how)
{
	static const struct timespec grace = { .tv_nsec = 200 * 1000 * 1000 };
	sigset_t child;
	pid_t pid;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	/* An interactive shell ignores SIGTERM but not that its terminal hangs up. */
	kill(-1, SIGTERM);
	kill(-1, SIGHUP);
	kill(-1, SIGCONT);
	/* Orphans become our children, so without a child there is nobody left to wait for. */
	do {
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			continue;
	} while (pid == 0 && sigtimedwait(&child, NULL, &grace) >= 0);
	kill(-1, SIGKILL);
	sync();
	reboot(how);
	say("init: the kernel refused to end: %s", strerror(errno));
}

/*
 * Reaps whatever ended. True when `main_child` did, its wait status then in *status.
 */
static bool
reap(pid_t main_child, int *status)
{
	bool ended = false;
	int how;
	pid_t pid;

	while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
		if (pid != main_child)
			continue;
		*status = how;
		ended = true;
	}
	return ended;
}

/* Sleeps until `main_child` ended, reaping orphans and obeying requests to end the machine. */
static int
wait_for(pid_t main_child, const sigset_t *set)
{
	int status = 0;

	while (!reap(main_child, &status)) {
		int signal = sigwaitinfo(set, NULL);

		for (size_t i = 0; i < REQUESTS; i++)
			if (signal == requests[i].signal)
				shut_down(requests[i].how);
	}
	return status;
}

static void
report(const char *name, int status)
{
	if (WIFSIGNALED(status))
		say("init: %s killed by signal %d", name, WTERMSIG(status));
	else
		say("init: %s exited with %d", name, WEXITSTATUS(status));
}

static void __attribute__((noreturn))
run_once(char *const argv[], const sigset_t *set)
{
	pid_t pid = start(argv);

	if (pid > 0)
		report(argv[0], wait_for(pid, set));
	shut_down(RB_POWER_OFF);
	for (;;)
		pause();
}

static void __attribute__((noreturn))
keep_shell(const sigset_t *set)
{
	static char *const shell[] = { "/bin/sh", "-l", NULL };

	for (;;) {
		struct timespec before, after;
		pid_t pid;

		clock_gettime(CLOCK_MONOTONIC, &before);
		pid = start(shell);
		if (pid > 0)
			wait_for(pid, set);
		clock_gettime(CLOCK_MONOTONIC, &after);
		if (after.tv_sec - before.tv_sec < RESPAWN_PAUSE)
			sleep(RESPAWN_PAUSE);
	}
}

int
main(int argc, char *argv[])
{
	sigset_t set;

	if (getpid() != 1) {
		fprintf(stderr, "init: only as process 1\n");
		return 1;
	}
	umask(022);
	if (chdir("/") < 0)
		return 1;
	mount_all();
	open_console();
	set_window_size();
	block_signals(&set);
	reboot(RB_DISABLE_CAD);
	set_hostname();
	setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
	setenv("HOME", "/root", 1);
	setenv("TERM", "vt100", 0);
	setenv("USER", "root", 1);
	setenv("SHELL", "/bin/sh", 1);

	if (argc > 1)
		run_once(argv + 1, &set);
	keep_shell(&set);
}
