/*
 * Files in memory: the content of tmpfs's regular files, of memfd, and of shared anonymous memory.
 * A file's page cache is the file: a tree of frames, with holes that read as zero.
 */
#include "kernel/fs/shmem.h"
#include "kernel/errno.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/radix.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/sched.h"

#define MAX_FILE_SIZE (BIT(63) - 1)
#define BLOCKS_A_PAGE (PAGE_SIZE / 512)

/* A regular file's content (inode->data). */
struct content {
	struct spinlock lock;
	struct radix pages; /* [lock] struct page by page number */
	unsigned seals;	    /* [lock; only ever more] F_SEAL_* */
};

static const struct inode_ops shmem_iops;
static const struct file_ops shmem_ops;

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

/* The page with a reference, made if it is a hole (then *made, unless NULL).  Does not look at the size. */
static int
make_page(struct inode *inode, uint64_t index, bool *made, struct page **out)
{
	struct content *c = inode->data;
	struct page *p = find_page(inode, index), *other;
	int err;

	if (made)
		*made = false;
	if (p) {
		*out = p;
		return 0;
	}
	if (!charge(inode, 1))
		return -ENOSPC;
	err = page_alloc_zero(PAGE_FILE, &p);
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
		if (made)
			*made = true;
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
shmem_get_page(struct inode *inode, uint64_t index, struct page **out)
{
	int err;

	if (index >= (READ_ONCE(inode->size) + PAGE_MASK) >> PAGE_SHIFT)
		return -ENOENT;
	err = make_page(inode, index, NULL, out);
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
shmem_peek_page(struct inode *inode, uint64_t index, struct page **out)
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
	page_written(p);
	page_put(p);
}

static int
shmem_truncate(struct inode *inode, uint64_t size)
{
	struct content *c = inode->data;

	if (size > MAX_FILE_SIZE)
		return -EFBIG;
	if (size < inode->size && (c->seals & F_SEAL_SHRINK))
		return -EPERM;
	if (size > inode->size && (c->seals & F_SEAL_GROW))
		return -EPERM;
	if (size < inode->size) {
		WRITE_ONCE(inode->size, size);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		drop_pages(inode, (size + PAGE_MASK) >> PAGE_SHIFT, UINT64_MAX);
		vm_unmap_file_range(inode, ALIGN_UP(size, PAGE_SIZE), UINT64_MAX, true);
		if (size & PAGE_MASK)
			zero_part(inode, size, ALIGN_UP(size, PAGE_SIZE)); /* a mapping may write beyond the end */
		return 0;
	}
	WRITE_ONCE(inode->size, size);
	return 0;
}

/*
 * Makes the pages [first, last], all or none of those beyond the end: nobody would see that they are charged.
 * Those before it somebody may have mapped and written meanwhile.
 */
static int
make_pages(struct inode *inode, uint64_t first, uint64_t last)
{
	uint64_t end = (inode->size + PAGE_MASK) >> PAGE_SHIFT;
	struct list beyond = LIST_INIT(beyond); /* by page.link */
	struct page *p, *next;
	int err = 0;

	for (uint64_t i = first; i <= last; i++) {
		bool made;

		err = signal_killed() ? -EINTR : make_page(inode, i, &made, &p);
		if (err)
			break;
		if (made && i >= end)
			list_push_back(&beyond, &p->link);
		page_put(p);
		cond_resched();
	}
	list_for_each_safe(p, next, &beyond, link) {
		list_remove(&p->link);
		if (err)
			drop_pages(inode, p->private[1], p->private[1]);
	}
	return err;
}

static int
shmem_fallocate(struct inode *inode, unsigned mode, uint64_t from, uint64_t length)
{
	struct content *c = inode->data;
	uint64_t end = from + length, npages = ((end - 1) >> PAGE_SHIFT) - (from >> PAGE_SHIFT) + 1;
	int err;

	if (mode & FALLOC_PUNCH_HOLE) {
		uint64_t first = ALIGN_UP(from, PAGE_SIZE), last = ALIGN_DOWN(end, PAGE_SIZE);

		if (c->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
			return -EPERM;
		zero_part(inode, from, MIN(first, end));
		if (last >= first)
			zero_part(inode, last, end);
		if (last > first) {
			drop_pages(inode, first >> PAGE_SHIFT, (last >> PAGE_SHIFT) - 1);
			vm_unmap_file_range(inode, first, last, false);
		}
		return 0;
	}
	if (!(mode & FALLOC_KEEP_SIZE) && end > inode->size && (c->seals & F_SEAL_GROW))
		return -EPERM;
	if (npages > tmpfs_of(inode)->max_pages)
		return -ENOSPC;
	err = make_pages(inode, from >> PAGE_SHIFT, (end - 1) >> PAGE_SHIFT);
	if (!err && !(mode & FALLOC_KEEP_SIZE) && end > inode->size)
		WRITE_ONCE(inode->size, end);
	return err;
}

/* ---- Reading and writing ---- */

static ssize_t
shmem_read(struct file *f, struct uio *u, uint64_t *pos)
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
		if ((size_t)moved < n || signal_killed())
			break;
		cond_resched();
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
		n = MIN(n, MAX_FILE_SIZE - *pos);
		if (*pos + n > inode->size && (c->seals & F_SEAL_GROW)) {
			err = -EPERM;
			break;
		}
		err = make_page(inode, *pos >> PAGE_SHIFT, NULL, &p);
		if (err)
			break;
		moved = uio_read_from(u, (char *)page_addr(p) + in_page, n);
		page_written(p);
		page_put(p);
		if (moved < 0) {
			err = moved;
			break;
		}
		*pos += (uint64_t)moved;
		done += moved;
		if (*pos > inode->size)
			WRITE_ONCE(inode->size, *pos);
		if ((size_t)moved < n || signal_killed())
			break;
		cond_resched();
	}
	return done ? done : err;
}

static ssize_t
shmem_write(struct file *f, struct uio *u, uint64_t *pos)
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
shmem_seek(struct file *f, int64_t offset, int whence)
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

/*
 * The address space is locked, so inode->lock may not be taken.  A shared mapping that may write rules out
 * F_SEAL_WRITE as long as it is there, and a seal against writes rules out such a mapping.
 */
static int
shmem_mmap(struct file *f, struct vma *vma)
{
	struct content *c = f->inode->data;
	int err = 0;

	if (!(vma->flags & VMA_SHARED) || !(vma->max_prot & PROT_WRITE))
		return 0;
	spin_lock(&c->lock);
	if (!(c->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))) {
		__atomic_fetch_add(&f->inode->mapped_writers, 1, __ATOMIC_RELAXED);
		vma->flags |= VMA_WRITER;
	} else if (vma->prot & PROT_WRITE) {
		err = -EPERM;
	} else {
		vma->max_prot &= ~PROT_WRITE;
	}
	spin_unlock(&c->lock);
	return err;
}

long
memfd_seals(struct file *f, unsigned cmd, unsigned seals)
{
	struct content *c = f->inode->data;
	long err = 0;

	if (f->inode->ops != &shmem_iops)
		return -EINVAL;
	if (cmd == F_GET_SEALS)
		return c->seals;
	if (!(f->mode & FILE_WRITE))
		return -EPERM;
	if (seals & ~(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE |
		      F_SEAL_FUTURE_WRITE))
		return -EINVAL;
	mutex_lock(&f->inode->lock); /* no write is under way */
	spin_lock(&c->lock);
	if (c->seals & F_SEAL_SEAL)
		err = -EPERM;
	else if ((seals & F_SEAL_WRITE & ~c->seals) &&
		 __atomic_load_n(&f->inode->mapped_writers, __ATOMIC_ACQUIRE))
		err = -EBUSY;
	else
		c->seals |= seals;
	spin_unlock(&c->lock);
	mutex_unlock(&f->inode->lock);
	return err;
}

static void
shmem_destroy(struct inode *inode)
{
	struct content *c = inode->data;

	if (!c)
		return;
	drop_pages(inode, 0, UINT64_MAX);
	radix_free(&c->pages);
	kfree(c);
}

static const struct inode_ops shmem_iops = {
	.truncate = shmem_truncate,
	.fallocate = shmem_fallocate,
	.get_page = shmem_get_page,
	.peek_page = shmem_peek_page,
	.destroy = shmem_destroy,
};

static const struct file_ops shmem_ops = {
	.read = shmem_read,
	.write = shmem_write,
	.seek = shmem_seek,
	.mmap = shmem_mmap,
};

int
shmem_init_inode(struct inode *inode)
{
	struct content *c = kzalloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	spin_init(&c->lock);
	c->seals = F_SEAL_SEAL; /* only memfd_create lifts it */
	inode->data = c;
	inode->ops = &shmem_iops;
	inode->fops = &shmem_ops;
	return 0;
}

/* ---- Files without names ---- */

int
shmem_nameless_file(const char *name, uint64_t size, struct file **out)
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
	return shmem_nameless_file("/dev/zero (deleted)", size, out);
}

int
memfd_create_file(const char *name, bool sealable, struct file **out)
{
	char shown[NAME_MAX + 24];
	int err;

	snprintf(shown, sizeof(shown), "/memfd:%s (deleted)", name);
	err = shmem_nameless_file(shown, 0, out);
	if (!err && sealable)
		((struct content *)(*out)->inode->data)->seals = 0;
	return err;
}
