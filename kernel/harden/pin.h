/* Row pin: what start-up and the architecture's writers of control registers ask of it. */
#pragma once

#include "kernel/types.h"

/* Pins the bits that harden as they are.  Once, when every CPU has them. */
void pin_init(void);
/* The architecture undid a write to a pinned register, which would have changed these bits. */
void pin_undone(const char *reg, uint64_t bits);
/*
 * A thread is about to die on this CPU, perhaps between a write and its check: an interrupt without a stack comes
 * back no more.  Bits that are not pinned come back, too: without CR4.OSXSAVE, for one, no thread can be switched to.
 * Interrupts are off.
 */
void pin_restore(void);
