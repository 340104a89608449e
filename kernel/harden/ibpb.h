/* The branch predictor's barrier between programs of different users. */
#pragma once

#include "kernel/types.h"

struct thread;

extern bool ibpb_active; /* read-only after start-up: wanted, and this machine has the barrier */

/* Puts the barrier between two programs of different users; called by ibpb_switch. */
void ibpb_between(const struct thread *prev, const struct thread *next);

/* prev leaves this CPU to next.  Interrupts are off. */
static inline void
ibpb_switch(const struct thread *prev, const struct thread *next)
{
	if (unlikely(ibpb_active))
		ibpb_between(prev, next);
}
