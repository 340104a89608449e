/*
 * Spin locks.
 *
 * The kernel is not preempted while it runs in kernel mode; only interrupts come in between.  A lock
 * that an interrupt handler takes is taken with spin_lock_irq everywhere else.  Never sleep with a
 * spin lock held.
 */
#pragma once

#include "arch/arch.h"
#include "kernel/lib/print.h"
#include "kernel/types.h"

struct spinlock {
	uint32_t locked;
	uint32_t owner; /* CPU number + 1 of the holder; for assertions and for the debugger */
};

#define SPINLOCK_INIT {0, 0}

/* Spin locks held by each CPU: nobody may sleep, and an oops panics, while there are any. */
extern uint32_t spin_depth[MAX_CPUS];

void spin_contended(struct spinlock *l);

static inline void
spin_init(struct spinlock *l)
{
	l->locked = 0;
	l->owner = 0;
}

static always_inline bool
spin_held(const struct spinlock *l)
{
	return READ_ONCE(l->locked) && READ_ONCE(l->owner) == arch_cpu_number() + 1;
}

static always_inline void
spin_lock(struct spinlock *l)
{
	if (unlikely(__atomic_exchange_n(&l->locked, 1, __ATOMIC_ACQUIRE)))
		spin_contended(l);
	l->owner = arch_cpu_number() + 1;
	spin_depth[l->owner - 1]++;
}

static always_inline void
spin_unlock(struct spinlock *l)
{
	spin_depth[l->owner - 1]--;
	l->owner = 0;
	__atomic_store_n(&l->locked, 0, __ATOMIC_RELEASE);
}

/* Also masks interrupts on this CPU; returns the state to give to spin_unlock_irq. */
static always_inline must_use irqstate_t
spin_lock_irq(struct spinlock *l)
{
	irqstate_t s = arch_irq_save();

	spin_lock(l);
	return s;
}

static always_inline void
spin_unlock_irq(struct spinlock *l, irqstate_t s)
{
	spin_unlock(l);
	arch_irq_restore(s);
}
