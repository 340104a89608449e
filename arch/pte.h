/*
 * Entries of translation tables, for those few who make or read them: the same in arch/ARCH/entries.h.
 *
 *   bool pte_present(pte_t), paddr_t pte_paddr(pte_t), unsigned pte_prot(pte_t) -> PROT_*
 *   bool pte_dirty(pte_t)
 *   pte_t pte_make(paddr_t, unsigned prot), pte_t pte_none(void)
 *   pte_t pte_with_prot(pte_t, unsigned prot)  keeps frame, accessed, dirty
 *   bool pte_equal(pte_t, pte_t)
 */
#pragma once

#include "arch/arch.h"
#include "entries.h"
