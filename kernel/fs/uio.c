/*
 * The two ends of a read or write: moving bytes between a kernel buffer and a list of segments.
 */
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/lib/string.h"
#include "kernel/mm/uaccess.h"

void
uio_init_kernel(struct uio *u, struct iovec *iov, void *buf, size_t n)
{
	*iov = (struct iovec){(uint64_t)(uintptr_t)buf, n};
	*u = (struct uio){.iov = iov, .niov = 1, .left = n, .kernel = true};
}

void
uio_init_user(struct uio *u, struct iovec *iov, uaddr_t buf, size_t n)
{
	*iov = (struct iovec){buf.v, n};
	*u = (struct uio){.iov = iov, .niov = 1, .left = n};
}

/* As copy_to_user_some: up to the page that cannot be written. */
static size_t
clear_user_some(uint64_t at, size_t n)
{
	size_t done = 0;

	while (done < n) {
		size_t part = MIN(n - done, PAGE_SIZE - ((at + done) & PAGE_MASK));

		if (clear_user(UADDR(at + done), part) != 0)
			break;
		done += part;
	}
	return done;
}

enum move { TO_UIO, FROM_UIO, ZERO_UIO };

/* Moves one stretch within a segment: the bytes moved. */
static size_t
move_some(struct uio *u, uint64_t at, void *buf, size_t n, enum move how)
{
	void *k = (void *)(uintptr_t)at;

	if (likely(!u->kernel)) {
		if (how == TO_UIO)
			return copy_to_user_some(UADDR(at), buf, n);
		if (how == FROM_UIO)
			return copy_from_user_some(buf, UADDR(at), n);
		return clear_user_some(at, n);
	}
	if (how == TO_UIO)
		memcpy(k, buf, n);
	else if (how == FROM_UIO)
		memcpy(buf, k, n);
	else
		memset(k, 0, n);
	return n;
}

static ssize_t
uio_move(struct uio *u, char *buf, size_t n, enum move how)
{
	size_t done = 0;

	n = MIN(n, u->left);
	while (done < n) {
		size_t here = MIN(u->iov->len - u->offset, n - done), moved;

		if (here == 0) {
			u->iov++;
			u->niov--;
			u->offset = 0;
			continue;
		}
		moved = move_some(u, u->iov->base + u->offset, buf + done, here, how);
		u->offset += moved;
		u->left -= moved;
		done += moved;
		if (unlikely(moved < here))
			break;
	}
	return done || n == 0 ? (ssize_t)done : -EFAULT;
}

ssize_t
uio_write_to(struct uio *u, const void *buf, size_t n)
{
	return uio_move(u, (char *)buf, n, TO_UIO);
}

ssize_t
uio_read_from(struct uio *u, void *buf, size_t n)
{
	return uio_move(u, buf, n, FROM_UIO);
}

ssize_t
uio_zero(struct uio *u, size_t n)
{
	static char nothing; /* uio_move counts from a buffer that ZERO_UIO never touches */

	return uio_move(u, &nothing, n, ZERO_UIO);
}

ssize_t
uio_limit_write(struct file *f, struct uio *u, uint64_t pos)
{
	uint64_t limit = current->process ? rlimit(RLIMIT_FSIZE) : RLIM_INFINITY;

	if (likely(limit == RLIM_INFINITY) || u->left == 0 || (f->inode->mode & S_IFMT) != S_IFREG)
		return 0;
	if (pos >= limit) {
		struct siginfo si = {.signo = SIGXFSZ, .code = SI_KERNEL};

		signal_send_thread(current, &si);
		return -EFBIG;
	}
	if (u->left > limit - pos)
		u->left = limit - pos;
	return 0;
}
