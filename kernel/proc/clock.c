/*
 * The clocks of clock_gettime(2) by their numbers.
 */
#include "kernel/proc/clock.h"

#include "kernel/errno.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/wait.h"

#define OWN_CLOCK (-8) /* ~0 in the upper bits: the caller's */

/* A negative number is a CPU clock: ~id in its upper bits, and which of its clocks in the lower. */
static int
cpu_clock(int id, uint64_t *ns)
{
	int pid = ~(id >> 3);
	bool thread = id & 4;
	unsigned kind = id & 3; /* 0: both, at tick resolution, 1: user, 2: both */
	struct thread *t = current;
	uint64_t utime = 0, stime = 0;
	irqstate_t s;
	int err = -EINVAL;

	if (kind == 3)
		return -EINVAL;
	s = spin_lock_irq(&process_lock);
	if (pid) {
		struct process *p = thread ? NULL : process_find_locked(pid);

		t = thread ? thread_find(pid) : NULL;
		/* Threads of other processes have no clock that may be read. */
		if (t && t->process != current->process)
			t = NULL;
		if (p && !list_empty(&p->threads))
			t = list_first(&p->threads, struct thread, siblings);
	}
	if (t) {
		if (thread)
			sched_times(t, &utime, &stime);
		else
			process_times(t->process, &utime, &stime);
		err = 0;
	}
	spin_unlock_irq(&process_lock, s);
	*ns = kind == 1 ? utime : utime + stime;
	return err;
}

int
clock_read(int id, uint64_t *ns)
{
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_TAI: /* no leap seconds are known */
		*ns = clock_realtime();
		return 0;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		*ns = clock_monotonic();
		return 0;
	case CLOCK_PROCESS_CPUTIME_ID:
		return cpu_clock(OWN_CLOCK | 2, ns);
	case CLOCK_THREAD_CPUTIME_ID:
		return cpu_clock(OWN_CLOCK | 4 | 2, ns);
	default:
		return id < 0 ? cpu_clock(id, ns) : -EINVAL;
	}
}

bool
clock_can_wait(int id, bool *realtime)
{
	*realtime = id == CLOCK_REALTIME || id == CLOCK_TAI;
	return *realtime || id == CLOCK_MONOTONIC || id == CLOCK_BOOTTIME;
}

uint64_t
clock_deadline(const struct timespec *ts, bool absolute, bool realtime)
{
	uint64_t ns = timespec_to_ns(ts), now = clock_monotonic();

	if (absolute && realtime) {
		uint64_t wall = clock_realtime();

		ns = ns > wall ? ns - wall : 0;
	} else if (absolute) {
		return MIN(ns, NO_DEADLINE - 1);
	}
	return ns >= NO_DEADLINE - 1 - now ? NO_DEADLINE - 1 : now + ns;
}
