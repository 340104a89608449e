/* The vDSO's machine-dependent part: user-mode code. */
#pragma once

#include <stdint.h>

#define VDSO(name) __kernel_##name
#define VDSO_HAS_TIME_AND_GETCPU 0 /* arm64's has neither */

#define SYS_clock_gettime 113
#define SYS_clock_getres  114
#define SYS_gettimeofday  169

/* ISB: or the counter may be read before what the program did earlier (ARM D11.1). */
static inline uint64_t
vdso_cycles(void)
{
	uint64_t v;

	__asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(v) : : "memory");
	return v;
}

static inline long
vdso_syscall(long number, long a, long b)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
	return x0;
}

/*
 * What signal handlers return to, the ELF header's entry point: unwinders know the function by these two
 * instructions (139 is rt_sigreturn).  They look one instruction before a return address: hence the nop.
 */
__asm__(".pushsection .text\n"
	"	nop\n"
	".globl __kernel_rt_sigreturn\n"
	".type __kernel_rt_sigreturn, %function\n"
	"__kernel_rt_sigreturn:\n"
	"	mov x8, #139\n"
	"	svc #0\n"
	".size __kernel_rt_sigreturn, . - __kernel_rt_sigreturn\n"
	".popsection\n");
