/* Who may write to a frame that others may have, too: see cow.c. */
#pragma once

#include "arch/arch.h"

struct page;

/* fork: a reference of p for the child, and the leaf for both, through which neither writes. */
pte_t cow_share(struct page *p, pte_t leaf);
/* A write fault: whether the mapping that faulted is all that there is of p, so that it may be given p. */
bool cow_sole(const struct page *p);
/* mprotect: what a leaf of a private area, which is there already, gets when the area gets prot. */
unsigned cow_protect(pte_t leaf, unsigned prot);
