/*
 * What else changes areas that are there: mprotect, mremap, madvise, mlock.
 */
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/harden/cow.h"
#include "kernel/mm/area.h"
#include "kernel/mm/mman.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"

/* ---- mprotect --------------------------------------------------------------------------------- */

struct protect {
	unsigned prot;
	bool private;
	bool changed;
};

static pte_t
protect_pte(void *arg, unused uint64_t va, pte_t old)
{
	struct protect *p = arg;
	unsigned prot = p->prot | PROT_USER;
	pte_t e = pte_with_prot(old, p->private ? cow_protect(old, prot) : prot);

	if (!pte_equal(e, old))
		p->changed = true;
	return e;
}

static void
protect_area(struct vm *vm, struct vma *a, unsigned prot)
{
	struct protect p = {.prot = prot, .private = !(a->flags & VMA_SHARED)};

	a->prot = prot;
	arch_pt_update(&vm->pt, a->start, a->end, protect_pte, &p);
	if (p.changed)
		arch_tlb_flush(&vm->pt, a->start, a->end);
}

/* May area a get prot?  0 or -errno. */
static int
check_protect(struct vm *vm, const struct vma *a, uint64_t npages, unsigned prot)
{
	int err = vm_check_wx(vm, a->prot, prot);

	if (err)
		return err;
	if (prot & ~a->max_prot)
		return -EACCES;
	if (vma_is_private_writable(prot, a->flags) && !vma_is_private_writable(a->prot, a->flags)) {
		vm->total_pages -= npages; /* they are counted already */
		err = vm_check_limits(vm, npages, prot, a->flags);
		vm->total_pages += npages;
	}
	return err;
}

int
vm_mprotect(struct vm *vm, uint64_t addr, uint64_t length, unsigned prot)
{
	struct vma *dead = NULL;
	uint64_t end = addr + ALIGN_UP(length, PAGE_SIZE), at = addr;
	int err = 0;

	if (!IS_ALIGNED(addr, PAGE_SIZE))
		return -EINVAL;
	if (length == 0)
		return 0;
	if (end <= addr)
		return -ENOMEM;
	if (prot & ~PROT_ACCESS)
		return -EINVAL;
	mutex_lock(&vm->lock);
	/* As Linux: what lies before a hole or a refusal stays changed. */
	while (at < end && err == 0) {
		struct vma *a = vm_find(vm, at);
		uint64_t stop;

		if (a == NULL || a->start > at) {
			err = -ENOMEM;
			break;
		}
		stop = MIN(a->end, end);
		err = check_protect(vm, a, (stop - at) >> PAGE_SHIFT, prot);
		if (err == 0 && a->prot != prot) {
			err = vm_split_range(vm, at, stop);
			if (err == 0)
				protect_area(vm, vm->areas[vm_index(vm, at)], prot);
		}
		at = stop;
		if (signal_killed())
			err = -EINTR;
		cond_resched();
	}
	vm_merge_range(vm, addr, at, &dead);
	mutex_unlock(&vm->lock);
	vma_free_list(dead);
	return err;
}

/* ---- mremap ----------------------------------------------------------------------------------- */

struct moving {
	unsigned n;
	struct pt_leaf leaves[PT_BATCH];
};

static pte_t
take_pte(void *arg, uint64_t va, pte_t old)
{
	struct moving *m = arg;

	m->leaves[m->n++] = (struct pt_leaf){va, old};
	return pte_none();
}

/* Moves the leaves of [from, from + length) to `to`.  -ENOMEM: those below *done were moved. */
static int
move_pages(struct vm *vm, uint64_t from, uint64_t to, uint64_t length, uint64_t *done)
{
	for (uint64_t at = from; at < from + length;) {
		struct moving m = {0};
		int err;

		*done = at - from;
		at = arch_pt_update_some(&vm->pt, at, from + length, take_pte, &m);
		for (unsigned i = 0; i < m.n; i++)
			m.leaves[i].va += to - from;
		err = arch_pt_map_all(&vm->pt, m.leaves, m.n);
		if (err) {
			for (unsigned i = 0; i < m.n; i++)
				m.leaves[i].va -= to - from;
			(void)!arch_pt_map_all(&vm->pt, m.leaves, m.n); /* their tables are still there */
			return err;
		}
	}
	*done = length;
	return 0;
}

/* Moves area [addr, addr + old_length), one whole area, to new_addr, where nothing is. */
static int
move_area(struct vm *vm, uint64_t addr, uint64_t old_length, uint64_t new_addr, uint64_t new_length,
	  bool keep_old, struct vma **dead)
{
	struct vma *a = vm->areas[vm_index(vm, addr)], *b;
	uint64_t moved, back;
	int err;

	if (vm_reserve(vm, 1) != 0 || (b = vma_clone(a)) == NULL)
		return -ENOMEM;
	b->start = new_addr;
	b->end = new_addr + new_length;
	err = move_pages(vm, addr, new_addr, old_length, &moved);
	if (err) {
		(void)!move_pages(vm, new_addr, addr, moved, &back);
		b->dead_next = *dead;
		*dead = b;
	}
	arch_tlb_flush(&vm->pt, addr, addr + old_length);
	if (err)
		return err;
	/* Its boundaries are an area's: nothing is split, so this cannot fail. */
	if (!keep_old)
		(void)!vm_unmap_locked(vm, addr, addr + old_length, dead);
	vm_insert(vm, b, dead);
	return 0;
}

/* Grows the area that ends at addr + old_length in place, if there is room.  False: there is none. */
static bool
grow_in_place(struct vm *vm, struct vma *a, uint64_t delta, struct vma **dead)
{
	unsigned i = vm_index(vm, a->start);

	if (delta > USER_END - a->end)
		return false;
	if (i + 1 < vm->count && vm->areas[i + 1]->start < a->end + delta)
		return false;
	a->end += delta;
	vm->total_pages += delta >> PAGE_SHIFT;
	if (a->flags & VMA_LOCKED)
		vm->locked_pages += delta >> PAGE_SHIFT;
	vm_merge_range(vm, a->start, a->end, dead);
	return true;
}

static int
remap_locked(struct vm *vm, uint64_t addr, uint64_t old_length, uint64_t new_length, unsigned flags,
	     uint64_t new_addr, struct vma **dead, uint64_t *out)
{
	bool fixed = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP);
	struct vma *a = vm_find(vm, addr);
	uint64_t delta = new_length > old_length ? new_length - old_length : 0;
	int err;

	if (a == NULL || a->start > addr)
		return -EFAULT;
	if (flags & MREMAP_FIXED) {
		if (!IS_ALIGNED(new_addr, PAGE_SIZE) || new_length > USER_END ||
		    new_addr > USER_END - new_length)
			return -EINVAL;
		if (addr + old_length > new_addr && new_addr + new_length > addr)
			return -EINVAL;
		err = vm_check_low(new_addr);
		if (err)
			return err;
	}
	if (old_length == 0) /* a second mapping of shared memory: not provided */
		return -EINVAL;
	if ((flags & MREMAP_DONTUNMAP) && (a->file != NULL || (a->flags & VMA_SHARED)))
		return -EINVAL;
	if (!fixed && new_length <= old_length) {
		*out = addr;
		return new_length == old_length
			       ? 0
			       : vm_unmap_locked(vm, addr + new_length, addr + old_length, dead);
	}
	if (old_length > a->end - addr)
		return -EFAULT;
	if (a->file != NULL && a->offset + (addr - a->start) + new_length < new_length)
		return -EINVAL;
	if (flags & MREMAP_DONTUNMAP) /* the old area stays beside the new one */
		delta = new_length;
	if ((a->flags & VMA_LOCKED) && vm_check_locked(vm, delta >> PAGE_SHIFT) != 0)
		return -EAGAIN;
	if (delta && vm_check_limits(vm, delta >> PAGE_SHIFT, a->prot, a->flags) != 0)
		return -ENOMEM;
	if (!fixed && old_length == a->end - addr && grow_in_place(vm, a, delta, dead)) {
		*out = addr;
		return 0;
	}
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;

	if (flags & MREMAP_FIXED) {
		err = vm_unmap_locked(vm, new_addr, new_addr + new_length, dead);
	} else {
		err = vm_find_free(vm, flags & MREMAP_DONTUNMAP ? new_addr : 0, new_length,
				   &new_addr);
	}
	if (err)
		return err;
	if (fixed && new_length < old_length) {
		err = vm_unmap_locked(vm, addr + new_length, addr + old_length, dead);
		if (err)
			return err;
		old_length = new_length;
	}
	err = vm_split_range(vm, addr, addr + old_length);
	if (err)
		return err;
	*out = new_addr;
	return move_area(vm, addr, old_length, new_addr, new_length, flags & MREMAP_DONTUNMAP,
			 dead);
}

int
vm_mremap(struct vm *vm, uint64_t addr, uint64_t old_length, uint64_t new_length, unsigned flags,
	  uint64_t new_addr, uint64_t *out)
{
	struct vma *dead = NULL, *a;
	bool populate = false;
	int err;

	if (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP))
		return -EINVAL;
	if ((flags & MREMAP_FIXED) && !(flags & MREMAP_MAYMOVE))
		return -EINVAL;
	if ((flags & MREMAP_DONTUNMAP) && (!(flags & MREMAP_MAYMOVE) || old_length != new_length))
		return -EINVAL;
	if (!IS_ALIGNED(addr, PAGE_SIZE))
		return -EINVAL;
	old_length = ALIGN_UP(old_length, PAGE_SIZE);
	new_length = ALIGN_UP(new_length, PAGE_SIZE);
	if (new_length == 0)
		return -EINVAL;
	if (addr >= USER_END || old_length > USER_END - addr || new_length > USER_END)
		return addr >= USER_END || old_length > USER_END - addr ? -EFAULT : -ENOMEM;
	mutex_lock(&vm->lock);
	err = remap_locked(vm, addr, old_length, new_length, flags, new_addr, &dead, out);
	if (err == 0 && new_length > old_length) {
		a = vm_find(vm, *out);
		populate = a != NULL && (a->flags & VMA_LOCKED);
	}
	mutex_unlock(&vm->lock);
	vma_free_list(dead);
	if (populate)
		(void)!vm_populate(vm, *out + old_length, new_length - old_length, false);
	return err;
}

/* ---- madvise ---------------------------------------------------------------------------------- */

/* Sets and clears flags of the part [start, end) of one area. */
static int
change_flags(struct vm *vm, uint64_t start, uint64_t end, unsigned set, unsigned clear)
{
	struct vma *a = vm_find(vm, start);
	unsigned flags = (a->flags & ~clear) | set;
	uint64_t npages = (end - start) >> PAGE_SHIFT;
	int err;

	if (flags == a->flags)
		return 0;
	err = vm_split_range(vm, start, end);
	if (err)
		return err;
	a = vm->areas[vm_index(vm, start)];
	if ((flags ^ a->flags) & VMA_LOCKED)
		vm->locked_pages += flags & VMA_LOCKED ? npages : -npages;
	a->flags = flags;
	return 0;
}

/* Between two of many areas, vm->lock held: others get the CPU.  True: the process is to die, not to go on. */
static bool
next_area(struct tlb_batch *b)
{
	/* No frame is kept over a sleep: others may be short of memory. */
	if (unlikely(READ_ONCE(current->work) & WORK_RESCHED)) {
		tlb_batch_flush(b);
		schedule();
	}
	return signal_killed();
}

/* Applies advice to the part [start, end) of area a.  The caller flushes b in the end. */
static int
advise(struct vm *vm, struct vma *a, uint64_t start, uint64_t end, int advice, struct tlb_batch *b)
{
	bool private_anonymous = a->file == NULL && !(a->flags & VMA_SHARED);

	switch (advice) {
	case MADV_FREE:
		if (!private_anonymous)
			return -EINVAL;
		/* fall through - freeing at once is allowed */
	case MADV_DONTNEED:
		if (a->flags & VMA_LOCKED)
			return -EINVAL;
		vm_zap(b, start, end);
		return 0;
	case MADV_DONTFORK:
		return change_flags(vm, start, end, VMA_DONTFORK, 0);
	case MADV_DOFORK:
		return change_flags(vm, start, end, 0, VMA_DONTFORK);
	case MADV_WIPEONFORK:
		if (!private_anonymous)
			return -EINVAL;
		return change_flags(vm, start, end, VMA_WIPEONFORK, 0);
	case MADV_KEEPONFORK:
		return change_flags(vm, start, end, 0, VMA_WIPEONFORK);
	default: /* hints about speed: nothing to gain from them here */
		return 0;
	}
}

static bool
advice_is_known(int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_FREE:
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_WIPEONFORK:
	case MADV_KEEPONFORK:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return true;
	default:
		return false;
	}
}

static int
madvise_populate(struct vm *vm, uint64_t addr, uint64_t length, bool write)
{
	int err = vm_populate(vm, addr, length, write);

	if (err == -EFAULT) /* no area */
		return -ENOMEM;
	if (err == -EACCES)
		return -EINVAL;
	return err == -ENOENT ? -EFAULT : err; /* beyond the end of the file */
}

int
vm_madvise(struct vm *vm, uint64_t addr, uint64_t length, int advice)
{
	uint64_t end = addr + ALIGN_UP(length, PAGE_SIZE), at = addr;
	struct vma *dead = NULL;
	struct tlb_batch batch;
	int err = 0, hole = 0;

	if (!advice_is_known(advice) || !IS_ALIGNED(addr, PAGE_SIZE))
		return -EINVAL;
	if (end < addr || (length != 0 && end == addr))
		return -EINVAL;
	if (end == addr)
		return 0;
	if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE)
		return madvise_populate(vm, addr, end - addr, advice == MADV_POPULATE_WRITE);

	tlb_batch_init(&batch, vm);
	mutex_lock(&vm->lock);
	while (at < end && err == 0) {
		struct vma *a = vm_find(vm, at);
		uint64_t stop;

		/* What is mapped is advised; a hole is reported in the end. */
		if (a == NULL || a->start > at)
			hole = -ENOMEM;
		if (a == NULL || a->start >= end)
			break;
		at = MAX(at, a->start);
		stop = MIN(a->end, end);
		err = advise(vm, a, at, stop, advice, &batch);
		at = stop;
		if (next_area(&batch))
			err = -EINTR;
	}
	tlb_batch_flush(&batch);
	vm_merge_range(vm, addr, end, &dead);
	mutex_unlock(&vm->lock);
	vma_free_list(dead);
	return err ? err : hole;
}

/* ---- mlock: nothing is ever paged out, so it is accounting, and faulting in ---------------------- */

int
vm_mlock(struct vm *vm, uint64_t addr, uint64_t length, bool lock)
{
	uint64_t end = addr + length, at = addr;
	struct vma *dead = NULL;
	int err = 0;

	mutex_lock(&vm->lock);
	if (lock && vm_check_locked(vm, (length >> PAGE_SHIFT) - vm_pages_within(vm, addr, end, VMA_LOCKED)) != 0)
		err = -ENOMEM;
	while (at < end && err == 0) {
		struct vma *a = vm_find(vm, at);
		uint64_t stop;

		if (a == NULL || a->start > at) {
			err = -ENOMEM;
			break;
		}
		stop = MIN(a->end, end);
		err = change_flags(vm, at, stop, lock ? VMA_LOCKED : 0, VMA_LOCKED);
		at = stop;
	}
	vm_merge_range(vm, addr, end, &dead);
	mutex_unlock(&vm->lock);
	vma_free_list(dead);
	if (err == 0 && lock) {
		/* As Linux: the areas are locked all the same. */
		err = vm_populate(vm, addr, length, false);
		if (err)
			err = err == -ENOMEM ? -EAGAIN : -ENOMEM;
	}
	return err;
}

/* Faults in what is locked. */
static void
populate_locked(struct vm *vm)
{
	struct vma a;

	for (uint64_t at = 0; vm_describe(vm, at, &a) == 0; at = a.end) {
		if (a.file != NULL)
			file_put(a.file);
		if (a.flags & VMA_LOCKED)
			(void)!vm_populate(vm, a.start, a.end - a.start, false);
	}
}

int
vm_mlockall(struct vm *vm, bool now, bool future, bool lock)
{
	struct vma *dead = NULL;

	mutex_lock(&vm->lock);
	if (now && lock && vm_check_locked(vm, vm->total_pages - vm->locked_pages) != 0) {
		mutex_unlock(&vm->lock);
		return -ENOMEM;
	}
	vm->lock_future = future && lock ? VMA_LOCKED : 0;
	for (unsigned i = 0; now && i < vm->count; i++)
		(void)!change_flags(vm, vm->areas[i]->start, vm->areas[i]->end,
				    lock ? VMA_LOCKED : 0, VMA_LOCKED);
	vm_merge_range(vm, 0, USER_END, &dead);
	mutex_unlock(&vm->lock);
	vma_free_list(dead);
	if (now && lock)
		populate_locked(vm);
	return 0;
}
