/*
 * The kernel heap: slab caches of one object size, and kmalloc's size classes on top of them.
 * From any context, with or without spin locks held; never sleeps.
 */
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/spinlock.h"
#include "kernel/types.h"

struct page;
struct slab_cache; /* kernel/mm/heap.c */

void heap_init(void);

/* size bytes, 16-byte aligned (a power of two up to a page: aligned to itself), undefined contents;
 * NULL if there is no memory or size is over KMALLOC_MAX. */
must_use void *kmalloc(size_t size);
must_use void *kzalloc(size_t size); /* zeroed */
void kfree(void *p);                 /* NULL is allowed */
#define KMALLOC_MAX (4ul << 20)

/*
 * A cache for many objects of one type.  Panics if there is no memory: only during start-up.  User copies
 * of variable size may touch len bytes of each object from off on; slab_create: none.
 */
struct slab_cache *slab_create_usercopy(const char *name, size_t size, size_t align, size_t off,
					size_t len);
struct slab_cache *slab_create(const char *name, size_t size, size_t align);
must_use void *slab_alloc(struct slab_cache *c); /* undefined contents, or NULL */
void slab_free(struct slab_cache *c, void *p);

/* The first frame of the block that kmalloc took whole and that page is in; NULL: it is in none. */
const struct page *heap_big_block(const struct page *page);

/* Bytes of memory that the heap holds. */
uint64_t heap_bytes(void);
