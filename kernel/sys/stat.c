/*
 * System calls that ask about files and change their attributes.
 */
#include "abi.h"
#include "kernel/errno.h"
#include "kernel/fs/namei.h"
#include "kernel/lib/string.h"
#include "kernel/mm/uaccess.h"
#include "kernel/sys/syscalls.h"

/* ---- stat ---- */

static long
stat_out(const struct stat_info *s, uaddr_t to)
{
	struct arch_stat a = {
		.dev = s->dev,
		.ino = s->ino,
		.nlink = s->nlink,
		.mode = s->mode,
		.uid = s->uid,
		.gid = s->gid,
		.rdev = s->rdev,
		.size = (int64_t)s->size,
		.blksize = (int32_t)s->blksize,
		.blocks = (int64_t)s->blocks,
		.atime = (uint64_t)s->atime.sec,
		.atime_nsec = (uint64_t)s->atime.nsec,
		.mtime = (uint64_t)s->mtime.sec,
		.mtime_nsec = (uint64_t)s->mtime.nsec,
		.ctime = (uint64_t)s->ctime.sec,
		.ctime_nsec = (uint64_t)s->ctime.nsec,
	};

	return put_user(to, &a);
}

static long
stat_name(int dfd, uaddr_t name, unsigned flags, uaddr_t to)
{
	struct stat_info st __attribute__((uninitialized));
	int err = user_stat_at(dfd, name, flags, &st);

	return err ? err : stat_out(&st, to);
}

/* What the AT_ flags say about the walk. */
static unsigned
walk_flags(unsigned at)
{
	return (at & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) | (at & AT_EMPTY_PATH ? WALK_EMPTY : 0);
}

#define AT_NO_AUTOMOUNT	  0x800u
#define AT_STATX_SYNC	  0x6000u
#define AT_STAT_FLAGS	  (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT)

long
sys_newfstatat(struct trapframe *tf)
{
	unsigned flags = arg_uint(tf, 3);

	if (flags & ~AT_STAT_FLAGS)
		return -EINVAL;
	return stat_name(arg_int(tf, 0), arg_user(tf, 1), walk_flags(flags), arg_user(tf, 2));
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_stat(struct trapframe *tf)
{
	return stat_name(AT_FDCWD, arg_user(tf, 0), WALK_FOLLOW, arg_user(tf, 1));
}

long
sys_lstat(struct trapframe *tf)
{
	return stat_name(AT_FDCWD, arg_user(tf, 0), 0, arg_user(tf, 1));
}
#endif

long
sys_fstat(struct trapframe *tf)
{
	struct fd_use u = fd_use_path(arg_int(tf, 0));
	struct stat_info st __attribute__((uninitialized));

	if (!u.file)
		return -EBADF;
	inode_stat(u.file->inode, &st);
	fd_done(u);
	return stat_out(&st, arg_user(tf, 1));
}

struct statx_time {
	int64_t sec;
	uint32_t nsec;
	int32_t pad;
};

struct statx {
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, pad0;
	uint64_t ino, size, blocks, attributes_mask;
	struct statx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t mnt_id;
	uint64_t spare[13];
};
_Static_assert(sizeof(struct statx) == 256, "statx is part of the ABI");

#define STATX_BASIC	 0x7ffu
#define STATX_BTIME	 0x800u
#define STATX__RESERVED	 0x80000000u

static uint32_t
major_of(uint32_t dev)
{
	return dev >> 8 & 0xfff;
}

static uint32_t
minor_of(uint32_t dev)
{
	return (dev & 0xff) | (dev >> 12 & 0xfff00);
}

static struct statx_time
statx_time(const struct timespec *t)
{
	return (struct statx_time){t->sec, (uint32_t)t->nsec, 0};
}

long
sys_statx(struct trapframe *tf)
{
	unsigned flags = arg_uint(tf, 2), mask = arg_uint(tf, 3);
	struct stat_info s;
	struct statx x = {0};
	int err;

	if ((mask & STATX__RESERVED) || (flags & ~(AT_STAT_FLAGS | AT_STATX_SYNC)) ||
	    (flags & AT_STATX_SYNC) == AT_STATX_SYNC)
		return -EINVAL;
	err = user_stat_at(arg_int(tf, 0), arg_user(tf, 1), walk_flags(flags), &s);
	if (err)
		return err;
	x.mask = STATX_BASIC | STATX_BTIME;
	x.blksize = s.blksize;
	x.nlink = s.nlink;
	x.uid = s.uid;
	x.gid = s.gid;
	x.mode = (uint16_t)s.mode;
	x.ino = s.ino;
	x.size = s.size;
	x.blocks = s.blocks;
	x.atime = statx_time(&s.atime);
	x.btime = statx_time(&s.btime);
	x.ctime = statx_time(&s.ctime);
	x.mtime = statx_time(&s.mtime);
	x.rdev_major = major_of(s.rdev);
	x.rdev_minor = minor_of(s.rdev);
	x.dev_major = major_of(s.dev);
	x.dev_minor = minor_of(s.dev);
	return put_user(arg_user(tf, 4), &x);
}

struct statfs {
	int64_t type, bsize;
	uint64_t blocks, bfree, bavail, files, ffree;
	int32_t fsid[2];
	int64_t namelen, frsize, flags, spare[4];
};
_Static_assert(sizeof(struct statfs) == 120, "statfs is part of the ABI");
#define ST_VALID 0x20

static long
statfs_out(const struct path *p, uaddr_t to)
{
	struct super *s = p->dentry->inode->super;
	struct statfs b = {.bsize = PAGE_SIZE, .frsize = PAGE_SIZE, .namelen = NAME_MAX};
	uint64_t magic = 0;

	if (s->type->statfs)
		s->type->statfs(s, &b.blocks, &b.bfree, &magic);
	b.bavail = b.bfree;
	b.type = (int64_t)magic;
	b.fsid[0] = (int32_t)s->dev;
	b.flags = ST_VALID | (int64_t)(p->mount->flags & 15);
	return put_user(to, &b);
}

long
sys_statfs(struct trapframe *tf)
{
	struct path p;
	long err = user_path_at(AT_FDCWD, arg_user(tf, 0), WALK_FOLLOW, &p);

	if (err)
		return err;
	err = statfs_out(&p, arg_user(tf, 1));
	path_put(&p);
	return err;
}

long
sys_fstatfs(struct trapframe *tf)
{
	struct fd_use u = fd_use_path(arg_int(tf, 0));
	long err;

	if (!u.file)
		return -EBADF;
	err = statfs_out(&u.file->path, arg_user(tf, 1));
	fd_done(u);
	return err;
}

/* ---- access ---- */

static long
access_at(int dfd, uaddr_t name, unsigned mode, unsigned flags)
{
	bool real = !(flags & AT_EACCESS);
	struct subject who = subject_current(real);
	struct inode *inode;
	struct path p;
	long err;

	if ((mode & ~7u) || (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)))
		return -EINVAL;
	err = user_path_at(dfd, name, walk_flags(flags) | (real ? WALK_REAL_ID : 0), &p);
	if (err)
		return err;
	inode = p.dentry->inode;
	if ((mode & MAY_EXEC) && (inode->mode & S_IFMT) == S_IFREG &&
	    (p.mount->flags & MNT_NOEXEC))
		err = -EACCES;
	else
		err = permission_of(&who, inode, mode);
	if (!err && (mode & MAY_WRITE) && mount_readonly(p.mount) &&
	    ((inode->mode & S_IFMT) == S_IFREG || (inode->mode & S_IFMT) == S_IFDIR ||
	     (inode->mode & S_IFMT) == S_IFLNK))
		err = -EROFS;
	path_put(&p);
	return err;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_access(struct trapframe *tf)
{
	return access_at(AT_FDCWD, arg_user(tf, 0), arg_uint(tf, 1), 0);
}
#endif

long
sys_faccessat(struct trapframe *tf)
{
	return access_at(arg_int(tf, 0), arg_user(tf, 1), arg_uint(tf, 2), 0);
}

long
sys_faccessat2(struct trapframe *tf)
{
	return access_at(arg_int(tf, 0), arg_user(tf, 1), arg_uint(tf, 2), arg_uint(tf, 3));
}

/* ---- chmod, chown ---- */

static long
chmod_at(int dfd, uaddr_t name, uint32_t mode)
{
	struct path p;
	long err = user_path_at(dfd, name, WALK_FOLLOW, &p);

	if (err)
		return err;
	err = inode_chmod(&p, mode);
	path_put(&p);
	return err;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_chmod(struct trapframe *tf)
{
	return chmod_at(AT_FDCWD, arg_user(tf, 0), arg_uint(tf, 1));
}
#endif

long
sys_fchmodat(struct trapframe *tf)
{
	return chmod_at(arg_int(tf, 0), arg_user(tf, 1), arg_uint(tf, 2));
}

long
sys_fchmod(struct trapframe *tf)
{
	struct fd_use u = fd_use(arg_int(tf, 0));
	long err;

	if (!u.file)
		return -EBADF;
	err = inode_chmod(&u.file->path, arg_uint(tf, 1));
	fd_done(u);
	return err;
}

static long
chown_at(int dfd, uaddr_t name, uint32_t uid, uint32_t gid, unsigned flags)
{
	struct path p;
	long err;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	err = user_path_at(dfd, name, walk_flags(flags), &p);
	if (err)
		return err;
	err = inode_chown(&p, uid, gid);
	path_put(&p);
	return err;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_chown(struct trapframe *tf)
{
	return chown_at(AT_FDCWD, arg_user(tf, 0), arg_uint(tf, 1), arg_uint(tf, 2), 0);
}

long
sys_lchown(struct trapframe *tf)
{
	return chown_at(AT_FDCWD, arg_user(tf, 0), arg_uint(tf, 1), arg_uint(tf, 2),
			AT_SYMLINK_NOFOLLOW);
}
#endif

long
sys_fchownat(struct trapframe *tf)
{
	return chown_at(arg_int(tf, 0), arg_user(tf, 1), arg_uint(tf, 2), arg_uint(tf, 3),
			arg_uint(tf, 4));
}

long
sys_fchown(struct trapframe *tf)
{
	struct fd_use u = fd_use(arg_int(tf, 0));
	long err;

	if (!u.file)
		return -EBADF;
	err = inode_chown(&u.file->path, arg_uint(tf, 1), arg_uint(tf, 2));
	fd_done(u);
	return err;
}

/* ---- times ---- */

/* name NULL: dfd itself. */
static long
utimens_at(int dfd, uaddr_t name, const struct timespec *times, unsigned flags)
{
	struct path p;
	long err;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (!name.v && dfd != AT_FDCWD) {
		struct fd_use u;

		if (flags)
			return -EINVAL;
		u = fd_use(dfd);
		if (!u.file)
			return -EBADF;
		err = inode_utimens(&u.file->path, times);
		fd_done(u);
		return err;
	}
	err = user_path_at(dfd, name, walk_flags(flags), &p);
	if (err)
		return err;
	err = inode_utimens(&p, times);
	path_put(&p);
	return err;
}

long
sys_utimensat(struct trapframe *tf)
{
	struct timespec t[2];

	if (arg_user(tf, 2).v) {
		if (copy_from_user(t, arg_user(tf, 2), sizeof(t)))
			return -EFAULT;
		if (t[0].nsec == UTIME_OMIT && t[1].nsec == UTIME_OMIT)
			return 0;
	}
	return utimens_at(arg_int(tf, 0), arg_user(tf, 1), arg_user(tf, 2).v ? t : NULL,
			  arg_uint(tf, 3));
}

#if ARCH_HAS_LEGACY_SYSCALLS
static long
utimes_at(int dfd, uaddr_t name, uaddr_t times)
{
	struct timeval v[2];
	struct timespec t[2];

	if (!times.v)
		return utimens_at(dfd, name, NULL, 0);
	if (copy_from_user(v, times, sizeof(v)))
		return -EFAULT;
	for (unsigned i = 0; i < 2; i++) {
		if ((uint64_t)v[i].usec >= 1000000)
			return -EINVAL;
		t[i] = (struct timespec){v[i].sec, v[i].usec * 1000};
	}
	return utimens_at(dfd, name, t, 0);
}

long
sys_utimes(struct trapframe *tf)
{
	return utimes_at(AT_FDCWD, arg_user(tf, 0), arg_user(tf, 1));
}

long
sys_futimesat(struct trapframe *tf)
{
	return utimes_at(arg_int(tf, 0), arg_user(tf, 1), arg_user(tf, 2));
}

long
sys_utime(struct trapframe *tf)
{
	int64_t v[2];
	struct timespec t[2];

	if (!arg_user(tf, 1).v)
		return utimens_at(AT_FDCWD, arg_user(tf, 0), NULL, 0);
	if (copy_from_user(v, arg_user(tf, 1), sizeof(v)))
		return -EFAULT;
	t[0] = (struct timespec){v[0], 0};
	t[1] = (struct timespec){v[1], 0};
	return utimens_at(AT_FDCWD, arg_user(tf, 0), t, 0);
}
#endif

/* ---- Extended attributes: no file system here has them ---- */

static long
no_xattr(struct trapframe *tf, unsigned how)
{
	struct path p;
	long err = user_path_at(AT_FDCWD, arg_user(tf, 0), how, &p);

	if (err)
		return err;
	path_put(&p);
	return -EOPNOTSUPP;
}

static long
no_fxattr(struct trapframe *tf)
{
	struct fd_use u = fd_use(arg_int(tf, 0));

	if (!u.file)
		return -EBADF;
	fd_done(u);
	return -EOPNOTSUPP;
}

#define XATTR_CALLS(op)                                                                            \
	long sys_##op(struct trapframe *tf)                                                        \
	{                                                                                          \
		return no_xattr(tf, WALK_FOLLOW);                                                  \
	}                                                                                          \
	long sys_l##op(struct trapframe *tf)                                                       \
	{                                                                                          \
		return no_xattr(tf, 0);                                                            \
	}                                                                                          \
	long sys_f##op(struct trapframe *tf)                                                       \
	{                                                                                          \
		return no_fxattr(tf);                                                              \
	}

XATTR_CALLS(setxattr)
XATTR_CALLS(getxattr)
XATTR_CALLS(listxattr)
XATTR_CALLS(removexattr)
