/* What the regression programs must know of x86_64. */
#pragma once

#define T_MACHINE     "x86_64"
#define T_ELF_MACHINE EM_X86_64
/* First address that is not the lower half's; in between the halves there are no addresses at all. */
#define T_USER_END	  (1UL << 47)
/* First address that nothing can be mapped at: sysret from a page there would return to no address. */
#define T_MMAP_END	  (T_USER_END - 4096)
#define T_NO_ADDRESS_CODE SI_KERNEL
#define T_NO_ADDRESS(a)	  0
#define T_MINSIGSTKSZ	  2048 /* libc's name is for what a frame takes on this machine */
#define T_NO_TLS	  (1UL << 63) /* what the TLS register does not take; 0: it takes all */

#define T_CODE_RETURN {0xc3}
#define T_CODE_42     {0xb8, 0x2a, 0, 0, 0, 0xc3} /* mov $42, %eax; ret */
#define T_CODE_EXIT_5 {0xbf, 5, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05} /* mov $5, %edi; mov $60, %eax; syscall */

/* An instruction that is none, and one that traps by what it computes. */
#define T_UNDEFINED()	 __asm__ volatile("ud2")
#define T_TRAPPED()	 __asm__ volatile("xorl %%ecx, %%ecx\n\tdivl %%ecx" ::: "eax", "ecx", "edx")
#define T_TRAPPED_SIGNAL SIGFPE

/* System calls that touch no vector register on their way, as libc's might: -errno. */
static inline long
t_call3(long number, long a, long b, long c)
{
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return r;
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
	__asm__ volatile("movq %0, %%rsp\n\tsyscall" ::"r"(sp), "a"(number), "D"(a), "S"(b)
			 : "rcx", "r11", "memory");
}
