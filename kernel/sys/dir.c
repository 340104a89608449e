/*
 * System calls on names and directories.
 */
#include "kernel/errno.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/names.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/sys/syscalls.h"

long
sys_umask(struct trapframe *tf)
{
	return __atomic_exchange_n(&fs_current()->umask, arg_uint(tf, 0) & 0777, __ATOMIC_RELAXED);
}

static long
mkdir_at(int dfd, uaddr_t path, uint32_t mode)
{
	NAME(name);
	long err = name_get(&name, path);

	if (err)
		return err;
	err = names_mkdir(dfd, name.s, mode);
	name_put(&name);
	return err;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_mkdir(struct trapframe *tf)
{
	return mkdir_at(AT_FDCWD, arg_user(tf, 0), arg_uint(tf, 1));
}
#endif

long
sys_mkdirat(struct trapframe *tf)
{
	return mkdir_at(arg_int(tf, 0), arg_user(tf, 1), arg_uint(tf, 2));
}

static long
mknod_at(int dfd, uaddr_t path, uint32_t mode, uint32_t dev)
{
	NAME(name);
	long err = name_get(&name, path);

	if (err)
		return err;
	err = names_mknod(dfd, name.s, mode, dev);
	name_put(&name);
	return err;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_mknod(struct trapframe *tf)
{
	return mknod_at(AT_FDCWD, arg_user(tf, 0), arg_uint(tf, 1), arg_uint(tf, 2));
}
#endif

long
sys_mknodat(struct trapframe *tf)
{
	return mknod_at(arg_int(tf, 0), arg_user(tf, 1), arg_uint(tf, 2), arg_uint(tf, 3));
}

static long
remove_at(int dfd, uaddr_t path, bool directory)
{
	NAME(name);
	long err = name_get(&name, path);

	if (err)
		return err;
	err = names_remove(dfd, name.s, directory);
	name_put(&name);
	return err;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_unlink(struct trapframe *tf)
{
	return remove_at(AT_FDCWD, arg_user(tf, 0), false);
}

long
sys_rmdir(struct trapframe *tf)
{
	return remove_at(AT_FDCWD, arg_user(tf, 0), true);
}
#endif

long
sys_unlinkat(struct trapframe *tf)
{
	unsigned flags = arg_uint(tf, 2);

	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	return remove_at(arg_int(tf, 0), arg_user(tf, 1), flags & AT_REMOVEDIR);
}

static long
symlink_at(uaddr_t target_at, int dfd, uaddr_t path)
{
	NAME(target);
	NAME(name);
	long err = name_get(&target, target_at);

	if (err)
		return err;
	err = *target.s ? name_get(&name, path) : -ENOENT;
	if (!err) {
		err = names_symlink(target.s, dfd, name.s);
		name_put(&name);
	}
	name_put(&target);
	return err;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_symlink(struct trapframe *tf)
{
	return symlink_at(arg_user(tf, 0), AT_FDCWD, arg_user(tf, 1));
}
#endif

long
sys_symlinkat(struct trapframe *tf)
{
	return symlink_at(arg_user(tf, 0), arg_int(tf, 1), arg_user(tf, 2));
}

static long
link_at(int old_dfd, uaddr_t old_path, int dfd, uaddr_t path, unsigned flags)
{
	struct path old;
	NAME(name);
	long err;

	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if ((flags & AT_EMPTY_PATH) && !capable())
		return -ENOENT;
	err = user_path_at(old_dfd, old_path,
			   (flags & AT_SYMLINK_FOLLOW ? WALK_FOLLOW : 0) |
				   (flags & AT_EMPTY_PATH ? WALK_EMPTY : 0),
			   &old);
	if (err)
		return err;
	err = name_get(&name, path);
	if (!err) {
		err = names_link(&old, dfd, name.s);
		name_put(&name);
	}
	path_put(&old);
	return err;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_link(struct trapframe *tf)
{
	return link_at(AT_FDCWD, arg_user(tf, 0), AT_FDCWD, arg_user(tf, 1), 0);
}
#endif

long
sys_linkat(struct trapframe *tf)
{
	return link_at(arg_int(tf, 0), arg_user(tf, 1), arg_int(tf, 2), arg_user(tf, 3),
		       arg_uint(tf, 4));
}

static long
rename_at(int from_dfd, uaddr_t from_path, int to_dfd, uaddr_t to_path, unsigned flags)
{
	NAME(from);
	NAME(to);
	long err;

	if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	err = name_get(&from, from_path);
	if (err)
		return err;
	err = name_get(&to, to_path);
	if (!err) {
		err = names_rename(from_dfd, from.s, to_dfd, to.s, flags);
		name_put(&to);
	}
	name_put(&from);
	return err;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_rename(struct trapframe *tf)
{
	return rename_at(AT_FDCWD, arg_user(tf, 0), AT_FDCWD, arg_user(tf, 1), 0);
}
#endif

long
sys_renameat(struct trapframe *tf)
{
	return rename_at(arg_int(tf, 0), arg_user(tf, 1), arg_int(tf, 2), arg_user(tf, 3), 0);
}

long
sys_renameat2(struct trapframe *tf)
{
	return rename_at(arg_int(tf, 0), arg_user(tf, 1), arg_int(tf, 2), arg_user(tf, 3),
			 arg_uint(tf, 4));
}

static long
readlink_at(int dfd, uaddr_t name, uaddr_t to, int size)
{
	struct inode *inode;
	struct path p;
	char *buf;
	long n;

	if (size <= 0)
		return -EINVAL;
	n = user_path_at(dfd, name, WALK_EMPTY, &p);
	if (n)
		return n;
	inode = p.dentry->inode;
	if ((inode->mode & S_IFMT) != S_IFLNK || !inode->ops->readlink) {
		path_put(&p);
		return -EINVAL;
	}
	buf = kmalloc(PATH_MAX);
	n = buf ? inode->ops->readlink(inode, buf, MIN((size_t)size, (size_t)PATH_MAX)) : -ENOMEM;
	if (n > 0 && copy_to_user(to, buf, (size_t)n))
		n = -EFAULT;
	kfree(buf);
	path_put(&p);
	return n;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_readlink(struct trapframe *tf)
{
	return readlink_at(AT_FDCWD, arg_user(tf, 0), arg_user(tf, 1), arg_int(tf, 2));
}
#endif

long
sys_readlinkat(struct trapframe *tf)
{
	return readlink_at(arg_int(tf, 0), arg_user(tf, 1), arg_user(tf, 2), arg_int(tf, 3));
}

/* ---- Reading directories ---- */

#define DIR_BUFFER 16384u

/* Fills a kernel buffer with linux_dirent64 or linux_dirent records. */
struct getdents {
	struct dir_context ctx;
	char *buf;
	size_t len, size;
	size_t last; /* offset of the last record */
	bool old;    /* struct linux_dirent: no type before the name, but at the record's end */
	bool small;  /* not even one record fits */
};

#define DIRENT64_NAME 19
#define DIRENT_NAME   18

static bool
getdents_emit(struct dir_context *ctx, const char *name, size_t len, uint64_t ino, uint32_t mode,
	      uint64_t next_pos)
{
	struct getdents *g = container_of(ctx, struct getdents, ctx);
	size_t fixed = g->old ? DIRENT_NAME + 1 : DIRENT64_NAME;
	uint16_t n = (uint16_t)ALIGN_UP(fixed + len + 1, 8ul);
	uint8_t type = (uint8_t)((mode & S_IFMT) >> 12);
	char *r = g->buf + g->len;

	if (n > g->size - g->len) {
		g->small = g->len == 0;
		return false;
	}
	memset(r, 0, n);
	memcpy(r, &ino, 8);
	memcpy(r + 8, &next_pos, 8);
	memcpy(r + 16, &n, 2);
	if (g->old) {
		memcpy(r + DIRENT_NAME, name, len);
		r[n - 1] = (char)type;
	} else {
		r[18] = (char)type;
		memcpy(r + DIRENT64_NAME, name, len);
	}
	g->last = g->len;
	g->len += n;
	return true;
}

static long
getdents(struct file *f, uaddr_t to, size_t size, bool old)
{
	struct getdents g = {.ctx = {.emit = getdents_emit}, .old = old};
	long err;

	if ((f->inode->mode & S_IFMT) != S_IFDIR || !f->ops->readdir)
		return -ENOTDIR;
	g.size = MIN(size, (size_t)DIR_BUFFER);
	g.buf = kmalloc(DIR_BUFFER);
	if (!g.buf)
		return -ENOMEM;
	mutex_lock(&f->pos_lock);
	g.ctx.pos = f->pos;
	err = f->ops->readdir(f, &g.ctx);
	if (!err && g.len) {
		err = (long)g.len;
		if (copy_to_user(to, g.buf, g.len))
			err = -EFAULT;
		else
			memcpy(&f->pos, g.buf + g.last + 8, 8);
		inode_touch_atime(f);
	} else if (!err && g.small) {
		err = -EINVAL;
	}
	mutex_unlock(&f->pos_lock);
	kfree(g.buf);
	return err;
}

static long
getdents_fd(struct trapframe *tf, bool old)
{
	struct fd_use u = fd_use(arg_int(tf, 0));
	long r;

	if (!u.file)
		return -EBADF;
	r = getdents(u.file, arg_user(tf, 1), arg_uint(tf, 2), old);
	fd_done(u);
	return r;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_getdents(struct trapframe *tf)
{
	return getdents_fd(tf, true);
}
#endif

long
sys_getdents64(struct trapframe *tf)
{
	return getdents_fd(tf, false);
}

/* ---- Where the process is ---- */

long
sys_getcwd(struct trapframe *tf)
{
	struct fs_context *fs = fs_current();
	char *buf = kmalloc(PATH_MAX);
	size_t size = arg_u64(tf, 1);
	struct path p;
	ssize_t n;

	if (!buf)
		return -ENOMEM;
	spin_lock(&vfs_lock);
	p = fs->cwd;
	path_get(&p);
	spin_unlock(&vfs_lock);
	if (p.dentry->flags & DENTRY_DELETED) {
		n = -ENOENT;
	} else {
		n = path_to_string(&p, buf, PATH_MAX);
		if (n == -ERANGE)
			n = -ENAMETOOLONG;
		else if ((size_t)n + 1 > size)
			n = -ERANGE;
		else
			n = copy_to_user(arg_user(tf, 0), buf, (size_t)n + 1) ? -EFAULT : n + 1;
	}
	path_put(&p);
	kfree(buf);
	return n;
}

static long
change_dir(const struct path *p)
{
	long err = inode_permission(p->dentry->inode, MAY_EXEC);

	if (!err)
		fs_set_path(&fs_current()->cwd, p);
	return err;
}

long
sys_chdir(struct trapframe *tf)
{
	struct path p;
	long err = user_path_at(AT_FDCWD, arg_user(tf, 0), WALK_FOLLOW | WALK_DIRECTORY, &p);

	if (err)
		return err;
	err = change_dir(&p);
	path_put(&p);
	return err;
}

long
sys_fchdir(struct trapframe *tf)
{
	struct fd_use u = fd_use_path(arg_int(tf, 0));
	long err = -ENOTDIR;

	if (!u.file)
		return -EBADF;
	if ((u.file->inode->mode & S_IFMT) == S_IFDIR)
		err = change_dir(&u.file->path);
	fd_done(u);
	return err;
}

long
sys_chroot(struct trapframe *tf)
{
	struct path p;
	long err = user_path_at(AT_FDCWD, arg_user(tf, 0), WALK_FOLLOW | WALK_DIRECTORY, &p);

	if (err)
		return err;
	err = inode_permission(p.dentry->inode, MAY_EXEC);
	if (!err && !capable())
		err = -EPERM;
	if (!err)
		fs_set_path(&fs_current()->root, &p);
	path_put(&p);
	return err;
}
