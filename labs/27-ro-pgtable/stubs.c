/* The starter's code: it works, and tables are memory like any other.  Sections as cut names them. */

/* ==== kernel/harden/ro_pgtable.c ==== */
/*
 * ro-pgtable
 *
 * Threat:    A kernel write primitive flips one bit of a page-table entry: a file that may be read becomes
 *            one that may be written, a page of the kernel one of the program's.
 * Property:  To do: say in one sentence who can write a page table, where, and for how long.
 * Mechanism: To do: tables come from a pool of 2 MiB blocks, and every change of one stands between the
 *            opening and the closing of a window (arch/NAME/ro_pgtable.c).  Neither means anything yet.
 * Limit:     To do.  Blocks stay in the pool for good; when memory is too scattered for another one, a
 *            table is not to be had.
 * Check:     labs/27-ro-pgtable/checks.py; attack ro-pgtable.
 */

/* To do: what may a mapping that stands do to a table?  harden=-ro-pgtable (harden_wanted) lets it write. */
unsigned
pgtable_prot(void)
{
	return PROT_READ | PROT_WRITE;
}

/*
 * To do: most of the kernel's own tables are made by now.  Where do they lie (alloc_early), and who can write
 * to them?
 */
void
pgtable_seal_early(void)
{
}

/*
 * One block more.
 *
 * To do: a moment ago it was somebody's memory.  Who can still write to it, and by what?  From when on may its
 * frames be given out?
 */
static noinline int
grow(void)
{
	struct page *block;
	int err = page_alloc_order(BLOCK_ORDER, PAGE_TABLE, &block);

	if (err)
		return err;
	add_block(block, 0);
	return 0;
}

/* ==== arch/x86_64/ro_pgtable.c ==== */
/*
 * Row ro-pgtable on this processor: the window on the page tables.
 *
 * Every change of a table stands between table_window_open and table_window_close, and goes through
 * table_writable or set_entry (arch/tables.h).  So far that means nothing: tables are written where the
 * direct map has them, by whoever wants to.
 *
 * To do: tables are written in a window alone, and a window is one CPU's.  What does that CPU load that no
 * other one has?  At which addresses does it find the tables then?  What of the kernel must be there, too?
 * Somewhere the window's own tables must lie.
 */
#include "arch/tables.h"
#include "kernel/harden/harden.h"
#include "kernel/harden/ro_pgtable.h"
#include "cpu.h"

uint64_t table_window_offset ro_after_init;

/*
 * To do: from here on this CPU can write tables.  What may come in between, and what must not?  What is kept
 * in w for the way back?  While it is open, table_windows of struct cpu says 1: an oops then ends the machine,
 * for nobody would close the window.
 */
struct table_window
table_window_open(void)
{
	struct table_window w = {.irq = arch_irq_save()};

	return w;
}

/* To do: the CPU has what it had before, and its TLB nothing of the window. */
void
table_window_close(struct table_window w)
{
	arch_irq_restore(w.irq);
}

/* To do: kernel_pt is complete, and still nobody runs on it; pgtable_alloc gives frames of start-up's blocks. */
void
table_window_init(void)
{
}

/* To do: tables will lie in the block. */
void
table_window_add(paddr_t block unused)
{
}

/* To do: from here on the final tables are loaded.  What must windows not do before, and with harden=-ro-pgtable? */
void
table_window_ready(void)
{
}

/* ==== arch/x86_64/mmu.c ==== */

/* To do: the kernel's own mapping of the block, and the window's.  Which pages does the direct map have there? */
void
arch_table_block(paddr_t block unused)
{
}

/* ==== arch/aarch64/ro_pgtable.c ==== */
/*
 * Row ro-pgtable on this processor: the window on the page tables.
 *
 * Every change of a table stands between table_window_open and table_window_close, and goes through
 * table_writable or set_entry (arch/tables.h).  So far that means nothing: tables are written where the
 * direct map has them, by whoever wants to.
 *
 * To do: tables are written in a window alone, and a window is one CPU's.  What does that CPU load that no
 * other one has, and under which ASID?  At which addresses does it find the tables then?  Somewhere the
 * window's own tables must lie.
 */
#include "arch/tables.h"
#include "kernel/harden/harden.h"
#include "kernel/harden/ro_pgtable.h"
#include "cpu.h"

uint64_t table_window_offset ro_after_init;

/*
 * To do: from here on this CPU can write tables.  What may come in between, and what must not?  What is kept
 * in w for the way back?  While it is open, table_windows of struct cpu says 1: an oops then ends the machine,
 * for nobody would close the window.
 */
struct table_window
table_window_open(void)
{
	struct table_window w = {.irq = arch_irq_save()};

	return w;
}

/* To do: the CPU has what it had before, and its TLB nothing of the window. */
void
table_window_close(struct table_window w)
{
	arch_irq_restore(w.irq);
}

/* To do: kernel_pt is complete, and still nobody runs on it; pgtable_alloc gives frames of start-up's blocks. */
void
table_window_init(void)
{
}

/* To do: tables will lie in the block. */
void
table_window_add(paddr_t block unused)
{
}

/* To do: from here on the final tables are loaded.  What must windows not do before, and with harden=-ro-pgtable? */
void
table_window_ready(void)
{
}

/* ==== arch/aarch64/mmu.c ==== */

/* What TTBR0 walks when no user may: empty.  To do: who may fill it? */
static uint64_t empty_table[ENTRIES] aligned(PAGE_SIZE);

/* To do: the kernel's own mapping of the block, and the window's.  Which entries does the direct map have there? */
void
arch_table_block(paddr_t block unused)
{
}
