/*
 * Pipes, and everything that waits: poll, select, epoll, eventfd, timerfd, signalfd.
 */
#include "user/test/test.h"
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "user/cpu.h"

static volatile sig_atomic_t caught;

static void
on_signal(int sig)
{
	caught = sig;
}

static void
handle(int sig)
{
	struct sigaction sa = { .sa_handler = on_signal };

	ok(sigaction(sig, &sa, NULL));
}

static void
nonblock(int fd)
{
	ok(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK));
}

/* What poll finds on one descriptor at once. */
static int
ready(int fd, int events)
{
	struct pollfd p = { .fd = fd, .events = (short)events };

	ok(poll(&p, 1, 0));
	return p.revents;
}

static void
capacity_and_order(void)
{
	static char block[65536], back[65536];
	int fds[2], n;

	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] = (char)(i * 7);
	ok(pipe2(fds, O_NONBLOCK));
	check_eq(fcntl(fds[0], F_GETPIPE_SZ), 65536);
	check_eq(write(fds[1], block, 65536), 65536);
	fails(write(fds[1], "x", 1), EAGAIN);
	check_eq(ready(fds[1], POLLOUT), 0);
	ok(ioctl(fds[0], FIONREAD, &n));
	check_eq(n, 65536);
	check_eq(read(fds[0], back, 65536), 65536);
	check(memcmp(block, back, 65536) == 0);
	fails(read(fds[0], back, 1), EAGAIN);
	check_eq(write(fds[1], block, 60000), 60000);
	check_eq(read(fds[0], back, 30000), 30000);
	n = (int)ok(write(fds[1], block, 65536));
	check(n >= 65536 - 30000 - 4096 && n <= 65536 - 30000);	/* Partly, as much as fits. */
	check_eq(read(fds[0], back, 30000), 30000);
	check(memcmp(block + 30000, back, 30000) == 0);
}

static void
resizing(void)
{
	static char block[1 << 20];
	int fds[2];

	ok(pipe2(fds, O_NONBLOCK));
	if (fcntl(fds[0], F_SETPIPE_SZ, 1 << 20) < 0 && errno == EINVAL)
		return;		/* A kernel may not know the call; if it does it must mean it. */
	check_eq(fcntl(fds[1], F_GETPIPE_SZ), 1 << 20);
	check_eq(write(fds[1], block, 1 << 20), 1 << 20);
	fails(fcntl(fds[0], F_SETPIPE_SZ, 4096), EBUSY);
	check_eq(read(fds[0], block, 1 << 20), 1 << 20);
	check_eq(fcntl(fds[0], F_SETPIPE_SZ, 5000), 8192);
}

static void
small_writes_are_atomic(void)
{
	int fds[2];
	char buf[4096];
	pid_t p[4];

	ok(pipe(fds));
	for (int k = 0; k < 4; k++) {
		p[k] = t_fork();
		if (p[k] == 0) {
			memset(buf, 'a' + k, 3000);
			for (int i = 0; i < 40; i++)
				check_eq(write(fds[1], buf, 3000), 3000);
			_exit(0);
		}
	}
	close(fds[1]);
	for (;;) {
		int got = 0, n;

		while (got < 3000 && (n = (int)ok(read(fds[0], buf + got,
			(size_t)(3000 - got)))) > 0)
			got += n;
		if (got == 0)
			break;
		check_eq(got, 3000);
		for (int i = 0; i < 3000; i++)
			check(buf[i] == buf[0]);
	}
	for (int k = 0; k < 4; k++)
		exits(p[k], 0);
	/* In non-blocking mode it is all of it or EAGAIN. */
	ok(pipe2(fds, O_NONBLOCK));
	for (int i = 0; i < 16; i++)
		check_eq(write(fds[1], buf, 4000), 4000);
	int n = (int)write(fds[1], buf, 4096);
	check(n == -1 && errno == EAGAIN);
}

static void
ends_of_a_pipe(void)
{
	int fds[2];
	char c;

	ok(pipe(fds));
	check_eq(write(fds[1], "x", 1), 1);
	close(fds[1]);
	check_eq(ready(fds[0], POLLIN), POLLIN | POLLHUP);
	check_eq(read(fds[0], &c, 1), 1);
	check_eq(ready(fds[0], POLLIN), POLLHUP);
	check_eq(read(fds[0], &c, 1), 0);
	ok(pipe(fds));
	close(fds[0]);
	check_eq(ready(fds[1], POLLOUT), POLLOUT | POLLERR);
	signal(SIGPIPE, SIG_IGN);
	fails(write(fds[1], "x", 1), EPIPE);
	handle(SIGPIPE);
	fails(write(fds[1], "x", 1), EPIPE);
	check_eq(caught, SIGPIPE);
	pid_t p = t_fork();
	if (p == 0) {
		signal(SIGPIPE, SIG_DFL);
		if (write(fds[1], "x", 1) < 0)
			_exit(1);
	}
	dies(p, SIGPIPE);
	fails(read(fds[1], &c, 1), EBADF);
	fails(pipe2(fds, 0x1234567), EINVAL);
	/* A writer that sleeps is woken when the last reader goes. */
	ok(pipe(fds));
	p = t_fork();
	if (p == 0) {
		static char big[200000];

		close(fds[0]);
		signal(SIGPIPE, SIG_DFL);
		if (write(fds[1], big, sizeof(big)) < 0)
			_exit(1);
		_exit(2);
	}
	t_msleep(30);
	close(fds[0]);
	dies(p, SIGPIPE);
}

static void
large_transfers(void)
{
	static char block[100000];
	int fds[2];
	long sum = 0, n;

	ok(pipe(fds));
	pid_t p = t_fork();
	if (p == 0) {
		memset(block, 1, sizeof(block));
		for (int i = 0; i < 10; i++)
			check_eq(write(fds[1], block, sizeof(block)), sizeof(block));
		_exit(0);
	}
	close(fds[1]);
	while ((n = ok(read(fds[0], block, 777))) > 0) {
		for (int i = 0; i < n; i++)
			sum += block[i];
	}
	check_eq(sum, 1000000);
	exits(p, 0);
}

static void
polling(void)
{
	int fds[2];
	struct pollfd p[3];
	long start;

	ok(pipe(fds));
	check_eq(ready(fds[0], POLLIN), 0);
	check_eq(ready(fds[1], POLLOUT | POLLIN), POLLOUT);
	check_eq(ready(999, POLLIN), POLLNVAL);
	check_eq(ready(-1, POLLIN), 0);
	check_eq(ready(ok(open("f", O_CREAT | O_RDWR, 0600)), POLLIN | POLLOUT), POLLIN | POLLOUT);
	check_eq(ready(ok(open("/dev/null", O_RDWR)), POLLIN | POLLOUT), POLLIN | POLLOUT);
	start = t_now();
	p[0] = (struct pollfd){ fds[0], POLLIN, 0 };
	check_eq(poll(p, 1, 30), 0);
	check(t_now() - start >= 29);
	check_eq(poll(NULL, 0, 5), 0);
	pid_t c = t_fork();
	if (c == 0) {
		t_msleep(30);
		check_eq(write(fds[1], "x", 1), 1);
		_exit(0);
	}
	p[1] = (struct pollfd){ fds[1], 0, 0 };
	p[2] = (struct pollfd){ -5, POLLIN, 77 };
	check_eq(poll(p, 3, -1), 1);
	check(p[0].revents == POLLIN && p[1].revents == 0 && p[2].revents == 0);
	exits(c, 0);
	/* A signal ends the wait, even with SA_RESTART; ppoll swaps the mask. */
	char byte;
	check_eq(read(fds[0], &byte, 1), 1);
	handle(SIGUSR1);
	sigset_t s, none;
	sigemptyset(&none);
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	ok(sigprocmask(SIG_BLOCK, &s, NULL));
	raise(SIGUSR1);
	check_eq(poll(p, 1, 10), 0);
	fails(ppoll(p, 1, &(struct timespec){ 5, 0 }, &none), EINTR);
	check_eq(caught, SIGUSR1);
	fails(ppoll(p, 1, &(struct timespec){ 0, -1 }, NULL), EINVAL);
	fails(poll((void *)16, 1, 0), EFAULT);
	fails(poll(p, 0x10000000, 0), EINVAL);
}

static void
selecting(void)
{
	int fds[2];
	fd_set r, w, e;
	struct timeval tv = { 0, 0 };

	ok(pipe(fds));
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&e);
	FD_SET(fds[0], &r);
	FD_SET(fds[1], &w);
	FD_SET(fds[0], &e);
	check_eq(select(fds[1] + 1, &r, &w, &e, &tv), 1);
	check(!FD_ISSET(fds[0], &r) && FD_ISSET(fds[1], &w) && !FD_ISSET(fds[0], &e));
	check_eq(write(fds[1], "x", 1), 1);
	FD_SET(fds[0], &r);
	check_eq(select(fds[1] + 1, &r, &w, NULL, NULL), 2);
	FD_ZERO(&r);
	FD_SET(40, &r);
	tv = (struct timeval){ 0, 0 };
	fails(select(41, &r, NULL, NULL, &tv), EBADF);
	fails(select(-1, NULL, NULL, NULL, &tv), EINVAL);
	tv = (struct timeval){ 0, -1 };
	fails(select(0, NULL, NULL, NULL, &tv), EINVAL);
	tv = (struct timeval){ 0, 20000 };
	long start = t_now();
	check_eq(select(0, NULL, NULL, NULL, &tv), 0);
	check(t_now() - start >= 19);
	/* End of file is readable; a reader that is gone is writable. */
	close(fds[1]);
	FD_ZERO(&r);
	FD_SET(fds[0], &r);
	char c;
	check_eq(read(fds[0], &c, 1), 1);
	check_eq(select(fds[0] + 1, &r, NULL, NULL, NULL), 1);
	check_eq(pselect(0, NULL, NULL, NULL, &(struct timespec){ 0, 1000 }, NULL), 0);
	handle(SIGALRM);
	alarm(1);
	fails(pselect(0, NULL, NULL, NULL, NULL, NULL), EINTR);
	alarm(T_SECONDS);
}

static void
event_counters(void)
{
	int fd = ok(eventfd(3, EFD_NONBLOCK)), sem;
	uint64_t v = 5;

	check_eq(ready(fd, POLLIN | POLLOUT), POLLIN | POLLOUT);
	check_eq(write(fd, &v, 8), 8);
	check_eq(read(fd, &v, 8), 8);
	check_eq(v, 8);
	fails(read(fd, &v, 8), EAGAIN);
	fails(read(fd, &v, 4), EINVAL);
	check_eq(ready(fd, POLLIN | POLLOUT), POLLOUT);
	v = UINT64_MAX;
	fails(write(fd, &v, 8), EINVAL);
	v--;
	check_eq(write(fd, &v, 8), 8);
	check_eq(ready(fd, POLLIN | POLLOUT), POLLIN);
	v = 1;
	fails(write(fd, &v, 8), EAGAIN);
	sem = ok(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
	check_eq(read(sem, &v, 8), 8);
	check_eq(v, 1);
	check_eq(read(sem, &v, 8), 8);
	fails(read(sem, &v, 8), EAGAIN);
	fails(eventfd(0, 0x1234), EINVAL);
	int block = ok(eventfd(0, 0));
	pid_t p = t_fork();
	if (p == 0) {
		t_msleep(20);
		v = 9;
		check_eq(write(block, &v, 8), 8);
		_exit(0);
	}
	check_eq(read(block, &v, 8), 8);
	check_eq(v, 9);
	exits(p, 0);
}

static int
wait_epoll(int ep, struct epoll_event *e, int timeout)
{
	return (int)ok(epoll_wait(ep, e, 8, timeout));
}

static void
epoll_level_edge_oneshot(void)
{
	int ep = ok(epoll_create1(EPOLL_CLOEXEC)), fds[2], other[2];
	struct epoll_event e[8], in = { .events = EPOLLIN, .data.u64 = 0x123456789abcdef };
	char c;

	ok(pipe(fds));
	ok(pipe(other));
	ok(epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &in));
	fails(epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &in), EEXIST);
	check_eq(wait_epoll(ep, e, 0), 0);
	check_eq(write(fds[1], "ab", 2), 2);
	check_eq(wait_epoll(ep, e, -1), 1);
	check(e[0].events == EPOLLIN && e[0].data.u64 == 0x123456789abcdef);
	check_eq(wait_epoll(ep, e, 0), 1);		/* Level: still there. */
	in.events = EPOLLIN | EPOLLET;
	ok(epoll_ctl(ep, EPOLL_CTL_MOD, fds[0], &in));
	check_eq(wait_epoll(ep, e, 0), 1);
	check_eq(wait_epoll(ep, e, 0), 0);		/* Edge: told once. */
	check_eq(write(fds[1], "c", 1), 1);
	check_eq(wait_epoll(ep, e, 0), 1);
	in.events = EPOLLIN | EPOLLONESHOT;
	ok(epoll_ctl(ep, EPOLL_CTL_MOD, fds[0], &in));
	check_eq(wait_epoll(ep, e, 0), 1);
	check_eq(write(fds[1], "d", 1), 1);
	check_eq(wait_epoll(ep, e, 0), 0);		/* Once: until armed again. */
	ok(epoll_ctl(ep, EPOLL_CTL_MOD, fds[0], &in));
	check_eq(wait_epoll(ep, e, 0), 1);
	ok(epoll_ctl(ep, EPOLL_CTL_DEL, fds[0], NULL));
	fails(epoll_ctl(ep, EPOLL_CTL_DEL, fds[0], NULL), ENOENT);
	fails(epoll_ctl(ep, EPOLL_CTL_MOD, fds[0], &in), ENOENT);
	fails(epoll_ctl(ep, EPOLL_CTL_ADD, 999, &in), EBADF);
	fails(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &in), EINVAL);
	fails(epoll_ctl(fds[0], EPOLL_CTL_ADD, fds[1], &in), EINVAL);
	fails(epoll_ctl(ep, EPOLL_CTL_ADD, ok(open("f", O_CREAT | O_RDWR, 0600)), &in), EPERM);
	fails(epoll_wait(ep, e, 0, 0), EINVAL);
	fails(epoll_wait(fds[0], e, 1, 0), EINVAL);
	fails(epoll_create(0), EINVAL);
	fails(epoll_create1(0x1234), EINVAL);
	/* Several at once; hang-ups come unasked; a closed file leaves by itself. */
	in.events = EPOLLIN;
	in.data.fd = 1;
	ok(epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &in));
	in.data.fd = 2;
	ok(epoll_ctl(ep, EPOLL_CTL_ADD, other[0], &in));
	in.events = EPOLLOUT;
	in.data.fd = 3;
	ok(epoll_ctl(ep, EPOLL_CTL_ADD, other[1], &in));
	check_eq(wait_epoll(ep, e, 0), 2);
	check_eq(ready(ep, POLLIN), POLLIN);		/* An epoll can be polled. */
	close(other[1]);
	int n = wait_epoll(ep, e, 0), hup = 0;
	for (int i = 0; i < n; i++)
		hup |= e[i].data.fd == 2 && e[i].events == EPOLLHUP;
	check(n == 2 && hup);
	close(other[0]);
	check_eq(wait_epoll(ep, e, 0), 1);
	check_eq(read(fds[0], &c, 1), 1);
	/* A wait, ended by another process; and by a signal. */
	while (ready(fds[0], POLLIN))
		check_eq(read(fds[0], &c, 1), 1);
	pid_t p = t_fork();
	if (p == 0) {
		t_msleep(20);
		check_eq(write(fds[1], "x", 1), 1);
		_exit(0);
	}
	check_eq(wait_epoll(ep, e, 10000), 1);
	exits(p, 0);
	check_eq(read(fds[0], &c, 1), 1);
	long start = t_now();
	check_eq(wait_epoll(ep, e, 30), 0);
	check(t_now() - start >= 29);
	handle(SIGALRM);
	alarm(1);
	fails(epoll_wait(ep, e, 8, -1), EINTR);
	alarm(T_SECONDS);
}

static int
watch(int outer, int inner)
{
	struct epoll_event in = { .events = EPOLLIN };

	return epoll_ctl(outer, EPOLL_CTL_ADD, inner, &in);
}

/* No circles, and no more than five on top of each other, whichever of them comes last. */
static void
sets_that_watch_sets(void)
{
	int s[6], t[6];

	for (int i = 0; i < 6; i++) {
		s[i] = ok(epoll_create1(0));
		t[i] = ok(epoll_create1(0));
	}
	fails(watch(s[0], s[0]), EINVAL);
	ok(watch(s[1], s[0]));
	fails(watch(s[0], s[1]), ELOOP);
	ok(watch(s[2], s[1]));
	fails(watch(s[0], s[2]), ELOOP);
	ok(watch(s[2], s[0]));			/* Two ways are no circle. */
	ok(epoll_ctl(s[2], EPOLL_CTL_DEL, s[1], NULL));
	fails(watch(s[0], s[2]), ELOOP);
	ok(epoll_ctl(s[2], EPOLL_CTL_DEL, s[0], NULL));
	ok(watch(s[0], s[2]));			/* Now it is none. */
	fails(watch(s[2], s[1]), ELOOP);
	ok(epoll_ctl(s[0], EPOLL_CTL_DEL, s[2], NULL));
	/* From below. */
	for (int i = 1; i < 4; i++)
		ok(watch(s[i + 1], s[i]));
	fails(watch(s[5], s[4]), ELOOP);
	ok(watch(s[5], s[3]));
	/* From above. */
	for (int i = 0; i < 4; i++)
		ok(watch(t[i], t[i + 1]));
	fails(watch(t[4], t[5]), ELOOP);
	/* In the middle: two and three, not three and three. */
	ok(epoll_ctl(t[1], EPOLL_CTL_DEL, t[2], NULL));
	fails(watch(t[1], s[3]), ELOOP);
	fails(watch(t[1], s[3]), ELOOP);
	ok(watch(t[1], s[2]));
}

/* The outer set watches the inner one under that many numbers, which may be closed at once. */
static void
watch_many_times(int outer, int inner, int times)
{
	for (int i = 0; i < times; i++) {
		int fd = ok(fcntl(inner, F_DUPFD, 50 + i));

		ok(watch(outer, fd));
		close(fd);
	}
}

/* A kernel that goes every way from the top to the bottom has 700 * 700 * 700 of them to go. */
static void
sets_that_watch_sets_in_many_ways(void)
{
	int s[5];

	t_become(STUDENT);
	for (int i = 0; i < 5; i++)
		s[i] = ok(epoll_create1(0));
	for (int i = 0; i < 3; i++)
		watch_many_times(s[i + 1], s[i], 700);
	ok(watch(s[4], s[3]));
	fails(watch(s[0], s[4]), ELOOP);
}

/* Waits 50 ms for what does not come, in one of three ways; exits with what that gives. */
static void
wait_in_vain(int how)
{
	struct epoll_event in = { .events = EPOLLIN }, none = { .events = 0 };
	int inner = ok(epoll_create1(0)), outer = ok(epoll_create1(0));
	struct pollfd p = { .fd = inner, .events = POLLOUT };
	struct timeval soon = { 0, 50000 };
	long start = t_now();
	fd_set set;
	int n;

	t_become(STUDENT);
	ok(epoll_ctl(inner, EPOLL_CTL_ADD, ok(eventfd(1, 0)), &in));
	check_eq(ready(inner, POLLIN), POLLIN);
	if (how == 0) {
		n = ok(poll(&p, 1, 50));
	} else if (how == 1) {
		FD_ZERO(&set);
		FD_SET(inner, &set);
		n = ok(select(inner + 1, NULL, NULL, &set, &soon));
	} else {
		ok(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &none));
		n = ok(epoll_wait(outer, &in, 1, 50));
	}
	check(t_now() - start >= 49);
	_exit(n);
}

/* The set has something ready, but not what is asked for: to look at it must not wake who looks. */
static void
sets_that_are_ready_for_something_else(void)
{
	for (int how = 0; how < 3; how++) {
		pid_t p = t_fork();

		if (p == 0)
			wait_in_vain(how);
		exits(p, 0);
	}
}

static void
timer_descriptors(void)
{
	int fd = ok(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	struct itimerspec it = { { 0, 10000000 }, { 0, 10000000 } }, now, off = { { 0, 0 }, { 0,
		0 } };
	uint64_t n;

	fails(read(fd, &n, 8), EAGAIN);
	check_eq(ready(fd, POLLIN), 0);
	ok(timerfd_settime(fd, 0, &it, NULL));
	ok(timerfd_gettime(fd, &now));
	check(now.it_interval.tv_nsec == 10000000 && now.it_value.tv_nsec <= 10000000);
	struct pollfd p = { fd, POLLIN, 0 };
	check_eq(poll(&p, 1, 5000), 1);
	t_msleep(35);
	check_eq(read(fd, &n, 8), 8);
	check(n >= 3);
	fails(read(fd, &n, 4), EINVAL);
	ok(timerfd_settime(fd, 0, &off, &now));
	check_eq(now.it_interval.tv_nsec, 10000000);
	t_msleep(15);
	fails(read(fd, &n, 8), EAGAIN);
	/* Absolute and past: at once. */
	it = (struct itimerspec){ { 0, 0 }, { 0, 1 } };
	ok(timerfd_settime(fd, TFD_TIMER_ABSTIME, &it, NULL));
	check_eq(poll(&p, 1, 5000), 1);
	check_eq(read(fd, &n, 8), 8);
	check_eq(n, 1);
	int real = ok(timerfd_create(CLOCK_REALTIME, 0));
	it.it_value.tv_nsec = 5000000;
	ok(timerfd_settime(real, 0, &it, NULL));
	check_eq(read(real, &n, 8), 8);
	check_eq(n, 1);
	it.it_value.tv_nsec = 1000000000;
	fails(timerfd_settime(fd, 0, &it, NULL), EINVAL);
	fails(timerfd_create(77, 0), EINVAL);
	fails(timerfd_create(CLOCK_MONOTONIC, 0x1234), EINVAL);
	fails(timerfd_settime(real + 100, 0, &off, NULL), EBADF);
	int fds[2];
	ok(pipe(fds));
	fails(timerfd_settime(fds[0], 0, &off, NULL), EINVAL);
	fails(write(fd, &n, 8), EINVAL);
}

static int busy_timer;
static atomic_ulong reads[2];	/* That gave something. */
static atomic_ulong turns[2];	/* All of them. */
static atomic_bool is_quiet;	/* No more of them may give anything. */
static atomic_bool is_over;

static void *
timer_reader(void *arg)
{
	intptr_t me = (intptr_t)arg;
	uint64_t n;

	(void)!pin((int)me);	/* There may be one CPU alone. */
	while (!is_over) {
		bool quiet = is_quiet;
		ssize_t r = read(busy_timer, &n, sizeof(n));

		if (r == 8) {
			check(!quiet && n > 0);
			reads[me]++;
		} else {
			check(r == -1 && errno == EAGAIN);
		}
		turns[me]++;
	}
	return NULL;
}

/* Until each of them has begun another read, and ended it. */
static void
wait_for_readers(void)
{
	unsigned long was[2] = { turns[0], turns[1] };

	while (turns[0] < was[0] + 2 || turns[1] < was[1] + 2)
		t_msleep(1);
}

/* It fires again as soon as it is read, by two threads at once, in a set that hears of it; the last settime wins. */
static void
a_timer_that_fires_all_the_time(void)
{
	struct itimerspec all_the_time = { { 0, 1 }, { 0, 1 } }, off = { { 0, 0 }, { 0, 0 } };
	struct itimerspec much_later = { { 0, 1 }, { 1000, 0 } }, now;
	struct epoll_event in = { .events = EPOLLIN }, e[8];
	int ep = ok(epoll_create1(0));
	pthread_t t[2];
	uint64_t n;

	t_become(STUDENT);
	busy_timer = ok(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	ok(epoll_ctl(ep, EPOLL_CTL_ADD, busy_timer, &in));
	ok(timerfd_settime(busy_timer, 0, &all_the_time, NULL));
	for (intptr_t i = 0; i < 2; i++)
		zero(pthread_create(&t[i], NULL, timer_reader, (void *)i));
	t_msleep(600);
	check(reads[0] + reads[1] > 0);
	for (int i = 0; i < 8; i++) {
		const struct itimerspec *it = i % 2 ? &off : &much_later;

		ok(timerfd_settime(busy_timer, 0, it, NULL));
		is_quiet = true;
		wait_for_readers();
		ok(timerfd_gettime(busy_timer, &now));
		check(i % 2 ? now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0 : now.it_value.tv_sec > 900);
		check_eq(wait_epoll(ep, e, 0), 0);
		is_quiet = false;
		wait_for_readers();
		ok(timerfd_settime(busy_timer, 0, &all_the_time, NULL));
		wait_for_readers();
	}
	is_over = true;
	for (int i = 0; i < 2; i++)
		zero(pthread_join(t[i], NULL));
	check_eq(wait_epoll(ep, e, 5000), 1);
	check_eq(read(busy_timer, &n, 8), 8);
}

static void
signal_descriptors(void)
{
	sigset_t s;
	struct signalfd_siginfo info[2];
	int fd;

	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGRTMIN);
	ok(sigprocmask(SIG_BLOCK, &s, NULL));
	fd = ok(signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC));
	fails(read(fd, info, sizeof(info)), EAGAIN);
	check_eq(ready(fd, POLLIN), 0);
	ok(kill(getpid(), SIGUSR1));
	ok(sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 42 }));
	check_eq(ready(fd, POLLIN), POLLIN);
	check_eq(read(fd, info, sizeof(info)), 2 * 128);
	check(info[0].ssi_signo == SIGUSR1 && info[0].ssi_pid == (uint32_t)getpid());
	check(info[1].ssi_signo == (uint32_t)SIGRTMIN && info[1].ssi_int == 42 &&
		info[1].ssi_code == SI_QUEUE);
	fails(read(fd, info, 10), EINVAL);
	fails(signalfd(fd + 100, &s, 0), EBADF);
	sigaddset(&s, SIGUSR2);
	ok(sigprocmask(SIG_BLOCK, &s, NULL));
	check_eq(signalfd(fd, &s, 0), fd);
	raise(SIGUSR2);
	check_eq(read(fd, info, sizeof(info)), 128);
}

static void
named_pipes(void)
{
	char buf[8];
	int r, w;

	ok(mkfifo("p", 0600));
	fails(mkfifo("p", 0600), EEXIST);
	fails(open("p", O_WRONLY | O_NONBLOCK), ENXIO);		/* No reader. */
	r = ok(open("p", O_RDONLY | O_NONBLOCK));
	/* No writer yet: end of file, not EAGAIN. */
	check_eq(read(r, buf, 1), 0);
	w = ok(open("p", O_WRONLY | O_NONBLOCK));
	fails(read(r, buf, 1), EAGAIN);
	check_eq(write(w, "hi", 2), 2);
	check_eq(read(r, buf, 8), 2);
	close(w);
	check_eq(read(r, buf, 1), 0);
	check_eq(ready(r, POLLIN), POLLHUP);
	close(r);
	/* Blocking opens meet. */
	pid_t p = t_fork();
	if (p == 0) {
		w = ok(open("p", O_WRONLY));
		check_eq(write(w, "met", 3), 3);
		_exit(0);
	}
	r = ok(open("p", O_RDONLY));
	check_eq(read(r, buf, 8), 3);
	check_eq(read(r, buf, 8), 0);
	exits(p, 0);
	int rw = ok(open("p", O_RDWR));		/* Linux lets one end be both. */
	check_eq(write(rw, "x", 1), 1);
	check_eq(read(rw, buf, 1), 1);
	/* An open that waits is interrupted. */
	close(rw);
	close(r);
	handle(SIGALRM);
	alarm(1);
	fails(open("p", O_RDONLY), EINTR);
	alarm(T_SECONDS);
}

static void
blocked_reader_in_many_processes(void)
{
	int fds[2], total = 0;
	pid_t p[6];
	char c;

	ok(pipe(fds));
	for (int i = 0; i < 6; i++) {
		p[i] = t_fork();
		if (p[i] == 0) {
			int n = 0;

			close(fds[1]);
			while (read(fds[0], &c, 1) == 1)
				n++;
			_exit(n);
		}
	}
	close(fds[0]);
	for (int i = 0; i < 120; i++)
		check_eq(write(fds[1], "x", 1), 1);
	close(fds[1]);
	for (int i = 0; i < 6; i++)
		total += t_wait(p[i]);
	check_eq(total, 120);		/* Each byte went to exactly one. */
}

static void
nonblocking_flag_by_ioctl_and_fcntl(void)
{
	int fds[2], on = 1;
	char c;

	ok(pipe(fds));
	ok(ioctl(fds[0], FIONBIO, &on));
	check(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	fails(read(fds[0], &c, 1), EAGAIN);
	nonblock(fds[1]);
	fails(ioctl(fds[0], TIOCGWINSZ, &on), ENOTTY);
	ok(ioctl(fds[0], FIOCLEX));
	check_eq(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
}

/* A writer that waits in its open may be done and gone before the reader that it waited for runs again. */
static void
fifo_meetings(void)
{
	char buf[4];

	ok(mkfifo("meet", 0600));
	for (int i = 0; i < 300; i++) {
		pid_t p = t_fork();

		if (p == 0) {
			int w = ok(open("meet", O_WRONLY));

			check_eq(write(w, "met", 3), 3);
			_exit(0);
		}
		t_msleep(1);
		int r = ok(open("meet", O_RDONLY));

		check_eq(read(r, buf, 4), 3);
		check_eq(read(r, buf, 4), 0);
		close(r);
		exits(p, 0);
	}
}

static const struct test tests[] = {
	TEST(capacity_and_order),
	TEST(resizing),
	TEST(small_writes_are_atomic),
	TEST(ends_of_a_pipe),
	TEST(large_transfers),
	TEST(polling),
	TEST(selecting),
	TEST(event_counters),
	TEST(epoll_level_edge_oneshot),
	TEST(sets_that_watch_sets),
	TEST(sets_that_watch_sets_in_many_ways),
	TEST(sets_that_are_ready_for_something_else),
	TEST(timer_descriptors),
	TEST(a_timer_that_fires_all_the_time),
	TEST(signal_descriptors),
	TEST(named_pipes),
	TEST(fifo_meetings),
	TEST(blocked_reader_in_many_processes),
	TEST(nonblocking_flag_by_ioctl_and_fcntl),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
