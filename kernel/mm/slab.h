/* What a slab cache is, for the files that look inside: heap.c and the mitigations that guard it. */
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/spinlock.h"
#include "kernel/mm/page.h"
#include "kernel/types.h"

#define SLAB_ORDER_MAX	 3   /* a slab has at most 8 frames */
#define SLAB_OBJECTS_MAX 256 /* 16 bytes each, in one frame */

/* A free object.  Its link is read and written by link_get and link_set (heap.c) alone. */
struct object {
	uint64_t link;
};

struct cpu_list {
	struct object *head;
	unsigned n;
};

struct slab_cache {
	struct cpu_list cpu[MAX_CPUS];
	unsigned size;	   /* bytes of an object */
	unsigned batch;	   /* objects moved between a CPU's list and the slabs at once */
	unsigned order;	   /* of a slab */
	unsigned count;	   /* objects in a slab */
	uint32_t inverse;  /* 2^32 / size, rounded up: offset * inverse >> 32 is the object's index */
	unsigned user_off; /* bytes of an object that user copies may touch, from user_off on */
	unsigned user_len;
	uint64_t secret; /* of the links of free objects; fixed */
	const char *name;
	struct spinlock lock;
	struct list partial; /* [lock] slabs with some objects free */
	struct list empty;   /* [lock] slabs with all objects free */
	unsigned nempty;     /* [lock] */
};

/* The cache that the frame belongs to; page->type is PAGE_SLAB. */
static inline struct slab_cache *
slab_cache_of(const struct page *page)
{
	return (struct slab_cache *)page->private[0];
}

/*
 * Bytes from the start of the object that p points into; p is in a slab of c.  In the tail that is too
 * small for an object it is size or more.
 */
static always_inline size_t
slab_object_offset(const struct slab_cache *c, const void *p)
{
	uint64_t offset = (uint64_t)p & ((PAGE_SIZE << c->order) - 1);
	uint64_t index = offset * c->inverse >> 32; /* exact: offset < 2^15, size < 2^14 */

	return index < c->count ? offset - index * c->size : c->size;
}
