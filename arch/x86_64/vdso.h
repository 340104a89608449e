/* The vDSO's machine-dependent part: user-mode code. */
#pragma once

#include <stdint.h>

#define VDSO(name) __vdso_##name
#define VDSO_HAS_TIME_AND_GETCPU 1

#define SYS_gettimeofday  96
#define SYS_clock_gettime 228
#define SYS_clock_getres  229

/* LFENCE: or the counter may be read before what the program did earlier (SDM 3B 18.17). */
static inline uint64_t
vdso_cycles(void)
{
	uint32_t lo, hi;

	__asm__ volatile("lfence\n\trdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

static inline long
vdso_syscall(long nr, long a, long b)
{
	__asm__ volatile("syscall" : "+a"(nr) : "D"(a), "S"(b) : "rcx", "r11", "memory");
	return nr;
}

/* The running CPU's number is the limit of a segment (SEL_USER_CPU) that is good for nothing else. */
static inline unsigned
vdso_cpu(void)
{
	unsigned limit;

	__asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(0x3b) : "cc");
	return limit;
}
