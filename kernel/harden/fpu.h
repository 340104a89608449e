/* Whose vector registers a thread runs with: see fpu.c. */
#pragma once

#include "kernel/types.h"

struct thread;

/* Read-only after start-up: the row is not switched off (harden=-fpu). */
extern bool fpu_wanted;

void fpu_init(void);
/* Whether t was interrupted in user mode, by a device or a fault, and did not call the kernel itself. */
bool fpu_preempted(const struct thread *t);

/* arch_switch asks before it loads next's registers.  Inline, for every switch does. */
static always_inline bool
fpu_must_load(const struct thread *next)
{
	return likely(fpu_wanted) || fpu_preempted(next);
}
