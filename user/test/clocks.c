/*
 * Clocks and timers. Nothing here depends on the machine being quick: times are bounded from below
 * only.
 */
#include "user/test/test.h"
#include <sys/time.h>

static volatile sig_atomic_t hits;
static volatile int value, code;

static void
on_timer(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	hits++;
	value = info->si_value.sival_int;
	code = info->si_code;
}

static void
handle(int sig)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO };

	sa.sa_sigaction = on_timer;
	ok(sigaction(sig, &sa, NULL));
}

static long long
ns(struct timespec t)
{
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long
now(clockid_t c)
{
	struct timespec t;

	ok(clock_gettime(c, &t));
	check(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
	return ns(t);
}

static void
every_clock_runs_forward(void)
{
	static const clockid_t ids[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID,
					 CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW,
						CLOCK_REALTIME_COARSE,
					 CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME };
	struct timespec r;

	for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		long long first = now(ids[i]), last = first;
		long end = t_now() + 30;

		while (t_now() < end) {
			long long t = now(ids[i]);

			check(t >= last);
			last = t;
		}
		check(last > first);
		ok(clock_getres(ids[i], &r));
		check(r.tv_sec == 0 && r.tv_nsec >= 1 && r.tv_nsec <= 10000000);
	}
	fails(clock_gettime(77, &r), EINVAL);
	fails(clock_getres(77, &r), EINVAL);
	ok(clock_getres(CLOCK_MONOTONIC, NULL));
}

static void
clocks_agree(void)
{
	struct timeval tv;
	long long real = now(CLOCK_REALTIME);

	ok(gettimeofday(&tv, NULL));
	long long day = tv.tv_sec * 1000000000LL + tv.tv_usec * 1000LL;
	check(day >= real - 1000 && day < real + 5000000000LL);
	time_t t = time(NULL);
	check(t >= real / 1000000000 - 1 && t <= real / 1000000000 + 5);
	check(t > 1600000000);			/* The hardware clock was read: it is past 2020. */
	check(now(CLOCK_MONOTONIC) < 1000LL * 3600 * 1000000000);
	long long m = now(CLOCK_MONOTONIC);
	t_msleep(50);
	long long coarse = now(CLOCK_MONOTONIC_COARSE);
	check(coarse >= m);
	check(now(CLOCK_MONOTONIC) - m >= 50000000);
}

static void
sleeping(void)
{
	struct timespec t = { 0, 30000000 }, left;
	long long start = now(CLOCK_MONOTONIC);

	ok(nanosleep(&t, NULL));
	check(now(CLOCK_MONOTONIC) - start >= 30000000);
	fails(nanosleep(&(struct timespec){ 0, 1000000000 }, NULL), EINVAL);
	fails(nanosleep(&(struct timespec){ -1, 0 }, NULL), EINVAL);
	ok(nanosleep(&(struct timespec){ 0, 0 }, NULL));
	start = now(CLOCK_MONOTONIC);
	t = (struct timespec){ (start + 30000000) / 1000000000, (start + 30000000) % 1000000000 };
	zero(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
	check(now(CLOCK_MONOTONIC) - start >= 30000000);
	zero(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));	/* Past: at once. */
	start = now(CLOCK_REALTIME);
	t = (struct timespec){ (start + 20000000) / 1000000000, (start + 20000000) % 1000000000 };
	zero(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL));
	check(now(CLOCK_REALTIME) - start >= 20000000);
	check_eq(clock_nanosleep(77, 0, &t, NULL), EINVAL);
	check_eq(clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ 0, -1 }, NULL), EINVAL);
	handle(SIGALRM);
	struct itimerval it = { { 0, 0 }, { 0, 20000 } };
	ok(setitimer(ITIMER_REAL, &it, NULL));
	t = (struct timespec){ 100, 0 };
	check_eq(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &left), EINTR);
	check(left.tv_sec == 99);
	/* An absolute sleep does not touch the remainder. */
	left.tv_sec = 12345;
	ok(setitimer(ITIMER_REAL, &it, NULL));
	t.tv_sec = now(CLOCK_MONOTONIC) / 1000000000 + 100;
	check_eq(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, &left), EINTR);
	check_eq(left.tv_sec, 12345);
}

static void
stopped_sleep_goes_on(void)
{
	pid_t p = t_fork();
	long start = t_now();

	if (p == 0) {
		struct timespec t = { 0, 200000000 };

		/* Not EINTR: there is no handler. */
		_exit(nanosleep(&t, NULL) == 0 ? 0 : 1);
	}
	t_msleep(30);
	ok(kill(p, SIGSTOP));
	t_msleep(30);
	ok(kill(p, SIGCONT));
	exits(p, 0);
	check(t_now() - start >= 199);
}

static void
posix_timers(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec it = { { 0, 10000000 }, { 0, 10000000 } }, got, off = { { 0, 0 }, { 0,
		0 } };
	timer_t t, n;

	ev.sigev_value.sival_int = 99;
	handle(SIGUSR1);
	ok(timer_create(CLOCK_MONOTONIC, &ev, &t));
	ok(timer_gettime(t, &got));
	check(ns(got.it_value) == 0 && ns(got.it_interval) == 0);
	ok(timer_settime(t, 0, &it, NULL));
	while (hits < 3)
		pause();
	check_eq(value, 99);
	check_eq(code, SI_TIMER);
	ok(timer_gettime(t, &got));
	check(ns(got.it_value) > 0 && ns(got.it_value) <= 10000000 &&
		ns(got.it_interval) == 10000000);
	/* While the signal is blocked, expirations are counted. */
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	ok(sigprocmask(SIG_BLOCK, &s, NULL));
	t_msleep(60);
	siginfo_t info;
	check_eq(ok(sigtimedwait(&s, &info, &(struct timespec){ 1, 0 })), SIGUSR1);
	check(info.si_code == SI_TIMER && info.si_overrun >= 3);
	ok(timer_settime(t, 0, &off, &got));
	check_eq(ns(got.it_interval), 10000000);
	sigtimedwait(&s, &info, &(struct timespec){ 0, 0 });
	t_msleep(30);
	fails(sigtimedwait(&s, &info, &(struct timespec){ 0, 0 }), EAGAIN);
	ok(timer_delete(t));
	fails(syscall(SYS_timer_delete, 12345), EINVAL);
	fails(syscall(SYS_timer_settime, 12345, 0, &off, NULL), EINVAL);
	ev.sigev_notify = SIGEV_NONE;
	ok(timer_create(CLOCK_REALTIME, &ev, &n));
	it = (struct itimerspec){ { 0, 0 }, { 100, 0 } };
	ok(timer_settime(n, 0, &it, NULL));
	ok(timer_gettime(n, &got));
	check(got.it_value.tv_sec == 99 || got.it_value.tv_sec == 100);
	it.it_value.tv_nsec = -1;
	fails(timer_settime(n, 0, &it, NULL), EINVAL);
	ok(timer_delete(n));
	ev.sigev_notify = SIGEV_SIGNAL;
	ev.sigev_signo = 999;
	fails(timer_create(CLOCK_REALTIME, &ev, &n), EINVAL);
	fails(timer_create(77, NULL, &n), EINVAL);
	/* Absolute, one shot, the default signal. */
	handle(SIGALRM);
	hits = 0;
	ok(timer_create(CLOCK_MONOTONIC, NULL, &n));
	it = (struct itimerspec){ { 0, 0 }, { 0, 1 } };
	ok(sigprocmask(SIG_UNBLOCK, &s, NULL));
	ok(timer_settime(n, TIMER_ABSTIME, &it, NULL));
	while (hits < 1)
		t_msleep(1);
	check_eq(hits, 1);
	/* Timers are not inherited. */
	it = (struct itimerspec){ { 0, 0 }, { 100, 0 } };
	ok(timer_settime(n, 0, &it, NULL));
	pid_t p = t_fork();
	if (p == 0) {
		fails(timer_gettime(n, &got), EINVAL);
		_exit(0);
	}
	exits(p, 0);
}

static void
processor_time(void)
{
	long long start = now(CLOCK_PROCESS_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);

	t_msleep(100);
	/* Sleeping costs nothing. */
	check(now(CLOCK_PROCESS_CPUTIME_ID) - start < 90000000);
	long end = t_now() + 60;
	while (t_now() < end)
		getppid();
	check(now(CLOCK_PROCESS_CPUTIME_ID) - start > 1000000);
	check(now(CLOCK_PROCESS_CPUTIME_ID) - start <= now(CLOCK_MONOTONIC) - wall + 20000000);
}

static void
setting_the_clock_needs_root(void)
{
	struct timespec t = { 1000000000, 0 };

	fails(clock_settime(CLOCK_MONOTONIC, &t), EINVAL);
	t_become(STUDENT);
	fails(clock_settime(CLOCK_REALTIME, &t), EPERM);
}

/* A student's timers, as many and as quick as there may be: of a signal that is ignored, ... */
static void
ignored_timers(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec it = { { 0, 1 }, { 0, 1 } };
	timer_t t;

	signal(SIGUSR1, SIG_IGN);
	while (timer_create(CLOCK_MONOTONIC, &ev, &t) == 0)
		ok(timer_settime(t, 0, &it, NULL));
	pause();
}

/* ... of signals whose default does nothing in a group that nobody could continue, ... */
static void
stopping_timers(void)
{
	static const int stops[] = { SIGTSTP, SIGTTIN, SIGTTOU };
	struct itimerspec it = { { 0, 1 }, { 0, 1 } };

	ok(setsid());
	for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
		struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = stops[i] };
		timer_t t;

		ok(timer_create(CLOCK_MONOTONIC, &ev, &t));
		ok(timer_settime(t, 0, &it, NULL));
	}
	for (;;)
		continue;
}

/* ... and of one that is blocked. */
static void
blocked_timer(void)
{
	struct itimerval it = { { 0, 1 }, { 0, 1 } };
	sigset_t all;

	sigfillset(&all);
	ok(sigprocmask(SIG_BLOCK, &all, NULL));
	ok(setitimer(ITIMER_REAL, &it, NULL));
	pause();
}

/* Where the processor's time is counted (-icount) these would leave none of it. */
static void
timers_leave_time_for_others(void)
{
	static const struct {
		void (*run)(void);
		int processes;
	} kinds[] = { { ignored_timers, 1 }, { stopping_timers, 1 }, { blocked_timer, 100 } };
	pid_t all[100];

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (int i = 0; i < kinds[k].processes; i++) {
			all[i] = t_fork();
			if (all[i] == 0) {
				t_become(STUDENT);
				kinds[k].run();
				_exit(0);
			}
		}
		for (int i = 0; i < 5; i++)
			t_msleep(10);
		for (int i = 0; i < kinds[k].processes; i++) {
			kill(all[i], SIGKILL);
			dies(all[i], SIGKILL);
		}
	}
}

static const struct test tests[] = {
	TEST(every_clock_runs_forward),
	TEST(clocks_agree),
	TEST(sleeping),
	TEST(stopped_sleep_goes_on),
	TEST(posix_timers),
	TEST(processor_time),
	TEST(setting_the_clock_needs_root),
	TEST(timers_leave_time_for_others),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
