/*
 * aarch64: entries of translation tables; arch/pte.h says what each function is.
 */
#pragma once

#include "arch/arch.h"

#define KERNEL_HALF 0xffff000000000000ul /* what TTBR1 translates */

/* What user pages carry beside their own bits: PTE_PXN, or 0 (harden=-smep). */
extern uint64_t a64_user_pxn;
/* What kernel pages carry: PTE_NG, or 0 when user mode keeps the kernel's tables (harden=-kpti). */
extern uint64_t a64_kernel_ng;
/* PTE_UXN, or 0 when user pages are left executable (harden=-nx). */
extern uint64_t a64_user_uxn;

static inline pte_t
pte_none(void)
{
	return (pte_t){0};
}

static inline bool
pte_present(pte_t e)
{
	return e.v & (PTE_VALID | PTE_HIDDEN);
}

static inline paddr_t
pte_paddr(pte_t e)
{
	return PADDR(e.v & PTE_FRAME);
}

/* No hardware management of the dirty state is used: what may be written counts as written. */
static inline bool
pte_dirty(pte_t e)
{
	return !(e.v & PTE_RO);
}

static inline bool
pte_equal(pte_t a, pte_t b)
{
	return a.v == b.v;
}

static inline unsigned
pte_prot(pte_t e)
{
	uint64_t xn = e.v & PTE_USER ? PTE_UXN : PTE_PXN;

	if (!(e.v & PTE_VALID))
		return e.v & PTE_USER ? PROT_USER : 0;
	return PROT_READ | (e.v & PTE_RO ? 0 : PROT_WRITE) | (e.v & xn ? 0 : PROT_EXEC) |
	       (e.v & PTE_USER ? PROT_USER : 0) | (e.v & PTE_DEVICE ? PROT_DEVICE : 0);
}

static inline uint64_t
a64_pte_bits(unsigned prot)
{
	uint64_t bits = PTE_TABLE | PTE_SH | PTE_AF;

	if (prot & PROT_USER) {
		bits |= PTE_USER | PTE_NG | a64_user_pxn;
		if (!(prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
			return bits | PTE_UXN | PTE_HIDDEN;
		if (!(prot & PROT_EXEC))
			bits |= a64_user_uxn;
	} else {
		bits |= PTE_UXN | a64_kernel_ng;
		if (!(prot & PROT_EXEC))
			bits |= PTE_PXN;
	}
	if (!(prot & PROT_WRITE))
		bits |= PTE_RO;
	if (prot & PROT_DEVICE)
		bits |= PTE_DEVICE;
	return bits | PTE_VALID;
}

static inline pte_t
pte_make(paddr_t pa, unsigned prot)
{
	return (pte_t){pa.v | a64_pte_bits(prot)};
}

static inline pte_t
pte_with_prot(pte_t e, unsigned prot)
{
	return (pte_t){(e.v & PTE_FRAME) | a64_pte_bits(prot)};
}

/* ---- What arch/tables.h asks ---- */

static inline bool
entry_valid(uint64_t e)
{
	return e & PTE_VALID;
}

static inline bool
entry_is_table(uint64_t e)
{
	return e & PTE_TABLE;
}

static inline pte_t
entry_piece(uint64_t e, uint64_t offset)
{
	return (pte_t){(e | PTE_TABLE) + offset};
}

static inline paddr_t
root_of(const struct arch_pt *pt, uint64_t va)
{
	if (va >= KERNEL_HALF)
		return kernel_pt.root;
	return pt == &kernel_pt ? PADDR(0) : pt->root;
}

/* mmu.c: what was written to the frame is what is fetched from it. */
void a64_make_fetchable(paddr_t pa);

static inline void
leaf_comes(pte_t e)
{
	if ((e.v & (PTE_VALID | PTE_USER | PTE_UXN)) == (PTE_VALID | PTE_USER))
		a64_make_fetchable(pte_paddr(e));
}

struct table_window {
	irqstate_t irq;
	uint64_t ttbr0, ttbr1;
};
