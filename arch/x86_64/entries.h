/*
 * x86_64: entries of translation tables; arch/pte.h says what each function is.
 */
#pragma once

#include "arch/arch.h"

/* Entry bits (SDM 3A 4.5.4) */
#define PTE_P	   BIT(0)
#define PTE_W	   BIT(1)
#define PTE_U	   BIT(2)
#define PTE_PWT	   BIT(3)
#define PTE_PCD	   BIT(4)
#define PTE_A	   BIT(5)
#define PTE_D	   BIT(6)
#define PTE_PS	   BIT(7)
#define PTE_G	   BIT(8)
#define PTE_HIDDEN BIT(9) /* software: a frame without any access (PROT_NONE); P is clear */
#define PTE_NX	   BIT(63)
#define PTE_FRAME  0x000ffffffffff000ul

/* PTE_NX, or 0 when user pages are left executable (harden=-nx). */
extern uint64_t x86_user_nx;
/* PTE_G; or 0 with row kpti: user mode must not find the kernel's translations in the TLB. */
extern uint64_t x86_kernel_global;

static inline pte_t
pte_none(void)
{
	return (pte_t){0};
}

static inline bool
pte_present(pte_t e)
{
	return e.v & (PTE_P | PTE_HIDDEN);
}

static inline paddr_t
pte_paddr(pte_t e)
{
	return PADDR(e.v & PTE_FRAME);
}

static inline bool
pte_dirty(pte_t e)
{
	return e.v & PTE_D;
}

static inline bool
pte_equal(pte_t a, pte_t b)
{
	return a.v == b.v;
}

static inline unsigned
pte_prot(pte_t e)
{
	if (!(e.v & PTE_P))
		return e.v & PTE_U ? PROT_USER : 0;
	return PROT_READ | (e.v & PTE_W ? PROT_WRITE : 0) | (e.v & PTE_NX ? 0 : PROT_EXEC) |
	       (e.v & PTE_U ? PROT_USER : 0) | (e.v & PTE_PCD ? PROT_DEVICE : 0);
}

static inline uint64_t
x86_pte_bits(unsigned prot)
{
	uint64_t bits = PTE_A;

	if (prot & PROT_USER) {
		bits |= PTE_U;
		if (!(prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
			return bits | PTE_HIDDEN;
		if (!(prot & PROT_EXEC))
			bits |= x86_user_nx;
	} else {
		bits |= x86_kernel_global;
		if (!(prot & PROT_EXEC))
			bits |= PTE_NX;
	}
	if (prot & PROT_WRITE)
		bits |= PTE_W;
	if (prot & PROT_DEVICE)
		bits |= PTE_PCD | PTE_PWT;
	return bits | PTE_P;
}

static inline pte_t
pte_make(paddr_t pa, unsigned prot)
{
	return (pte_t){pa.v | x86_pte_bits(prot)};
}

static inline pte_t
pte_with_prot(pte_t e, unsigned prot)
{
	return (pte_t){(e.v & (PTE_FRAME | PTE_A | PTE_D)) | x86_pte_bits(prot)};
}

/* ---- What arch/tables.h asks ---- */

static inline bool
entry_valid(uint64_t e)
{
	return e & PTE_P;
}

static inline bool
entry_is_table(uint64_t e)
{
	return !(e & PTE_PS);
}

static inline pte_t
entry_piece(uint64_t e, uint64_t offset)
{
	return (pte_t){(e & ~PTE_PS) + offset};
}

static inline paddr_t
root_of(const struct arch_pt *pt, uint64_t va unused)
{
	return pt->root; /* the kernel half is in every one */
}

static inline void
leaf_comes(pte_t e unused)
{
	/* Instruction caches follow by themselves (SDM 3A 11.6). */
}

struct table_window {
	irqstate_t irq;
	uint64_t cr3;
};
