/*
 * Inside the address-space room: what vm.c, remap.c, fault.c and space.c share.
 */
#pragma once

#include "arch/pte.h"
#include "kernel/mm/page.h"
#include "kernel/mm/vm.h"

#define MAX_AREAS   65530 /* Linux's vm.max_map_count */
#define STACK_GAP   (256 * PAGE_SIZE) /* kept free below a growing stack */
#define PROT_ACCESS (PROT_READ | PROT_WRITE | PROT_EXEC)

/*
 * Frames taken out of the tables, to be put when no CPU can reach them any more.  Filled by
 * vm_zap, emptied by tlb_batch_flush.
 */
#define TLB_BATCH (64 + PT_BATCH)
struct tlb_batch {
	struct vm *vm;
	uint64_t start, end; /* translations to forget; end 0: none */
	unsigned n;
	struct page *frames[TLB_BATCH];
};

static inline void
tlb_batch_init(struct tlb_batch *b, struct vm *vm)
{
	b->vm = vm;
	b->start = UINT64_MAX;
	b->end = 0;
	b->n = 0;
}

void tlb_batch_flush(struct tlb_batch *b);
/* Unmaps all pages of [start, end); the caller flushes b in the end. */
void vm_zap(struct tlb_batch *b, uint64_t start, uint64_t end);

/* ---- Areas (vm.c); the caller holds vm->lock ---- */

/* A copy of *model that holds its file, or NULL.  vma_free undoes it; not under vm->lock. */
struct vma *vma_clone(const struct vma *model);
void vma_free(struct vma *a);
void vma_free_list(struct vma *dead);

/* Index of the area that contains addr or else the next above; vm->count if there is none. */
unsigned vm_index(struct vm *vm, uint64_t addr);
/* Room for n more areas.  0 or -ENOMEM. */
must_use int vm_reserve(struct vm *vm, unsigned n);
/* Links a (room was reserved), joined with its neighbours if they are alike; dead ones go to *dead. */
void vm_insert(struct vm *vm, struct vma *a, struct vma **dead);
/* Makes area boundaries at start and end (split areas there).  0 or -ENOMEM; no other change. */
must_use int vm_split_range(struct vm *vm, uint64_t start, uint64_t end);
/* Joins what is alike among the areas that touch [start, end]. */
void vm_merge_range(struct vm *vm, uint64_t start, uint64_t end, struct vma **dead);
/* Unmaps [start, end): areas go to *dead.  0 or -ENOMEM (nothing changed). */
must_use int vm_unmap_locked(struct vm *vm, uint64_t start, uint64_t end, struct vma **dead);
/* A free range of length bytes, at hint if that is free.  0 or -ENOMEM. */
must_use int vm_find_free(struct vm *vm, uint64_t hint, uint64_t length, uint64_t *out);
/* May `pages` more be mapped (RLIMIT_AS, RLIMIT_DATA for private writable ones)?  0 or -ENOMEM. */
must_use int vm_check_limits(struct vm *vm, uint64_t pages, unsigned prot, unsigned flags);
/* How many pages of [start, end) areas with all of these flags have. */
uint64_t vm_pages_within(struct vm *vm, uint64_t start, uint64_t end, unsigned flags);
/* 0 or -EAGAIN: RLIMIT_MEMLOCK forbids to lock `pages` more. */
must_use int vm_check_locked(struct vm *vm, uint64_t pages);
/* 0, or -EPERM: below MMAP_MIN_ADDR nothing is mapped (null-guard). */
must_use int vm_check_low(uint64_t addr);
/* 0, or -EACCES: new memory that is writable and executable, or old that would become executable. */
must_use int vm_check_wx(const struct vm *vm, unsigned old_prot, unsigned new_prot);

/* Resolves a fault at addr with vm->lock held: 0, -EFAULT (no area), -EACCES, -ENOENT (beyond the end
 * of the file), -ENOMEM. */
must_use int vm_fault_locked(struct vm *vm, uint64_t addr, unsigned access);

static inline bool
vma_is_private_writable(unsigned prot, unsigned flags)
{
	return (prot & PROT_WRITE) && !(flags & (VMA_SHARED | VMA_GROWSDOWN));
}

static inline void
rss_add(struct vm *vm, const struct page *p)
{
	uint64_t n = vm->rss + 1;

	WRITE_ONCE(vm->rss, n);
	if (n > vm->peak_rss)
		vm->peak_rss = n;
	if (p->type != PAGE_ANON)
		vm->rss_file++;
}

static inline void
rss_sub(struct vm *vm, const struct page *p)
{
	WRITE_ONCE(vm->rss, vm->rss - 1);
	if (p->type != PAGE_ANON)
		vm->rss_file--;
}
