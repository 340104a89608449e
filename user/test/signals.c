/*
 * Signals: who gets which, with what siginfo, on which stack, and what is left of the interrupted program.  Stops
 * and groups are in jobs.c.
 */
#include "user/test/test.h"
#include <sys/time.h>
#include <ucontext.h>
#include "machine.h"

static volatile sig_atomic_t hits, last_sig;
static volatile siginfo_t last;
static volatile int order[64];

static void
on_info(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (hits < 64)
		order[hits] = info->si_value.sival_int;
	hits++;
	last_sig = sig;
	last = *info;
}

static void
handle(int sig, void (*f)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | flags };

	sa.sa_sigaction = f;
	ok(sigaction(sig, &sa, NULL));
}

/* Waits until the handler has run n times in all. */
static void
await_hits(int n)
{
	while (hits < n)
		t_msleep(2);
}

static sigset_t
set_of(int sig)
{
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, sig);
	return s;
}

static void
block(int sig)
{
	sigset_t s = set_of(sig);

	ok(sigprocmask(SIG_BLOCK, &s, NULL));
}

static void
unblock(int sig)
{
	sigset_t s = set_of(sig);

	ok(sigprocmask(SIG_UNBLOCK, &s, NULL));
}

/* One SIGALRM after ms milliseconds. */
static void
alarm_ms(long ms)
{
	struct itimerval it = { { 0, 0 }, { ms / 1000, ms % 1000 * 1000 } };

	ok(setitimer(ITIMER_REAL, &it, NULL));
}

static void
kill_and_queue_carry_their_sender(void)
{
	union sigval v = { .sival_int = 4711 };

	handle(SIGUSR1, on_info, 0);
	ok(kill(getpid(), SIGUSR1));
	check_eq(hits, 1);
	check_eq(last_sig, SIGUSR1);
	check_eq(last.si_signo, SIGUSR1);
	check_eq(last.si_code, SI_USER);
	check_eq(last.si_pid, getpid());
	check_eq(last.si_uid, getuid());
	ok(sigqueue(getpid(), SIGUSR1, v));
	check_eq(last.si_code, SI_QUEUE);
	check_eq(last.si_value.sival_int, 4711);
	check_eq(last.si_pid, getpid());
	ok(syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1));
	check_eq(last.si_code, SI_TKILL);
	check_eq(hits, 3);
	pid_t p = t_fork();
	if (p == 0) {
		t_become(STUDENT);
		fails(kill(getppid(), SIGUSR1), EPERM);
		fails(kill(getppid(), 0), EPERM);
		_exit(kill(getpid(), 0));
	}
	exits(p, 0);
	fails(kill(p, 0), ESRCH);
	fails(kill(getpid(), 65), EINVAL);
	fails(kill(getpid(), -1), EINVAL);
	fails(syscall(SYS_tgkill, getpid(), -1, SIGUSR1), EINVAL);
	fails(syscall(SYS_tgkill, getpid() + 1, gettid(), 0), ESRCH);
	check_eq(hits, 3);
}

static void
sigchld_says_how_the_child_changed(void)
{
	int status;
	pid_t p;

	handle(SIGCHLD, on_info, 0);
	p = t_fork();
	if (p == 0)
		_exit(33);
	await_hits(1);
	check_eq(last.si_code, CLD_EXITED);
	check_eq(last.si_pid, p);
	check_eq(last.si_status, 33);
	exits(p, 33);
	p = t_fork();
	if (p == 0) {
		for (;;)
			pause();
	}
	ok(kill(p, SIGSTOP));
	check(waitpid(p, &status, WUNTRACED) == p && WIFSTOPPED(status) &&
		WSTOPSIG(status) == SIGSTOP);
	await_hits(2);
	check_eq(last.si_code, CLD_STOPPED);
	check_eq(last.si_status, SIGSTOP);
	check_eq(waitpid(p, &status, WUNTRACED | WNOHANG), 0);	/* Told once. */
	ok(kill(p, SIGCONT));
	check(waitpid(p, &status, WCONTINUED) == p && WIFCONTINUED(status));
	await_hits(3);	/* The child itself tells, when it runs again. */
	check_eq(last.si_code, CLD_CONTINUED);
	check_eq(last.si_status, SIGCONT);
	ok(kill(p, SIGTERM));
	dies(p, SIGTERM);
	await_hits(4);
	check_eq(last.si_code, CLD_KILLED);
	check_eq(last.si_status, SIGTERM);
	check_eq(hits, 4);
	/* SA_NOCLDSTOP: only the end is told. */
	hits = 0;
	handle(SIGCHLD, on_info, SA_NOCLDSTOP);
	p = t_fork();
	if (p == 0)
		raise(SIGSTOP), _exit(0);
	check(waitpid(p, &status, WUNTRACED) == p && WIFSTOPPED(status));
	ok(kill(p, SIGCONT));
	exits(p, 0);
	check_eq(hits, 1);
	/* Ignored, or SA_NOCLDWAIT: no zombie stays. */
	signal(SIGCHLD, SIG_IGN);
	p = t_fork();
	if (p == 0)
		_exit(1);
	fails(waitpid(p, &status, 0), ECHILD);
}

static void
on_plain(int sig)
{
	hits = sig;
}

static void
default_and_ignored_and_blocked_faults_kill(void)
{
	pid_t p;

	for (int how = 0; how < 3; how++) {
		p = t_fork();
		if (p == 0) {
			signal(SIGSEGV, how == 1 ? SIG_IGN : how == 2 ? on_plain : SIG_DFL);
			if (how == 2)
				block(SIGSEGV);
			t_poke((void *)8, 1);
			_exit(0);
		}
		dies(p, SIGSEGV);
	}
	p = t_fork();
	if (p == 0) {
		signal(SIGILL, SIG_IGN);
		T_UNDEFINED();
	}
	dies(p, SIGILL);
	p = t_fork();
	if (p == 0) {
		T_TRAPPED();
		_exit(0);
	}
	dies(p, T_TRAPPED_SIGNAL);
}

static void
defaults(void)
{
	static const int kill_these[] = { SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGKILL, SIGUSR1,
		SIGPIPE, SIGALRM, SIGTERM,
					  SIGXCPU, SIGVTALRM, SIGPROF, SIGSYS, SIGIO, SIGPWR,
						SIGSTKFLT, 34, 64 };
	static const int ignore_these[] = { SIGCHLD, SIGCONT, SIGURG, SIGWINCH };

	for (unsigned i = 0; i < sizeof(kill_these) / sizeof(kill_these[0]); i++) {
		pid_t p = t_fork();

		if (p == 0) {
			kill(getpid(), kill_these[i]);
			_exit(0);
		}
		dies(p, kill_these[i]);
	}
	for (unsigned i = 0; i < sizeof(ignore_these) / sizeof(ignore_these[0]); i++)
		ok(kill(getpid(), ignore_these[i]));
}

static stack_t alt;
static volatile int on_alt, ss_flags_inside, err_inside;

static void
on_alternate(int sig, siginfo_t *info, void *context)
{
	char here;
	stack_t now;

	(void)sig, (void)info, (void)context;
	on_alt = &here >= (char *)alt.ss_sp && &here < (char *)alt.ss_sp + alt.ss_size;
	sigaltstack(NULL, &now);
	ss_flags_inside = now.ss_flags;
	err_inside = sigaltstack(&alt, NULL) < 0 ? errno : 0;
}

static void
alternate_stack(void)
{
	stack_t s, small = { .ss_size = 100 };

	small.ss_sp = malloc(4096);
	ok(sigaltstack(NULL, &s));
	check_eq(s.ss_flags, SS_DISABLE);
	alt.ss_sp = malloc(65536);
	alt.ss_size = 65536;
	ok(sigaltstack(&alt, NULL));
	ok(sigaltstack(NULL, &s));
	check(s.ss_sp == alt.ss_sp && s.ss_size == 65536 && s.ss_flags == 0);
	handle(SIGUSR1, on_alternate, SA_ONSTACK);
	raise(SIGUSR1);
	check_eq(on_alt, 1);
	check_eq(ss_flags_inside, SS_ONSTACK);
	check_eq(err_inside, EPERM);
	handle(SIGUSR1, on_alternate, 0);
	raise(SIGUSR1);
	check_eq(on_alt, 0);
	fails(sigaltstack(&small, NULL), ENOMEM);
	s.ss_flags = 0x100;
	fails(sigaltstack(&s, NULL), EINVAL);
	s.ss_flags = SS_DISABLE;
	ok(sigaltstack(&s, NULL));
	handle(SIGUSR1, on_alternate, SA_ONSTACK);
	raise(SIGUSR1);
	check_eq(on_alt, 0);
}

static void
overflow(int n)
{
	volatile char big[4096];

	big[0] = (char)n;
	if (n != -1)			/* Always, but the compiler need not know. */
		overflow(n + (big[0] & 1) + 1);
	big[1] = 0;
}

static void
stack_overflow_is_caught_on_the_alternate_stack(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct rlimit lim;

	ok(getrlimit(RLIMIT_STACK, &lim));
	lim.rlim_cur = 1 << 20;
	ok(setrlimit(RLIMIT_STACK, &lim));
	alt.ss_sp = malloc(65536);
	alt.ss_size = 65536;
	ok(sigaltstack(&alt, NULL));
	sa.sa_sigaction = t_on_fault;
	ok(sigaction(SIGSEGV, &sa, NULL));
	if (sigsetjmp(t_jump, 1) == 0)
		overflow(0);
	check_eq(t_sig, SIGSEGV);
}

static void
no_room_for_a_frame_kills(void)
{
	pid_t p = t_fork();

	if (p == 0) {
		handle(SIGUSR1, on_info, 0);
		t_call_on_stack(0x1000, SYS_tkill, gettid(), SIGUSR1);
	}
	dies(p, SIGSEGV);
}

static void
interrupted_or_restarted(void)
{
	int fds[2];
	char c;
	pid_t p;

	ok(pipe(fds));
	handle(SIGALRM, on_info, 0);
	alarm_ms(30);
	fails(read(fds[0], &c, 1), EINTR);
	check_eq(hits, 1);
	check_eq(last.si_code, SI_KERNEL);
	/* SA_RESTART: the read goes on, and gets what comes later. */
	handle(SIGALRM, on_info, SA_RESTART);
	p = t_fork();
	if (p == 0) {
		t_msleep(120);
		check_eq(write(fds[1], "x", 1), 1);
		_exit(0);
	}
	alarm_ms(30);
	check_eq(read(fds[0], &c, 1), 1);
	check_eq(hits, 2);
	exits(p, 0);
	p = t_fork();
	if (p == 0) {
		t_msleep(120);
		_exit(9);
	}
	alarm_ms(30);
	int status;
	check(waitpid(p, &status, 0) == p && WEXITSTATUS(status) == 9);
	check_eq(hits, 3);
	handle(SIGALRM, on_info, 0);
	p = t_fork();
	if (p == 0) {
		t_msleep(200);
		_exit(9);
	}
	alarm_ms(30);
	fails(waitpid(p, &status, 0), EINTR);
	exits(p, 9);
	/* nanosleep is never restarted with a handler, and says how much was left. */
	struct timespec t = { 10, 0 }, left = { 0, 0 };
	handle(SIGALRM, on_info, SA_RESTART);
	alarm_ms(30);
	fails(nanosleep(&t, &left), EINTR);
	check(left.tv_sec == 9 && left.tv_nsec > 0);
	alarm_ms(30);
	fails(pause(), EINTR);
	alarm_ms(30);
	sigset_t none;
	sigemptyset(&none);
	fails(sigsuspend(&none), EINTR);
}

static volatile int depth, max_depth;

static void
on_nested(int sig, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	hits++;
	depth++;
	if (depth > max_depth)
		max_depth = depth;
	if (hits < 3)
		raise(sig);
	depth--;
}

static void
nodefer_and_resethand(void)
{
	struct sigaction now;

	handle(SIGUSR1, on_nested, 0);
	raise(SIGUSR1);
	check_eq(hits, 3);
	check_eq(max_depth, 1);		/* Blocked while it runs: one after the other. */
	hits = depth = max_depth = 0;
	handle(SIGUSR1, on_nested, SA_NODEFER);
	raise(SIGUSR1);
	check_eq(hits, 3);
	check_eq(max_depth, 3);
	hits = 0;
	handle(SIGUSR2, on_info, SA_RESETHAND);
	raise(SIGUSR2);
	check_eq(hits, 1);
	ok(sigaction(SIGUSR2, NULL, &now));
	check(now.sa_handler == SIG_DFL);
}

static volatile int inner_ran_inside;

static void
on_outer(int sig, siginfo_t *info, void *context)
{
	int before = hits;

	(void)sig, (void)info, (void)context;
	raise(SIGUSR2);
	inner_ran_inside = hits == before + 1;
}

static void
handlers_nest_and_masks_hold(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO };
	sigset_t now;

	handle(SIGUSR2, on_info, 0);
	handle(SIGUSR1, on_outer, 0);
	raise(SIGUSR1);
	check_eq(inner_ran_inside, 1);
	sa.sa_sigaction = on_outer;
	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGUSR2);
	ok(sigaction(SIGUSR1, &sa, NULL));
	raise(SIGUSR1);
	check_eq(inner_ran_inside, 0);	/* Kept out by sa_mask, delivered after. */
	check_eq(hits, 2);
	ok(sigprocmask(SIG_BLOCK, NULL, &now));
	check(!sigismember(&now, SIGUSR1) && !sigismember(&now, SIGUSR2));
}

static void
masks_and_pending(void)
{
	sigset_t all, now, pending;
	struct sigaction sa = { .sa_handler = SIG_IGN };

	handle(SIGUSR1, on_info, 0);
	block(SIGUSR1);
	raise(SIGUSR1);
	raise(SIGUSR1);
	ok(sigpending(&pending));
	check(sigismember(&pending, SIGUSR1));
	check_eq(hits, 0);
	unblock(SIGUSR1);
	check_eq(hits, 1);		/* A standard signal does not queue. */
	sigfillset(&all);
	ok(sigprocmask(SIG_SETMASK, &all, NULL));
	ok(sigprocmask(SIG_SETMASK, NULL, &now));
	check(!sigismember(&now, SIGKILL) && !sigismember(&now, SIGSTOP) && sigismember(&now,
		SIGTERM));
	fails(sigprocmask(77, &all, NULL), EINVAL);
	fails(sigaction(SIGKILL, &sa, NULL), EINVAL);
	fails(sigaction(SIGSTOP, &sa, NULL), EINVAL);
	fails(sigaction(65, &sa, NULL), EINVAL);
	fails(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 4), EINVAL);
	/* Ignoring throws away what is pending. */
	raise(SIGUSR1);
	ok(sigaction(SIGUSR1, &sa, NULL));
	ok(sigpending(&pending));
	check(!sigismember(&pending, SIGUSR1));
	/* A child starts with nothing pending and the same mask. */
	raise(SIGUSR2);
	pid_t p = t_fork();
	if (p == 0) {
		ok(sigpending(&pending));
		check(!sigismember(&pending, SIGUSR2));
		ok(sigprocmask(SIG_SETMASK, NULL, &now));
		check(sigismember(&now, SIGUSR2));
		_exit(0);
	}
	exits(p, 0);
}

static void
real_time_signals_queue_in_order(void)
{
	int a = SIGRTMIN + 1, b = SIGRTMIN + 2;
	static const int want[] = { 10, 11, 12, 20, 21, 22 };

	handle(a, on_info, 0);
	handle(b, on_info, 0);
	sigset_t both;
	sigemptyset(&both);
	sigaddset(&both, a);
	sigaddset(&both, b);
	ok(sigprocmask(SIG_BLOCK, &both, NULL));
	for (int i = 0; i < 3; i++) {
		ok(sigqueue(getpid(), b, (union sigval){ .sival_int = 20 + i }));
		ok(sigqueue(getpid(), a, (union sigval){ .sival_int = 10 + i }));
	}
	siginfo_t info;
	check_eq(ok(sigtimedwait(&both, &info, &(struct timespec){ 0, 0 })), a);
	check_eq(info.si_value.sival_int, 10);
	check_eq(info.si_code, SI_QUEUE);
	for (int i = 1; i < 6; i++) {
		ok(sigwaitinfo(&both, &info));
		check_eq(info.si_value.sival_int, want[i]);
	}
	fails(sigtimedwait(&both, &info, &(struct timespec){ 0, 0 }), EAGAIN);
	fails(sigtimedwait(&both, &info, &(struct timespec){ 0, 20000000 }), EAGAIN);
	fails(sigtimedwait(&both, &info, &(struct timespec){ 0, -1 }), EINVAL);
	for (int i = 0; i < 3; i++)
		ok(sigqueue(getpid(), a, (union sigval){ .sival_int = i }));
	ok(sigprocmask(SIG_UNBLOCK, &both, NULL));
	check_eq(hits, 3);
	check(order[0] == 0 && order[1] == 1 && order[2] == 2);
	/* A forged sender: user codes only, unless it is for oneself. */
	siginfo_t forged = { .si_signo = a, .si_code = SI_USER };
	pid_t parent = getpid();
	pid_t p = t_fork();
	if (p == 0) {
		fails(syscall(SYS_rt_sigqueueinfo, parent, a, &forged), EPERM);
		_exit(0);
	}
	exits(p, 0);
}

/* The limit is one for all queues: no thread's own is another one's to fill. */
static void
the_limit_of_queued_signals_counts_every_queue(void)
{
	struct rlimit most = { 20, 20 };
	union sigval none = { .sival_int = 0 };
	siginfo_t info = { .si_signo = SIGRTMIN, .si_code = SI_QUEUE };
	sigset_t s = set_of(SIGRTMIN);
	int queued = 0;

	ok(sigprocmask(SIG_BLOCK, &s, NULL));
	ok(setrlimit(RLIMIT_SIGPENDING, &most));
	while (syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGRTMIN, &info) == 0)
		queued++;
	check_eq(errno, EAGAIN);
	check(queued > 0 && queued <= 20);
	fails(sigqueue(getpid(), SIGRTMIN, none), EAGAIN);
	check_eq(ok(sigtimedwait(&s, NULL, &(struct timespec){ 0, 0 })), SIGRTMIN);
	ok(sigqueue(getpid(), SIGRTMIN, none));
	fails(sigqueue(getpid(), SIGRTMIN, none), EAGAIN);
}

static void
sigtimedwait_takes_what_comes(void)
{
	sigset_t s = set_of(SIGUSR1);
	siginfo_t info;
	pid_t parent = getpid();

	ok(sigprocmask(SIG_BLOCK, &s, NULL));
	pid_t p = t_fork();
	if (p == 0) {
		t_msleep(30);
		kill(parent, SIGUSR1);
		_exit(0);
	}
	check_eq(ok(sigtimedwait(&s, &info, &(struct timespec){ 10, 0 })), SIGUSR1);
	check_eq(info.si_pid, p);
	check_eq(info.si_code, SI_USER);
	exits(p, 0);
	/* Another signal's handler interrupts the wait. */
	handle(SIGALRM, on_info, SA_RESTART);
	alarm_ms(30);
	fails(sigtimedwait(&s, &info, &(struct timespec){ 10, 0 }), EINTR);
}

static void
an_alternate_stack_has_a_least_size(void)
{
	stack_t s = { .ss_sp = t_map(4 * PAGE, PROT_READ | PROT_WRITE), .ss_size = T_MINSIGSTKSZ - 1 };

	fails(syscall(SYS_sigaltstack, &s, NULL), ENOMEM);
	s.ss_size++;
	ok(syscall(SYS_sigaltstack, &s, NULL));
}

static void
sigsuspend_swaps_the_mask(void)
{
	sigset_t none, now;

	handle(SIGUSR1, on_info, 0);
	block(SIGUSR1);
	raise(SIGUSR1);
	sigemptyset(&none);
	fails(sigsuspend(&none), EINTR);
	check_eq(hits, 1);
	ok(sigprocmask(SIG_BLOCK, NULL, &now));
	check(sigismember(&now, SIGUSR1));
}

static void
handler_at_a_hostile_address(void)
{
	static void *const where[] = { (void *)8, (void *)0xffffffff80200000,
		(void *)T_USER_END,
				       (void *)0x4141414141414141 };

	for (int i = 0; i < 4; i++) {
		pid_t p = t_fork();

		if (p == 0) {
			signal(SIGUSR1, (void (*)(int))where[i]);
			raise(SIGUSR1);
			_exit(0);
		}
		dies(p, SIGSEGV);
	}
}

static void
longjmp_out_of_handlers(void)
{
	sigset_t now;

	for (volatile int i = 0; i < 50; i++)
		check(faults(t_poke((void *)16, 1)));
	ok(sigprocmask(SIG_BLOCK, NULL, &now));
	check(!sigismember(&now, SIGSEGV));
}

static void
interval_timers(void)
{
	struct itimerval it = { { 0, 10000 }, { 0, 10000 } }, off = { { 0, 0 }, { 0, 0 } }, now;
	long start = t_now();

	handle(SIGALRM, on_info, 0);
	ok(setitimer(ITIMER_REAL, &it, NULL));
	while (hits < 5)
		pause();
	ok(setitimer(ITIMER_REAL, &off, &now));
	check_eq(now.it_interval.tv_usec, 10000);
	check(t_now() - start >= 45);
	hits = 0;
	t_msleep(40);
	check(hits <= 1);
	handle(SIGVTALRM, on_info, 0);
	ok(setitimer(ITIMER_VIRTUAL, &it, NULL));
	hits = 0;
	while (hits < 2)
		continue;
	check_eq(last_sig, SIGVTALRM);
	ok(setitimer(ITIMER_VIRTUAL, &off, NULL));
	handle(SIGPROF, on_info, 0);
	ok(setitimer(ITIMER_PROF, &it, NULL));
	hits = 0;
	while (hits < 2)
		getppid();
	ok(setitimer(ITIMER_PROF, &off, NULL));
	fails(setitimer(7, &it, NULL), EINVAL);
	it.it_value.tv_usec = 1000000;
	fails(setitimer(ITIMER_REAL, &it, NULL), EINVAL);
	ok(getitimer(ITIMER_REAL, &now));
	check(now.it_value.tv_sec == 0 && now.it_value.tv_usec == 0);
}

static void
alarm_returns_what_was_left(void)
{
	alarm(0);
	check_eq(alarm(100), 0);
	unsigned left = alarm(50);
	check(left == 100 || left == 99);
	left = alarm(0);
	check(left == 50 || left == 49);
	check_eq(alarm(0), 0);
	/* Not inherited by a child. */
	alarm(100);
	pid_t p = t_fork();
	if (p == 0)
		_exit((int)alarm(0));
	exits(p, 0);
	check(alarm(0) > 90);
}

static void
sigcont_and_stop_cancel_each_other(void)
{
	int status;
	pid_t p = t_fork();

	if (p == 0) {
		block(SIGTSTP);
		raise(SIGTSTP);
		raise(SIGCONT);		/* Throws the pending stop away. */
		unblock(SIGTSTP);
		_exit(4);
	}
	check(waitpid(p, &status, WUNTRACED) == p && WIFEXITED(status) && WEXITSTATUS(status) == 4);
}

/* Tests by the same names on each architecture; on_frame keeps what a frame says in frame_error. */
#include "signals.h"

/* What a frame says of a read or write there, 0 without a fault. */
static unsigned long
error_at(unsigned long address, bool write)
{
	frame_error = 0;
	if (sigsetjmp(t_jump, 0) == 0) {
		if (write)
			t_poke((void *)address, 1);
		else
			t_peek((void *)address);
	}
	return frame_error;
}

/* All of the kernel's half looks alike, so that nobody learns where it lies. */
static void
frames_do_not_tell_what_the_kernel_has_mapped(void)
{
	static const struct {
		unsigned long from, step, count;
	} parts[] = {
		{ 0xffffffff80000000, 2 << 20, 1024 },	/* Where its image is, */
		{ KERNEL_WAYS_IN },
		{ 0xffff888000000000, 1 << 30, 1024 },	/* and all memory. */
	};

	handle(SIGSEGV, on_frame, SA_NODEFER);
	t_become(STUDENT);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		for (unsigned long k = 0; k < parts[i].count; k++) {
			unsigned long at = parts[i].from + k * parts[i].step, r = error_at(at, false), w = error_at(at, true);

			if (r != KERNEL_READ_ERROR || w != KERNEL_WRITE_ERROR)
				t_fail(__FILE__, __LINE__, "%lx: %lx and %lx", at, r, w);
		}
	}
}

static const struct test tests[] = {
	TEST(kill_and_queue_carry_their_sender),
	TEST(sigchld_says_how_the_child_changed),
	TEST(faults_name_cause_and_address),
	TEST(frame_holds_cause_and_address),
	TEST(frames_do_not_tell_what_the_kernel_has_mapped),
	TEST(trap_flag_steps_one_instruction),
	TEST(upper_half_of_the_state_is_not_the_programs),
	TEST(default_and_ignored_and_blocked_faults_kill),
	TEST(defaults),
	TEST(alternate_stack),
	TEST(stack_overflow_is_caught_on_the_alternate_stack),
	TEST(no_room_for_a_frame_kills),
	TEST(interrupted_or_restarted),
	TEST(nodefer_and_resethand),
	TEST(handlers_nest_and_masks_hold),
	TEST(masks_and_pending),
	TEST(real_time_signals_queue_in_order),
	TEST(the_limit_of_queued_signals_counts_every_queue),
	TEST(sigtimedwait_takes_what_comes),
	TEST(an_alternate_stack_has_a_least_size),
	TEST(sigsuspend_swaps_the_mask),
	TEST(vector_registers_survive_and_stand_in_the_frame),
	TEST(handlers_start_with_clean_flags_and_aligned_stack),
	TEST(general_registers_survive),
	TEST(sigreturn_trusts_nothing),
	TEST(handler_at_a_hostile_address),
	TEST(longjmp_out_of_handlers),
	TEST(interval_timers),
	TEST(alarm_returns_what_was_left),
	TEST(sigcont_and_stop_cancel_each_other),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
