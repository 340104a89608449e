/*
 * The registry of character devices, and devtmpfs: a tmpfs, shared by all its mounts, in which the
 * kernel makes a node for each of them.
 */
#include "kernel/fs/devfs.h"
#include "kernel/errno.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"

#define CHRDEVS_MAX 64

struct chrdev {
	uint32_t dev; /* the first of count */
	unsigned count;
	const struct file_ops *ops;
	void *data;
};

/* Only ever appended to, during start-up: readers look at [0, count) without a lock. */
static struct chrdev chrdevs[CHRDEVS_MAX];
static unsigned chrdev_count;
static struct super *dev_super ro_after_init;

static int
add_symlink(struct dentry *dir, const char *name, const char *target)
{
	struct inode *parent = dir->inode, *inode;
	struct dentry *d;
	int err;

	mutex_lock(&parent->lock);
	err = parent->ops->symlink(parent, name, strlen(name), target, &inode);
	if (!err) {
		err = dentry_alloc(dir, name, strlen(name), inode, &d);
		if (err)
			inode_put(inode);
	}
	if (!err) {
		spin_lock(&vfs_lock);
		dentry_add(d);
		spin_unlock(&vfs_lock);
	}
	mutex_unlock(&parent->lock);
	return err;
}

void
chrdev_register_range(unsigned major, unsigned minor, unsigned count, const struct file_ops *ops,
		      void *data)
{
	assert(chrdev_count < CHRDEVS_MAX);
	chrdevs[chrdev_count] = (struct chrdev){MKDEV(major, minor), count, ops, data};
	__atomic_store_n(&chrdev_count, chrdev_count + 1, __ATOMIC_RELEASE);
}

void
chrdev_register(unsigned major, unsigned minor, const char *name, uint32_t mode,
		const struct file_ops *ops, void *data)
{
	uint32_t dev = MKDEV(major, minor);
	int err;

	chrdev_register_range(major, minor, 1, ops, data);
	err = tmpfs_add_node(dev_super->root, name, S_IFCHR | mode, dev, NULL);
	if (err)
		panic("/dev/%s: error %d", name, err);
}

int
chrdev_open(struct inode *inode, struct file *f)
{
	unsigned n = __atomic_load_n(&chrdev_count, __ATOMIC_ACQUIRE);

	for (unsigned i = 0; i < n; i++) {
		if (inode->rdev - chrdevs[i].dev >= chrdevs[i].count)
			continue;
		f->ops = chrdevs[i].ops;
		f->data = chrdevs[i].data;
		return f->ops->open ? f->ops->open(inode, f) : 0;
	}
	return -ENXIO;
}

static int
devfs_mount(const struct fs_type *type unused, const char *source unused,
	    const char *options unused, struct super **out)
{
	*out = dev_super;
	return 0;
}

static void
devfs_statfs(struct super *s, uint64_t *blocks, uint64_t *free, uint64_t *magic)
{
	tmpfs_type.statfs(s, blocks, free, magic);
}

static struct fs_type devfs_type = {
	.name = "devtmpfs",
	.nodev = true,
	.mount = devfs_mount,
	.statfs = devfs_statfs,
};

void
devfs_init(void)
{
	static const char *const links[][2] = {{"fd", "/proc/self/fd"},
					       {"stdin", "/proc/self/fd/0"},
					       {"stdout", "/proc/self/fd/1"},
					       {"stderr", "/proc/self/fd/2"}};
	struct dentry *root;
	int err = tmpfs_mount(&devfs_type, "devtmpfs", "mode=755", &dev_super);

	if (err)
		panic("devtmpfs: error %d", err);
	dev_super->mounts = 1; /* it lives on when nothing mounts it */
	fs_register(&devfs_type);
	root = dev_super->root;
	err = tmpfs_add_node(root, "pts", S_IFDIR | 0755, 0, NULL);
	if (!err)
		err = tmpfs_add_node(root, "shm", S_IFDIR | S_ISVTX | 0777, 0, NULL);
	for (unsigned i = 0; i < ARRAY_LEN(links) && !err; i++)
		err = add_symlink(root, links[i][0], links[i][1]);
	if (err)
		panic("devtmpfs: error %d", err);
}
