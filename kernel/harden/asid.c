/*
 * asid
 *
 * Threat:    The TLB keeps translations of address spaces that do not run, told apart by a number.  There
 *            are fewer numbers than processes: one that comes again while old entries are there gives its
 *            new owner the memory of the one before.
 * Property:  No translation is used by an address space that it is not of.
 * Mechanism: Numbers are handed out in generations (aarch64): when they run out, every CPU forgets all
 *            translations of users before it uses one of the new generation.  Or each CPU has the same
 *            two for whatever runs, and forgets them at each switch (x86_64's PCIDs).
 * Limit:     QEMU's TLB is emptied at every change of the number, so that only a number that two address
 *            spaces have in a row shows there; with row kpti on, each entry of the kernel hides that.
 * Check:     grade/tests/test_asid.py compares the numbers of every address space and CPU while they
 *            run out again and again; attack asid (aarch64).
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/mm/page.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/thread.h"

void
asid_cpu_init(void)
{
	if (arch_asid_supported())
		arch_asid_enable();
}

static pte_t
other_frame(void *arg, uint64_t va unused, pte_t old)
{
	struct page *p = arg;

	return p ? pte_make(page_paddr(p), pte_prot(old)) : pte_none();
}

/* What user mode would read at the probe's address.  0: it faulted. */
static uint64_t
read_probe(void)
{
	uint64_t v = 0;

	return arch_copy_from_user(&v, MMAP_MIN_ADDR, sizeof(v)) ? 0 : v;
}

/*
 * This CPU reads a page, which becomes another without a word to the TLB; then the numbers run out, and it
 * reads again.  A TLB that was not emptied, and holds on to what it has, still tells of the first.
 */
static bool
reuse_is_clean(struct vm *vm, struct page *first, struct page *second)
{
	uint64_t va = MMAP_MIN_ADDR, before, after;
	irqstate_t s;

	*(uint64_t *)phys_to_virt(page_paddr(first)) = 1;
	*(uint64_t *)phys_to_virt(page_paddr(second)) = 2;
	if (arch_pt_map(&vm->pt, va, pte_make(page_paddr(first), PROT_READ | PROT_USER)))
		return false;
	s = arch_irq_save();
	arch_pt_activate(&vm->pt);
	before = read_probe();
	arch_pt_update(&vm->pt, va, va + PAGE_SIZE, other_frame, second);
	arch_asid_use_up();
	arch_pt_activate(&vm->pt);
	after = read_probe();
	arch_pt_update(&vm->pt, va, va + PAGE_SIZE, other_frame, NULL);
	arch_tlb_flush(&vm->pt, va, va + PAGE_SIZE);
	arch_pt_activate(current->vm ? &current->vm->pt : &kernel_pt);
	arch_irq_restore(s);
	return before == 1 && after == 2;
}

static bool
try_reuse(void)
{
	struct page *first, *second;
	struct vm *vm;
	bool clean = false;

	if (vm_create(&vm))
		return false;
	if (page_alloc_zero(PAGE_KERNEL, &first))
		goto out_vm;
	if (page_alloc_zero(PAGE_KERNEL, &second))
		goto out_first;
	clean = reuse_is_clean(vm, first, second);
	page_put(second);
out_first:
	page_put(first);
out_vm:
	vm_put(vm);
	return clean;
}

static enum harden_state
probe(char *how, size_t size)
{
	bool clean;

	if (!arch_asid_supported()) {
		snprintf(how, size, "translations have no numbers here: each switch forgets them");
		return HARDEN_ABSENT;
	}
	clean = try_reuse();
	snprintf(how, size, "the numbers were used up: an old translation was %s",
		 clean ? "forgotten" : "used again");
	return clean ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation asid_row = {
	"asid", "no address space uses another's translations", probe};
