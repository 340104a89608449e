/* timerfd: a timer whose expirations are read as a count. */
#include "kernel/errno.h"
#include "kernel/fs/poll.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/sys/syscalls.h"

#define CLOCK_REALTIME	     0
#define CLOCK_MONOTONIC	     1
#define CLOCK_BOOTTIME	     7
#define CLOCK_REALTIME_ALARM 8
#define CLOCK_BOOTTIME_ALARM 9

#define TFD_TIMER_ABSTIME	1u
#define TFD_TIMER_CANCEL_ON_SET 2u

struct itimerspec {
	struct timespec interval, value;
};

struct timerfd {
	struct timer timer;
	struct mutex mutex;	/* one at a time arms the timer, without wait.lock: timer_start waits for
				 * a timerfd_fire under way, which takes it */
	struct wait_queue wait; /* its lock, interrupts off, guards what follows */
	bool realtime;		/* fixed */
	uint64_t next;		/* monotonic ns of the next expiration; 0: disarmed */
	uint64_t interval;	/* ns; 0: once */
	uint64_t expired;	/* since the last read or settime */
};

/* Counts the expirations up to now and moves next on.  Caller holds wait.lock. */
static void
timerfd_advance(struct timerfd *t, uint64_t now)
{
	if (!t->next || now < t->next)
		return;
	if (t->interval) {
		uint64_t n = (now - t->next) / t->interval + 1;

		t->expired += n;
		t->next += n * t->interval;
	} else {
		t->expired++;
		t->next = 0;
	}
}

/*
 * The timer fires once and is armed again by the read that takes the count, as Linux does: an
 * interval of a nanosecond must not keep the machine in interrupts.
 */
static void
timerfd_fire(struct timer *timer)
{
	struct timerfd *t = container_of(timer, struct timerfd, timer);
	irqstate_t s = spin_lock_irq(&t->wait.lock);

	timerfd_advance(t, clock_monotonic());
	spin_unlock_irq(&t->wait.lock, s);
	wake_all(&t->wait);
}

/* Arms the timer for what is now the next expiration.  Caller holds mutex. */
static void
timerfd_arm(struct timerfd *t)
{
	irqstate_t s = spin_lock_irq(&t->wait.lock);
	uint64_t next = t->next;

	spin_unlock_irq(&t->wait.lock, s);
	if (next)
		timer_start(&t->timer, next);
}

static ssize_t
timerfd_read(struct file *f, struct uio *u, uint64_t *pos unused)
{
	struct timerfd *t = f->data;
	uint64_t count, next;
	irqstate_t s;
	ssize_t n;

	if (u->left < sizeof(count))
		return -EINVAL;
	for (;;) {
		int err;

		s = spin_lock_irq(&t->wait.lock);
		count = t->expired;
		if (count)
			timerfd_advance(t, clock_monotonic());
		count = t->expired;
		t->expired = 0;
		next = t->next;
		spin_unlock_irq(&t->wait.lock, s);
		if (count)
			break;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(&t->wait, READ_ONCE(t->expired));
		if (err)
			return err;
	}
	if (next) {
		mutex_lock(&t->mutex);
		timerfd_arm(t); /* looks again: a settime at the same moment wins */
		mutex_unlock(&t->mutex);
	}
	n = uio_write_to(u, &count, sizeof(count));
	return n == (ssize_t)sizeof(count) ? n : -EFAULT;
}

static unsigned
timerfd_poll(struct file *f, struct poll_table *pt)
{
	struct timerfd *t = f->data;

	poll_wait(pt, &t->wait);
	return READ_ONCE(t->expired) ? POLLIN : 0;
}

static void
timerfd_release(struct file *f)
{
	struct timerfd *t = f->data;

	timer_cancel(&t->timer);
	kfree(t);
}

static const struct file_ops timerfd_ops = {
	.release = timerfd_release,
	.read = timerfd_read,
	.poll = timerfd_poll,
};

long
sys_timerfd_create(struct trapframe *tf)
{
	int clock = arg_int(tf, 0);
	unsigned flags = arg_uint(tf, 1);
	struct timerfd *t;
	struct file *f;
	int err, fd;

	if (flags & ~(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_BOOTTIME:
		break;
	default: /* the alarm clocks would wake a machine that sleeps; this one never does */
		return -EINVAL;
	}
	t = kzalloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	timer_init(&t->timer, timerfd_fire);
	mutex_init(&t->mutex);
	wait_queue_init(&t->wait);
	t->realtime = clock == CLOCK_REALTIME;
	err = file_create_anonymous("[timerfd]", &timerfd_ops, t, O_RDWR | (flags & O_NONBLOCK),
				    &f);
	if (err) {
		kfree(t);
		return err;
	}
	fd = fd_alloc(f, flags & O_CLOEXEC, 0);
	if (fd < 0)
		file_put(f);
	return fd;
}

/* The timerfd of fd with a reference on its file.  0, -EBADF, -EINVAL. */
static int
timerfd_get(int fd, struct file **out)
{
	*out = fd_get(fd);
	if (!*out)
		return -EBADF;
	if ((*out)->ops == &timerfd_ops)
		return 0;
	file_put(*out);
	return -EINVAL;
}

/* Time left and interval.  Caller holds wait.lock. */
static void
timerfd_state(struct timerfd *t, struct itimerspec *its)
{
	uint64_t now = clock_monotonic();

	/* What expired but has not been read yet must not show as a time in the past. */
	timerfd_advance(t, now);
	its->interval = ns_to_timespec(t->interval);
	its->value = ns_to_timespec(t->next > now ? t->next - now : 0);
}

long
sys_timerfd_settime(struct trapframe *tf)
{
	unsigned flags = arg_uint(tf, 1);
	struct itimerspec new, old;
	uint64_t value, now, next = 0;
	struct timerfd *t;
	struct file *f;
	irqstate_t s;
	int err;

	if (get_user(&new, arg_user(tf, 2)))
		return -EFAULT;
	if ((flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) ||
	    !timespec_valid(&new.value) || !timespec_valid(&new.interval))
		return -EINVAL;
	err = timerfd_get(arg_int(tf, 0), &f);
	if (err)
		return err;
	t = f->data;
	value = timespec_to_ns(&new.value);
	mutex_lock(&t->mutex);
	timer_cancel(&t->timer);
	s = spin_lock_irq(&t->wait.lock);
	timerfd_state(t, &old);
	now = clock_monotonic();
	if (value) {
		next = value;
		if (!(flags & TFD_TIMER_ABSTIME)) {
			next = value < UINT64_MAX - 1 - now ? now + value : UINT64_MAX - 1;
		} else if (t->realtime) {
			uint64_t boot = clock_realtime() - now;

			next = value > boot ? value - boot : 1;
		}
	}
	t->next = next;
	t->interval = timespec_to_ns(&new.interval);
	t->expired = 0;
	spin_unlock_irq(&t->wait.lock, s);
	timerfd_arm(t);
	mutex_unlock(&t->mutex);
	file_put(f);
	if (arg_u64(tf, 3) && put_user(arg_user(tf, 3), &old))
		return -EFAULT;
	return 0;
}

long
sys_timerfd_gettime(struct trapframe *tf)
{
	struct itimerspec its;
	struct timerfd *t;
	struct file *f;
	irqstate_t s;
	int err = timerfd_get(arg_int(tf, 0), &f);

	if (err)
		return err;
	t = f->data;
	s = spin_lock_irq(&t->wait.lock);
	timerfd_state(t, &its);
	spin_unlock_irq(&t->wait.lock, s);
	file_put(f);
	return put_user(arg_user(tf, 1), &its);
}
