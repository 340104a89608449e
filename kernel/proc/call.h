/* Functions that other processors run: see call.c. */
#pragma once

#include "kernel/types.h"

/*
 * Runs fn(arg), interrupts off, on each CPU of the mask, this one included where it is in it, and waits
 * until all are done.  No spin lock may be held: its next taker may wait for it with interrupts off.
 */
void run_on_cpus(uint64_t mask, void (*fn)(void *arg), void *arg);
/* The same on every online CPU. */
void run_on_all_cpus(void (*fn)(void *arg), void *arg);
/* The architecture calls this in the interrupt that arch_send_call raised. */
void serve_call(void);
