/* kaslr: kernel/harden/kaslr.c */
#pragma once

#include "kernel/types.h"

struct layout {
	uint64_t image_slide, kstack_area, direct_map; /* as in kernel/mm/layout.h */
};

/* Moves all three from where they are linked to.  Runs at physical addresses: keeps no pointer. */
void kaslr_choose(struct layout *l);
/* True if addr, at which nothing is mapped, was meant for a kernel that lies where it was linked. */
bool kaslr_miss(uint64_t addr);
