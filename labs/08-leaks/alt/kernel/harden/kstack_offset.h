/* Where on its stack a system call begins: see kstack_offset.c. */
#pragma once

#include "kernel/lib/random.h"
#include "kernel/proc/thread.h"

#define KSTACK_OFFSET_STEP   16ul
#define KSTACK_OFFSET_PLACES 64ul

extern uint64_t kstack_offset_mask;

void kstack_offset_init(void);
/* Nothing is kept for a thread. */
void kstack_offset_seed(struct thread *t);

/* Asks the generator itself, every time: what was drawn says nothing of what will be. */
static always_inline size_t
kstack_offset_next(void)
{
	return kstack_offset_mask ? random_u64() & kstack_offset_mask : 0;
}

/* In the function that calls the system calls: the rest of it runs on the lowered stack. */
#define kstack_offset_apply()                                                                      \
	do {                                                                                       \
		void *lowered_ = __builtin_alloca(kstack_offset_next());                           \
		__asm__ volatile("" : : "r"(lowered_) : "memory");                                 \
	} while (0)
