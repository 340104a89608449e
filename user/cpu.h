/* CPUs: being on one and not on another, and waiting for somebody who may be on either. */
#pragma once

#include <sched.h>

/* The calling thread runs on that CPU alone from now on.  0, or -1 and errno. */
static inline int
pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

/*
 * QEMU under -icount runs one CPU at a time, and as long as that finds something to do the others may stand for
 * seconds: this is their turn.
 */
static inline void
relax(void)
{
#if defined(__x86_64__)
	__asm__ volatile("pause" : : : "memory");
#else
	__asm__ volatile("yield" : : : "memory");
#endif
}

/* For whoever waits for somebody who may be on this CPU, or on the other one. */
static inline void
give_way(void)
{
	sched_yield();
	relax();
}
