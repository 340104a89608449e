/*
 * Timers of timer_create(2).
 *
 * A timer that expires puts its own entry on a signal queue.  It is armed again only when that
 * entry is taken off: expirations in between are counted, and a program that does not look at
 * its signals costs nothing however short the interval is.  Lock order: mutex; sighand lock, then pts->lock.
 */
#include "kernel/proc/posix_timer.h"

#include "kernel/errno.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/clock.h"
#include "kernel/proc/process.h"
#include "kernel/sys/syscalls.h"

#define SIGEV_SIGNAL	0
#define SIGEV_NONE	1
#define SIGEV_THREAD	2 /* the C library's business; to the kernel it is SIGEV_SIGNAL */
#define SIGEV_THREAD_ID 4
#define TIMER_ABSTIME	1

/* A periodic timer whose signal is dropped goes on, but all of a process not faster than this. */
#define DROPPED_MIN_INTERVAL (10 * NSEC_PER_MSEC)
/* One whose signal is taken at once: lest its interrupts leave no time for anything else. */
#define TAKEN_MIN_INTERVAL (50 * NSEC_PER_USEC)

struct sigevent {
	uint64_t value;
	int32_t signo, notify, tid;
	int32_t pad[11];
};
_Static_assert(sizeof(struct sigevent) == 64, "sigevent is part of the ABI");

struct itimerspec {
	struct timespec interval, value;
};

struct posix_timer {
	struct list link; /* [pts->mutex] */
	int id;		  /* fixed */
	struct posix_timers *pts;
	bool realtime; /* fixed: absolute times are of the wall clock */
	int notify, tid; /* fixed */
	struct timer timer;
	uint64_t deadline, interval; /* [pts->lock] ns; deadline 0: off */
	uint64_t overrun;	     /* [pts->lock] of the last signal taken */
	struct sigqueue_entry entry;
};

/* Moves the deadline to the first multiple of the interval after `after`; how many were skipped. */
static uint64_t
advance(struct posix_timer *t, uint64_t after)
{
	uint64_t n = after >= t->deadline ? (after - t->deadline) / t->interval + 1 : 0;

	t->deadline += n * t->interval;
	return n;
}

static bool
send_signal(struct posix_timer *t)
{
	struct process *p = t->pts->process;
	struct thread *to = NULL;
	irqstate_t s = spin_lock_irq(&process_lock);
	bool queued = false;

	if (t->notify == SIGEV_THREAD_ID)
		to = thread_find(t->tid);
	if (t->notify != SIGEV_THREAD_ID || (to && to->process == p))
		queued = signal_send_entry(p, to, &t->entry);
	spin_unlock_irq(&process_lock, s);
	return queued;
}

static void
expired(struct timer *timer)
{
	struct posix_timer *t = container_of(timer, struct posix_timer, timer);
	irqstate_t s;

	if (!READ_ONCE(t->deadline) || send_signal(t))
		return;
	s = spin_lock_irq(&t->pts->lock);
	if (t->deadline && t->interval) {
		advance(t, clock_monotonic() + DROPPED_MIN_INTERVAL * READ_ONCE(t->pts->count));
		timer_start(timer, t->deadline);
	} else {
		t->deadline = 0;
	}
	spin_unlock_irq(&t->pts->lock, s);
}

void
posix_timer_dequeued(struct posix_timer *t)
{
	irqstate_t s = spin_lock_irq(&t->pts->lock);

	t->overrun = 0;
	if (t->deadline && t->interval) {
		uint64_t n = advance(t, clock_monotonic());

		t->overrun = n ? n - 1 : 0;
		timer_start(&t->timer, MAX(t->deadline, clock_monotonic() + TAKEN_MIN_INTERVAL));
	} else {
		t->deadline = 0;
	}
	t->entry.info.timer.overrun = (int32_t)MIN(t->overrun, (uint64_t)INT32_MAX);
	spin_unlock_irq(&t->pts->lock, s);
}

/* Switches t off; nothing of it is pending afterwards.  Caller holds the mutex. */
static void
disarm(struct posix_timer *t)
{
	irqstate_t s = spin_lock_irq(&t->pts->lock);

	t->deadline = 0; /* nobody arms it any more: neither expired nor posix_timer_dequeued */
	spin_unlock_irq(&t->pts->lock, s);
	timer_cancel(&t->timer);
	signal_cancel_entry(t->pts->process, &t->entry);
}

static void
delete(struct posix_timer *t)
{
	disarm(t);
	list_remove(&t->link);
	t->pts->count--;
	kfree(t);
}

void
posix_timers_delete_all(struct posix_timers *pts)
{
	struct posix_timer *t, *tmp;

	mutex_lock(&pts->mutex);
	list_for_each_safe(t, tmp, &pts->timers, link)
		delete(t);
	mutex_unlock(&pts->mutex);
}

/* The current process's timer with that id, its pts->mutex held; or NULL. */
static struct posix_timer *
timer_lock(int id)
{
	struct posix_timers *pts = current->process->timers;
	struct posix_timer *t;

	if (!pts)
		return NULL;
	mutex_lock(&pts->mutex);
	list_for_each(t, &pts->timers, link) {
		if (t->id == id)
			return t;
	}
	mutex_unlock(&pts->mutex);
	return NULL;
}

static void
timer_unlock(struct posix_timer *t)
{
	mutex_unlock(&t->pts->mutex);
}

/* ---- System calls ---------------------------------------------------------------------------- */

static int
check_event(const struct sigevent *ev)
{
	struct thread *t;
	irqstate_t s;
	bool ours;

	switch (ev->notify) {
	case SIGEV_NONE:
		return 0;
	case SIGEV_THREAD_ID:
		s = spin_lock_irq(&process_lock);
		t = thread_find(ev->tid);
		ours = t && t->process == current->process;
		spin_unlock_irq(&process_lock, s);
		if (!ours)
			return -EINVAL;
		/* fall through */
	case SIGEV_SIGNAL:
	case SIGEV_THREAD:
		return ev->signo < 1 || ev->signo > NSIG ? -EINVAL : 0;
	default:
		return -EINVAL;
	}
}

/* An id that no timer of pts has.  Caller holds the mutex. */
static int
new_id(struct posix_timers *pts)
{
	for (;;) {
		struct posix_timer *t;
		int id = pts->next_id;
		bool taken = false;

		pts->next_id = id == INT32_MAX ? 0 : id + 1;
		list_for_each(t, &pts->timers, link)
			taken |= t->id == id;
		if (!taken)
			return id;
	}
}

long
sys_timer_create(struct trapframe *tf)
{
	uaddr_t event = arg_user(tf, 1);
	struct sigevent ev = {.signo = SIGALRM, .notify = SIGEV_SIGNAL};
	struct posix_timers *pts;
	struct posix_timer *t;
	bool realtime;
	uint64_t now;
	int err;

	if (!clock_can_wait(arg_int(tf, 0), &realtime))
		return clock_read(arg_int(tf, 0), &now) < 0 ? -EINVAL : -EOPNOTSUPP;
	if (event.v) {
		err = get_user(&ev, event);
		if (err < 0)
			return err;
		err = check_event(&ev);
		if (err < 0)
			return err;
	}
	pts = posix_timers_get();
	t = kzalloc(sizeof(*t));
	if (!pts || !t) {
		kfree(t);
		return -EAGAIN;
	}
	t->pts = pts;
	t->realtime = realtime;
	t->notify = ev.notify;
	t->tid = ev.tid;
	timer_init(&t->timer, expired);
	list_init(&t->entry.link);
	t->entry.timer = t;

	mutex_lock(&pts->mutex);
	if (pts->count >= rlimit(RLIMIT_SIGPENDING)) {
		mutex_unlock(&pts->mutex);
		kfree(t);
		return -EAGAIN;
	}
	t->id = new_id(pts);
	t->entry.info = (struct siginfo){.signo = ev.signo, .code = SI_TIMER};
	t->entry.info.timer.tid = t->id;
	t->entry.info.timer.value = event.v ? ev.value : (uint64_t)t->id;
	err = put_user(arg_user(tf, 2), &t->id);
	if (err < 0) {
		mutex_unlock(&pts->mutex);
		kfree(t);
		return err;
	}
	list_push_back(&pts->timers, &t->link);
	pts->count++;
	mutex_unlock(&pts->mutex);
	return 0;
}

static struct itimerspec
remaining(struct posix_timer *t)
{
	irqstate_t s = spin_lock_irq(&t->pts->lock);
	uint64_t now = clock_monotonic(), left = 0, interval = t->interval;

	if (t->deadline > now)
		left = t->deadline - now;
	else if (t->deadline && interval) /* its signal waits, or nobody is told */
		left = interval - (now - t->deadline) % interval;
	else if (t->deadline && t->notify != SIGEV_NONE)
		left = 1; /* about to expire */
	spin_unlock_irq(&t->pts->lock, s);
	return (struct itimerspec){ns_to_timespec(interval), ns_to_timespec(left)};
}

long
sys_timer_gettime(struct trapframe *tf)
{
	struct posix_timer *t = timer_lock(arg_int(tf, 0));
	struct itimerspec it;

	if (!t)
		return -EINVAL;
	it = remaining(t);
	timer_unlock(t);
	return put_user(arg_user(tf, 1), &it);
}

long
sys_timer_settime(struct trapframe *tf)
{
	uaddr_t in = arg_user(tf, 2), out = arg_user(tf, 3);
	struct itimerspec it, old;
	struct posix_timer *t;
	int err;

	if (!in.v)
		return -EINVAL;
	err = get_user(&it, in);
	if (err < 0)
		return err;
	if (!timespec_valid(&it.interval) || !timespec_valid(&it.value))
		return -EINVAL;
	t = timer_lock(arg_int(tf, 0));
	if (!t)
		return -EINVAL;
	old = remaining(t);
	disarm(t);
	if (it.value.sec || it.value.nsec) {
		uint64_t deadline = clock_deadline(&it.value, arg_int(tf, 1) & TIMER_ABSTIME,
						   t->realtime);
		irqstate_t s = spin_lock_irq(&t->pts->lock);

		/* Within half of the range no sum overflows; that is three centuries. */
		t->interval = MIN(timespec_to_ns(&it.interval), UINT64_MAX / 4);
		t->deadline = MAX(MIN(deadline, UINT64_MAX / 2), 1ull);
		t->overrun = 0;
		if (t->notify != SIGEV_NONE)
			timer_start(&t->timer, t->deadline);
		spin_unlock_irq(&t->pts->lock, s);
	} else {
		t->interval = 0;
	}
	timer_unlock(t);
	return out.v ? put_user(out, &old) : 0;
}

long
sys_timer_getoverrun(struct trapframe *tf)
{
	struct posix_timer *t = timer_lock(arg_int(tf, 0));
	long n;

	if (!t)
		return -EINVAL;
	n = t->entry.info.timer.overrun;
	timer_unlock(t);
	return n;
}

long
sys_timer_delete(struct trapframe *tf)
{
	struct posix_timer *t = timer_lock(arg_int(tf, 0));
	struct posix_timers *pts;

	if (!t)
		return -EINVAL;
	pts = t->pts;
	delete(t);
	mutex_unlock(&pts->mutex);
	return 0;
}
