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
#include "arch/pte.h"
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
no_frame(void *arg unused, uint64_t va unused, pte_t old unused)
{
	return pte_none();
}

/* What user mode would read at the probe's address.  0: it faulted. */
static uint64_t
read_probe(void)
{
	uint64_t v = 0;

	return arch_copy_from_user(&v, MMAP_MIN_ADDR, sizeof(v)) ? 0 : v;
}

/*
 * This CPU reads a page in an address space that has just got a number; then the numbers run out, and it reads
 * another's page at the same address.  A TLB that was not emptied, and holds on to what it has, still tells of
 * the first.
 */
static bool
reuse_is_clean(struct vm *one, struct vm *other, struct page *first, struct page *second)
{
	uint64_t va = MMAP_MIN_ADDR, before, after;
	irqstate_t s;

	*(uint64_t *)page_addr(first) = 1;
	*(uint64_t *)page_addr(second) = 2;
	if (arch_pt_map(&one->pt, va, pte_make(page_paddr(first), PROT_READ | PROT_USER)) ||
	    arch_pt_map(&other->pt, va, pte_make(page_paddr(second), PROT_READ | PROT_USER)))
		return false;
	s = arch_irq_save();
	arch_asid_use_up();
	arch_pt_activate(&one->pt);
	before = read_probe();
	arch_asid_use_up();
	arch_pt_activate(&other->pt);
	after = read_probe();
	arch_tlb_flush(&one->pt, va, va + PAGE_SIZE);
	arch_tlb_flush(&other->pt, va, va + PAGE_SIZE);
	arch_pt_activate(current->vm ? &current->vm->pt : &kernel_pt);
	arch_irq_restore(s);
	return before == 1 && after == 2;
}

static bool
try_reuse(void)
{
	struct page *pages_read[2];
	struct vm *vms[2];
	unsigned nvms, npages = 0;
	bool clean = false;

	for (nvms = 0; nvms < 2 && vm_create(&vms[nvms]) == 0;)
		nvms++;
	while (npages < 2 && page_alloc_zero(PAGE_KERNEL, &pages_read[npages]) == 0)
		npages++;
	if (nvms == 2 && npages == 2)
		clean = reuse_is_clean(vms[0], vms[1], pages_read[0], pages_read[1]);
	while (nvms--) {
		arch_pt_update(&vms[nvms]->pt, MMAP_MIN_ADDR, MMAP_MIN_ADDR + PAGE_SIZE, no_frame, NULL);
		vm_put(vms[nvms]);
	}
	while (npages--)
		page_put(pages_read[npages]);
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
