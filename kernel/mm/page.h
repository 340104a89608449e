/*
 * Physical frames: one struct page each, a buddy allocator, and per-CPU caches of single frames.
 */
#pragma once

#include "arch/arch.h"
#include "kernel/errno.h"
#include "kernel/harden/refcount.h"
#include "kernel/lib/list.h"
#include "kernel/types.h"

#define PAGE_MAX_ORDER 10 /* the largest block is 2^10 frames, 4 MiB */

enum page_type {
	PAGE_RESERVED, /* firmware, kernel image: never allocated */
	PAGE_FREE,     /* in the buddy allocator or in a CPU's cache */
	PAGE_KERNEL,   /* kernel data: stacks, buffers */
	PAGE_TABLE,    /* translation table: kernel/harden/ro_pgtable.c */
	PAGE_SLAB,     /* kernel/mm/heap.c */
	PAGE_ANON,     /* user memory without a file */
	PAGE_FILE,     /* page cache: belongs to an inode */
	PAGE_TYPES,
};

struct page {
	struct refcount refs; /* mappings plus named kernel references; 0: free */
	uint8_t type;	  /* enum page_type; owner of the frame */
	uint8_t order;	  /* of the block that starts here */
	uint16_t flags;	  /* owner of the frame */
	struct list link; /* [allocator] free list; else the owner's */
	uint64_t private[2]; /* the owner's: slab's, page cache's inode and index, or a root's count of tables */
};

/*
 * page.flags of PAGE_ANON and PAGE_FILE.  FETCHABLE is the architecture's: instruction caches know what
 * the frame holds now.
 */
#define PAGE_FETCHABLE BIT(15)
/* Of frames that are tables, or free to become some: kernel/harden/ro_pgtable.c. */
#define PAGE_POOL BIT(14)

extern struct page *pages; /* indexed by frame number; only from the first frame of RAM on */
extern uint64_t page_first; /* the first frame that `pages` covers */
extern uint64_t page_count; /* one more than the last */

/* Builds `pages` from boot_info; then page_alloc works. */
void page_init(void);
/* Zeroed frames for start-up, before page_init; panics when there are none.  Below 1 GiB (which the
 * early tables map) as long as there are any. */
paddr_t page_alloc_early(size_t frames);
/* The same, at a multiple of align bytes. */
paddr_t page_alloc_early_aligned(size_t frames, size_t align);
/* Gives reserved memory (the unpacked initramfs) to the allocator; whole frames inside the range. */
void page_release(paddr_t base, uint64_t size);

/* 2^order frames, contents undefined, one reference.  0 or -ENOMEM.  Not from interrupts.
 * The last frames are not given to PAGE_ANON, PAGE_FILE and PAGE_TABLE: the kernel needs them to kill a process. */
must_use int page_alloc_order(unsigned order, enum page_type type, struct page **out);
/* One frame; page_alloc_zero's is cleared. */
must_use int page_alloc(enum page_type type, struct page **out);
must_use int page_alloc_zero(enum page_type type, struct page **out);

/* Takes / drops a reference; the last one frees the block. */
void page_get(struct page *p);
void page_put(struct page *p);

static inline void *
phys_to_virt(paddr_t pa)
{
	return (void *)(direct_map_base + pa.v);
}

static inline paddr_t
virt_to_phys(const void *direct_map_address)
{
	return PADDR((uint64_t)direct_map_address - direct_map_base);
}

static inline paddr_t
page_paddr(const struct page *p)
{
	return PADDR((uint64_t)(p - pages) << PAGE_SHIFT);
}

/* The kernel has written to a frame that user mode may have executed before. */
static inline void
page_written(struct page *p)
{
	if (unlikely(READ_ONCE(p->flags) & PAGE_FETCHABLE))
		__atomic_fetch_and(&p->flags, (uint16_t)~PAGE_FETCHABLE, __ATOMIC_RELAXED);
}

static inline struct page *
page_of(paddr_t pa)
{
	return &pages[pa.v >> PAGE_SHIFT];
}

/* The frame that p points into; NULL: p is no direct-map address of memory. */
static inline struct page *
page_lookup(const void *p)
{
	uint64_t frame = virt_to_phys(p).v >> PAGE_SHIFT;

	return frame - page_first < page_count - page_first ? &pages[frame] : NULL;
}

static inline void *
page_addr(const struct page *p)
{
	return phys_to_virt(page_paddr(p));
}

/* Frames that the allocator manages / that are free, caches included. */
uint64_t page_total(void);
uint64_t page_free_count(void);
/* Frames in use as `type`; exact when nothing allocates meanwhile. */
uint64_t page_type_count(enum page_type type);
