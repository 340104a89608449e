/* System calls on clocks, and sleeping. */
#include "kernel/errno.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/clock.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/wait.h"
#include "kernel/sys/syscalls.h"

#define TIMER_ABSTIME 1

struct timezone {
	int32_t minuteswest, dsttime;
};

static struct timezone timezone; /* kept for settimeofday; nothing in the kernel uses it */

long
sys_clock_gettime(struct trapframe *tf)
{
	struct timespec ts;
	uint64_t ns;
	int err = clock_read(arg_int(tf, 0), &ns);

	if (err < 0)
		return err;
	ts = ns_to_timespec(ns);
	return put_user(arg_user(tf, 1), &ts);
}

long
sys_clock_settime(struct trapframe *tf)
{
	int id = arg_int(tf, 0), err;
	struct timespec ts;
	uint64_t now;

	if (id != CLOCK_REALTIME) {
		/* The others cannot be set, if there is such a clock at all. */
		return id < 0 && !clock_read(id, &now) ? -EPERM : -EINVAL;
	}
	err = get_user(&ts, arg_user(tf, 1));
	if (err < 0)
		return err;
	if (!timespec_valid(&ts))
		return -EINVAL;
	if (!capable())
		return -EPERM;
	clock_realtime_set(timespec_to_ns(&ts));
	return 0;
}

long
sys_clock_getres(struct trapframe *tf)
{
	uaddr_t out = arg_user(tf, 1);
	struct timespec ts = {0, 1};
	uint64_t now;
	int err = clock_read(arg_int(tf, 0), &now);

	if (err < 0)
		return err;
	return out.v ? put_user(out, &ts) : 0;
}

long
sys_gettimeofday(struct trapframe *tf)
{
	uaddr_t tv_out = arg_user(tf, 0), tz_out = arg_user(tf, 1);
	int err = 0;

	if (tv_out.v) {
		struct timeval tv = ns_to_timeval(clock_realtime());

		err = put_user(tv_out, &tv);
	}
	if (!err && tz_out.v)
		err = put_user(tz_out, &timezone);
	return err;
}

long
sys_settimeofday(struct trapframe *tf)
{
	uaddr_t tv_in = arg_user(tf, 0), tz_in = arg_user(tf, 1);
	struct timeval tv;
	struct timezone tz;
	int err;

	if (tv_in.v) {
		err = get_user(&tv, tv_in);
		if (err < 0)
			return err;
		if (tv.sec < 0 || tv.usec < 0 || tv.usec >= 1000000)
			return -EINVAL;
	}
	if (tz_in.v) {
		err = get_user(&tz, tz_in);
		if (err < 0)
			return err;
	}
	if (!capable())
		return -EPERM;
	if (tz_in.v) {
		if (tz.minuteswest > 15 * 60 || tz.minuteswest < -15 * 60)
			return -EINVAL;
		timezone = tz;
	}
	if (tv_in.v) {
		struct timespec ts = {tv.sec, tv.usec * 1000};

		clock_realtime_set(timespec_to_ns(&ts));
	}
	return 0;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_time(struct trapframe *tf)
{
	uaddr_t out = arg_user(tf, 0);
	int64_t now = (int64_t)(clock_realtime() / NSEC_PER_SEC);
	int err = out.v ? put_user(out, &now) : 0;

	return err < 0 ? err : now;
}
#endif

/* ---- Sleeping -------------------------------------------------------------------------------- */

/* 0 when the deadline has come, -ERESTARTSYS if a signal came first. */
static int
sleep_until(uint64_t deadline)
{
	int err;

	do {
		__atomic_store_n(&current->state, THREAD_INTERRUPTIBLE, __ATOMIC_SEQ_CST);
		err = wait_sleep(deadline);
	} while (!err); /* woken by nobody that we know */
	__atomic_store_n(&current->state, THREAD_RUNNABLE, __ATOMIC_SEQ_CST);
	return err == -ETIMEDOUT ? 0 : err;
}

static long sleep_again(struct thread *t);

/* Sleeps; if interrupted, writes the time left to rem (if any) and leaves a restart block. */
static long
sleep_block(struct thread *t, uint64_t deadline, uaddr_t rem)
{
	int err = sleep_until(deadline);

	if (!err)
		return 0;
	if (rem.v) {
		uint64_t now = clock_monotonic();
		struct timespec left = ns_to_timespec(deadline > now ? deadline - now : 0);

		err = put_user(rem, &left);
		if (err < 0)
			return err;
	}
	t->restart_args[0] = deadline;
	t->restart_args[1] = rem.v;
	t->restart_fn = sleep_again;
	return -ERESTARTBLOCK;
}

static long
sleep_again(struct thread *t)
{
	return sleep_block(t, t->restart_args[0], UADDR(t->restart_args[1]));
}

static long
nanosleep(uaddr_t req, uaddr_t rem, bool absolute, bool realtime)
{
	struct timespec ts;
	uint64_t deadline;
	int err = get_user(&ts, req);

	if (err < 0)
		return err;
	if (!timespec_valid(&ts))
		return -EINVAL;
	deadline = clock_deadline(&ts, absolute, realtime);
	if (!absolute)
		return sleep_block(current, deadline, rem);
	err = sleep_until(deadline);
	return err < 0 ? -ERESTARTNOHAND : 0;
}

long
sys_nanosleep(struct trapframe *tf)
{
	return nanosleep(arg_user(tf, 0), arg_user(tf, 1), false, false);
}

long
sys_clock_nanosleep(struct trapframe *tf)
{
	int id = arg_int(tf, 0);
	bool realtime;
	uint64_t now;

	if (!clock_can_wait(id, &realtime)) {
		/* One may not sleep for one's own CPU time; other clocks exist, but cannot wait. */
		if (id == CLOCK_THREAD_CPUTIME_ID || clock_read(id, &now) < 0)
			return -EINVAL;
		return -EOPNOTSUPP;
	}
	return nanosleep(arg_user(tf, 2), arg_user(tf, 3), arg_int(tf, 1) & TIMER_ABSTIME,
			 realtime);
}
