/*
 * Interval timers (setitimer, alarm) and RLIMIT_CPU.
 */
#include "kernel/proc/itimer.h"

#include "kernel/errno.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/posix_timer.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/sys/syscalls.h"

enum { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF };

/* No periodic timer fires more often than this, lest it stop the machine. */
#define REAL_MIN_INTERVAL (50 * NSEC_PER_USEC)
/* Nor does one that nobody hears, for the last signal still waits or is ignored. */
#define UNHEARD_MIN_INTERVAL (10 * NSEC_PER_MSEC)

struct itimerval {
	struct timeval interval, value;
};

static void
real_expired(struct timer *timer)
{
	struct posix_timers *pts = container_of(timer, struct posix_timers, real);
	bool heard = READ_ONCE(pts->real_deadline) && signal_send_kernel(pts->process, SIGALRM);
	irqstate_t s = spin_lock_irq(&pts->lock);

	if (pts->real_deadline && pts->real_interval) {
		uint64_t earliest =
			clock_monotonic() + (heard ? REAL_MIN_INTERVAL : UNHEARD_MIN_INTERVAL);
		uint64_t next = pts->real_deadline + pts->real_interval;

		/* Expirations that were missed are not made up for. */
		if (next < earliest)
			next += (earliest - next) / pts->real_interval * pts->real_interval +
				pts->real_interval;
		pts->real_deadline = next;
		timer_start(timer, next);
	} else {
		pts->real_deadline = 0;
	}
	spin_unlock_irq(&pts->lock, s);
}

struct posix_timers *
posix_timers_get(void)
{
	struct process *p = current->process;
	struct posix_timers *new, *none = NULL;

	if (p->timers)
		return p->timers;
	new = kzalloc(sizeof(*new));
	if (!new)
		return NULL;
	new->process = p;
	spin_init(&new->lock);
	timer_init(&new->real, real_expired);
	mutex_init(&new->mutex);
	list_init(&new->timers);
	/* Another thread may come first. */
	if (!__atomic_compare_exchange_n(&p->timers, &none, new, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		kfree(new);
	return p->timers;
}

void
itimers_exec(struct process *p)
{
	if (p->timers)
		posix_timers_delete_all(p->timers);
}

void
itimers_exit(struct process *p)
{
	struct posix_timers *pts = p->timers;
	irqstate_t s;

	if (!pts)
		return;
	posix_timers_delete_all(pts);
	s = spin_lock_irq(&pts->lock);
	pts->real_deadline = 0;
	spin_unlock_irq(&pts->lock, s);
	timer_cancel(&pts->real);
	/* process_put frees it: threads that end on other CPUs may be in their ticks. */
}

/* ---- CPU time -------------------------------------------------------------------------------- */

/* True if it expires. */
static bool
charge(struct cpu_itimer *c, uint64_t ns)
{
	if (!c->left)
		return false;
	if (ns < c->left) {
		c->left -= ns;
		return false;
	}
	ns -= c->left;
	c->left = c->interval ? c->interval - ns % c->interval : 0;
	return true;
}

/* As Linux: SIGXCPU each second beyond the soft limit (which moves up), SIGKILL at the hard one. */
static void
check_cpu_limit(struct process *p)
{
	struct rlimit *r = &p->rlimit[RLIMIT_CPU];
	uint64_t utime, stime, seconds;
	irqstate_t s = spin_lock_irq(&process_lock);

	process_times(p, &utime, &stime);
	spin_unlock_irq(&process_lock, s);
	seconds = (utime + stime) / NSEC_PER_SEC;
	if (seconds >= READ_ONCE(r->max)) {
		signal_send_kernel(p, SIGKILL);
	} else if (seconds >= READ_ONCE(r->cur)) {
		WRITE_ONCE(r->cur, seconds + 1);
		signal_send_kernel(p, SIGXCPU);
	}
}

void
itimer_tick(struct thread *t, uint64_t user_ns, uint64_t sys_ns)
{
	struct process *p = t->process;
	struct posix_timers *pts;

	if (!p)
		return;
	pts = READ_ONCE(p->timers);
	if (unlikely(pts && (pts->virt.left || pts->prof.left))) {
		irqstate_t s = spin_lock_irq(&pts->lock);
		bool virt = charge(&pts->virt, user_ns);
		bool prof = charge(&pts->prof, user_ns + sys_ns);

		spin_unlock_irq(&pts->lock, s);
		if (virt)
			signal_send_kernel(p, SIGVTALRM);
		if (prof)
			signal_send_kernel(p, SIGPROF);
	}
	if (unlikely(READ_ONCE(p->rlimit[RLIMIT_CPU].cur) != RLIM_INFINITY))
		check_cpu_limit(p);
}

/* ---- System calls ---------------------------------------------------------------------------- */

/* What is left (never 0 while it is armed) and the interval, in ns.  Caller holds pts->lock. */
static void
read_itimer(struct posix_timers *pts, int which, uint64_t *left, uint64_t *interval)
{
	uint64_t now = clock_monotonic();

	switch (which) {
	case ITIMER_REAL:
		*interval = pts->real_interval;
		*left = pts->real_deadline > now ? pts->real_deadline - now : 0;
		if (pts->real_deadline)
			*left = MAX(*left, NSEC_PER_USEC);
		break;
	case ITIMER_VIRTUAL:
		*interval = pts->virt.interval;
		*left = pts->virt.left;
		break;
	default:
		*interval = pts->prof.interval;
		*left = pts->prof.left;
	}
}

/* value 0 disarms. */
static void
set_itimer(struct posix_timers *pts, int which, uint64_t value, uint64_t interval,
	   uint64_t *old_left, uint64_t *old_interval)
{
	irqstate_t s;

	mutex_lock(&pts->mutex);
	s = spin_lock_irq(&pts->lock);
	read_itimer(pts, which, old_left, old_interval);
	if (which == ITIMER_VIRTUAL) {
		pts->virt = (struct cpu_itimer){value, interval};
	} else if (which == ITIMER_PROF) {
		pts->prof = (struct cpu_itimer){value, interval};
	} else {
		pts->real_deadline = 0;
		spin_unlock_irq(&pts->lock, s);
		timer_cancel(&pts->real);
		s = spin_lock_irq(&pts->lock);
		pts->real_interval = interval;
		if (value) {
			uint64_t now = clock_monotonic();

			pts->real_deadline = value < NO_DEADLINE - now ? now + value
								       : NO_DEADLINE - 1;
			timer_start(&pts->real, pts->real_deadline);
		}
	}
	spin_unlock_irq(&pts->lock, s);
	mutex_unlock(&pts->mutex);
}

static bool
timeval_to_ns(const struct timeval *tv, uint64_t *ns)
{
	struct timespec ts = {tv->sec, tv->usec * 1000};

	if (tv->usec < 0 || tv->usec >= 1000000 || tv->sec < 0)
		return false;
	/* A quarter of the range, so that sums of a time and an interval do not overflow. */
	*ns = MIN(timespec_to_ns(&ts), UINT64_MAX / 4);
	return true;
}

static struct itimerval
make_itimerval(uint64_t left, uint64_t interval)
{
	/* What is left is rounded up: 0 would say that the timer is off. */
	return (struct itimerval){ns_to_timeval(interval),
				  ns_to_timeval(left + (left ? NSEC_PER_USEC - 1 : 0))};
}

long
sys_getitimer(struct trapframe *tf)
{
	int which = arg_int(tf, 0);
	struct posix_timers *pts = current->process->timers;
	uint64_t left = 0, interval = 0;
	struct itimerval old;

	if (which < ITIMER_REAL || which > ITIMER_PROF)
		return -EINVAL;
	if (pts) {
		irqstate_t s = spin_lock_irq(&pts->lock);

		read_itimer(pts, which, &left, &interval);
		spin_unlock_irq(&pts->lock, s);
	}
	old = make_itimerval(left, interval);
	return put_user(arg_user(tf, 1), &old);
}

long
sys_setitimer(struct trapframe *tf)
{
	int which = arg_int(tf, 0), err;
	uaddr_t in = arg_user(tf, 1), out = arg_user(tf, 2);
	uint64_t value, interval, left, old_interval;
	struct posix_timers *pts;
	struct itimerval it = {{0, 0}, {0, 0}};

	if (in.v) {
		err = get_user(&it, in);
		if (err < 0)
			return err;
	}
	if (!timeval_to_ns(&it.value, &value) || !timeval_to_ns(&it.interval, &interval))
		return -EINVAL;
	if (which < ITIMER_REAL || which > ITIMER_PROF)
		return -EINVAL;
	pts = posix_timers_get();
	if (!pts)
		return -ENOMEM;
	set_itimer(pts, which, value, value ? interval : 0, &left, &old_interval);
	if (!out.v)
		return 0;
	it = make_itimerval(left, old_interval);
	return put_user(out, &it);
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_alarm(struct trapframe *tf)
{
	struct posix_timers *pts = posix_timers_get();
	uint64_t left, interval, seconds;

	if (!pts)
		return -ENOMEM;
	set_itimer(pts, ITIMER_REAL, arg_uint(tf, 0) * NSEC_PER_SEC, 0, &left, &interval);
	/* Rounded, but never to 0 while an alarm was pending. */
	seconds = (left + NSEC_PER_SEC / 2) / NSEC_PER_SEC;
	return left && !seconds ? 1 : (long)seconds;
}
#endif
