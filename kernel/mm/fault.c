/*
 * Page faults: finding the frame for an access that the area allows.
 */
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/harden/cow.h"
#include "kernel/lib/string.h"
#include "kernel/mm/area.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"

#define FAULT_AROUND 16 /* file pages mapped by one fault, if the page cache has them */

/* ---- Stacks ----------------------------------------------------------------------------------- */

/* Lets the stack `a` grow down to the page of addr.  0 or -EFAULT. */
static int
grow_stack(struct vm *vm, struct vma *a, uint64_t addr)
{
	uint64_t start = ALIGN_DOWN(addr, PAGE_SIZE), npages = (a->start - start) >> PAGE_SHIFT;
	unsigned i = vm_index(vm, a->start);

	if (a->end - start > rlimit(RLIMIT_STACK) || start < MMAP_MIN_ADDR)
		return -EFAULT;
	if (i > 0) {
		struct vma *below = vm->areas[i - 1];
		uint64_t gap = below->prot && !(below->flags & VMA_GROWSDOWN) ? STACK_GAP : 0;

		if (start < below->end || start - below->end < gap)
			return -EFAULT;
	}
	if (vm_check_limits(vm, npages, a->prot, a->flags) != 0)
		return -EFAULT;
	if (a->flags & VMA_LOCKED) {
		if (vm_check_locked(vm, npages) != 0)
			return -EFAULT;
		vm->locked_pages += npages;
	}
	a->start = start;
	vm->total_pages += npages;
	return 0;
}

/* ---- Filling in ------------------------------------------------------------------------------- */

/* Maps frame p, whose reference the mapping takes over, where nothing is mapped. */
static int
map_new(struct vm *vm, uint64_t va, struct page *p, unsigned prot)
{
	if (unlikely(arch_pt_map(&vm->pt, va, pte_make(page_paddr(p), prot | PROT_USER)) != 0)) {
		page_put(p);
		return -ENOMEM;
	}
	rss_add(vm, p);
	return 0;
}

static int
fill_anonymous(struct vm *vm, struct vma *a, uint64_t va)
{
	struct page *p;

	if (unlikely(page_alloc_zero(PAGE_ANON, &p) != 0))
		return -ENOMEM;
	return map_new(vm, va, p, a->prot);
}

/* A private copy of src's contents, mapped with the area's permissions.  replace: over `src`. */
static int
fill_copy(struct vm *vm, struct vma *a, uint64_t va, struct page *src, bool replace)
{
	struct page *p;

	if (unlikely(page_alloc(PAGE_ANON, &p) != 0))
		return -ENOMEM;
	memcpy(page_addr(p), page_addr(src), PAGE_SIZE);
	a->flags |= VMA_ANON_PAGES;
	if (!replace)
		return map_new(vm, va, p, a->prot);
	if (unlikely(arch_pt_map(&vm->pt, va, pte_make(page_paddr(p), a->prot | PROT_USER)) != 0)) {
		page_put(p);
		return -ENOMEM;
	}
	rss_sub(vm, src);
	rss_add(vm, p);
	/* Other threads may still read the old frame through their TLBs. */
	arch_tlb_flush(&vm->pt, va, va + PAGE_SIZE);
	page_put(src);
	return 0;
}

static uint64_t
file_index(const struct vma *a, uint64_t va)
{
	return (a->offset + (va - a->start)) >> PAGE_SHIFT;
}

/* Permissions of a page-cache frame in area a: the file's own memory is written only if shared. */
static unsigned
file_prot(const struct vma *a)
{
	return a->flags & VMA_SHARED ? a->prot : a->prot & ~PROT_WRITE;
}

/*
 * Maps frame p, whose reference the mapping takes over, at va, where nothing is mapped; and in the same
 * step the neighbours of va that the page cache has.
 */
static int
map_around(struct vm *vm, struct vma *a, uint64_t va, struct page *p)
{
	struct pt_leaf leaves[FAULT_AROUND] __attribute__((uninitialized));
	struct inode *inode = a->file->inode;
	uint64_t window = ALIGN_DOWN(va, FAULT_AROUND * PAGE_SIZE);
	uint64_t at = MAX(window, a->start);
	uint64_t end = MIN(window + FAULT_AROUND * PAGE_SIZE, a->end);
	unsigned prot = file_prot(a) | PROT_USER, n = 1;
	int err;

	leaves[0] = (struct pt_leaf){va, pte_make(page_paddr(p), prot)};
	for (; at < end && inode->ops->peek_page; at += PAGE_SIZE) {
		if (at == va || pte_present(arch_pt_get(&vm->pt, at)))
			continue;
		if (inode->ops->peek_page(inode, file_index(a, at), &p) != 0)
			continue;
		leaves[n++] = (struct pt_leaf){at, pte_make(page_paddr(p), prot)};
	}
	err = arch_pt_map_all(&vm->pt, leaves, n);
	for (unsigned i = 0; i < n; i++) {
		p = page_of(pte_paddr(leaves[i].pte));
		if (unlikely(err != 0))
			page_put(p);
		else
			rss_add(vm, p);
	}
	return err;
}

static int
fill_file(struct vm *vm, struct vma *a, uint64_t va, unsigned access)
{
	struct inode *inode = a->file->inode;
	struct page *p;
	int err = inode->ops->get_page(inode, file_index(a, va), &p);

	if (err)
		return err;
	if (access == PROT_WRITE && !(a->flags & VMA_SHARED)) {
		err = fill_copy(vm, a, va, p, false);
		page_put(p);
		return err;
	}
	return map_around(vm, a, va, p);
}

/* A write to a present page that is mapped read-only, in an area that allows it. */
static int
write_protected(struct vm *vm, struct vma *a, uint64_t va, pte_t old)
{
	struct page *p = page_of(pte_paddr(old));

	/* The last mapping of a private frame takes it over. */
	if ((a->flags & VMA_SHARED) || cow_sole(p)) {
		/* Cannot fail: the leaf is there. */
		(void)!arch_pt_map(&vm->pt, va, pte_with_prot(old, a->prot | PROT_USER));
		arch_tlb_flush_local(va);
		return 0;
	}
	return fill_copy(vm, a, va, p, true);
}

int
vm_fault_locked(struct vm *vm, uint64_t addr, unsigned access)
{
	uint64_t va = ALIGN_DOWN(addr, PAGE_SIZE);
	struct vma *a;
	pte_t old;

	if (unlikely(addr >= USER_END))
		return -EFAULT;
	a = vm_find(vm, addr);
	if (unlikely(a == NULL))
		return -EFAULT;
	if (unlikely(a->start > addr)) {
		if (!(a->flags & VMA_GROWSDOWN) || grow_stack(vm, a, addr) != 0)
			return -EFAULT;
	}
	/* Whatever is mapped with any access is readable. */
	if (unlikely(!(a->prot & access) && (access != PROT_READ || a->prot == 0)))
		return -EACCES;

	old = arch_pt_get(&vm->pt, va);
	if (pte_present(old)) {
		if (access == PROT_WRITE && !(pte_prot(old) & PROT_WRITE))
			return write_protected(vm, a, va, old);
		/* Another thread was faster, or this CPU's TLB knew less. */
		arch_tlb_flush_local(va);
		return 0;
	}
	if (a->file == NULL)
		return fill_anonymous(vm, a, va);
	return fill_file(vm, a, va, access);
}

int
vm_fault(struct vm *vm, uint64_t addr, unsigned access, int *signo, int *code)
{
	int err;

	mutex_lock(&vm->lock);
	err = vm_fault_locked(vm, addr, access);
	mutex_unlock(&vm->lock);
	if (likely(err == 0)) {
		current->min_flt++;
		return 0;
	}
	switch (err) {
	case -ENOMEM:
		if (oom_kill() == 0)
			return 0; /* the access is tried again */
		*signo = SIGKILL;
		*code = SI_KERNEL;
		break;
	case -EFAULT:
		*signo = SIGSEGV;
		*code = SEGV_MAPERR;
		break;
	case -EACCES:
		*signo = SIGSEGV;
		*code = SEGV_ACCERR;
		break;
	default: /* beyond the end of the file, or the file cannot be read */
		*signo = SIGBUS;
		*code = BUS_ADRERR;
		break;
	}
	return err;
}

/* ---- Access from outside ---------------------------------------------------------------------- */

ssize_t
vm_access(struct vm *vm, uint64_t addr, void *buf, size_t n, bool write)
{
	unsigned access = write ? PROT_WRITE : PROT_READ;
	size_t done = 0;

	while (done < n) {
		uint64_t at = addr + done, offset = at & PAGE_MASK;
		size_t part = MIN(n - done, PAGE_SIZE - offset);
		int err = -EFAULT;
		pte_t e = pte_none();
		char *p;

		mutex_lock(&vm->lock);
		if (at < USER_END) {
			e = arch_pt_get(&vm->pt, at);
			err = 0;
			if (!pte_present(e) || !(pte_prot(e) & access)) {
				err = vm_fault_locked(vm, at, access);
				e = arch_pt_get(&vm->pt, at);
			}
		}
		if (err) {
			mutex_unlock(&vm->lock);
			if (err == -ENOMEM && oom_kill() == 0)
				continue;
			break;
		}
		p = (char *)phys_to_virt(pte_paddr(e)) + offset;
		if (write)
			memcpy(p, (char *)buf + done, part);
		else
			memcpy((char *)buf + done, p, part);
		mutex_unlock(&vm->lock);
		done += part;
	}
	return done > 0 || n == 0 ? (ssize_t)done : -EFAULT;
}

int
vm_populate(struct vm *vm, uint64_t addr, uint64_t length, bool write)
{
	uint64_t end = addr + length;
	int err = 0;

	while (addr < end && err == 0 && !signal_killed()) {
		mutex_lock(&vm->lock);
		err = vm_fault_locked(vm, addr, write ? PROT_WRITE : PROT_READ);
		mutex_unlock(&vm->lock);
		addr += PAGE_SIZE;
		cond_resched();
	}
	return err;
}
