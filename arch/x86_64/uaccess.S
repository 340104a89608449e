/*
 * User copies: the only instructions that touch user memory.  The window is open from stac to clac;
 * success and fault leave through the same clac.
 *
 * Each fault jumps, by the exception table, to the label that computes what was not copied.
 */
#include "asm.h"

#define EFAULT 14

	.section .text.uaccess, "ax"

/*
 * size_t arch_copy_from_user(void *dst, uint64_t src, size_t n)
 * size_t arch_copy_to_user(uint64_t dst, const void *src, size_t n)
 * In both RDI is the destination, RSI the source, and either may fault.
 */
FUNC(arch_copy_from_user)
FUNC(arch_copy_to_user)
	mov %rdx, %rcx
	shr $3, %rcx
	and $7, %edx
	open_user_window
1:	rep movsq
	mov %edx, %ecx
2:	rep movsb
3:	close_user_window
	mov %rcx, %rax
	return
4:	lea (%rdx, %rcx, 8), %rcx
5:	rep movsb /* the bytes of the quadword that faulted, up to the one that does */
	jmp 3b
	EX_TABLE(1b, 4b)
	EX_TABLE(2b, 3b)
	EX_TABLE(5b, 3b)
END(arch_copy_to_user)
END(arch_copy_from_user)

/* size_t arch_clear_user(uint64_t dst, size_t n) */
FUNC(arch_clear_user)
	mov %rsi, %rcx
	mov %esi, %edx
	shr $3, %rcx
	and $7, %edx
	xor %eax, %eax
	open_user_window
1:	rep stosq
	mov %edx, %ecx
2:	rep stosb
3:	close_user_window
	mov %rcx, %rax
	return
4:	lea (%rdx, %rcx, 8), %rcx
	jmp 3b
	EX_TABLE(1b, 4b)
	EX_TABLE(2b, 3b)
END(arch_clear_user)

/* ssize_t arch_strncpy_from_user(char *dst, uint64_t src, size_t max) */
FUNC(arch_strncpy_from_user)
	xor %eax, %eax
	open_user_window
1:	cmp %rdx, %rax
	jae 3f
2:	movzbl (%rsi, %rax), %ecx
	mov %cl, (%rdi, %rax)
	test %cl, %cl
	jz 3f
	inc %rax
	jmp 1b
3:	close_user_window
	return
4:	mov $-EFAULT, %rax
	jmp 3b
	EX_TABLE(2b, 4b)
END(arch_strncpy_from_user)

/* int arch_user_cmpxchg32(uint64_t addr, uint32_t expected, uint32_t desired, uint32_t *old) */
FUNC(arch_user_cmpxchg32)
	mov %rcx, %r8
	mov %esi, %eax
	open_user_window
1:	lock cmpxchg %edx, (%rdi)
	xor %ecx, %ecx
3:	close_user_window
	mov %eax, (%r8)
	mov %ecx, %eax
	return
4:	mov $-EFAULT, %ecx
	jmp 3b
	EX_TABLE(1b, 4b)
END(arch_user_cmpxchg32)
	.section .note.GNU-stack, "", @progbits
