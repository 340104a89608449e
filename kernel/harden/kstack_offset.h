/* Where on its stack a system call begins: see kstack_offset.c. */
#pragma once

#include "kernel/proc/thread.h"

#define KSTACK_OFFSET_STEP   16ul /* what a stack pointer is a multiple of */
#define KSTACK_OFFSET_PLACES 32ul /* 5 bits */

/* Read-only after start-up: all places, or the first alone (harden=-kstack-offset). */
extern uint64_t kstack_offset_mask;

void kstack_offset_init(void);
/* What the thread's draws begin with; and, from the timer, begin with anew. */
void kstack_offset_seed(struct thread *t);

/* Bytes by which this system call's stack begins lower.  Inline, for every system call asks. */
static always_inline size_t
kstack_offset_next(void)
{
	struct thread *t = current;

	/* An odd factor loses nothing, and carries every bit to the top: Knuth, TAOCP 3.3.4. */
	t->stack_draw = (t->stack_draw + (uint32_t)arch_cycles()) * 0x9e3779b97f4a7c15ul;
	return t->stack_draw >> 55 & kstack_offset_mask;
}

/* In the function that calls the system calls: the rest of it runs on the lowered stack. */
#define kstack_offset_apply()                                                                      \
	do {                                                                                       \
		void *lowered_ = __builtin_alloca(kstack_offset_next());                           \
		__asm__ volatile("" : : "r"(lowered_) : "memory");                                 \
	} while (0)
