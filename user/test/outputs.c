/*
 * Everything that the kernel hands to a program, once: outputs of system calls, signal frames, files of
 * /proc.  All of it stays in this program's memory, where whoever watches from outside looks for what
 * should not be there.
 *
 *	test-outputs UID [proc]		as that user; with /proc too, or system calls alone
 */
#include "user/test/test.h"

#include <dirent.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <termios.h>

static char kept[8 << 20]; /* what files said */
static size_t kept_size;
static char outputs[64 << 10] __attribute__((aligned(64))); /* what calls gave: 512 bytes each */
static unsigned calls;
static volatile unsigned signals;

/* Whoever watches stops here. */
void outputs_done(void);

__attribute__((noinline)) void
outputs_done(void)
{
	__asm__ volatile("");
}

/* Where the next call puts its answer: memory that was never used. */
static void *
fresh(void)
{
	return outputs + 512 * (calls++ % (sizeof(outputs) / 512));
}

static void
keep(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return;
	while (kept_size < sizeof(kept) &&
	       (n = read(fd, kept + kept_size, sizeof(kept) - kept_size)) > 0)
		kept_size += (size_t)n;
	close(fd);
}

static void
keep_tree(const char *path, int depth)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char child[512];

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
		if (e->d_type == DT_DIR && depth)
			keep_tree(child, depth - 1);
		else if (e->d_type == DT_LNK)
			(void)!readlink(child, kept + kept_size, 256);
		else
			keep(child);
	}
	if (d)
		closedir(d);
}

/* Keeps its frame: the copy of the kernel's structures on the user's stack. */
static void
handler(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	memcpy(fresh(), info, sizeof(*info));
	memcpy(kept + kept_size, context, 1024);
	kept_size += 1024;
	signals++;
}

static void
about_files(void)
{
	int fd = ok(open("/tmp", O_RDONLY)), pipes[2], tty = open("/dev/console", O_RDWR | O_NOCTTY);
	struct flock lock = {.l_type = F_RDLCK};
	struct iovec v;

	syscall(SYS_newfstatat, AT_FDCWD, "/", fresh(), 0);
	syscall(SYS_fstat, fd, fresh());
	syscall(SYS_statx, AT_FDCWD, "/", 0, 0xfff, fresh());
	syscall(SYS_statfs, "/proc", fresh());
	syscall(SYS_fstatfs, fd, fresh());
	syscall(SYS_getdents64, fd, fresh(), 512);
	syscall(SYS_getcwd, fresh(), 512);
	syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", fresh(), 512);
	memcpy(fresh(), &lock, sizeof(lock));
	syscall(SYS_fcntl, fd, F_GETLK, outputs + 512 * (calls - 1));
	ok(pipe(pipes));
	ok(write(pipes[1], "data", 4));
	v = (struct iovec){fresh(), 512};
	syscall(SYS_readv, pipes[0], &v, 1);
	syscall(SYS_ioctl, pipes[0], FIONREAD, fresh());
	if (tty >= 0) {
		syscall(SYS_ioctl, tty, TCGETS, fresh());
		syscall(SYS_ioctl, tty, TIOCGWINSZ, fresh());
		syscall(SYS_ioctl, tty, TIOCGPGRP, fresh());
		close(tty);
	}
	close(pipes[0]);
	close(pipes[1]);
	close(fd);
}

static void
about_time(void)
{
	timer_t timer;
	int fd = ok(timerfd_create(CLOCK_MONOTONIC, 0));
	struct itimerspec soon = {{0, 0}, {0, 1000}};

	syscall(SYS_clock_gettime, CLOCK_REALTIME, fresh());
	syscall(SYS_clock_getres, CLOCK_MONOTONIC, fresh());
	syscall(SYS_gettimeofday, fresh(), fresh());
	syscall(SYS_times, fresh());
	syscall(SYS_getitimer, ITIMER_REAL, fresh());
	syscall(SYS_setitimer, ITIMER_VIRTUAL, &(struct itimerval){{0, 0}, {9, 0}}, fresh());
	ok(timer_create(CLOCK_MONOTONIC, NULL, &timer));
	ok(timer_gettime(timer, fresh()));
	ok(timer_settime(timer, 0, &soon, fresh()));
	ok(timer_delete(timer));
	ok(timerfd_settime(fd, 0, &soon, fresh()));
	ok(timerfd_gettime(fd, fresh()));
	ok(read(fd, fresh(), 8));
	close(fd);
}

static void
about_events(void)
{
	int ready = ok(eventfd(1, 0)), ep = ok(epoll_create1(0)), sfd;
	struct epoll_event ev = {.events = EPOLLIN};
	struct pollfd *p = fresh();
	sigset_t set;

	ok(epoll_ctl(ep, EPOLL_CTL_ADD, ready, &ev));
	ok(epoll_wait(ep, fresh(), 8, 0));
	*p = (struct pollfd){.fd = ready, .events = POLLIN};
	ok(poll(p, 1, 0));
	FD_SET(ready, (fd_set *)fresh());
	ok(select(ready + 1, (fd_set *)(outputs + 512 * (calls - 1)), NULL, NULL, fresh()));
	ok(read(ready, fresh(), 8));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	ok(sigprocmask(SIG_BLOCK, &set, fresh()));
	ok(kill(getpid(), SIGUSR2));
	syscall(SYS_rt_sigpending, fresh(), 8);
	sfd = ok(signalfd(-1, &set, 0));
	ok(read(sfd, fresh(), 512));
	ok(kill(getpid(), SIGUSR2));
	syscall(SYS_rt_sigtimedwait, &set, fresh(), NULL, 8);
	close(sfd);
	close(ep);
	close(ready);
}

static void
about_processes(void)
{
	pid_t child = ok(fork());

	if (child == 0)
		_exit(3);
	syscall(SYS_waitid, P_PID, child, fresh(), WEXITED | WNOWAIT, fresh());
	syscall(SYS_wait4, child, fresh(), 0, fresh());
	syscall(SYS_getrusage, RUSAGE_SELF, fresh());
	syscall(SYS_getrusage, RUSAGE_CHILDREN, fresh());
	syscall(SYS_prlimit64, 0, RLIMIT_STACK, NULL, fresh());
	syscall(SYS_sysinfo, fresh());
	syscall(SYS_uname, fresh());
	syscall(SYS_sched_getparam, 0, fresh());
	syscall(SYS_sched_getaffinity, 0, 512, fresh());
	syscall(SYS_sched_rr_get_interval, 0, fresh());
	syscall(SYS_getresuid, fresh(), fresh(), fresh());
	syscall(SYS_getgroups, 64, fresh());
	syscall(SYS_capget, &(uint32_t[2]){0x20080522, 0}, fresh());
	syscall(SYS_prctl, PR_GET_NAME, fresh());
	syscall(SYS_getcpu, fresh(), fresh(), NULL);
	syscall(SYS_get_robust_list, 0, fresh(), fresh());
	syscall(SYS_mincore, ok(mmap(NULL, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)), PAGE,
		fresh());
	klogctl(3, fresh(), 512);
}

static void
about_signals(void)
{
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
	static char stack[64 << 10];

	syscall(SYS_rt_sigaction, SIGINT, NULL, fresh(), 8);
	syscall(SYS_sigaltstack, &(stack_t){.ss_sp = stack, .ss_size = sizeof(stack)}, fresh());
	ok(sigaction(SIGUSR1, &sa, NULL));
	ok(sigaction(SIGALRM, &sa, NULL));
	ok(sigaction(SIGCHLD, &sa, NULL));
	ok(kill(getpid(), SIGUSR1));
	sa.sa_flags |= SA_ONSTACK;
	ok(sigaction(SIGUSR1, &sa, NULL));
	ok(raise(SIGUSR1));
	ok(setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 1000}}, NULL));
	while (signals < 3) /* of the first round: later ones need not wait */
		;
}

int
main(int argc, char **argv)
{
	uid_t uid = argc > 1 ? (uid_t)atoi(argv[1]) : 0;

	ok(setgid(uid));
	ok(setuid(uid));
	if (argc > 2)
		keep_tree("/proc", 4);
	for (unsigned round = 0; round < 2; round++) {
		about_signals();
		about_files();
		about_time();
		about_events();
		about_processes();
	}
	outputs_done();
	printf("outputs: %u calls, %zu bytes of files\n", calls, kept_size);
	return 0;
}
