/*
 * The terminal, as far as it can be asked without anyone typing. Standard input is the console and the
 * controlling terminal, as init gives it.
 */
#include "user/test/test.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <termios.h>

static int
tty(void)
{
	return ok(open("/dev/tty", O_RDWR));
}

static void
it_is_a_terminal(void)
{
	struct stat st;
	struct termios t;
	int fd = tty(), null = ok(open("/dev/null", O_RDWR));

	check_eq(isatty(fd), 1);
	check_eq(isatty(0), 1);
	check_eq(isatty(null), 0);
	check_eq(errno, ENOTTY);
	fails(tcgetattr(null, &t), ENOTTY);
	fails(tcgetattr(999, &t), EBADF);
	ok(fstat(0, &st));
	check(S_ISCHR(st.st_mode));
	ok(stat("/dev/tty", &st));
	check_eq(st.st_rdev, 0x500);
	ok(stat("/dev/console", &st));
	check_eq(st.st_rdev, 0x501);
}

static void
attributes_round_trip(void)
{
	struct termios t, u, was;
	int fd = tty();

	signal(SIGTTOU, SIG_IGN);
	ok(tcgetattr(fd, &was));
	check((was.c_lflag & (ICANON | ISIG | ECHO)) == (ICANON | ISIG | ECHO));
	check(was.c_oflag & OPOST);
	check_eq(was.c_cc[VINTR], 3);
	check_eq(was.c_cc[VEOF], 4);
	check_eq(was.c_cc[VSUSP], 26);
	check_eq(was.c_cc[VQUIT], 28);
	t = was;
	cfmakeraw(&t);
	t.c_cc[VMIN] = 0;
	t.c_cc[VTIME] = 1;
	t.c_cc[VINTR] = 7;
	ok(tcsetattr(fd, TCSANOW, &t));
	ok(tcgetattr(fd, &u));
	check(u.c_lflag == t.c_lflag && u.c_iflag == t.c_iflag && u.c_oflag == t.c_oflag);
	check(memcmp(u.c_cc, t.c_cc, VSUSP) == 0);
	/* Raw, and nobody types: VTIME ends the read with nothing. */
	char c;
	pid_t fg = tcgetpgrp(fd);
	ok(tcsetpgrp(fd, getpgrp()));
	check_eq(read(fd, &c, 1), 0);
	ok(tcsetpgrp(fd, fg));
	ok(tcsetattr(fd, TCSADRAIN, &was));
	ok(tcsetattr(fd, TCSAFLUSH, &was));
	ok(tcgetattr(0, &u));
	check(u.c_lflag == was.c_lflag && u.c_cc[VINTR] == 3);
	ok(tcflush(fd, TCIFLUSH));
	ok(tcdrain(fd));
	fails(tcflush(fd, 99), EINVAL);
	fails(ioctl(fd, TCGETS, 16), EFAULT);
	fails(ioctl(fd, 0x54ff, 0), ENOTTY);
}

static void
window_size(void)
{
	struct winsize w = { 50, 132, 0, 0 }, was, now;
	int fd = tty();

	ok(ioctl(fd, TIOCGWINSZ, &was));
	ok(ioctl(fd, TIOCSWINSZ, &w));
	ok(ioctl(0, TIOCGWINSZ, &now));
	check(now.ws_row == 50 && now.ws_col == 132);
	ok(ioctl(fd, TIOCSWINSZ, &was));
	fails(ioctl(fd, TIOCGWINSZ, 16), EFAULT);
}

static void
who_is_in_the_foreground(void)
{
	int fd = tty(), null = ok(open("/dev/null", O_RDWR));
	pid_t fg = ok(tcgetpgrp(fd)), sid;

	check(fg > 0 && fg != getpgrp());	/* This test runs in a group of its own. */
	ok(ioctl(fd, TIOCGSID, &sid));
	check_eq(sid, getsid(0));
	fails(tcgetpgrp(null), ENOTTY);
	signal(SIGTTOU, SIG_IGN);
	ok(tcsetpgrp(fd, getpgrp()));
	check_eq(tcgetpgrp(fd), getpgrp());
	ok(tcsetpgrp(fd, fg));
	fails(tcsetpgrp(fd, -1), EINVAL);
	fails(tcsetpgrp(fd, 999999), ESRCH);
	pid_t p = t_fork();
	if (p == 0) {
		ok(setsid());
		fails(tcsetpgrp(fd, getpgrp()), ENOTTY);	/* No longer our terminal. */
		fails(open("/dev/tty", O_RDWR), ENXIO);
		fails(ioctl(0, TIOCSCTTY, 0), EPERM);		/* It belongs to another session. */
		_exit(0);
	}
	exits(p, 0);
}

static void
background_groups_are_stopped(void)
{
	struct termios t;
	int fd = tty(), status;
	char c;

	ok(tcgetattr(fd, &t));
	for (int how = 0; how < 3; how++) {
		pid_t p = t_fork();

		if (p == 0) {
			ok(setpgid(0, 0));
			if (how == 0)
				read(fd, &c, 1) < 0 ? _exit(1) : _exit(2);
			if (how == 1)
				tcsetattr(fd, TCSANOW, &t);
			if (how == 2)
				tcsetpgrp(fd, getpgrp());
			_exit(0);
		}
		check_eq(waitpid(p, &status, WUNTRACED), p);
		check(WIFSTOPPED(status));
		check_eq(WSTOPSIG(status), how == 0 ? SIGTTIN : SIGTTOU);
		kill(p, SIGKILL);
		dies(p, SIGKILL);
	}
	/* With the signal ignored, or nobody to continue us, reading is an error and setting works. */
	pid_t p = t_fork();
	if (p == 0) {
		ok(setpgid(0, 0));
		signal(SIGTTIN, SIG_IGN);
		signal(SIGTTOU, SIG_IGN);
		fails(read(fd, &c, 1), EIO);
		ok(tcsetattr(fd, TCSANOW, &t));
		check_eq(write(fd, "", 0), 0);
		_exit(0);
	}
	exits(p, 0);
}

static void
giving_the_terminal_up(void)
{
	pid_t p = t_fork();

	if (p == 0) {
		int fd = tty();

		ok(ioctl(fd, TIOCNOTTY));	/* Not the session's leader: only for itself. */
		fails(open("/dev/tty", O_RDWR), ENXIO);
		_exit(0);
	}
	exits(p, 0);
	tty();
}

/* Masters make the names in /dev/pts, and take them away; nobody else does, not even root. */
static void
names_of_terminals_are_their_masters(void)
{
	char name[32], other[40];
	struct stat st, now;
	int n, unlock = 0, master = ok(open("/dev/ptmx", O_RDWR | O_NOCTTY)), slave;

	ok(ioctl(master, TIOCGPTN, &n));
	ok(ioctl(master, TIOCSPTLCK, &unlock));
	snprintf(name, sizeof(name), "/dev/pts/%d", n);
	ok(stat(name, &st));
	check(S_ISCHR(st.st_mode) && st.st_nlink == 1);
	fails(unlink(name), EPERM);
	fails(rmdir(name), ENOTDIR);
	fails(rename(name, "/dev/pts/other"), EPERM);
	fails(rename(name, "other"), EXDEV);
	fails(link(name, "/dev/pts/other"), EPERM);
	fails(mkdir("/dev/pts/other", 0755), EPERM);
	fails(symlink(name, "/dev/pts/other"), EPERM);
	fails(mknod("/dev/pts/other", S_IFCHR | 0600, st.st_rdev), EPERM);
	fails(mkfifo("/dev/pts/other", 0600), EPERM);
	fails(open("/dev/pts/other", O_WRONLY | O_CREAT, 0600), EACCES);
	fails(open("/dev/pts/other", O_RDONLY), ENOENT);
	fails(unlink("/dev/pts/other"), ENOENT);
	snprintf(other, sizeof(other), "%s/x", name);
	fails(mkdir(other, 0755), ENOTDIR);
	ok(chmod(name, 0600));
	ok(stat(name, &now));
	check(now.st_ino == st.st_ino && now.st_nlink == 1 && (now.st_mode & 07777) == 0600);
	slave = ok(open(name, O_RDWR | O_NOCTTY));
	check_eq(write(slave, "hi", 2), 2);
	check_eq(read(master, other, sizeof(other)), 2);
	close(master);
	fails(stat(name, &now), ENOENT);
	close(slave);
}

/* A new pair's master; its slave is unlocked, and called that. */
static int
new_pair(char name[32])
{
	int n, unlock = 0, master = ok(open("/dev/ptmx", O_RDWR | O_NOCTTY));

	ok(ioctl(master, TIOCGPTN, &n));
	ok(ioctl(master, TIOCSPTLCK, &unlock));
	snprintf(name, 32, "/dev/pts/%d", n);
	return master;
}

/*
 * TCSAFLUSH makes room for whoever types, as tcflush does.  Linux keeps what is typed in buffers before those that
 * it flushes, so that there may still be no room.
 */
static void
who_types_waits_for_room_and_no_longer(void)
{
	struct termios t;
	char name[32], many[256];
	int master = new_pair(name), slave = ok(open(name, O_RDWR | O_NOCTTY));
	struct pollfd pfd = { .fd = master, .events = POLLOUT };
	pid_t p;

	if (access("/proc/harden", F_OK) != 0)
		return;
	ok(fcntl(master, F_SETFL, O_NONBLOCK));
	ok(tcgetattr(slave, &t));
	cfmakeraw(&t);
	ok(tcsetattr(slave, TCSANOW, &t));
	memset(many, 'x', sizeof(many));
	while (write(master, many, sizeof(many)) > 0)
		continue;
	check_eq(errno, EAGAIN);
	p = t_fork();
	if (p == 0)
		_exit(poll(&pfd, 1, -1) == 1 && (pfd.revents & POLLOUT) ? 0 : 1);
	t_msleep(30);
	ok(tcsetattr(slave, TCSAFLUSH, &t));
	exits(p, 0);
}

/* Opens once more what fd has. */
static int
reopen(int fd)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDWR | O_NOCTTY);
}

/* What is written to the slave arrives at the master; closes the slave. */
static void
leads_to(int slave, int master)
{
	char c;

	check_eq(write(slave, "x", 1), 1);
	check_eq(read(master, &c, 1), 1);
	ok(close(slave));
}

/* A number comes back, and a name with it: who kept the node of the pair before has nothing of the new one. */
static void
a_kept_node_is_not_the_next_pairs(void)
{
	char name[32], next[32];
	int master, kept, slave;

	ok(seteuid(STUDENT));
	master = new_pair(name);
	kept = ok(open(name, O_PATH));
	slave = ok(open(name, O_RDWR | O_NOCTTY));
	leads_to(ok(open(name, O_RDWR | O_NOCTTY)), master);
	leads_to(ok(reopen(slave)), master);
	leads_to(ok(reopen(kept)), master);
	ok(close(master));
	fails(reopen(slave), EIO);
	fails(reopen(kept), EIO);
	ok(close(slave));
	ok(seteuid(0));
	master = new_pair(next);
	check(strcmp(next, name) == 0);
	ok(seteuid(STUDENT));
	fails(reopen(kept), EIO);
	ok(seteuid(0));
	fails(reopen(kept), EIO);
	leads_to(ok(open(name, O_RDWR | O_NOCTTY)), master);
}

static volatile sig_atomic_t alarms;

static void
on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

/* A line that is too long, that nobody reads, and that goes on for a GiB. */
static void
writing_to_a_full_line_is_interrupted(void)
{
	static char buf[1 << 20];
	static struct iovec v[1024];
	char name[32];
	int master = new_pair(name);

	ok(open(name, O_RDWR | O_NOCTTY));
	memset(buf, 'a', sizeof(buf));
	for (int i = 0; i < 1024; i++)
		v[i] = (struct iovec){ buf, sizeof(buf) };
	for (int handled = 0; handled < 2; handled++) {
		pid_t p = t_fork();

		if (p == 0) {
			struct sigaction sa = { .sa_handler = on_alarm };
			struct itimerval soon = { .it_value.tv_usec = 100000 };

			t_become(STUDENT);
			if (handled) {
				ok(sigaction(SIGALRM, &sa, NULL));
				ok(setitimer(ITIMER_REAL, &soon, NULL));
			}
			ssize_t n = ok(writev(master, v, 1024));
			_exit(alarms == 1 && n > 0 && n < 1 << 30 ? 7 : 8);
		}
		if (!handled) {
			t_msleep(100);
			kill(p, SIGKILL);
		}
		check_eq(t_wait(p), handled ? 7 : 1000 + SIGKILL);
	}
}

static const struct test tests[] = {
	TEST(it_is_a_terminal),
	TEST(attributes_round_trip),
	TEST(window_size),
	TEST(who_is_in_the_foreground),
	TEST(background_groups_are_stopped),
	TEST(giving_the_terminal_up),
	TEST(names_of_terminals_are_their_masters),
	TEST(a_kept_node_is_not_the_next_pairs),
	TEST(writing_to_a_full_line_is_interrupted),
	TEST(who_types_waits_for_room_and_no_longer),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
