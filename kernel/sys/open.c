/*
 * System calls on descriptors: open, close, dup, fcntl, ioctl, lengths of files.
 */
#include "kernel/errno.h"
#include "kernel/fs/fdtable.h"
#include "kernel/fs/file.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/pipe.h"
#include "kernel/lib/string.h"
#include "kernel/mm/uaccess.h"
#include "kernel/sys/syscalls.h"

static long
open_user(int dfd, uaddr_t path, unsigned flags, uint32_t mode)
{
	struct file *f;
	NAME(name);
	int fd, err = name_get(&name, path);

	if (err)
		return err;
	fd = fd_reserve(flags, 0);
	if (unlikely(fd < 0)) {
		name_put(&name);
		return fd;
	}
	err = file_open_at(dfd, name.s, flags | O_LARGEFILE, mode, &f);
	name_put(&name);
	if (err) {
		fd_cancel(fd);
		return err;
	}
	fd_install(fd, f);
	return fd;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_open(struct trapframe *tf)
{
	return open_user(AT_FDCWD, arg_user(tf, 0), arg_uint(tf, 1), arg_uint(tf, 2));
}
#endif

long
sys_openat(struct trapframe *tf)
{
	return open_user(arg_int(tf, 0), arg_user(tf, 1), arg_uint(tf, 2), arg_uint(tf, 3));
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_creat(struct trapframe *tf)
{
	return open_user(AT_FDCWD, arg_user(tf, 0), O_CREAT | O_WRONLY | O_TRUNC, arg_uint(tf, 1));
}
#endif

long
sys_close(struct trapframe *tf)
{
	return fd_close(arg_int(tf, 0));
}

#define CLOSE_RANGE_UNSHARE 2u
#define CLOSE_RANGE_CLOEXEC 4u

long
sys_close_range(struct trapframe *tf)
{
	unsigned first = arg_uint(tf, 0), last = arg_uint(tf, 1), flags = arg_uint(tf, 2);
	struct process *p = current->process;

	if ((flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) || first > last)
		return -EINVAL;
	/* Threads of one process share their table for good here. */
	if ((flags & CLOSE_RANGE_UNSHARE) && (p->nthreads > 1 || refcount_read(&p->files->refs) > 1))
		return -EINVAL;
	fd_close_range(first, last, flags & CLOSE_RANGE_CLOEXEC);
	return 0;
}

/* A descriptor >= min for the same open file. */
static long
dup_from(int fd, unsigned flags, int min)
{
	struct file *f = fd_get(fd);
	int new;

	if (!f)
		return -EBADF;
	new = fd_alloc(f, flags, min);
	if (new < 0)
		file_put(f);
	return new;
}

static long
dup_to(int from, int to, unsigned flags)
{
	struct file *f;
	int err;

	/* Linux checks the new number's limit before the old number. */
	if ((uint64_t)(unsigned)to >= rlimit(RLIMIT_NOFILE))
		return -EBADF;
	f = fd_get(from);
	if (!f)
		return -EBADF;
	err = fd_replace(to, f, flags);
	file_put(f);
	return err;
}

long
sys_dup(struct trapframe *tf)
{
	return dup_from(arg_int(tf, 0), 0, 0);
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_dup2(struct trapframe *tf)
{
	int from = arg_int(tf, 0), to = arg_int(tf, 1);

	if (from == to)
		return fd_cloexec(from, -1) < 0 ? -EBADF : to;
	return dup_to(from, to, 0);
}
#endif

long
sys_dup3(struct trapframe *tf)
{
	unsigned flags = arg_uint(tf, 2);

	if ((flags & ~O_CLOEXEC) || arg_int(tf, 0) == arg_int(tf, 1))
		return -EINVAL;
	return dup_to(arg_int(tf, 0), arg_int(tf, 1), flags);
}

enum {
	F_DUPFD = 0,
	F_GETFD = 1,
	F_SETFD = 2,
	F_GETFL = 3,
	F_SETFL = 4,
	F_GETLK = 5,
	F_SETLK = 6,
	F_SETLKW = 7,
	F_OFD_GETLK = 36,
	F_OFD_SETLK = 37,
	F_OFD_SETLKW = 38,
	F_DUPFD_CLOEXEC = 1030,
};
#define FD_CLOEXEC 1

/* Replaces the flags that F_SETFL may change. */
static long
set_flags(struct file *f, unsigned arg)
{
	const unsigned settable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;
	unsigned old = READ_ONCE(f->flags), new;

	if ((arg & ~old & O_NOATIME) && !inode_owner_or_capable(f->inode))
		return -EPERM;
	do
		new = (old & ~settable) | (arg & settable);
	while (!__atomic_compare_exchange_n(&f->flags, &old, new, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED));
	return 0;
}

static long
fcntl_file(struct file *f, int fd, unsigned cmd, uint64_t arg)
{
	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		if (arg >= rlimit(RLIMIT_NOFILE) || arg > INT32_MAX)
			return -EINVAL;
		return dup_from(fd, cmd == F_DUPFD ? 0 : O_CLOEXEC, (int)arg);
	case F_GETFD:
		return fd_cloexec(fd, -1);
	case F_SETFD:
		return MIN(fd_cloexec(fd, (arg & FD_CLOEXEC) != 0), 0);
	case F_GETFL:
		return f->flags;
	}
	if (f->flags & O_PATH)
		return -EBADF;
	switch (cmd) {
	case F_SETFL:
		return set_flags(f, (unsigned)arg);
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return flock_fcntl(f, fd, cmd, UADDR(arg));
	case F_GETPIPE_SZ:
	case F_SETPIPE_SZ:
		return pipe_fcntl(f, cmd, arg);
	case F_ADD_SEALS:
	case F_GET_SEALS:
		return memfd_seals(f, cmd, (unsigned)arg);
	}
	return -EINVAL;
}

long
sys_fcntl(struct trapframe *tf)
{
	struct fd_use u = fd_use_path(arg_int(tf, 0));
	long r;

	if (!u.file)
		return -EBADF;
	r = fcntl_file(u.file, arg_int(tf, 0), arg_uint(tf, 1), arg_u64(tf, 2));
	fd_done(u);
	return r;
}

long
sys_flock(struct trapframe *tf)
{
	struct fd_use u = fd_use(arg_int(tf, 0));
	long r;

	if (!u.file)
		return -EBADF;
	r = flock_apply(u.file, arg_int(tf, 1));
	fd_done(u);
	return r;
}

#define FIONREAD 0x541bu
#define FIONBIO	 0x5421u
#define FIOCLEX	 0x5451u
#define FIONCLEX 0x5450u

static long
ioctl_file(struct file *f, int fd, unsigned cmd, uaddr_t arg)
{
	int32_t v;

	switch (cmd) {
	case FIOCLEX:
	case FIONCLEX:
		return MIN(fd_cloexec(fd, cmd == FIOCLEX), 0);
	case FIONBIO:
		if (get_user(&v, arg))
			return -EFAULT;
		return set_flags(f, (f->flags & ~O_NONBLOCK) | (v ? O_NONBLOCK : 0));
	case FIONREAD:
		if ((f->inode->mode & S_IFMT) != S_IFREG)
			break;
		v = (int32_t)(f->inode->size - f->pos);
		return put_user(arg, &v);
	}
	return f->ops->ioctl ? f->ops->ioctl(f, cmd, arg) : -ENOTTY;
}

long
sys_ioctl(struct trapframe *tf)
{
	struct fd_use u = fd_use(arg_int(tf, 0));
	long r;

	if (!u.file)
		return -EBADF;
	r = ioctl_file(u.file, arg_int(tf, 0), arg_uint(tf, 1), arg_user(tf, 2));
	fd_done(u);
	return r;
}

/* ---- Lengths ---- */

/* RLIMIT_FSIZE also holds for files that grow without a write. */
static int
check_length(uint64_t size, uint64_t old)
{
	if (size > old && size > rlimit(RLIMIT_FSIZE)) {
		struct siginfo si = {.signo = SIGXFSZ, .code = SI_KERNEL};

		signal_send_thread(current, &si);
		return -EFBIG;
	}
	return 0;
}

static long
truncate_path(const struct path *p, uint64_t size)
{
	struct inode *inode = p->dentry->inode;
	int err;

	if ((inode->mode & S_IFMT) == S_IFDIR)
		return -EISDIR;
	if ((inode->mode & S_IFMT) != S_IFREG)
		return -EINVAL;
	err = inode_permission(inode, MAY_WRITE);
	if (!err && mount_readonly(p->mount))
		err = -EROFS;
	if (!err)
		err = inode_get_write(inode);
	if (err)
		return err;
	err = check_length(size, inode->size);
	if (!err)
		err = inode_truncate(inode, size);
	inode_put_write(inode);
	return err;
}

long
sys_truncate(struct trapframe *tf)
{
	struct path p;
	long err;

	if (arg_long(tf, 1) < 0)
		return -EINVAL;
	err = user_path_at(AT_FDCWD, arg_user(tf, 0), WALK_FOLLOW, &p);
	if (err)
		return err;
	err = truncate_path(&p, arg_u64(tf, 1));
	path_put(&p);
	return err;
}

long
sys_ftruncate(struct trapframe *tf)
{
	struct fd_use u;
	uint64_t size = arg_u64(tf, 1);
	long err;

	if ((int64_t)size < 0)
		return -EINVAL;
	u = fd_use(arg_int(tf, 0));
	if (!u.file)
		return -EBADF;
	if ((u.file->inode->mode & S_IFMT) != S_IFREG || !(u.file->mode & FILE_WRITE))
		err = -EINVAL;
	else
		err = check_length(size, u.file->inode->size);
	if (!err)
		err = inode_truncate(u.file->inode, size);
	fd_done(u);
	return err;
}

static long
fallocate_file(struct file *f, unsigned mode, int64_t from, int64_t length)
{
	struct inode *inode = f->inode;
	int64_t end;
	long err;

	if (from < 0 || length <= 0)
		return -EINVAL;
	if (mode & ~(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE) || mode == FALLOC_PUNCH_HOLE)
		return -EOPNOTSUPP;
	if (!(f->mode & FILE_WRITE))
		return -EBADF;
	if ((inode->mode & S_IFMT) == S_IFIFO)
		return -ESPIPE;
	if ((inode->mode & S_IFMT) == S_IFDIR)
		return -EISDIR;
	if ((inode->mode & S_IFMT) != S_IFREG)
		return -ENODEV;
	if (__builtin_add_overflow(from, length, &end))
		return -EFBIG;
	if (!inode->ops->fallocate)
		return -EOPNOTSUPP;
	if (!mode) {
		err = check_length((uint64_t)end, inode->size);
		if (err)
			return err;
	}
	mutex_lock(&inode->lock);
	err = inode->ops->fallocate(inode, mode, (uint64_t)from, (uint64_t)length);
	if (!err)
		inode_touch_mtime(inode);
	mutex_unlock(&inode->lock);
	return err;
}

long
sys_fallocate(struct trapframe *tf)
{
	struct fd_use u = fd_use(arg_int(tf, 0));
	long err;

	if (!u.file)
		return -EBADF;
	err = fallocate_file(u.file, arg_uint(tf, 1), arg_long(tf, 2), arg_long(tf, 3));
	fd_done(u);
	return err;
}

#define MFD_CLOEXEC	  1u
#define MFD_ALLOW_SEALING 2u
#define MFD_NAME_MAX	  249

long
sys_memfd_create(struct trapframe *tf)
{
	unsigned flags = arg_uint(tf, 1);
	char name[MFD_NAME_MAX + 1];
	struct file *f;
	ssize_t n;
	int fd, err;

	if (flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING))
		return -EINVAL;
	n = strncpy_from_user(name, arg_user(tf, 0), sizeof(name));
	if (n < 0)
		return n == -ENAMETOOLONG ? -EINVAL : n;
	err = memfd_create_file(name, flags & MFD_ALLOW_SEALING, &f);
	if (err)
		return err;
	fd = fd_alloc(f, flags & MFD_CLOEXEC ? O_CLOEXEC : 0, 0);
	if (fd < 0)
		file_put(f);
	return fd;
}
