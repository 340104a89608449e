/*
 * Making, removing and moving names, with Linux's order of checks.
 */
#include "kernel/errno.h"
#include "kernel/fs/names.h"
#include "kernel/fs/namei.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"

/* One move of a directory between directories at a time: no two can make a loop together. */
struct mutex rename_lock = MUTEX_INIT(rename_lock);

int
create_begin(struct walk *w, int dfd, const char *name, bool directory)
{
	struct dentry *d;
	struct inode *dir;
	int err = walk(w, dfd, name, WALK_PARENT);

	if (err)
		return err;
	if (w->last_type != LAST_NAME) {
		err = -EEXIST;
		goto out;
	}
	dir = w->cur.dentry->inode;
	mutex_lock(&dir->lock);
	err = walk_last(w, &d);
	if (!err) {
		dentry_put(d);
		err = -EEXIST;
	} else if (err == -ENOENT) {
		if (w->last_slash && !directory)
			err = -ENOENT;
		else if (mount_readonly(w->cur.mount))
			err = -EROFS;
		else if (w->cur.dentry->flags & DENTRY_DELETED)
			err = -ENOENT;
		else if (!dir->ops->create && dir->ops->lookup)
			err = -ENOENT; /* the file system alone makes its names */
		else
			err = permission_of(&w->who, dir, MAY_WRITE | MAY_EXEC);
	}
	if (!err)
		return 0;
	mutex_unlock(&dir->lock);
out:
	walk_end(w);
	return err;
}

int
create_end(struct walk *w, int err, struct inode *inode, struct dentry **out)
{
	struct inode *dir = w->cur.dentry->inode;
	struct dentry *d;

	if (!err) {
		err = dentry_alloc(w->cur.dentry, w->last, w->last_len, inode, &d);
		if (err) {
			/* The name was never seen: an inode without one goes with its reference. */
			if (dir->ops->forget)
				dir->ops->forget(dir, inode);
			inode_put(inode);
		}
	}
	if (!err) {
		spin_lock(&vfs_lock);
		if (out)
			refcount_get(&d->refs);
		dentry_add(d);
		spin_unlock(&vfs_lock);
		if (out)
			*out = d;
		if (!inode->super->pinned)
			dentry_put(d);
	}
	mutex_unlock(&dir->lock);
	return err;
}

/* After create_begin: gives the name its inode, ends the walk. */
static int
finish(struct walk *w, int err, struct inode *inode)
{
	err = create_end(w, err, inode, NULL);
	walk_end(w);
	return err;
}

int
names_mknod(int dfd, const char *name, uint32_t mode, uint32_t rdev)
{
	struct walk w __attribute__((uninitialized));
	struct inode *dir, *inode = NULL;
	uint32_t type = mode & S_IFMT;
	int err;

	if (type == 0)
		type = S_IFREG;
	if (type == S_IFDIR)
		return -EPERM;
	if (type != S_IFREG && type != S_IFCHR && type != S_IFBLK && type != S_IFIFO &&
	    type != S_IFSOCK)
		return -EINVAL;
	err = create_begin(&w, dfd, name, false);
	if (err)
		return err;
	dir = w.cur.dentry->inode;
	if ((type == S_IFCHR || type == S_IFBLK) && w.who.uid != 0)
		err = -EPERM;
	else if (!dir->ops->create)
		err = -EPERM;
	else
		err = dir->ops->create(dir, w.last, w.last_len,
				       type | (mode & 07777 & ~fs_current()->umask),
				       type == S_IFCHR || type == S_IFBLK ? rdev : 0, &inode);
	return finish(&w, err, inode);
}

int
names_mkdir(int dfd, const char *name, uint32_t mode)
{
	struct walk w __attribute__((uninitialized));
	struct inode *dir, *inode = NULL;
	int err = create_begin(&w, dfd, name, true);

	if (err)
		return err;
	dir = w.cur.dentry->inode;
	err = dir->ops->mkdir ? dir->ops->mkdir(dir, w.last, w.last_len,
						mode & 01777 & ~fs_current()->umask, &inode)
			      : -EPERM;
	return finish(&w, err, inode);
}

int
names_symlink(const char *target, int dfd, const char *name)
{
	struct walk w __attribute__((uninitialized));
	struct inode *dir, *inode = NULL;
	int err = create_begin(&w, dfd, name, false);

	if (err)
		return err;
	dir = w.cur.dentry->inode;
	err = dir->ops->symlink ? dir->ops->symlink(dir, w.last, w.last_len, target, &inode)
				: -EPERM;
	return finish(&w, err, inode);
}

int
names_link(const struct path *old, int dfd, const char *name)
{
	struct walk w __attribute__((uninitialized));
	struct inode *dir, *inode = old->dentry->inode;
	int err = create_begin(&w, dfd, name, false);

	if (err)
		return err;
	dir = w.cur.dentry->inode;
	if (w.cur.mount != old->mount)
		err = -EXDEV;
	else if (!dir->ops->link || (inode->mode & S_IFMT) == S_IFDIR)
		err = -EPERM;
	else if (inode->nlink == 0 && !inode->linkable)
		err = -ENOENT;
	else
		err = dir->ops->link(dir, w.last, w.last_len, inode);
	if (!err)
		inode_get(inode);
	return finish(&w, err, inode);
}

/* A directory with the sticky bit: only the owners of file or directory remove. */
static bool
sticky_refuses(const struct inode *dir, const struct inode *victim)
{
	struct subject who = subject_current(false);

	return (dir->mode & S_ISVTX) && who.uid != victim->uid && who.uid != dir->uid &&
	       who.uid != 0;
}

int
may_delete(struct walk *w, struct dentry *victim, bool directory)
{
	struct inode *dir = w->cur.dentry->inode;
	bool is_dir = (victim->inode->mode & S_IFMT) == S_IFDIR;
	int err = permission_of(&w->who, dir, MAY_WRITE | MAY_EXEC);

	if (err)
		return err;
	if (sticky_refuses(dir, victim->inode))
		return -EPERM;
	if (directory && !is_dir)
		return -ENOTDIR;
	if (!directory && is_dir)
		return -EISDIR;
	if (victim->mounted)
		return -EBUSY;
	return 0;
}

int
names_remove(int dfd, const char *name, bool directory)
{
	struct walk w __attribute__((uninitialized));
	struct dentry *d = NULL;
	struct inode *dir;
	int err = walk(&w, dfd, name, WALK_PARENT);

	if (err)
		return err;
	dir = w.cur.dentry->inode;
	if (w.last_type != LAST_NAME) {
		if (!directory)
			err = -EISDIR;
		else if (w.last_type == LAST_DOT)
			err = -EINVAL;
		else
			err = w.last_type == LAST_DOTDOT ? -ENOTEMPTY : -EBUSY;
		goto out;
	}
	if (mount_readonly(w.cur.mount)) {
		err = -EROFS;
		goto out;
	}
	mutex_lock(&dir->lock);
	err = walk_last(&w, &d);
	if (!err && !directory && w.last_slash)
		err = (d->inode->mode & S_IFMT) == S_IFDIR ? -EISDIR : -ENOTDIR;
	if (!err)
		err = may_delete(&w, d, directory);
	if (err)
		goto unlock;
	if (directory) {
		/* With the victim's lock nobody makes a name in it meanwhile. */
		mutex_lock(&d->inode->lock);
		err = dir->ops->rmdir ? dir->ops->rmdir(dir, d) : -EPERM;
		if (!err)
			dentry_delete(d);
		mutex_unlock(&d->inode->lock);
	} else {
		err = dir->ops->unlink ? dir->ops->unlink(dir, d) : -EPERM;
		if (!err)
			dentry_delete(d);
	}
unlock:
	mutex_unlock(&dir->lock);
	if (d)
		dentry_put(d);
out:
	walk_end(&w);
	return err;
}

/* Locks both directories, an ancestor before what is below it.  rename_lock is held if they differ. */
static void
lock_pair(struct dentry *a, struct dentry *b)
{
	bool a_first;

	if (a == b) {
		mutex_lock(&a->inode->lock);
		return;
	}
	spin_lock(&vfs_lock);
	a_first = dentry_is_below(b, a) || (!dentry_is_below(a, b) && a < b);
	spin_unlock(&vfs_lock);
	mutex_lock(a_first ? &a->inode->lock : &b->inode->lock);
	mutex_lock(a_first ? &b->inode->lock : &a->inode->lock);
}

/* Both names are found and their directories locked: the checks that remain, and the move. */
static int
rename_locked(struct walk *from, struct walk *to, struct dentry *old, struct dentry *new,
	      unsigned flags)
{
	struct inode *old_dir = from->cur.dentry->inode, *new_dir = to->cur.dentry->inode;
	bool is_dir = (old->inode->mode & S_IFMT) == S_IFDIR;
	bool exchange = flags & RENAME_EXCHANGE;
	bool new_is_dir = new && (new->inode->mode & S_IFMT) == S_IFDIR;
	char *long_name;
	bool loop, over;
	int err;

	if (exchange && !new_is_dir && to->last_slash)
		return -ENOTDIR;
	if (!is_dir && (from->last_slash || (to->last_slash && !exchange)))
		return -ENOTDIR;
	spin_lock(&vfs_lock);
	loop = is_dir && dentry_is_below(to->cur.dentry, old);
	over = new_is_dir && dentry_is_below(from->cur.dentry, new);
	spin_unlock(&vfs_lock);
	if (loop)
		return -EINVAL;
	if (over)
		return exchange ? -EINVAL : -ENOTEMPTY;
	if (new && new->inode == old->inode)
		return 0;
	err = may_delete(from, old, is_dir);
	if (!err && new)
		err = may_delete(to, new, exchange ? new_is_dir : is_dir);
	else if (!err)
		err = to->cur.dentry->flags & DENTRY_DELETED
			      ? -ENOENT
			      : permission_of(&to->who, new_dir, MAY_WRITE | MAY_EXEC);
	/* A directory that changes parents is written: its .. changes. */
	if (!err && old_dir != new_dir && is_dir)
		err = permission_of(&from->who, old->inode, MAY_WRITE);
	if (!err && old_dir != new_dir && exchange && new_is_dir)
		err = permission_of(&from->who, new->inode, MAY_WRITE);
	if (err)
		return err;
	if (!old_dir->ops->rename)
		return -EPERM;
	err = dentry_long_name(to->last, to->last_len, &long_name);
	if (err)
		return err;
	if (new_is_dir && !exchange)
		mutex_lock(&new->inode->lock);
	err = old_dir->ops->rename(old_dir, old, new_dir, new, flags);
	if (err) {
		kfree(long_name);
		goto out;
	}
	spin_lock(&vfs_lock);
	if (exchange) {
		dentry_exchange(old, new);
	} else {
		if (new) {
			dentry_unhash(new);
			new->flags |= DENTRY_DELETED;
		}
		dentry_move(old, to->cur.dentry, to->last, to->last_len, long_name);
		long_name = NULL;
	}
	spin_unlock(&vfs_lock);
	kfree(long_name);
	if (new && !exchange)
		dentry_put(new); /* its pin; the caller has a reference */
out:
	if (new_is_dir && !exchange)
		mutex_unlock(&new->inode->lock);
	return err;
}

int
names_rename(int from_dfd, const char *from_name, int to_dfd, const char *to_name, unsigned flags)
{
	struct walk *w = kmalloc(2 * sizeof(*w)), *from = w, *to = w + 1;
	struct dentry *old = NULL, *new = NULL;
	bool cross;
	int err;

	if (!w)
		return -ENOMEM;
	err = walk(from, from_dfd, from_name, WALK_PARENT);
	if (err)
		goto out;
	err = walk(to, to_dfd, to_name, WALK_PARENT);
	if (err)
		goto out_from;
	if (from->cur.mount != to->cur.mount)
		err = -EXDEV;
	else if (from->last_type != LAST_NAME)
		err = -EBUSY;
	else if (to->last_type != LAST_NAME)
		err = flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
	else if (mount_readonly(from->cur.mount))
		err = -EROFS;
	if (err)
		goto out_to;
	cross = from->cur.dentry != to->cur.dentry;
	if (cross)
		mutex_lock(&rename_lock);
	lock_pair(from->cur.dentry, to->cur.dentry);
	err = walk_last(from, &old);
	if (!err) {
		err = walk_last(to, &new);
		if (err == -ENOENT && !(flags & RENAME_EXCHANGE))
			err = 0;
		else if (!err && (flags & RENAME_NOREPLACE))
			err = -EEXIST;
	}
	if (!err)
		err = rename_locked(from, to, old, new, flags);
	mutex_unlock(&from->cur.dentry->inode->lock);
	if (cross) {
		mutex_unlock(&to->cur.dentry->inode->lock);
		mutex_unlock(&rename_lock);
	}
	if (new)
		dentry_put(new);
	if (old)
		dentry_put(old);
out_to:
	walk_end(to);
out_from:
	walk_end(from);
out:
	kfree(w);
	return err;
}
