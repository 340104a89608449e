/* Guarded kernel stacks: see stack_guard.c. */
#pragma once

#include "kernel/types.h"

struct thread;
struct trapframe;

/* A kernel stack of KSTACK_SIZE bytes; *out is its lowest byte.  0 or -ENOMEM. */
must_use int kstack_alloc(void **out);
void kstack_free(void *stack);
/* Says whose stack it is, for the report. */
void stack_guard_name(void *stack, struct thread *t);

/* The top of a CPU's emergency stack, which lies in a place of its own.  0 or -ENOMEM. */
must_use int emergency_stack(unsigned cpu, uint64_t *top);

/* True if addr lies in the guard page of a kernel stack that is in use. */
bool stack_guard_hit(uint64_t addr);
/* Reports the overflow, naming its thread, and ends the thread. */
noreturn void stack_guard_report(const struct trapframe *tf, uint64_t addr);
