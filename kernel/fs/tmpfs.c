/*
 * tmpfs: directories, links and nodes in memory.  The tree of dentries is the directory tree; what
 * regular files hold is in shmem.c.
 */
#include "kernel/fs/tmpfs.h"
#include "kernel/errno.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/shmem.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"

#define TMPFS_MAGIC 0x01021994u
#define DIRENT_SIZE 20u /* what a name adds to its directory's size */

static const struct inode_ops link_iops, special_iops;

int
tmpfs_inode(struct super *s, struct inode *dir, uint32_t mode, uint32_t rdev, struct inode **out)
{
	struct inode *inode;
	uint32_t type = mode & S_IFMT;
	int err = inode_alloc(s, mode, &inode);

	if (err)
		return err;
	inode->rdev = rdev;
	inode->ops = &special_iops;
	if (dir && (dir->mode & S_ISGID)) {
		struct subject who = subject_current(false);

		inode->gid = dir->gid;
		if (type == S_IFDIR)
			inode->mode |= S_ISGID;
		else if ((mode & (S_ISGID | 010)) == (S_ISGID | 010) && who.uid != 0 &&
			 !in_group(&who, dir->gid))
			inode->mode &= ~S_ISGID; /* who is not of the group makes no program that is */
	}
	if (type == S_IFREG) {
		err = shmem_init_inode(inode);
		if (err) {
			inode_put(inode);
			return err;
		}
	} else if (type == S_IFDIR) {
		inode->ops = &tmpfs_dir_ops;
		inode->fops = &dentry_dir_ops;
		inode->nlink = 2;
	}
	*out = inode;
	return 0;
}

static void
named(struct inode *dir, int64_t names)
{
	WRITE_ONCE(dir->size, dir->size + (uint64_t)(names * (int64_t)DIRENT_SIZE));
	inode_touch_mtime(dir);
}

static int
tmpfs_create(struct inode *dir, const char *name unused, size_t len unused, uint32_t mode,
	     uint32_t rdev, struct inode **out)
{
	int err = tmpfs_inode(dir->super, dir, mode, rdev, out);

	if (!err)
		named(dir, 1);
	return err;
}

static int
tmpfs_mkdir(struct inode *dir, const char *name unused, size_t len unused, uint32_t mode,
	    struct inode **out)
{
	int err = tmpfs_inode(dir->super, dir, S_IFDIR | mode, 0, out);

	if (!err) {
		named(dir, 1);
		dir->nlink++;
	}
	return err;
}

static int
tmpfs_symlink(struct inode *dir, const char *name unused, size_t len unused, const char *target,
	      struct inode **out)
{
	size_t n = strlen(target);
	char *copy = kmalloc(n + 1);
	struct inode *inode;
	int err;

	if (!copy)
		return -ENOMEM;
	err = tmpfs_inode(dir->super, dir, S_IFLNK | 0777, 0, &inode);
	if (err) {
		kfree(copy);
		return err;
	}
	memcpy(copy, target, n + 1);
	inode->data = copy;
	inode->size = n;
	inode->ops = &link_iops;
	named(dir, 1);
	*out = inode;
	return 0;
}

static int
tmpfs_link(struct inode *dir, const char *name unused, size_t len unused, struct inode *target)
{
	named(dir, 1);
	target->linkable = false;
	__atomic_fetch_add(&target->nlink, 1, __ATOMIC_RELAXED);
	target->ctime = inode_now();
	return 0;
}

static int
tmpfs_unlink(struct inode *dir, struct dentry *victim)
{
	named(dir, -1);
	__atomic_fetch_sub(&victim->inode->nlink, 1, __ATOMIC_RELAXED);
	victim->inode->ctime = dir->ctime;
	return 0;
}

static void
tmpfs_forget(struct inode *dir, struct inode *inode)
{
	if ((inode->mode & S_IFMT) == S_IFDIR)
		dir->nlink--;
	named(dir, -1);
	__atomic_fetch_sub(&inode->nlink, 1, __ATOMIC_RELAXED);
}

static bool
is_empty(struct dentry *dir)
{
	return list_empty(&dir->children);
}

static int
tmpfs_rmdir(struct inode *dir, struct dentry *victim)
{
	if (!is_empty(victim))
		return -ENOTEMPTY;
	named(dir, -1);
	dir->nlink--;
	victim->inode->nlink = 0;
	victim->inode->ctime = dir->ctime;
	return 0;
}

static int
tmpfs_rename(struct inode *from, struct dentry *old, struct inode *to, struct dentry *new,
	     unsigned flags)
{
	bool dir = (old->inode->mode & S_IFMT) == S_IFDIR;
	bool new_dir = new && (new->inode->mode & S_IFMT) == S_IFDIR;

	if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (flags & RENAME_EXCHANGE) {
		if (dir != new_dir) {
			from->nlink += (uint32_t)new_dir - (uint32_t)dir;
			to->nlink += (uint32_t)dir - (uint32_t)new_dir;
		}
		named(from, 0);
		named(to, 0);
		new->inode->ctime = old->inode->ctime = to->ctime;
		return 0;
	}
	if (new_dir && !is_empty(new))
		return -ENOTEMPTY;
	if (dir) {
		from->nlink--;
		to->nlink++;
	}
	if (new_dir) {
		to->nlink--;
		new->inode->nlink = 0;
	} else if (new) {
		__atomic_fetch_sub(&new->inode->nlink, 1, __ATOMIC_RELAXED);
	}
	named(from, -1);
	named(to, new ? 0 : 1);
	old->inode->ctime = to->ctime;
	if (new)
		new->inode->ctime = to->ctime;
	return 0;
}

static ssize_t
tmpfs_readlink(struct inode *inode, char *buf, size_t size)
{
	size_t n = MIN(inode->size, (uint64_t)size);

	memcpy(buf, inode->data, n);
	return (ssize_t)n;
}

static void
destroy_link(struct inode *inode)
{
	kfree(inode->data);
}

const struct inode_ops tmpfs_dir_ops = {
	.create = tmpfs_create,
	.mkdir = tmpfs_mkdir,
	.symlink = tmpfs_symlink,
	.link = tmpfs_link,
	.unlink = tmpfs_unlink,
	.rmdir = tmpfs_rmdir,
	.rename = tmpfs_rename,
	.forget = tmpfs_forget,
};

static const struct inode_ops link_iops = {
	.readlink = tmpfs_readlink,
	.destroy = destroy_link,
};

static const struct inode_ops special_iops;

/* ---- File systems ---- */

/* size=N[kmg%], nr_blocks=N, mode=N, uid=N, gid=N: as tmpfs(5).  Others are refused. */
static int
parse_option(const char *o, struct tmpfs *t, struct inode *root)
{
	const char *v = strchr(o, '=');
	char number[24];
	uint64_t n, shift = 0;
	size_t len;

	if (!v)
		return strcmp(o, "huge") == 0 ? 0 : -EINVAL;
	len = strlen(++v);
	if (len == 0 || len >= sizeof(number))
		return -EINVAL;
	memcpy(number, v, len + 1);
	if (str_has_prefix(o, "size=") || str_has_prefix(o, "nr_blocks=")) {
		char unit = number[len - 1];

		shift = unit == 'k' || unit == 'K' ? 10 : unit == 'm' || unit == 'M' ? 20 : 0;
		if (unit == 'g' || unit == 'G')
			shift = 30;
		if (shift || unit == '%')
			number[len - 1] = '\0';
		if (str_to_u64(number, 0, &n) || n > UINT64_MAX >> 31)
			return -EINVAL;
		if (unit == '%')
			n = page_total() * MIN(n, 100ul) / 100;
		else if (o[0] == 's')
			n = ((n << shift) + PAGE_MASK) >> PAGE_SHIFT;
		else
			n <<= shift;
		t->max_pages = n ? n : UINT64_MAX;
		return 0;
	}
	if (str_to_u64(number, str_has_prefix(o, "mode=") ? 8 : 10, &n))
		return -EINVAL;
	if (str_has_prefix(o, "mode="))
		root->mode = S_IFDIR | (uint32_t)(n & 07777);
	else if (str_has_prefix(o, "uid="))
		root->uid = (uint32_t)n;
	else if (str_has_prefix(o, "gid="))
		root->gid = (uint32_t)n;
	else if (!str_has_prefix(o, "nr_inodes="))
		return -EINVAL;
	return 0;
}

int
tmpfs_mount(const struct fs_type *type, const char *source unused, const char *options,
	    struct super **out)
{
	struct tmpfs *t = kzalloc(sizeof(*t));
	char *copy = NULL, *o, *next;
	struct super *s;
	int err;

	if (!t)
		return -ENOMEM;
	t->max_pages = page_total() / 2;
	err = super_create(type, 01777, &tmpfs_dir_ops, &dentry_dir_ops, true, &s);
	if (err) {
		kfree(t);
		return err;
	}
	s->data = t;
	if (options && *options) {
		size_t n = strlen(options);

		copy = kmalloc(n + 1);
		if (copy)
			memcpy(copy, options, n + 1);
		else
			err = -ENOMEM;
	}
	for (o = copy; o && !err; o = next) {
		next = strchr(o, ',');
		if (next)
			*next++ = '\0';
		if (*o)
			err = parse_option(o, t, s->root->inode);
	}
	kfree(copy);
	if (err) {
		super_destroy(s);
		return err;
	}
	*out = s;
	return 0;
}

void
tmpfs_unmount(struct super *s)
{
	kfree(s->data);
}

static void
tmpfs_statfs(struct super *s, uint64_t *blocks, uint64_t *free, uint64_t *magic)
{
	struct tmpfs *t = s->data;
	uint64_t used = READ_ONCE(t->used);

	*magic = TMPFS_MAGIC;
	*blocks = t->max_pages == UINT64_MAX ? 0 : t->max_pages;
	*free = *blocks > used ? *blocks - used : 0;
}

struct fs_type tmpfs_type = {
	.name = "tmpfs",
	.nodev = true,
	.mount = tmpfs_mount,
	.unmount = tmpfs_unmount,
	.statfs = tmpfs_statfs,
};
static struct fs_type ramfs_type = {
	.name = "ramfs",
	.nodev = true,
	.mount = tmpfs_mount,
	.unmount = tmpfs_unmount,
	.statfs = tmpfs_statfs,
};

void
tmpfs_init(void)
{
	fs_register(&tmpfs_type);
	fs_register(&ramfs_type);
}

int
tmpfs_tmpfile(struct inode *dir, uint32_t mode, struct inode **out)
{
	int err = tmpfs_inode(dir->super, dir, S_IFREG | (mode & 07777), 0, out);

	if (!err)
		(*out)->nlink = 0;
	return err;
}

/* Adds a node, in the kernel's name, to a directory of a tmpfs that nobody else changes names in. */
int
tmpfs_add_node(struct dentry *dir, const char *name, uint32_t mode, uint32_t rdev,
	       struct dentry **out)
{
	struct inode *parent = dir->inode, *inode;
	size_t len = strlen(name);
	struct dentry *d;
	int err;

	mutex_lock(&parent->lock);
	spin_lock(&vfs_lock);
	d = dentry_find(dir, name, len, dentry_hash(dir, name, len));
	spin_unlock(&vfs_lock);
	if (d) {
		err = -EEXIST;
		goto out;
	}
	err = (mode & S_IFMT) == S_IFDIR
		      ? tmpfs_mkdir(parent, name, len, mode & 07777, &inode)
		      : tmpfs_create(parent, name, len, mode, rdev, &inode);
	if (err)
		goto out;
	inode->uid = inode->gid = 0;
	err = dentry_alloc(dir, name, len, inode, &d);
	if (err) {
		tmpfs_forget(parent, inode);
		inode_put(inode);
		goto out;
	}
	spin_lock(&vfs_lock);
	dentry_add(d);
	spin_unlock(&vfs_lock);
out:
	mutex_unlock(&parent->lock);
	if (!err && out)
		*out = d;
	return err;
}
