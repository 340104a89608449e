/* The slow path of spin locks. */
#include "kernel/lib/spinlock.h"

uint32_t spin_depth[MAX_CPUS];

void
spin_contended(struct spinlock *l)
{
	if (spin_held(l))
		panic("spin lock %p is taken twice by CPU %u", (void *)l, arch_cpu_number());
	do {
		while (READ_ONCE(l->locked))
			arch_relax();
	} while (__atomic_exchange_n(&l->locked, 1, __ATOMIC_ACQUIRE));
}
