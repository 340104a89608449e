/*
 * cow
 *
 * Threat:    Private memory is shared until somebody writes: a program's pages with its children, a file's with
 *            all who map it.  A write that goes to the frame itself changes another process's memory, or a
 *            file that the writer may only read (CVE-2016-5195, "Dirty COW"; CVE-2022-2590).
 * Property:  A private mapping writes only to a frame of which it holds the one and only reference.
 * Mechanism: Every mapping holds a reference of its frame, and the page cache one more.  Leaves lose their write
 *            permission at fork, and get it in a fault alone, which counts the references; mprotect gives no
 *            more than there was.  Off, mprotect believes the area, which says what the program may do, and
 *            makes what is mapped writable whoever else has it.
 * Limit:     A kernel path that drops a reference too many gives a frame away: nothing here tells that one.
 * Check:     grade/tests/test_cow.py compares leaves and references of all frames from outside; attack cow.
 */
#include "kernel/harden/cow.h"

#include "arch/pte.h"
#include "kernel/fs/shmem.h"
#include "kernel/fs/vfs.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/mm/page.h"
#include "kernel/mm/vm.h"

pte_t
cow_share(struct page *p, pte_t leaf)
{
	unsigned prot = pte_prot(leaf);

	refcount_get(&p->refs);
	return prot & PROT_WRITE ? pte_with_prot(leaf, prot & ~PROT_WRITE) : leaf;
}

/*
 * refs cannot grow meanwhile: a new reference is made from a mapping, and this one is guarded by vm->lock.
 * A frame of the page cache is the file's, however few map it.
 */
bool
cow_sole(const struct page *p)
{
	return p->type == PAGE_ANON && __atomic_load_n(&p->refs.n, __ATOMIC_ACQUIRE) == 1;
}

unsigned
cow_protect(pte_t leaf, unsigned prot)
{
	if (!(prot & PROT_WRITE) || (pte_prot(leaf) & PROT_WRITE) || !harden_wanted(HARDEN_COW))
		return prot;
	return (prot & ~PROT_WRITE) | PROT_READ;
}

/* ---- The probe: the paths that user mode takes, in an address space that nobody runs in ---------- */

static bool
store(struct vm *vm, uint64_t at, uint64_t value)
{
	return vm_access(vm, at, &value, sizeof(value), true) == sizeof(value);
}

static bool
holds(struct vm *vm, uint64_t at, uint64_t value)
{
	uint64_t there;

	return vm_access(vm, at, &there, sizeof(there), false) == sizeof(there) && there == value;
}

/* Takes write permission away and gives it back. */
static bool
protect_twice(struct vm *vm, uint64_t at)
{
	return vm_mprotect(vm, at, PAGE_SIZE, PROT_READ) == 0 &&
	       vm_mprotect(vm, at, PAGE_SIZE, PROT_READ | PROT_WRITE) == 0;
}

/* A child writes, to a page that it has as fork left it, and to one that mprotect has been at. */
static bool
parent_keeps_its_own(struct vm *vm)
{
	uint64_t at;
	struct vm *child;
	bool kept;

	if (vm_mmap(vm, 0, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, NULL, 0,
		    &at) != 0)
		return false;
	if (!store(vm, at, 1) || !store(vm, at + PAGE_SIZE, 1) || vm_fork(vm, &child) != 0)
		return false;
	kept = store(child, at, 2) && protect_twice(child, at + PAGE_SIZE) &&
	       store(child, at + PAGE_SIZE, 2) && holds(vm, at, 1) && holds(vm, at + PAGE_SIZE, 1);
	vm_put(child);
	return kept;
}

/* A private page of a file is read, and then written. */
static bool
file_keeps_its_own(struct vm *vm)
{
	uint64_t at, private;
	struct file *f;
	bool kept;

	if (shmem_file_create(PAGE_SIZE, &f) != 0)
		return false;
	kept = vm_mmap(vm, 0, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0, &at) == 0 &&
	       vm_mmap(vm, 0, PAGE_SIZE, PROT_READ, MAP_PRIVATE, f, 0, &private) == 0 &&
	       store(vm, at, 1) && holds(vm, private, 1) && protect_twice(vm, private) &&
	       store(vm, private, 2) && holds(vm, private, 2) && holds(vm, at, 1);
	file_put(f);
	return kept;
}

static enum harden_state
probe(char *how, size_t size)
{
	bool parent, file;
	struct vm *vm;

	if (vm_create(&vm) != 0) {
		snprintf(how, size, "no memory for the probe");
		return HARDEN_OFF;
	}
	parent = parent_keeps_its_own(vm);
	file = file_keeps_its_own(vm);
	vm_put(vm);
	snprintf(how, size, "after a private write a parent %s, a file %s",
		 parent ? "has what it had" : "has its child's", file ? "has what it had" : "has the writer's");
	return parent && file ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation cow_row = {"cow", "private writes change nobody else's memory", probe};
