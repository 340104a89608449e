/* The memory of translation tables: frames for arch/NAME/mmu.c, in blocks that no standing mapping writes. */
#pragma once

#include "arch/arch.h"

#define PGTABLE_BLOCK (2ul << 20) /* what a large page maps, so that the direct map keeps those */

/*
 * A frame for a table; order 1: two, aligned to their size.  Contents undefined, and only a window writes
 * them.  0 or -ENOMEM.  May wait for other CPUs: not with interrupts off, nor in a window.
 */
must_use int pgtable_alloc(unsigned order, paddr_t *out);
/* n single frames, or none. */
must_use int pgtable_alloc_all(paddr_t *out, unsigned n);
/* No CPU may find the table any more. */
void pgtable_free(paddr_t pa, unsigned order);

/* The permissions of tables in every standing mapping: decided here alone. */
unsigned pgtable_prot(void);
/* True if p is an address of a table, or of a frame that may become one, in the direct map. */
bool pgtable_owns(const void *p);

/* The blocks that start-up took are sealed: the architecture's last step before it loads its final tables. */
void pgtable_seal_early(void);
/* struct page is there: what start-up left of its blocks can be had.  Returns how many frames they have. */
uint64_t pgtable_init(void);
/* Frames that are tables; frames that are free to become some. */
uint64_t pgtable_count(void);
uint64_t pgtable_free_count(void);
