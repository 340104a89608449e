/*
 * Row ro-pgtable on this processor: the window on the page tables.
 *
 * The window's root maps the blocks in which tables lie, writable, at their physical addresses in the low
 * half; the kernel half is everyone's.  Its own tables lie in such a block, too.  A CPU loads it for a few
 * stores, with interrupts off.  An NMI that comes in between runs on it: bit 12 of CR3 is clear, so the
 * ways in and out (trampoline.S) take it for a kernel root, and leave it.
 *
 * With PCIDs (asid.c) it has a number of its own, and nothing that the TLB kept from the window before: the
 * kernel's mappings may have changed since.  No page of the low half is global.
 */
#include "arch/tables.h"
#include "kernel/harden/harden.h"
#include "kernel/harden/ro_pgtable.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/page.h"
#include "cpu.h"

uint64_t table_window_offset ro_after_init;
static uint64_t window_root ro_after_init;
static bool ready ro_after_init;

struct table_window
table_window_open(void)
{
	struct table_window w = {.irq = arch_irq_save()};
	struct cpu *c = this_cpu();

	if (unlikely(!ready))
		return w;
	assert(c->table_windows == 0);
	w.cr3 = x86_read_cr3() | x86_entry_data_of(c)->keep_tlb;
	WRITE_ONCE(c->table_windows, 1);
	x86_write_cr3(w.cr3 & CR3_KEEP_TLB ? window_root | PCID_WINDOW : window_root);
	return w;
}

void
table_window_close(struct table_window w)
{
	if (likely(ready)) {
		x86_write_cr3(w.cr3);
		WRITE_ONCE(this_cpu()->table_windows, 0);
	}
	arch_irq_restore(w.irq);
}

/* ---- The window's tables ---- */

/* The entry of the 2 MiB page at pa; makes the tables on the way while start-up lasts. */
static uint64_t *
window_entry(uint64_t pa)
{
	uint64_t *table = phys_to_virt(PADDR(window_root));

	for (unsigned level = 4; level > 2; level--) {
		uint64_t *e = &table[INDEX(pa, level)];
		paddr_t frame;

		if (!(*e & PTE_P)) {
			if (pgtable_alloc(0, &frame))
				panic("mmu: no memory for the window's tables");
			memset(phys_to_virt(frame), 0, PAGE_SIZE);
			*e = frame.v | PTE_P | PTE_W;
		}
		table = phys_to_virt(pte_paddr((pte_t){*e}));
	}
	return &table[INDEX(pa, 2)];
}

/* A pair, as every root; what would be user mode's stays empty. */
void
table_window_init(void)
{
	const uint64_t *kernel_root = phys_to_virt(kernel_pt.root);
	paddr_t pair;
	uint64_t *root;

	if (pgtable_alloc(1, &pair))
		panic("mmu: no memory for the window's tables");
	root = phys_to_virt(pair);
	memset(root, 0, 2 * PAGE_SIZE);
	memcpy(root + ENTRIES / 2, kernel_root + ENTRIES / 2, PAGE_SIZE / 2);
	window_root = pair.v;
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
		  block.v | (x86_pte_bits(PROT_READ | PROT_WRITE) & ~PTE_G) | PTE_PS);
}

void
table_window_ready(void)
{
	ready = harden_wanted(HARDEN_RO_PGTABLE);
	if (ready)
		table_window_offset = direct_map_base;
}
