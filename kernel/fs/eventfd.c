/* eventfd: a 64-bit counter that can be waited for. */
#include "kernel/errno.h"
#include "kernel/fs/poll.h"
#include "kernel/mm/heap.h"
#include "kernel/sys/syscalls.h"

#define EFD_SEMAPHORE 1u

struct eventfd {
	struct wait_queue wait; /* its lock guards count */
	uint64_t count;		/* at most UINT64_MAX - 1 */
	bool semaphore;		/* fixed: a read takes 1 */
};

/* Takes what a read gets: false if the counter is 0. */
static bool
eventfd_take(struct eventfd *e, uint64_t *value)
{
	irqstate_t s = spin_lock_irq(&e->wait.lock);

	*value = e->count == 0 ? 0 : e->semaphore ? 1 : e->count;
	e->count -= *value;
	spin_unlock_irq(&e->wait.lock, s);
	return *value != 0;
}

static bool
eventfd_add(struct eventfd *e, uint64_t value)
{
	irqstate_t s = spin_lock_irq(&e->wait.lock);
	bool fits = value < UINT64_MAX - e->count;

	if (fits)
		e->count += value;
	spin_unlock_irq(&e->wait.lock, s);
	return fits;
}

static ssize_t
eventfd_read(struct file *f, struct uio *u, uint64_t *pos unused)
{
	struct eventfd *e = f->data;
	uint64_t value;
	ssize_t n;

	if (u->left < sizeof(value))
		return -EINVAL;
	while (!eventfd_take(e, &value)) {
		int err;

		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(&e->wait, READ_ONCE(e->count));
		if (err)
			return err;
	}
	wake_all(&e->wait);
	n = uio_write_to(u, &value, sizeof(value));
	return n == (ssize_t)sizeof(value) ? n : -EFAULT;
}

static ssize_t
eventfd_write(struct file *f, struct uio *u, uint64_t *pos unused)
{
	struct eventfd *e = f->data;
	uint64_t value;

	if (u->left < sizeof(value))
		return -EINVAL;
	if (uio_read_from(u, &value, sizeof(value)) != sizeof(value))
		return -EFAULT;
	if (value == UINT64_MAX)
		return -EINVAL;
	while (!eventfd_add(e, value)) {
		int err;

		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(&e->wait,
					       value < UINT64_MAX - READ_ONCE(e->count));
		if (err)
			return err;
	}
	wake_all(&e->wait);
	return sizeof(value);
}

static unsigned
eventfd_poll(struct file *f, struct poll_table *pt)
{
	struct eventfd *e = f->data;
	uint64_t count;
	unsigned mask = 0;

	poll_wait(pt, &e->wait);
	count = READ_ONCE(e->count);
	if (count)
		mask |= POLLIN;
	if (count < UINT64_MAX - 1)
		mask |= POLLOUT;
	return mask;
}

static void
eventfd_release(struct file *f)
{
	kfree(f->data);
}

static const struct file_ops eventfd_ops = {
	.release = eventfd_release,
	.read = eventfd_read,
	.write = eventfd_write,
	.poll = eventfd_poll,
};

static long
do_eventfd(unsigned count, unsigned flags)
{
	struct eventfd *e;
	struct file *f;
	int err, fd;

	if (flags & ~(EFD_SEMAPHORE | O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	e = kzalloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	wait_queue_init(&e->wait);
	e->count = count;
	e->semaphore = flags & EFD_SEMAPHORE;
	err = file_create_anonymous("[eventfd]", &eventfd_ops, e, O_RDWR | (flags & O_NONBLOCK),
				    &f);
	if (err) {
		kfree(e);
		return err;
	}
	fd = fd_alloc(f, flags & O_CLOEXEC, 0);
	if (fd < 0)
		file_put(f);
	return fd;
}

long
sys_eventfd2(struct trapframe *tf)
{
	return do_eventfd(arg_uint(tf, 0), arg_uint(tf, 1));
}

#if ARCH_HAS_LEGACY_SYSCALLS

long
sys_eventfd(struct trapframe *tf)
{
	return do_eventfd(arg_uint(tf, 0), 0);
}

#endif
