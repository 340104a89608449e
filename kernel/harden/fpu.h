/* Whose vector registers a thread runs with: see fpu.c. */
#pragma once

#include "kernel/types.h"

struct thread;

/* Read-only after start-up: every thread gets its own at every switch. */
extern bool fpu_always;

void fpu_init(void);
/* Without the row: whether next, which is about to run, is given its own registers. */
bool fpu_preempted(const struct thread *next);

/* arch_switch asks before it loads next's registers.  Inline, for every switch does. */
static always_inline bool
fpu_must_load(const struct thread *next)
{
	return likely(fpu_always) || fpu_preempted(next);
}
