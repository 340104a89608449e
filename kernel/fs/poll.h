/*
 * Waiting for several files at once: what poll, select and epoll share.
 *
 * A driver's poll operation calls poll_wait for each queue that it wakes when its state changes, then
 * returns the present POLL* bits.  The table decides what being queued means.
 */
#pragma once

#include "kernel/fs/vfs.h"
#include "kernel/proc/wait.h"

struct poll_table {
	void (*queue)(struct poll_table *pt, struct wait_queue *q);
};

/* The present state of f, registering pt (NULL: nothing) on its queues. */
static inline unsigned
file_poll(struct file *f, struct poll_table *pt)
{
	if (!f->ops->poll)
		return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
	return f->ops->poll(f, pt);
}

/* Linux's struct pollfd */
struct pollfd {
	int32_t fd;
	int16_t events;
	int16_t revents;
};

/*
 * Fills in revents of all n entries; sleeps until one is not 0 or the monotonic clock reaches
 * deadline (0: never sleeps; NO_DEADLINE).  How many are not 0, -ERESTARTNOHAND, or -ENOMEM.
 */
must_use long poll_files(struct pollfd *fds, unsigned n, uint64_t deadline);

/*
 * select(2) on n descriptors with 64-bit words of bitmaps; in[] is read, out[] gets the result.
 * Bits that are ready in all, -EBADF, -ERESTARTNOHAND, or -ENOMEM.
 */
must_use long poll_select(unsigned n, const uint64_t *const in[3], uint64_t *const out[3],
			  uint64_t deadline);

/*
 * A pointer to {now, relative time} as a monotonic deadline.  Saturates at NO_DEADLINE; 0 gives 0,
 * which means that the caller does not want to sleep.
 */
uint64_t poll_deadline(const struct timespec *ts);
