/* Programs here often want to be on one CPU, and not on another. */
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
