/*
 * User copies: the only instructions that touch user memory.  None of them knows of the window: it is opened
 * and shut by who calls them, at the end of this file.
 *
 * Each fault jumps, by the exception table, to the label that computes what was not copied.
 */
#include "asm.h"

#define EFAULT 14

	.section .text.uaccess, "ax"

/* One door for all: success and fault come back to it, and it is shut in one place. */
.macro gated name, plain
FUNC(\name)
	open_user_window
	call \plain
	close_user_window
	return
END(\name)
.endm

/*
 * size_t arch_copy_from_user(void *dst, uint64_t src, size_t n)
 * size_t arch_copy_to_user(uint64_t dst, const void *src, size_t n)
 * In both RDI is the destination, RSI the source, and either may fault.
 */
FUNC(uaccess_plain_copy_from_user)
FUNC(uaccess_plain_copy_to_user)
	mov %rdx, %rcx
	shr $3, %rcx
	and $7, %edx
1:	rep movsq
	mov %edx, %ecx
2:	rep movsb
	xor %eax, %eax
	return
3:	lea (%rdx, %rcx, 8), %rcx
4:	rep movsb /* the bytes of the quadword that faulted, up to the one that does */
5:	mov %rcx, %rax
	return
	EX_TABLE(1b, 3b)
	EX_TABLE(2b, 5b)
	EX_TABLE(4b, 5b)
END(uaccess_plain_copy_to_user)
END(uaccess_plain_copy_from_user)

/* size_t arch_clear_user(uint64_t dst, size_t n) */
FUNC(uaccess_plain_clear_user)
	mov %rsi, %rcx
	mov %esi, %edx
	shr $3, %rcx
	and $7, %edx
	xor %eax, %eax
1:	rep stosq
	mov %edx, %ecx
2:	rep stosb
	return
3:	lea (%rdx, %rcx, 8), %rcx
4:	mov %rcx, %rax
	return
	EX_TABLE(1b, 3b)
	EX_TABLE(2b, 4b)
END(uaccess_plain_clear_user)

/* ssize_t arch_strncpy_from_user(char *dst, uint64_t src, size_t max) */
FUNC(uaccess_plain_strncpy_from_user)
	xor %eax, %eax
1:	cmp %rdx, %rax
	jae 3f
2:	movzbl (%rsi, %rax), %ecx
	mov %cl, (%rdi, %rax)
	test %cl, %cl
	jz 3f
	inc %rax
	jmp 1b
3:	return
4:	mov $-EFAULT, %rax
	return
	EX_TABLE(2b, 4b)
END(uaccess_plain_strncpy_from_user)

/* int arch_user_cmpxchg32(uint64_t addr, uint32_t expected, uint32_t desired, uint32_t *old) */
FUNC(uaccess_plain_user_cmpxchg32)
	mov %esi, %eax
1:	lock cmpxchg %edx, (%rdi)
	mov %eax, (%rcx)
	xor %eax, %eax
	return
2:	mov $-EFAULT, %eax
	return
	EX_TABLE(1b, 2b)
END(uaccess_plain_user_cmpxchg32)

/* ---- What the rest of the kernel calls ---- */

	gated arch_copy_from_user, uaccess_plain_copy_from_user
	gated arch_copy_to_user, uaccess_plain_copy_to_user
	gated arch_clear_user, uaccess_plain_clear_user
	gated arch_strncpy_from_user, uaccess_plain_strncpy_from_user
	gated arch_user_cmpxchg32, uaccess_plain_user_cmpxchg32
	.section .note.GNU-stack, "", @progbits

