/* What the regression programs must know of aarch64. */
#pragma once

#define T_MACHINE     "aarch64"
#define T_ELF_MACHINE EM_AARCH64
/* First address that is not the lower half's. */
#define T_USER_END	  (1UL << 48)
/* First address that nothing can be mapped at. */
#define T_MMAP_END	  T_USER_END
#define T_NO_ADDRESS_CODE SEGV_MAPERR
#define T_NO_ADDRESS(a)	  (a)
#define T_MINSIGSTKSZ	  5120 /* libc's name is for what a frame takes on this machine */
#define T_NO_TLS	  0UL /* what the TLS register does not take; 0: it takes all */

#define T_CODE_RETURN {0xc0, 0x03, 0x5f, 0xd6}
/* mov w0, #42; ret */
#define T_CODE_42 {0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6}
/* mov w0, #5; mov w8, #93; svc #0 */
#define T_CODE_EXIT_5 {0xa0, 0x00, 0x80, 0x52, 0xa8, 0x0b, 0x80, 0x52, 0x01, 0x00, 0x00, 0xd4}

/* An instruction that is none, and one that traps. (Divisions never do.) */
#define T_UNDEFINED()	 __asm__ volatile("udf #0")
#define T_TRAPPED()	 __asm__ volatile("brk #0")
#define T_TRAPPED_SIGNAL SIGTRAP

/* System calls that touch no vector register on their way, as libc's might: -errno. */
static inline long
t_call3(long number, long a, long b, long c)
{
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = 0;
	register long x4 __asm__("x4") = 0;
	register long x8 __asm__("x8") = number;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x8)
			 : "memory");
	return x0;
}

static inline long
t_call(long number, long a, long b)
{
	return t_call3(number, a, b, 0);
}

/* A system call with the stack pointer at sp; does not come back in good order. */
static inline void
t_call_on_stack(long sp, long number, long a, long b)
{
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x8 __asm__("x8") = number;

	__asm__ volatile("mov sp, %0\n\tsvc #0" ::"r"(sp), "r"(x0), "r"(x1), "r"(x8) : "memory");
}
