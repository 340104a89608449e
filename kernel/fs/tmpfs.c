/*
 * tmpfs: files in memory.  The tree of dentries is the directory tree, and a file's page cache is the
 * file.  Also the home of files without names: memfd and shared anonymous memory.
 */
#include "kernel/errno.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/radix.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"

#define TMPFS_MAGIC    0x01021994u
#define DIRENT_SIZE    20u /* what a name adds to its directory's size */
#define MAX_FILE_SIZE  (BIT(63) - 1)
#define BLOCKS_A_PAGE  (PAGE_SIZE / 512)

struct tmpfs {
	uint64_t max_pages; /* fixed */
	uint64_t used;	    /* atomic */
};

/* A regular file's content (inode->data). */
struct content {
	struct spinlock lock;
	struct radix pages; /* [lock] struct page by page number */
	unsigned seals;	    /* [inode->lock] F_SEAL_* */
	bool was_mapped_writable; /* [inode->lock] shared: it can no longer be sealed against writes */
};

static const struct inode_ops tmpfs_file_iops, tmpfs_link_iops, tmpfs_special_iops;
static const struct file_ops tmpfs_file_ops;

static struct tmpfs *
tmpfs_of(const struct inode *inode)
{
	return inode->super->data;
}

/* ---- Pages ---- */

static bool
charge(struct inode *inode, uint64_t n)
{
	struct tmpfs *t = tmpfs_of(inode);

	if (__atomic_add_fetch(&t->used, n, __ATOMIC_RELAXED) > t->max_pages) {
		__atomic_fetch_sub(&t->used, n, __ATOMIC_RELAXED);
		return false;
	}
	return true;
}

static void
uncharge(struct inode *inode, uint64_t n)
{
	__atomic_fetch_sub(&tmpfs_of(inode)->used, n, __ATOMIC_RELAXED);
}

/* The page with a reference, or NULL. */
static struct page *
find_page(struct inode *inode, uint64_t index)
{
	struct content *c = inode->data;
	struct page *p;

	spin_lock(&c->lock);
	p = radix_get(&c->pages, index);
	if (p)
		page_get(p);
	spin_unlock(&c->lock);
	return p;
}

/* The page with a reference, made if it is a hole.  Does not look at the size. */
static int
make_page(struct inode *inode, uint64_t index, bool zero, struct page **out)
{
	struct content *c = inode->data;
	struct page *p = find_page(inode, index), *other;
	int err;

	if (p) {
		*out = p;
		return 0;
	}
	if (!charge(inode, 1))
		return -ENOSPC;
	err = zero ? page_alloc_zero(PAGE_FILE, &p) : page_alloc(PAGE_FILE, &p);
	if (err)
		goto fail;
	p->private[0] = (uint64_t)(uintptr_t)inode;
	p->private[1] = index;
	spin_lock(&c->lock);
	other = radix_get(&c->pages, index);
	err = other ? 0 : radix_set(&c->pages, index, p);
	page_get(other ? other : p);
	spin_unlock(&c->lock);
	if (!err && !other) {
		__atomic_fetch_add(&inode->blocks, BLOCKS_A_PAGE, __ATOMIC_RELAXED);
		*out = p;
		return 0;
	}
	if (err)
		page_put(p);
	page_put(p);
	*out = other;
fail:
	uncharge(inode, 1);
	return err;
}

static int
tmpfs_get_page(struct inode *inode, uint64_t index, struct page **out)
{
	int err;

	if (index >= (READ_ONCE(inode->size) + PAGE_MASK) >> PAGE_SHIFT)
		return -ENOENT;
	err = make_page(inode, index, true, out);
	if (err)
		return err;
	/* A truncation that ran meanwhile may have missed the page: it must not stay behind it. */
	if (unlikely(index >= (READ_ONCE(inode->size) + PAGE_MASK) >> PAGE_SHIFT)) {
		page_put(*out);
		return -ENOENT;
	}
	return 0;
}

static int
tmpfs_peek_page(struct inode *inode, uint64_t index, struct page **out)
{
	if (index >= (READ_ONCE(inode->size) + PAGE_MASK) >> PAGE_SHIFT)
		return -ENOENT;
	*out = find_page(inode, index);
	return *out ? 0 : -ENOENT;
}

/* Drops the pages [first, last].  inode->lock held, or the inode is dying. */
static void
drop_pages(struct inode *inode, uint64_t first, uint64_t last)
{
	struct content *c = inode->data;

	while (first <= last) {
		uint64_t index = first;
		struct page *p;

		spin_lock(&c->lock);
		p = radix_next(&c->pages, &index);
		if (p && index <= last)
			(void)radix_remove(&c->pages, index);
		spin_unlock(&c->lock);
		if (!p || index > last)
			return;
		__atomic_fetch_sub(&inode->blocks, BLOCKS_A_PAGE, __ATOMIC_RELAXED);
		page_put(p);
		uncharge(inode, 1);
		if (index == UINT64_MAX)
			return;
		first = index + 1;
	}
}

/* Clears bytes [from, to) of one page if it is there. */
static void
zero_part(struct inode *inode, uint64_t from, uint64_t to)
{
	struct page *p = from < to ? find_page(inode, from >> PAGE_SHIFT) : NULL;

	if (!p)
		return;
	memset((char *)page_addr(p) + (from & PAGE_MASK), 0, to - from);
	page_put(p);
}

static int
tmpfs_truncate(struct inode *inode, uint64_t size)
{
	struct content *c = inode->data;

	if (size > MAX_FILE_SIZE)
		return -EFBIG;
	if (size < inode->size && (c->seals & F_SEAL_SHRINK))
		return -EPERM;
	if (size > inode->size && (c->seals & F_SEAL_GROW))
		return -EPERM;
	if (size < inode->size) {
		uint64_t old = inode->size;

		WRITE_ONCE(inode->size, size);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		drop_pages(inode, (size + PAGE_MASK) >> PAGE_SHIFT, UINT64_MAX);
		if (size & PAGE_MASK)
			zero_part(inode, size, MIN(old, ALIGN_UP(size, PAGE_SIZE)));
		return 0;
	}
	WRITE_ONCE(inode->size, size);
	return 0;
}

static int
tmpfs_fallocate(struct inode *inode, unsigned mode, uint64_t from, uint64_t length)
{
	struct content *c = inode->data;
	uint64_t end = from + length;

	if (mode & FALLOC_PUNCH_HOLE) {
		uint64_t first = ALIGN_UP(from, PAGE_SIZE), last = ALIGN_DOWN(end, PAGE_SIZE);

		if (c->seals & F_SEAL_WRITE)
			return -EPERM;
		zero_part(inode, from, MIN(first, end));
		if (last >= first)
			zero_part(inode, last, end);
		if (last > first)
			drop_pages(inode, first >> PAGE_SHIFT, (last >> PAGE_SHIFT) - 1);
		return 0;
	}
	if (!(mode & FALLOC_KEEP_SIZE) && end > inode->size && (c->seals & F_SEAL_GROW))
		return -EPERM;
	if ((length >> PAGE_SHIFT) > tmpfs_of(inode)->max_pages)
		return -ENOSPC;
	for (uint64_t i = from >> PAGE_SHIFT; i <= (end - 1) >> PAGE_SHIFT; i++) {
		struct page *p;
		int err = make_page(inode, i, true, &p);

		if (err)
			return err;
		page_put(p);
		if (signal_killed())
			return -EINTR;
	}
	if (!(mode & FALLOC_KEEP_SIZE) && end > inode->size)
		WRITE_ONCE(inode->size, end);
	return 0;
}

/* ---- Reading and writing ---- */

static ssize_t
tmpfs_read(struct file *f, struct uio *u, uint64_t *pos)
{
	struct inode *inode = f->inode;
	ssize_t done = 0;

	while (u->left) {
		uint64_t size = READ_ONCE(inode->size);
		size_t in_page = *pos & PAGE_MASK, n;
		struct page *p;
		ssize_t moved;

		if (*pos >= size)
			break;
		n = MIN(PAGE_SIZE - in_page, size - *pos);
		n = MIN(n, u->left);
		p = find_page(inode, *pos >> PAGE_SHIFT);
		if (p) {
			moved = uio_write_to(u, (char *)page_addr(p) + in_page, n);
			page_put(p);
		} else {
			moved = uio_zero(u, n);
		}
		if (moved < 0) {
			if (!done)
				return moved;
			break;
		}
		*pos += (uint64_t)moved;
		done += moved;
		if ((size_t)moved < n)
			break;
	}
	inode_touch_atime(f);
	return done;
}

/* inode->lock held. */
static ssize_t
write_locked(struct inode *inode, struct uio *u, uint64_t *pos)
{
	struct content *c = inode->data;
	ssize_t done = 0, err = 0;

	if (c->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPERM;
	while (u->left) {
		size_t in_page = *pos & PAGE_MASK, n = MIN(PAGE_SIZE - in_page, u->left);
		struct page *p;
		ssize_t moved;

		if (*pos >= MAX_FILE_SIZE) {
			err = -EFBIG;
			break;
		}
		if (*pos + n > inode->size && (c->seals & F_SEAL_GROW)) {
			err = -EPERM;
			break;
		}
		err = make_page(inode, *pos >> PAGE_SHIFT, true, &p);
		if (err)
			break;
		moved = uio_read_from(u, (char *)page_addr(p) + in_page, n);
		page_put(p);
		if (moved < 0) {
			err = moved;
			break;
		}
		*pos += (uint64_t)moved;
		done += moved;
		if (*pos > inode->size)
			WRITE_ONCE(inode->size, *pos);
		if ((size_t)moved < n)
			break;
	}
	return done ? done : err;
}

static ssize_t
tmpfs_write(struct file *f, struct uio *u, uint64_t *pos)
{
	struct inode *inode = f->inode;
	ssize_t n;

	mutex_lock(&inode->lock);
	if (f->flags & O_APPEND)
		*pos = inode->size;
	n = uio_limit_write(f, u, *pos);
	if (n == 0)
		n = write_locked(inode, u, pos);
	if (n > 0) {
		inode_touch_mtime(inode);
		inode_drop_suid(inode);
	}
	mutex_unlock(&inode->lock);
	return n;
}

/* SEEK_DATA and SEEK_HOLE: the next offset >= from that has a page, or has none. */
static int64_t
seek_pages(struct inode *inode, uint64_t from, bool data)
{
	struct content *c = inode->data;
	uint64_t index = from >> PAGE_SHIFT, next = index;

	if (from >= inode->size)
		return -ENXIO;
	spin_lock(&c->lock);
	if (data) {
		if (!radix_next(&c->pages, &next))
			next = UINT64_MAX >> PAGE_SHIFT;
	} else {
		while (radix_get(&c->pages, next))
			next++;
	}
	spin_unlock(&c->lock);
	if (next != index)
		from = next << PAGE_SHIFT;
	if (from >= inode->size)
		return data ? -ENXIO : (int64_t)inode->size;
	return (int64_t)from;
}

static int64_t
tmpfs_seek(struct file *f, int64_t offset, int whence)
{
	int64_t base = 0;

	switch (whence) {
	case 0:
		break;
	case 1:
		base = (int64_t)f->pos;
		break;
	case 2:
		base = (int64_t)f->inode->size;
		break;
	case 3:
	case 4:
		if (offset < 0)
			return -ENXIO;
		mutex_lock(&f->inode->lock);
		offset = seek_pages(f->inode, (uint64_t)offset, whence == 3);
		mutex_unlock(&f->inode->lock);
		break;
	default:
		return -EINVAL;
	}
	if (whence >= 3 && offset < 0)
		return offset;
	if (__builtin_add_overflow(base, offset, &offset) || offset < 0)
		return -EINVAL;
	f->pos = (uint64_t)offset;
	return offset;
}

/* inode->lock is not held.  A shared writable mapping rules out seals against writing, and they it. */
static int
tmpfs_mmap(struct file *f, struct vma *vma)
{
	struct content *c = f->inode->data;
	int err = 0;

	if (!(vma->flags & VMA_SHARED) || !(vma->max_prot & PROT_WRITE))
		return 0;
	mutex_lock(&f->inode->lock);
	if (!(c->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
		c->was_mapped_writable = true;
	else if (vma->prot & PROT_WRITE)
		err = -EPERM;
	else
		vma->max_prot &= ~PROT_WRITE;
	mutex_unlock(&f->inode->lock);
	return err;
}

long
memfd_seals(struct file *f, unsigned cmd, unsigned seals)
{
	struct content *c = f->inode->data;
	long err = 0;

	if (f->inode->ops != &tmpfs_file_iops)
		return -EINVAL;
	if (cmd == F_GET_SEALS)
		return c->seals;
	if (!(f->mode & FILE_WRITE))
		return -EPERM;
	if (seals & ~(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE |
		      F_SEAL_FUTURE_WRITE))
		return -EINVAL;
	mutex_lock(&f->inode->lock);
	if (c->seals & F_SEAL_SEAL)
		err = -EPERM;
	else if ((seals & F_SEAL_WRITE & ~c->seals) && c->was_mapped_writable)
		err = -EBUSY;
	else
		c->seals |= seals;
	mutex_unlock(&f->inode->lock);
	return err;
}

/* ---- Names ---- */

int
tmpfs_inode(struct super *s, struct inode *dir, uint32_t mode, uint32_t rdev, struct inode **out)
{
	struct inode *inode;
	uint32_t type = mode & S_IFMT;
	int err = inode_alloc(s, mode, &inode);

	if (err)
		return err;
	inode->rdev = rdev;
	inode->ops = &tmpfs_special_iops;
	if (dir && (dir->mode & S_ISGID)) {
		inode->gid = dir->gid;
		if (type == S_IFDIR)
			inode->mode |= S_ISGID;
	}
	if (type == S_IFREG) {
		struct content *c = kzalloc(sizeof(*c));

		if (!c) {
			inode_put(inode);
			return -ENOMEM;
		}
		spin_init(&c->lock);
		c->seals = F_SEAL_SEAL; /* only memfd_create lifts it */
		inode->data = c;
		inode->ops = &tmpfs_file_iops;
		inode->fops = &tmpfs_file_ops;
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
	inode->ops = &tmpfs_link_iops;
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
destroy_file(struct inode *inode)
{
	struct content *c = inode->data;

	if (!c)
		return;
	drop_pages(inode, 0, UINT64_MAX);
	radix_free(&c->pages);
	kfree(c);
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

static const struct inode_ops tmpfs_file_iops = {
	.truncate = tmpfs_truncate,
	.fallocate = tmpfs_fallocate,
	.get_page = tmpfs_get_page,
	.peek_page = tmpfs_peek_page,
	.destroy = destroy_file,
};

static const struct inode_ops tmpfs_link_iops = {
	.readlink = tmpfs_readlink,
	.destroy = destroy_link,
};

static const struct inode_ops tmpfs_special_iops;

static const struct file_ops tmpfs_file_ops = {
	.read = tmpfs_read,
	.write = tmpfs_write,
	.seek = tmpfs_seek,
	.mmap = tmpfs_mmap,
};

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

/* A regular file of the internal mount, open for reading and writing. */
static int
nameless_file(const char *name, uint64_t size, struct file **out)
{
	struct path p = {internal_mount, NULL};
	struct inode *inode;
	int err = tmpfs_inode(internal_mount->super, NULL, S_IFREG | 0777, 0, &inode);

	if (err)
		return err;
	inode->size = size;
	inode->nlink = 0;
	err = dentry_alloc(NULL, name, strlen(name), inode, &p.dentry);
	if (err) {
		inode_put(inode);
		return err;
	}
	p.dentry->flags |= DENTRY_ANONYMOUS;
	err = file_open_path(&p, O_RDWR, out);
	dentry_put(p.dentry);
	return err;
}

int
shmem_file_create(uint64_t size, struct file **out)
{
	if (size > MAX_FILE_SIZE)
		return -EINVAL;
	return nameless_file("/dev/zero (deleted)", size, out);
}

int
memfd_create_file(const char *name, bool sealable, struct file **out)
{
	char shown[NAME_MAX + 24];
	int err;

	snprintf(shown, sizeof(shown), "/memfd:%s (deleted)", name);
	err = nameless_file(shown, 0, out);
	if (!err && sealable)
		((struct content *)(*out)->inode->data)->seals = 0;
	return err;
}
