/*
 * System calls that move bytes: read, write and their vectors, seeking, copying between files.
 */
#include "kernel/errno.h"
#include "kernel/fs/namei.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/sched.h"
#include "kernel/sys/syscalls.h"

#define MAX_RW_COUNT ((size_t)0x7ffff000) /* INT_MAX down to a page, as Linux */
#define UIO_MAXIOV   1024u
#define FEW_IOVS     8u

/* Reads or writes at *pos, or at the file's own position (pos NULL).  Checks are done. */
static ssize_t
file_move(struct file *f, struct uio *u, uint64_t *pos, bool write)
{
	ssize_t (*op)(struct file *, struct uio *, uint64_t *) = write ? f->ops->write
								       : f->ops->read;
	/* A position that only this thread can reach needs no lock. */
	bool lock = !pos && !(f->mode & FILE_STREAM) && unlikely(refcount_read(&f->refs) != 1);
	uint64_t *at = pos ? pos : &f->pos;
	ssize_t n;

	if (lock)
		mutex_lock(&f->pos_lock);
	if (unlikely((int64_t)(*at + u->left) < 0)) /* beyond every offset */
		n = -EINVAL;
	else
		n = op(f, u, at);
	if (lock)
		mutex_unlock(&f->pos_lock);
	return n;
}

/* What must hold before any byte moves. */
static int
check_move(const struct file *f, bool write)
{
	if (unlikely(!(f->mode & (write ? FILE_WRITE : FILE_READ))))
		return -EBADF;
	if (unlikely(write ? !f->ops->write : !f->ops->read))
		return (f->inode->mode & S_IFMT) == S_IFDIR ? -EISDIR : -EINVAL;
	return 0;
}

static always_inline long
move_user(struct trapframe *tf, uint64_t *pos, bool write)
{
	struct fd_use u = fd_use(arg_int(tf, 0));
	uaddr_t buf = arg_user(tf, 1);
	size_t n = arg_u64(tf, 2);
	struct iovec iov;
	struct uio uio;
	ssize_t done;

	if (unlikely(!u.file))
		return -EBADF;
	done = check_move(u.file, write);
	if (unlikely(done))
		goto out;
	if (pos && (u.file->mode & FILE_STREAM) && !u.file->ops->seek &&
	    (u.file->inode->mode & S_IFMT) != S_IFCHR) {
		done = -ESPIPE;
		goto out;
	}
	if (unlikely(!user_range_ok(buf, n))) {
		done = -EFAULT;
		goto out;
	}
	uio_init_user(&uio, &iov, buf, MIN(n, MAX_RW_COUNT));
	done = file_move(u.file, &uio, pos, write);
out:
	fd_done(u);
	return done;
}

long
sys_read(struct trapframe *tf)
{
	return move_user(tf, NULL, false);
}

long
sys_write(struct trapframe *tf)
{
	return move_user(tf, NULL, true);
}

long
sys_pread64(struct trapframe *tf)
{
	uint64_t pos = arg_u64(tf, 3);

	return (int64_t)pos < 0 ? -EINVAL : move_user(tf, &pos, false);
}

long
sys_pwrite64(struct trapframe *tf)
{
	uint64_t pos = arg_u64(tf, 3);

	return (int64_t)pos < 0 ? -EINVAL : move_user(tf, &pos, true);
}

/* Copies and checks a vector.  Total bytes, capped, or -errno; *heap is to be freed. */
static ssize_t
iovec_get(uaddr_t at, uint64_t n, struct iovec *few, struct iovec **iov, struct iovec **heap)
{
	size_t total = 0;

	*heap = NULL;
	*iov = few;
	if (n > UIO_MAXIOV)
		return -EINVAL;
	if (n > FEW_IOVS) {
		*heap = *iov = kmalloc(n * sizeof(**iov));
		if (!*heap)
			return -ENOMEM;
	}
	if (copy_from_user(*iov, at, n * sizeof(**iov)))
		return -EFAULT;
	for (uint64_t i = 0; i < n; i++)
		if ((int64_t)(*iov)[i].len < 0)
			return -EINVAL;
	for (uint64_t i = 0; i < n; i++) {
		struct iovec *v = &(*iov)[i];

		if (!user_range_ok(UADDR(v->base), v->len))
			return -EFAULT;
		v->len = MIN(v->len, MAX_RW_COUNT - total);
		total += v->len;
	}
	return (ssize_t)total;
}

static long
move_vector(struct trapframe *tf, uint64_t *pos, bool write)
{
	struct fd_use u = fd_use(arg_int(tf, 0));
	struct iovec few[FEW_IOVS], *iov, *heap = NULL;
	uint64_t n = arg_u64(tf, 2);
	ssize_t done;

	if (!u.file)
		return -EBADF;
	done = check_move(u.file, write);
	if (!done && pos && !u.file->ops->seek)
		done = -ESPIPE;
	if (!done)
		done = iovec_get(arg_user(tf, 1), n, few, &iov, &heap);
	if (done > 0) {
		struct uio uio = {.iov = iov, .niov = (unsigned)n, .left = (size_t)done};

		done = file_move(u.file, &uio, pos, write);
	}
	kfree(heap);
	fd_done(u);
	return done;
}

long
sys_readv(struct trapframe *tf)
{
	return move_vector(tf, NULL, false);
}

long
sys_writev(struct trapframe *tf)
{
	return move_vector(tf, NULL, true);
}

long
sys_preadv(struct trapframe *tf)
{
	uint64_t pos = arg_u64(tf, 3);

	return (int64_t)pos < 0 ? -EINVAL : move_vector(tf, &pos, false);
}

long
sys_pwritev(struct trapframe *tf)
{
	uint64_t pos = arg_u64(tf, 3);

	return (int64_t)pos < 0 ? -EINVAL : move_vector(tf, &pos, true);
}

/* The v2 calls: position -1 is the file's own; no flag is supported. */
static long
move_vector2(struct trapframe *tf, bool write)
{
	uint64_t pos = arg_u64(tf, 3);

	if (arg_int(tf, 5))
		return -EOPNOTSUPP;
	if (pos == UINT64_MAX)
		return move_vector(tf, NULL, write);
	return (int64_t)pos < 0 ? -EINVAL : move_vector(tf, &pos, write);
}

long
sys_preadv2(struct trapframe *tf)
{
	return move_vector2(tf, false);
}

long
sys_pwritev2(struct trapframe *tf)
{
	return move_vector2(tf, true);
}

long
sys_lseek(struct trapframe *tf)
{
	struct fd_use u = fd_use(arg_int(tf, 0));
	struct file *f = u.file;
	int64_t r;

	if (!f)
		return -EBADF;
	if (arg_uint(tf, 2) > 4) {
		r = -EINVAL;
	} else if (!f->ops->seek) {
		r = -ESPIPE;
	} else {
		mutex_lock(&f->pos_lock);
		r = f->ops->seek(f, arg_long(tf, 1), arg_int(tf, 2));
		mutex_unlock(&f->pos_lock);
	}
	fd_done(u);
	return r;
}

/*
 * Copies up to n bytes from in, at *in_pos, to out through a page of the kernel's.  out_pos NULL: the file's
 * own.  Bytes copied, or -errno if none.
 */
static ssize_t
copy_between(struct file *in, uint64_t *in_pos, struct file *out, uint64_t *out_pos, size_t n)
{
	size_t done = 0;
	char *buf = kmalloc(PAGE_SIZE);
	ssize_t err = buf ? 0 : -ENOMEM;

	while (!err && done < n) {
		struct iovec iov;
		struct uio u;
		uint64_t pos = *in_pos;
		ssize_t got, put;

		uio_init_kernel(&u, &iov, buf, MIN(n - done, PAGE_SIZE));
		got = in->ops->read(in, &u, &pos);
		if (got <= 0) {
			err = got;
			break;
		}
		uio_init_kernel(&u, &iov, buf, (size_t)got);
		put = file_move(out, &u, out_pos, true);
		if (put < 0) {
			err = put;
			break;
		}
		/* Only what was written counts as read. */
		*in_pos = pos - (uint64_t)(got - put);
		done += (size_t)put;
		if (put < got || (signal_pending() && done))
			break;
		cond_resched();
	}
	kfree(buf);
	return done ? (ssize_t)done : err;
}

static long
sendfile(struct file *in, struct file *out, uaddr_t offset, size_t n)
{
	uint64_t pos = READ_ONCE(in->pos);
	ssize_t r;
	int err;

	if (offset.v && get_user(&pos, offset))
		return -EFAULT;
	err = check_move(in, false);
	if (!err)
		err = check_move(out, true);
	if (err)
		return err;
	if ((in->mode & FILE_STREAM) && offset.v)
		return -ESPIPE;
	if ((in->mode & FILE_STREAM) && !in->ops->seek)
		return -EINVAL; /* what was read could not be put back */
	if ((int64_t)pos < 0 || (out->flags & O_APPEND))
		return -EINVAL;
	/* in's position is not locked: out's is, and another call may go the other way. */
	r = copy_between(in, &pos, out, NULL, MIN(n, MAX_RW_COUNT));
	if (!offset.v && r > 0)
		WRITE_ONCE(in->pos, pos);
	if (offset.v && r >= 0 && put_user(offset, &pos))
		return -EFAULT;
	return r;
}

long
sys_sendfile(struct trapframe *tf)
{
	struct fd_use out = fd_use(arg_int(tf, 0)), in = fd_use(arg_int(tf, 1));
	long r = -EBADF;

	if (in.file && out.file)
		r = sendfile(in.file, out.file, arg_user(tf, 2), arg_u64(tf, 3));
	fd_done(in);
	fd_done(out);
	return r;
}

static long
copy_range(struct file *in, uaddr_t in_at, struct file *out, uaddr_t out_at, size_t n)
{
	uint64_t in_pos = in->pos, out_pos = out->pos, end;
	ssize_t r;

	if ((in_at.v && get_user(&in_pos, in_at)) || (out_at.v && get_user(&out_pos, out_at)))
		return -EFAULT;
	if (!(in->mode & FILE_READ) || !(out->mode & FILE_WRITE) || (out->flags & O_APPEND))
		return -EBADF;
	if ((in->inode->mode & S_IFMT) == S_IFDIR || (out->inode->mode & S_IFMT) == S_IFDIR)
		return -EISDIR;
	if ((in->inode->mode & S_IFMT) != S_IFREG || (out->inode->mode & S_IFMT) != S_IFREG ||
	    !in->ops->read || !out->ops->write || (int64_t)in_pos < 0 || (int64_t)out_pos < 0)
		return -EINVAL;
	if (__builtin_add_overflow(in_pos, n, &end) || __builtin_add_overflow(out_pos, n, &end))
		return -EOVERFLOW;
	if (in->inode == out->inode && in_pos < out_pos + n && out_pos < in_pos + n)
		return -EINVAL;
	r = copy_between(in, &in_pos, out, &out_pos, MIN(n, MAX_RW_COUNT));
	if (r <= 0)
		return r;
	if (!in_at.v)
		in->pos = in_pos;
	else if (put_user(in_at, &in_pos))
		return -EFAULT;
	if (!out_at.v)
		out->pos = out_pos;
	else if (put_user(out_at, &out_pos))
		return -EFAULT;
	return r;
}

long
sys_copy_file_range(struct trapframe *tf)
{
	struct fd_use in, out;
	long r = -EBADF;

	in = fd_use(arg_int(tf, 0));
	out = fd_use(arg_int(tf, 2));
	if (in.file && out.file)
		r = arg_uint(tf, 5) ? -EINVAL
				    : copy_range(in.file, arg_user(tf, 1), out.file, arg_user(tf, 3),
						 arg_u64(tf, 4));
	fd_done(in);
	fd_done(out);
	return r;
}

/* ---- Files in memory are always in sync ---- */

static long
check_fd(struct trapframe *tf, bool plain)
{
	struct fd_use u = fd_use(arg_int(tf, 0));
	long r = 0;

	if (!u.file)
		return -EBADF;
	/* fsync is for what can be stored: not pipes, devices of bytes, sockets. */
	if (plain && (u.file->inode->mode & S_IFMT) != S_IFREG &&
	    (u.file->inode->mode & S_IFMT) != S_IFDIR)
		r = -EINVAL;
	fd_done(u);
	return r;
}

long
sys_fsync(struct trapframe *tf)
{
	return check_fd(tf, true);
}

long
sys_fdatasync(struct trapframe *tf)
{
	return check_fd(tf, true);
}

long
sys_sync(struct trapframe *tf unused)
{
	return 0;
}

long
sys_syncfs(struct trapframe *tf)
{
	return check_fd(tf, false);
}

long
sys_sync_file_range(struct trapframe *tf)
{
	int64_t from = arg_long(tf, 1), n = arg_long(tf, 2), end;

	if (arg_uint(tf, 3) & ~7u || from < 0 || n < 0 || __builtin_add_overflow(from, n, &end))
		return check_fd(tf, false) ? -EBADF : -EINVAL;
	return check_fd(tf, true) == -EINVAL ? -ESPIPE : check_fd(tf, true);
}

long
sys_fadvise64(struct trapframe *tf)
{
	struct fd_use u = fd_use(arg_int(tf, 0));
	long r = 0;

	if (!u.file)
		return -EBADF;
	if ((u.file->inode->mode & S_IFMT) == S_IFIFO)
		r = -ESPIPE;
	else if (arg_long(tf, 2) < 0 || arg_uint(tf, 3) > 5)
		r = -EINVAL;
	fd_done(u);
	return r;
}

long
sys_readahead(struct trapframe *tf)
{
	struct fd_use u = fd_use(arg_int(tf, 0));
	long r = 0;

	if (!u.file)
		return -EBADF;
	if (!(u.file->mode & FILE_READ))
		r = -EBADF;
	else if ((u.file->inode->mode & S_IFMT) != S_IFREG)
		r = -EINVAL;
	fd_done(u);
	return r;
}
