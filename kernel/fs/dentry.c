/*
 * Names: the tree of dentries and the hash table in which a path walk finds them.  vfs_lock guards
 * all of it; nothing here sleeps with it held.
 */
#include "kernel/errno.h"
#include "kernel/fs/namei.h"
#include "kernel/lib/random.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"

#define BUCKETS 16384u

struct spinlock vfs_lock = SPINLOCK_INIT;
static struct dentry *buckets[BUCKETS]; /* [vfs_lock] */
static uint32_t hash_secret ro_after_init;
static struct slab_cache *dentry_cache ro_after_init;

void
dentry_init(void)
{
	hash_secret = (uint32_t)random_u64();
	dentry_cache = slab_create("dentry", sizeof(struct dentry), 16);
}

uint32_t
dentry_hash(const struct dentry *parent, const char *name, size_t len)
{
	uint32_t h = hash_secret ^ (uint32_t)((uintptr_t)parent >> 4);

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * 0x01000193u; /* FNV-1a */
	return h ^ h >> 15;
}

static struct dentry **
bucket(uint32_t hash)
{
	return &buckets[hash % BUCKETS];
}

struct dentry *
dentry_find(const struct dentry *parent, const char *name, size_t len, uint32_t hash)
{
	for (struct dentry *d = *bucket(hash); d; d = d->hash_next)
		if (d->hash == hash && d->parent == parent && d->len == len &&
		    memcmp(d->name, name, len) == 0)
			return d;
	return NULL;
}

/* A dentry with one reference, not yet to be found.  Takes over inode's reference on success. */
int
dentry_alloc(struct dentry *parent, const char *name, size_t len, struct inode *inode,
	     struct dentry **out)
{
	struct dentry *d = slab_alloc(dentry_cache);

	if (!d)
		return -ENOMEM;
	memset(d, 0, offsetof(struct dentry, inline_name));
	d->name = d->inline_name;
	if (len >= DENTRY_INLINE) {
		d->name = kmalloc(len + 1);
		if (!d->name) {
			slab_free(dentry_cache, d);
			return -ENOMEM;
		}
	}
	memcpy(d->name, name, len);
	d->name[len] = '\0';
	d->len = (uint32_t)len;
	refcount_init(&d->refs);
	list_init(&d->children);
	list_init(&d->sibling);
	d->next_cookie = 2; /* after . and .. */
	d->inode = inode;
	d->parent = parent ? parent : d;
	if (parent)
		dentry_get(parent);
	*out = d;
	return 0;
}

void
dentry_add(struct dentry *d)
{
	struct dentry **b;

	d->hash = dentry_hash(d->parent, d->name, d->len);
	b = bucket(d->hash);
	d->hash_next = *b;
	*b = d;
	d->flags |= DENTRY_HASHED;
	d->cookie = d->parent->next_cookie++;
	list_push_back(&d->parent->children, &d->sibling);
}

void
dentry_unhash(struct dentry *d)
{
	struct dentry **b = bucket(d->hash);

	if (!(d->flags & DENTRY_HASHED))
		return;
	while (*b != d)
		b = &(*b)->hash_next;
	*b = d->hash_next;
	d->flags &= ~DENTRY_HASHED;
	list_remove(&d->sibling);
}

void
dentry_get(struct dentry *d)
{
	refcount_get(&d->refs);
}

void
dentry_put(struct dentry *d)
{
	while (d) {
		struct dentry *parent;

		/* Only under the lock may a dentry die: a walk finds it there without a reference. */
		if (refcount_put_unless_last(&d->refs))
			return;
		spin_lock(&vfs_lock);
		if (!refcount_put(&d->refs)) {
			spin_unlock(&vfs_lock);
			return;
		}
		parent = d->parent == d ? NULL : d->parent; /* it may have moved */
		dentry_unhash(d);
		spin_unlock(&vfs_lock);
		inode_put(d->inode);
		if (d->name != d->inline_name)
			kfree(d->name);
		slab_free(dentry_cache, d);
		d = parent;
	}
}

void
dentry_delete(struct dentry *d)
{
	spin_lock(&vfs_lock);
	dentry_unhash(d);
	d->flags |= DENTRY_DELETED;
	spin_unlock(&vfs_lock);
	dentry_put(d);
}

bool
dentry_is_below(const struct dentry *d, const struct dentry *ancestor)
{
	for (; d != ancestor; d = d->parent)
		if (d == d->parent)
			return false;
	return true;
}

int
dentry_long_name(const char *name, size_t len, char **out)
{
	*out = NULL;
	if (len < DENTRY_INLINE)
		return 0;
	*out = kmalloc(len + 1);
	if (!*out)
		return -ENOMEM;
	memcpy(*out, name, len);
	(*out)[len] = '\0';
	return 0;
}

/*
 * Gives d another parent and name.  d takes over long_name, which dentry_long_name made of name.
 * d gets a new position in its directory.  The caller holds references of both parents.
 */
void
dentry_move(struct dentry *d, struct dentry *parent, const char *name, size_t len, char *long_name)
{
	char *old = d->name;

	dentry_unhash(d);
	if (len < DENTRY_INLINE) {
		memcpy(d->inline_name, name, len);
		d->inline_name[len] = '\0';
		d->name = d->inline_name;
	} else {
		d->name = long_name;
	}
	d->len = (uint32_t)len;
	if (d->parent != parent) {
		refcount_get(&parent->refs);
		/* Not the last one: the caller has one. */
		(void)!refcount_put(&d->parent->refs);
		d->parent = parent;
	}
	if (old != d->inline_name)
		kfree(old);
	dentry_add(d);
}

void
dentry_exchange(struct dentry *a, struct dentry *b)
{
	struct dentry *parent = a->parent;
	uint32_t len = a->len;
	char *name = a->name;
	char short_name[DENTRY_INLINE];

	dentry_unhash(a);
	dentry_unhash(b);
	memcpy(short_name, a->inline_name, DENTRY_INLINE);
	memcpy(a->inline_name, b->inline_name, DENTRY_INLINE);
	memcpy(b->inline_name, short_name, DENTRY_INLINE);
	a->name = b->name == b->inline_name ? a->inline_name : b->name;
	b->name = name == a->inline_name ? b->inline_name : name;
	a->len = b->len;
	b->len = len;
	a->parent = b->parent;
	b->parent = parent;
	dentry_add(a);
	dentry_add(b);
}

int
dentry_readdir(struct file *f, struct dir_context *ctx)
{
	struct dentry *dir = f->path.dentry, *d;
	int err = 0;

	spin_lock(&vfs_lock);
	if (dir->flags & DENTRY_DELETED) {
		err = -ENOENT;
		goto out;
	}
	if (ctx->pos == 0) {
		if (!ctx->emit(ctx, ".", 1, dir->inode->ino, S_IFDIR, 1))
			goto out;
		ctx->pos = 1;
	}
	if (ctx->pos == 1) {
		if (!ctx->emit(ctx, "..", 2, dir->parent->inode->ino, S_IFDIR, 2))
			goto out;
		ctx->pos = 2;
	}
	list_for_each(d, &dir->children, sibling) {
		if (d->cookie < ctx->pos)
			continue;
		if (!ctx->emit(ctx, d->name, d->len, d->inode->ino, d->inode->mode, d->cookie + 1))
			goto out;
		ctx->pos = d->cookie + 1;
	}
out:
	spin_unlock(&vfs_lock);
	return err;
}

/* Seeking in a directory: positions are cookies. */
static int64_t
dir_seek(struct file *f, int64_t offset, int whence)
{
	if (whence == 1)
		offset += (int64_t)f->pos;
	else if (whence != 0)
		return -EINVAL;
	if (offset < 0)
		return -EINVAL;
	f->pos = (uint64_t)offset;
	return offset;
}

const struct file_ops dentry_dir_ops = {
	.readdir = dentry_readdir,
	.seek = dir_seek,
};
