/*
 * Row ro-pgtable on this processor: the window on the page tables.
 *
 * The window's root, for TTBR0, maps the blocks in which tables lie, writable, at their physical addresses;
 * the kernel half is everyone's.  Its own tables lie in such a block, too.  A CPU loads it for a few stores,
 * with interrupts off, under an ASID that no address space has: no translation of the low half outlives the
 * window in the TLB, for none of them is global.
 *
 * PAN does not forbid the stores: it is about pages that user mode may use.
 */
#include "arch/tables.h"
#include "kernel/harden/harden.h"
#include "kernel/harden/ro_pgtable.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/page.h"
#include "cpu.h"

uint64_t table_window_offset ro_after_init;
static paddr_t window_root ro_after_init;
static bool ready ro_after_init;

struct table_window
table_window_open(void)
{
	struct table_window w = {.irq = arch_irq_save()};
	struct cpu *c = this_cpu();

	if (unlikely(!ready))
		return w;
	assert(c->table_windows == 0);
	w.ttbr0 = READ_SYSREG(ttbr0_el1);
	w.ttbr1 = READ_SYSREG(ttbr1_el1);
	WRITE_ONCE(c->table_windows, 1);
	a64_set_tables(window_root, WINDOW_ASID);
	return w;
}

/* The stores have been translated when TTBR0 changes: that is in the order of the program. */
void
table_window_close(struct table_window w)
{
	if (likely(ready)) {
		a64_set_tables(PADDR(w.ttbr0), w.ttbr1 >> TTBR_ASID_SHIFT);
		WRITE_ONCE(this_cpu()->table_windows, 0);
	}
	arch_irq_restore(w.irq);
}

/* ---- The window's tables ---- */

static paddr_t
new_table(void)
{
	paddr_t frame;

	if (pgtable_alloc(0, &frame))
		panic("mmu: no memory for the window's tables");
	memset(phys_to_virt(frame), 0, PAGE_SIZE);
	return frame;
}

/* The entry of the 2 MiB block at pa; makes the tables on the way while start-up lasts. */
static uint64_t *
window_entry(uint64_t pa)
{
	uint64_t *table = phys_to_virt(window_root);

	for (unsigned level = 4; level > 2; level--) {
		uint64_t *e = &table[INDEX(pa, level)];

		if (!(*e & PTE_VALID))
			*e = new_table().v | PTE_VALID | PTE_TABLE;
		table = phys_to_virt(PADDR(*e & PTE_FRAME));
	}
	return &table[INDEX(pa, 2)];
}

void
table_window_init(void)
{
	window_root = new_table();
	for (unsigned i = 0; i < boot_info.nram; i++) {
		const struct boot_range *r = &boot_info.ram[i];

		for (uint64_t pa = ALIGN_DOWN(r->base.v, LEVEL_SIZE(3)); pa < r->base.v + r->size; pa += LEVEL_SIZE(3))
			(void)window_entry(pa);
	}
}

void
table_window_add(paddr_t block)
{
	set_entry(window_entry(block.v),
		  block.v | ((a64_pte_bits(PROT_READ | PROT_WRITE) | PTE_NG) & ~PTE_TABLE));
	a64_dsb(ishst); /* before this CPU, or another, goes by it */
	a64_isb();
}

void
table_window_ready(void)
{
	ready = harden_wanted(HARDEN_RO_PGTABLE);
	if (ready)
		table_window_offset = direct_map_base;
}
