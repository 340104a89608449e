/*
 * /bin/layout: writes down where the kernel put it, and ends.  It needs no library, so that nothing comes
 * between the kernel and the record; it is its own interpreter (PT_INTERP), so that there is one.  What
 * the kernel says of a place counts only if an ELF header is there.
 */
#include "user/layout/layout.h"

#include <elf.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#if defined(__aarch64__)
__asm__(".globl _start\n_start:\tmov x0, sp\n\tbl take\n");

static long
call(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = -1;
	register long x5 __asm__("x5") = 0;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
__asm__(".globl _start\n_start:\tmov %rsp, %rdi\n\tcall take\n");

static long
call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = -1;
	register long r9 __asm__("r9") = 0;

	__asm__ volatile("syscall"
			 : "+a"(number)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return number;
}
#endif

extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static uint64_t
if_elf(uint64_t address)
{
	const volatile unsigned char *p = (const volatile unsigned char *)address;

	return address && p[0] == 0x7f && p[1] == 'E' && p[2] == 'L' && p[3] == 'F' ? address : 0;
}

void take(const uint64_t *sp) __attribute__((noreturn));

void
take(const uint64_t *sp)
{
	struct layout l = { .stack = (uint64_t)sp, .interpreter = if_elf((uint64_t)__ehdr_start) };
	const uint64_t *word = sp + 1 + sp[0] + 1;

	while (*word)
		word++;
	for (word++; word[0] != AT_NULL; word += 2) {
		if (word[0] == AT_SYSINFO_EHDR)
			l.vdso = if_elf(word[1]);
		if (word[0] == AT_PHDR)
			l.program = if_elf(word[1] - sizeof(Elf64_Ehdr));
		if (word[0] == AT_BASE && word[1] != l.interpreter)
			l.interpreter = 0;
	}
	l.mmap = (uint64_t)call(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS);
	l.heap = (uint64_t)call(SYS_brk, 0, 0, 0, 0);
	call(SYS_write, LAYOUT_FD, (long)&l, sizeof(l), 0);
	for (;;)
		call(SYS_exit_group, 0, 0, 0, 0);
}
