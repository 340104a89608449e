/* Address-space identifiers: which TLB entries belong to whom. */
#pragma once

#include "arch/arch.h"

/* How many there are.  Before the first is handed out. */
void asid_init(void);
/*
 * Gives pt a valid identifier, its own for as long as the generation lasts, and notes that this CPU
 * runs under it.  Its even number, for TTBR1; the one above is for user mode.  Interrupts are off.
 */
uint64_t asid_activate(struct arch_pt *pt);
/* The even number of pt's identifier; 0 if it never had one. */
uint64_t asid_number(const struct arch_pt *pt);
