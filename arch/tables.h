/*
 * Translation tables of four levels with 512 entries each, as every architecture here has them: what is done
 * with them whatever an entry's bits mean.  Level 4 is the root, level 1 holds pages of 4 KiB, level 2 may
 * hold pages of 2 MiB.  For arch/ alone; what an entry means says arch/ARCH/entries.h:
 *
 *   bool entry_valid(uint64_t)          a processor follows it, or translates by it
 *   bool entry_is_table(uint64_t)       of a valid one above level 1: it leads to a table
 *   pte_t entry_piece(uint64_t, uint64_t offset)   the 4 KiB at offset of a large page, as a page of its own
 *   paddr_t root_of(const struct arch_pt *, uint64_t va)   of the tables that translate va; 0: none do
 *   void leaf_comes(pte_t)              before a user's page is mapped so
 *   struct table_window                 what a window found, and is to leave
 *
 * Tables are read where the direct map has them, and written in windows (ro_pgtable.c): set_entry, and
 * table_writable for whole tables, say where to write what is read there, in a window, or before there are any.
 */
#pragma once

#include "arch/pte.h"
#include "kernel/mm/page.h"

#define ENTRIES		   512u
#define LEVEL_SHIFT(level) (PAGE_SHIFT + 9 * ((level)-1))
#define LEVEL_SIZE(level)  (1ul << LEVEL_SHIFT(level))
#define INDEX(va, level)   (((va) >> LEVEL_SHIFT(level)) & (ENTRIES - 1))

/* From here on this CPU writes tables, and does nothing else: interrupts are off, and windows do not nest. */
struct table_window table_window_open(void);
void table_window_close(struct table_window w);
/* Start-up: the window's root, with tables for all memory, in those of the final tables. */
void table_window_init(void);
/* From here on the window is the only way. */
void table_window_ready(void);
/* [In a window] It reaches the block, too. */
void table_window_add(paddr_t block);

/* From where tables are read to where they are written. */
extern uint64_t table_window_offset;

static always_inline void *
table_writable(const void *table)
{
	return (void *)((uint64_t)table - table_window_offset);
}

static always_inline void
set_entry(const uint64_t *e, uint64_t v)
{
	WRITE_ONCE(*(uint64_t *)table_writable(e), v);
}

/* A window for one entry. */
void write_entry(const uint64_t *e, uint64_t v);

/* The table that an entry leads to. */
static inline const uint64_t *
table_at(uint64_t entry)
{
	return phys_to_virt(PADDR(entry & PTE_FRAME));
}

/* mmu.c: makes the tables from below e, va's entry of level l, down to the given level.  0 or -ENOMEM. */
must_use int make_tables(const uint64_t *e, uint64_t va, unsigned l, unsigned level);

/* n tables more that root leads to (arch_pt_tables). */
void count_tables(paddr_t root, unsigned n);

/* The entry for va in the table of the given level; makes the levels above.  0 or -ENOMEM. */
must_use static inline int
make_entry(paddr_t root, uint64_t va, unsigned level, const uint64_t **out)
{
	const uint64_t *table = phys_to_virt(root);

	for (unsigned l = 4; l > level; l--) {
		const uint64_t *e = &table[INDEX(va, l)];

		if (unlikely(!entry_valid(*e))) {
			int err = make_tables(e, va, l, level);

			if (err)
				return err;
			count_tables(root, l - level);
		}
		table = table_at(READ_ONCE(*e));
	}
	*out = &table[INDEX(va, level)];
	return 0;
}

/* Frees the tables below the first count entries of a table of the given level. */
void free_tables(const uint64_t *table, unsigned level, unsigned count);
/* Calls fn for every mapping below a table of the given level, whose first entry translates va. */
void walk_tables(const uint64_t *table, unsigned level, uint64_t va,
		 void (*fn)(void *arg, uint64_t va, uint64_t size, paddr_t pa, unsigned prot), void *arg);
