/*
 * Open files: from a path and flags to a struct file, and back.
 */
#include "kernel/errno.h"
#include "kernel/fs/file.h"
#include "kernel/fs/namei.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"

#define FLAGS_KEPT                                                                                 \
	(O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | O_ASYNC | O_DIRECT | O_LARGEFILE | \
	 O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_PATH | O_TMPFILE)

static struct slab_cache *file_cache ro_after_init;

void
file_init(void)
{
	file_cache = slab_create("file", sizeof(struct file), 16);
}

/* An open file of path, whose reference it takes over on success. */
static int
file_alloc(const struct path *path, unsigned flags, const struct file_ops *ops, struct file **out)
{
	struct file *f = slab_alloc(file_cache);

	if (!f)
		return -ENOMEM;
	refcount_init(&f->refs);
	f->flags = flags & FLAGS_KEPT;
	/* 0 read, 1 write, 2 both, 3 neither (Linux keeps it for ioctl alone) */
	f->mode = (flags & O_ACCMODE) + 1 == 4 ? 0 : (flags & O_ACCMODE) + 1;
	if (flags & O_PATH)
		f->mode = 0;
	f->ops = ops;
	f->path = *path;
	f->inode = path->dentry->inode;
	f->pos = 0;
	f->data = NULL;
	mutex_init(&f->pos_lock);
	list_init(&f->epoll_items);
	f->watched = false;
	*out = f;
	return 0;
}

void
file_get(struct file *f)
{
	refcount_get(&f->refs);
}

static void
file_free(struct file *f)
{
	if (f->mode & FILE_WRITER)
		inode_put_write(f->inode);
	path_put(&f->path);
	slab_free(file_cache, f);
}

void
file_put(struct file *f)
{
	if (!refcount_put(&f->refs))
		return;
	if (!(f->flags & O_PATH)) {
		if (unlikely(READ_ONCE(f->inode->locks) != NULL))
			flock_release(f, NULL);
		epoll_file_released(f);
		if (f->ops->release)
			f->ops->release(f);
	}
	file_free(f);
}

/* The permissions that open flags ask for. */
static unsigned
flags_may(unsigned flags)
{
	static const uint8_t may[] = {MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE,
				      MAY_READ | MAY_WRITE};

	return may[flags & O_ACCMODE] | (flags & O_TRUNC ? MAY_WRITE : 0);
}

static const struct file_ops no_ops;

/* Opens an inode that the checks let pass.  Takes over path's reference, also on failure. */
static int
file_open_checked(struct path *path, unsigned flags, struct file **out)
{
	struct inode *inode = path->dentry->inode;
	uint32_t type = inode->mode & S_IFMT;
	struct file *f;
	int err = file_alloc(path, flags, inode->fops ? inode->fops : &no_ops, &f);

	if (err) {
		path_put(path);
		return err;
	}
	if (flags & O_PATH) {
		f->ops = &no_ops;
		*out = f;
		return 0;
	}
	if (type == S_IFREG && (f->mode & FILE_WRITE)) {
		err = inode_get_write(inode);
		if (err)
			goto fail;
		f->mode |= FILE_WRITER;
	}
	if (type == S_IFCHR) {
		f->mode |= FILE_STREAM;
		err = chrdev_open(inode, f);
	} else if (type == S_IFIFO) {
		f->mode |= FILE_STREAM;
		f->ops = &fifo_ops;
		err = f->ops->open(inode, f);
	} else if (type == S_IFBLK || type == S_IFSOCK) {
		err = -ENXIO;
	} else if (f->ops->open) {
		err = f->ops->open(inode, f);
	}
	if (err)
		goto fail;
	if ((flags & O_TRUNC) && type == S_IFREG) {
		/* As a writer, which a file open for reading is not: running programs keep their pages. */
		err = inode_get_write(inode);
		if (!err) {
			err = inode->ops->truncate ? inode_truncate(inode, 0) : 0;
			inode_put_write(inode);
		}
		if (err) {
			file_put(f);
			return err;
		}
	}
	*out = f;
	return 0;
fail:
	file_free(f);
	return err;
}

/* May path be opened so?  created: by this very call, so that its mode does not matter. */
static int
may_open(const struct path *path, unsigned flags, bool created)
{
	struct inode *inode = path->dentry->inode;
	unsigned may = flags_may(flags);
	int err;

	if (flags & O_PATH)
		return 0;
	switch (inode->mode & S_IFMT) {
	case S_IFLNK:
		return -ELOOP;
	case S_IFDIR:
		if (may & MAY_WRITE)
			return -EISDIR;
		break;
	case S_IFREG:
		if ((may & MAY_WRITE) && mount_readonly(path->mount))
			return -EROFS;
		break;
	case S_IFCHR:
	case S_IFBLK:
		if (path->mount->flags & MNT_NODEV)
			return -EACCES;
		break;
	}
	err = created ? 0 : inode_permission(inode, may);
	if (err)
		return err;
	if ((flags & O_NOATIME) && !inode_owner_or_capable(inode))
		return -EPERM;
	return 0;
}

int
file_open_path(const struct path *path, unsigned flags, struct file **out)
{
	struct path p = *path;
	int err;

	if ((flags & O_DIRECTORY) && (p.dentry->inode->mode & S_IFMT) != S_IFDIR)
		return -ENOTDIR;
	err = may_open(&p, flags, false);
	if (err)
		return err;
	path_get(&p);
	return file_open_checked(&p, flags, out);
}

static int
open_tmpfile(int dfd, const char *name, unsigned flags, uint32_t mode, struct file **out)
{
	struct path dir, p;
	struct inode *inode;
	int err = path_at(dfd, name, WALK_FOLLOW | WALK_DIRECTORY, &dir);

	if (err)
		return err;
	err = inode_permission(dir.dentry->inode, MAY_WRITE | MAY_EXEC);
	if (!err && mount_readonly(dir.mount))
		err = -EROFS;
	if (!err && dir.dentry->inode->ops != &tmpfs_dir_ops)
		err = -EOPNOTSUPP;
	if (!err)
		err = tmpfs_tmpfile(dir.dentry->inode, mode & ~fs_current()->umask, &inode);
	if (err)
		goto out;
	inode->linkable = !(flags & O_EXCL);
	err = dentry_alloc(dir.dentry, "#tmpfile", 8, inode, &p.dentry);
	if (err) {
		inode_put(inode);
		goto out;
	}
	p.dentry->flags |= DENTRY_DELETED;
	p.mount = dir.mount;
	mount_get(p.mount);
	err = file_open_checked(&p, flags & ~O_DIRECTORY, out);
out:
	path_put(&dir);
	return err;
}

/*
 * O_CREAT: finds the last name or makes it.  0: *path is what to open, referenced; *created says how
 * it came.  1: w went through a symbolic link, try again.
 */
static int
open_last(struct walk *w, unsigned flags, uint32_t mode, struct path *path, bool *created)
{
	struct dentry *d;
	struct inode *dir = w->cur.dentry->inode, *inode = NULL;
	struct mount *m;
	int err;

	*created = false;
	if (w->last_type == LAST_NONE && w->links) { /* a link of /proc led to it */
		*path = w->cur;
		path_get(path);
		return flags & O_EXCL ? -EEXIST : 0;
	}
	if (w->last_type != LAST_NAME || w->last_slash)
		return -EISDIR;
	mutex_lock(&dir->lock);
	err = walk_last(w, &d);
	if (err == -ENOENT) {
		if (w->cur.dentry->flags & DENTRY_DELETED)
			err = -ENOENT;
		else if (!dir->ops->create && dir->ops->lookup)
			err = -ENOENT; /* the file system alone makes its names */
		else if (mount_readonly(w->cur.mount))
			err = -EROFS;
		else
			err = permission_of(&w->who, dir, MAY_WRITE | MAY_EXEC);
		if (!err)
			err = dir->ops->create
				      ? dir->ops->create(dir, w->last, w->last_len,
							 S_IFREG | (mode & ~fs_current()->umask), 0,
							 &inode)
				      : -EACCES;
		err = create_end(w, err, inode, &d); /* unlocks */
		if (err)
			return err;
		*created = true;
		*path = (struct path){w->cur.mount, d};
		mount_get(path->mount);
		return 0;
	}
	mutex_unlock(&dir->lock);
	if (err)
		return err;
	if (flags & O_EXCL)
		err = -EEXIST;
	else if ((d->inode->mode & S_IFMT) == S_IFLNK && !(flags & O_NOFOLLOW))
		err = 1;
	if (err) {
		if (err == 1)
			err = walk_through(w, d);
		dentry_put(d);
		return err ? err : 1;
	}
	spin_lock(&vfs_lock);
	*path = (struct path){w->cur.mount, d};
	while (path->dentry->mounted && (m = mount_on(path->mount, path->dentry)))
		*path = (struct path){m, m->root};
	path_get(path);
	spin_unlock(&vfs_lock);
	dentry_put(d);
	if ((path->dentry->inode->mode & S_IFMT) == S_IFDIR) {
		path_put(path);
		return -EISDIR;
	}
	return 0;
}

static int
open_create(int dfd, const char *name, unsigned flags, uint32_t mode, struct file **out)
{
	struct walk w __attribute__((uninitialized));
	struct path path;
	bool created;
	int err = walk(&w, dfd, name, WALK_PARENT);

	if (err)
		return err;
	do
		err = open_last(&w, flags, mode, &path, &created);
	while (err == 1);
	walk_end(&w);
	if (err)
		return err;
	if (created)
		flags &= ~O_TRUNC;
	err = may_open(&path, flags, created);
	if (err) {
		path_put(&path);
		return err;
	}
	return file_open_checked(&path, flags, out);
}

int
file_open_at(int dfd, const char *name, unsigned flags, uint32_t mode, struct file **out)
{
	struct path path;
	unsigned how = flags & O_NOFOLLOW ? 0 : WALK_FOLLOW;
	int err;

	if (flags & O_PATH)
		flags &= O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;
	if (flags & O_TMPFILE) {
		if (!(flags & O_DIRECTORY) || (flags & O_CREAT) || !(flags_may(flags) & MAY_WRITE))
			return -EINVAL;
		return open_tmpfile(dfd, name, flags, mode & 07777, out);
	}
	if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY))
		return -EINVAL;
	if (flags & O_CREAT)
		return open_create(dfd, name, flags, mode & 07777, out);
	if (flags & O_DIRECTORY)
		how |= WALK_DIRECTORY;
	err = path_at(dfd, name, how, &path);
	if (err)
		return err;
	err = may_open(&path, flags, false);
	if (err) {
		path_put(&path);
		return err;
	}
	return file_open_checked(&path, flags, out);
}

int
file_open(const char *path, unsigned flags, uint32_t mode, struct file **out)
{
	return file_open_at(AT_FDCWD, path, flags, mode, out);
}

int
file_open_exec(int dfd, const char *name, unsigned flags, struct file **out)
{
	unsigned how = (flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) |
		       (flags & AT_EMPTY_PATH ? WALK_EMPTY : 0);
	struct path path;
	struct inode *inode;
	int err = path_at(dfd, name, how, &path);

	if (err)
		return err;
	inode = path.dentry->inode;
	if ((inode->mode & S_IFMT) == S_IFLNK)
		err = -ELOOP;
	else if ((inode->mode & S_IFMT) != S_IFREG || (path.mount->flags & MNT_NOEXEC))
		err = -EACCES;
	else
		err = inode_permission(inode, MAY_EXEC);
	if (err) {
		path_put(&path);
		return err;
	}
	return file_open_checked(&path, O_RDONLY, out);
}

int
file_create_on(const struct path *path, const struct file_ops *ops, void *data, unsigned flags,
	       struct file **out)
{
	struct file *f;
	int err = file_alloc(path, flags, ops, &f);

	if (err)
		return err;
	path_get(path);
	if (!ops->seek)
		f->mode |= FILE_STREAM;
	f->data = data;
	*out = f;
	return 0;
}

static const struct inode_ops anonymous_inode_ops;

int
file_create_anonymous(const char *name, const struct file_ops *ops, void *data, unsigned flags,
		      struct file **out)
{
	struct path p = {internal_mount, NULL};
	struct inode *inode;
	bool pipe = strcmp(name, "pipe") == 0;
	int err = inode_alloc(internal_mount->super, (pipe ? S_IFIFO : 0) | 0600, &inode);

	if (err)
		return err;
	inode->ops = &anonymous_inode_ops;
	err = dentry_alloc(NULL, name, MIN(strlen(name), (size_t)NAME_MAX), inode, &p.dentry);
	if (err) {
		inode_put(inode);
		return err;
	}
	p.dentry->flags |= DENTRY_ANONYMOUS;
	err = file_create_on(&p, ops, data, flags, out);
	dentry_put(p.dentry);
	return err;
}

ssize_t
file_read_kernel(struct file *f, void *buf, size_t n, uint64_t pos)
{
	size_t done = 0;

	if (!f->ops->read)
		return -EINVAL;
	while (done < n) {
		struct iovec iov;
		struct uio u;
		ssize_t got;

		uio_init_kernel(&u, &iov, (char *)buf + done, n - done);
		got = f->ops->read(f, &u, &pos);
		if (got < 0)
			return done ? (ssize_t)done : got;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}
