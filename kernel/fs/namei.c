/*
 * Path walks: from a string to a place in the tree of names.  A walk over cached names runs in one
 * hold of vfs_lock and takes no reference on its way; it lets go only to ask a file system for a name
 * or for the target of a symbolic link.
 */
#include "kernel/errno.h"
#include "kernel/fs/namei.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"

int
name_get(struct name *n, uaddr_t path)
{
	ssize_t len;

	n->s = n->buf;
	len = strncpy_from_user(n->buf, path, sizeof(n->buf));
	if (unlikely(len == -ENAMETOOLONG)) {
		n->s = kmalloc(PATH_MAX);
		if (!n->s)
			return -ENOMEM;
		len = strncpy_from_user(n->s, path, PATH_MAX);
	}
	if (unlikely(len < 0)) {
		name_put(n);
		return (int)len;
	}
	return 0;
}

void
name_put(struct name *n)
{
	if (n->s != n->buf)
		kfree(n->s);
}

void
path_get(const struct path *p)
{
	mount_get(p->mount);
	dentry_get(p->dentry);
}

void
path_put(const struct path *p)
{
	dentry_put(p->dentry);
	mount_put(p->mount);
}

/* Puts a reference on where the walk stands and drops vfs_lock. */
static void
walk_unlock(struct walk *w)
{
	struct path old = w->held;

	if (old.dentry == w->cur.dentry && old.mount == w->cur.mount) {
		spin_unlock(&vfs_lock);
		return;
	}
	path_get(&w->cur);
	w->held = w->cur;
	spin_unlock(&vfs_lock);
	if (old.dentry)
		path_put(&old);
}

static void
cross_mounts(struct path *p)
{
	struct mount *m;

	while (unlikely(p->dentry->mounted) && (m = mount_on(p->mount, p->dentry))) {
		p->mount = m;
		p->dentry = m->root;
	}
}

/* One step up, but not out of the process's root. */
static void
walk_up(struct walk *w)
{
	const struct path *root = &w->fs->root;
	struct path *p = &w->cur;

	for (;;) {
		if (p->dentry == root->dentry && p->mount == root->mount)
			break;
		if (p->dentry != p->mount->root) {
			p->dentry = p->dentry->parent;
			break;
		}
		if (!p->mount->parent)
			break;
		p->dentry = p->mount->mountpoint;
		p->mount = p->mount->parent;
	}
	cross_mounts(p);
}

/* Asks the file system for a name that is not cached.  Its directory's inode->lock is held. */
static int
lookup_locked(struct dentry *dir, const char *name, size_t len, uint32_t hash, struct dentry **out)
{
	struct dentry *d;
	struct inode *inode;
	int err;

	spin_lock(&vfs_lock);
	d = dentry_find(dir, name, len, hash);
	if (d && d->inode->ops->stale && d->inode->ops->stale(d->inode)) {
		dentry_unhash(d);
		d = NULL;
	}
	if (d)
		refcount_get(&d->refs);
	spin_unlock(&vfs_lock);
	if (d) {
		*out = d;
		return 0;
	}
	if (dir->inode->super->pinned || !dir->inode->ops->lookup)
		return -ENOENT;
	err = dir->inode->ops->lookup(dir->inode, name, len, &inode);
	if (err)
		return err;
	err = dentry_alloc(dir, name, len, inode, &d);
	if (err) {
		inode_put(inode);
		return err;
	}
	spin_lock(&vfs_lock);
	dentry_add(d);
	spin_unlock(&vfs_lock);
	*out = d;
	return 0;
}

/* A cache miss in a file system that must be asked.  Drops vfs_lock meanwhile; held becomes *out. */
static int
walk_ask(struct walk *w, const char *name, size_t len, uint32_t hash, struct dentry **out)
{
	struct dentry *dir = w->cur.dentry, *d;
	int err;

	walk_unlock(w);
	mutex_lock(&dir->inode->lock);
	err = lookup_locked(dir, name, len, hash, &d);
	mutex_unlock(&dir->inode->lock);
	spin_lock(&vfs_lock);
	if (err)
		return err;
	/* d holds its parent, so this is not the parent's last reference. */
	(void)!refcount_put(&dir->refs);
	w->held.dentry = d;
	*out = d;
	return 0;
}

/* Goes on through the symbolic link d in the directory w->cur.  Drops vfs_lock meanwhile. */
static int
walk_link(struct walk *w, struct dentry *d)
{
	const struct inode_ops *ops = d->inode->ops;
	size_t rest = strlen(w->rest);
	struct path to;
	char *buf = NULL;
	ssize_t n;

	if (++w->links > MAX_LINKS)
		return -ELOOP;
	refcount_get(&d->refs);
	walk_unlock(w);
	if (ops->follow) {
		n = ops->follow(d->inode, &to);
	} else {
		buf = kmalloc(PATH_MAX + rest);
		n = buf ? ops->readlink(d->inode, buf, PATH_MAX - 1) : -ENOMEM;
		if (n == 0)
			n = -ENOENT;
	}
	dentry_put(d);
	if (n < 0) {
		kfree(buf);
		spin_lock(&vfs_lock);
		return (int)n;
	}
	if (ops->follow) {
		path_put(&w->held);
		w->held = to;
		spin_lock(&vfs_lock);
		w->cur = to;
		return 0;
	}
	memcpy(buf + n, w->rest, rest + 1);
	kfree(w->heap);
	w->heap = buf;
	w->rest = buf;
	spin_lock(&vfs_lock);
	if (buf[0] == '/') {
		w->cur = w->fs->root;
		cross_mounts(&w->cur);
	}
	return 0;
}

/* Walks w->rest.  vfs_lock is held on entry and on return. */
static int
walk_run(struct walk *w)
{
	for (;;) {
		const char *p = w->rest, *q, *next;
		struct inode *dir;
		struct dentry *d;
		uint32_t hash;
		size_t len;
		bool last;
		int err;

		while (*p == '/')
			p++;
		dir = w->cur.dentry->inode;
		if (!*p) {
			w->last_type = LAST_NONE;
			if (p != w->rest && (dir->mode & S_IFMT) != S_IFDIR)
				return -ENOTDIR;
			w->rest = p;
			return 0;
		}
		if (unlikely((dir->mode & S_IFMT) != S_IFDIR))
			return -ENOTDIR;
		err = permission_of(&w->who, dir, MAY_EXEC);
		if (unlikely(err))
			return err;
		for (q = p; *q && *q != '/'; q++)
			;
		len = (size_t)(q - p);
		if (unlikely(len > NAME_MAX))
			return -ENAMETOOLONG;
		for (next = q; *next == '/'; next++)
			;
		last = !*next;
		w->last_type = LAST_NAME;
		if (*p == '.' && len <= 2 && (len == 1 || p[1] == '.'))
			w->last_type = len == 1 ? LAST_DOT : LAST_DOTDOT;
		hash = dentry_hash(w->cur.dentry, p, len);
		if (last && (w->flags & WALK_PARENT)) {
			w->last = p;
			w->last_len = (unsigned)len;
			w->last_hash = hash;
			w->last_slash = next != q;
			w->rest = next;
			return 0;
		}
		w->rest = q;
		if (w->last_type != LAST_NAME) {
			if (w->last_type == LAST_DOTDOT)
				walk_up(w);
			continue;
		}
		d = dentry_find(w->cur.dentry, p, len, hash);
		if (unlikely(!d ||
			     (d->inode->ops->stale && d->inode->ops->stale(d->inode)))) {
			if (dir->super->pinned)
				return -ENOENT;
			err = walk_ask(w, p, len, hash, &d);
			if (err)
				return err;
		}
		if (unlikely((d->inode->mode & S_IFMT) == S_IFLNK) &&
		    (!last || next != q || (w->flags & WALK_FOLLOW))) {
			err = walk_link(w, d);
			if (err)
				return err;
			continue;
		}
		w->cur.dentry = d;
		cross_mounts(&w->cur);
	}
}

/* Sets up the walk; on success vfs_lock is held. */
static int
walk_begin(struct walk *w, int dfd, const char *name, unsigned flags)
{
	w->held = (struct path){NULL, NULL};
	w->fs = fs_current();
	w->base = (struct fd_use){NULL, false};
	w->rest = name;
	w->heap = NULL;
	w->flags = flags;
	w->links = 0;
	w->who = subject_current(flags & WALK_REAL_ID);
	if (unlikely(!*name) && !(flags & WALK_EMPTY))
		return -ENOENT;
	if (*name == '/') {
		spin_lock(&vfs_lock);
		w->cur = w->fs->root;
		cross_mounts(&w->cur);
		return 0;
	}
	if (likely(dfd == AT_FDCWD)) {
		spin_lock(&vfs_lock);
		w->cur = w->fs->cwd;
		return 0;
	}
	w->base = fd_use_path(dfd);
	if (!w->base.file)
		return -EBADF;
	if (*name && (w->base.file->inode->mode & S_IFMT) != S_IFDIR) {
		fd_done(w->base);
		return -ENOTDIR;
	}
	spin_lock(&vfs_lock);
	w->cur = w->base.file->path;
	return 0;
}

/* Gives back what the walk holds.  vfs_lock is not held. */
void
walk_end(struct walk *w)
{
	if (w->held.dentry)
		path_put(&w->held);
	kfree(w->heap);
	fd_done(w->base);
}

/* The walk's end with vfs_lock held: checks the result, and leaves it locked. */
static int
walk_finish(struct walk *w, int err)
{
	if (!err && (w->flags & WALK_DIRECTORY) &&
	    (w->cur.dentry->inode->mode & S_IFMT) != S_IFDIR)
		err = -ENOTDIR;
	return err;
}

int
walk(struct walk *w, int dfd, const char *name, unsigned flags)
{
	int err = walk_begin(w, dfd, name, flags);

	if (err)
		return err;
	err = walk_finish(w, walk_run(w));
	if (err) {
		spin_unlock(&vfs_lock);
		walk_end(w);
		return err;
	}
	walk_unlock(w);
	return 0;
}

int
walk_through(struct walk *w, struct dentry *link)
{
	int err;

	/* What follows the name, slashes if anything, is still in w->rest's string. */
	w->rest = w->last + w->last_len;
	spin_lock(&vfs_lock);
	err = walk_link(w, link);
	if (!err)
		err = walk_run(w);
	if (err)
		spin_unlock(&vfs_lock);
	else
		walk_unlock(w);
	return err;
}

int
walk_last(struct walk *w, struct dentry **out)
{
	return lookup_locked(w->cur.dentry, w->last, w->last_len, w->last_hash, out);
}

void
walk_result(struct walk *w, struct path *out)
{
	*out = w->held;
	w->held = (struct path){NULL, NULL};
	walk_end(w);
}

int
path_at(int dfd, const char *name, unsigned flags, struct path *out)
{
	struct walk w __attribute__((uninitialized));
	int err = walk(&w, dfd, name, flags);

	if (!err)
		walk_result(&w, out);
	return err;
}

int
path_lookup(const char *name, bool follow, struct path *out)
{
	return path_at(AT_FDCWD, name, follow ? WALK_FOLLOW : 0, out);
}

int
user_path_at(int dfd, uaddr_t path, unsigned flags, struct path *out)
{
	NAME(name);
	int err = name_get(&name, path);

	if (err)
		return err;
	err = path_at(dfd, name.s, flags, out);
	name_put(&name);
	return err;
}

int
user_stat_at(int dfd, uaddr_t path, unsigned flags, struct stat_info *st)
{
	struct walk w __attribute__((uninitialized));
	NAME(name);
	int err = name_get(&name, path);

	if (err)
		return err;
	err = walk_begin(&w, dfd, name.s, flags);
	if (err)
		goto out;
	err = walk_run(&w);
	if (!err && likely(!w.cur.dentry->inode->ops->getattr)) {
		inode_stat(w.cur.dentry->inode, st);
		spin_unlock(&vfs_lock);
	} else if (!err) {
		walk_unlock(&w);
		inode_stat(w.cur.dentry->inode, st);
	} else {
		spin_unlock(&vfs_lock);
	}
	walk_end(&w);
out:
	name_put(&name);
	return err;
}

/* Prepends s to the text that starts at *pos in buf; false if there is no room. */
static bool
prepend(char *buf, size_t *pos, const char *s, size_t n)
{
	if (*pos < n)
		return false;
	*pos -= n;
	memcpy(buf + *pos, s, n);
	return true;
}

ssize_t
path_to_string(const struct path *path, char *buf, size_t size)
{
	struct path p = *path;
	const struct path *root;
	size_t pos = size, len;
	bool ok = size > 0;

	if (p.dentry->flags & DENTRY_ANONYMOUS) {
		const char *name = p.dentry->name;
		int n;

		if (name[0] == '[')
			n = snprintf(buf, size, "anon_inode:%s", name);
		else if (name[0] == '/')
			n = snprintf(buf, size, "%s", name);
		else
			n = snprintf(buf, size, "%s:[%llu]", name,
				     (unsigned long long)p.dentry->inode->ino);

		return (size_t)n < size ? n : -ERANGE;
	}
	spin_lock(&vfs_lock);
	root = &fs_current()->root;
	ok = ok && prepend(buf, &pos, "", 1);
	if (p.dentry->flags & DENTRY_DELETED)
		ok = ok && prepend(buf, &pos, " (deleted)", 10);
	len = pos;
	while (ok && !(p.dentry == root->dentry && p.mount == root->mount)) {
		if (p.dentry == p.mount->root) {
			if (!p.mount->parent)
				break;
			p.dentry = p.mount->mountpoint;
			p.mount = p.mount->parent;
			continue;
		}
		ok = prepend(buf, &pos, p.dentry->name, p.dentry->len) &&
		     prepend(buf, &pos, "/", 1);
		p.dentry = p.dentry->parent;
	}
	if (pos == len)
		ok = ok && prepend(buf, &pos, "/", 1);
	spin_unlock(&vfs_lock);
	if (!ok)
		return -ERANGE;
	memmove(buf, buf + pos, size - pos);
	return (ssize_t)(size - pos - 1);
}
