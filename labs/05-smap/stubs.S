/* The starter's assembly. */

/* ==== arch/x86_64/uaccess.S ==== */

/*
 * User copies, with plain loads and stores: nothing tells them from the rest of the kernel's.
 *
 * Each fault jumps, by the exception table, to the label that computes what was not copied.
 *
 * To do: once the processor refuses user pages, these routines must be let in, and nobody else.  Count the
 * ways out of each.
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
END(arch_copy_to_user)
END(arch_copy_from_user)

/* size_t arch_clear_user(uint64_t dst, size_t n) */
FUNC(arch_clear_user)
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
END(arch_clear_user)

/* ssize_t arch_strncpy_from_user(char *dst, uint64_t src, size_t max) */
FUNC(arch_strncpy_from_user)
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
END(arch_strncpy_from_user)

/* int arch_user_cmpxchg32(uint64_t addr, uint32_t expected, uint32_t desired, uint32_t *old) */
FUNC(arch_user_cmpxchg32)
	mov %esi, %eax
1:	lock cmpxchg %edx, (%rdi)
	mov %eax, (%rcx)
	xor %eax, %eax
	return
2:	mov $-EFAULT, %eax
	return
	EX_TABLE(1b, 2b)
END(arch_user_cmpxchg32)
	.section .note.GNU-stack, "", @progbits

/* ==== arch/aarch64/uaccess.S ==== */

/*
 * User copies, with plain loads and stores: nothing tells them from the rest of the kernel's.
 *
 * A fault in a word goes on byte by byte from there (registers move only past what was copied), so what
 * is left is exact.
 *
 * To do: once the processor refuses user pages, these routines must be let in, and nobody else.  Is there a
 * way in that opens nothing?  If you open something, count the ways out of each routine.
 */
#include "asm.h"

#define EFAULT 14

	.arch armv8.1-a
	.section .text.uaccess, "ax"

/* size_t arch_copy_from_user(void *dst, uint64_t src, size_t n): x0 = dst, x1 = src, x2 = left */
FUNC(arch_copy_from_user)
1:	cmp x2, #8
	b.lo 3f
2:	ldr x3, [x1]
.Lfrom_word:
	str x3, [x0], #8
	add x1, x1, #8
	sub x2, x2, #8
	b 1b
3:	cbz x2, 5f
4:	ldrb w3, [x1]
.Lfrom_byte:
	strb w3, [x0], #1
	add x1, x1, #1
	sub x2, x2, #1
	b 3b
5:	mov x0, xzr
	return
6:	mov x0, x2
	return
	EX_TABLE(2b, .Lfrom_word, 3b)
	EX_TABLE(4b, .Lfrom_byte, 6b)
END(arch_copy_from_user)

/* size_t arch_copy_to_user(uint64_t dst, const void *src, size_t n) */
FUNC(arch_copy_to_user)
1:	cmp x2, #8
	b.lo 3f
	ldr x3, [x1]
2:	str x3, [x0]
.Lto_word:
	add x0, x0, #8
	add x1, x1, #8
	sub x2, x2, #8
	b 1b
3:	cbz x2, 5f
	ldrb w3, [x1]
4:	strb w3, [x0]
.Lto_byte:
	add x0, x0, #1
	add x1, x1, #1
	sub x2, x2, #1
	b 3b
5:	mov x0, xzr
	return
6:	mov x0, x2
	return
	EX_TABLE(2b, .Lto_word, 3b)
	EX_TABLE(4b, .Lto_byte, 6b)
END(arch_copy_to_user)

/* size_t arch_clear_user(uint64_t dst, size_t n) */
FUNC(arch_clear_user)
1:	cmp x1, #8
	b.lo 3f
2:	str xzr, [x0]
.Lclear_word:
	add x0, x0, #8
	sub x1, x1, #8
	b 1b
3:	cbz x1, 5f
4:	strb wzr, [x0]
.Lclear_byte:
	add x0, x0, #1
	sub x1, x1, #1
	b 3b
5:	mov x0, xzr
	return
6:	mov x0, x1
	return
	EX_TABLE(2b, .Lclear_word, 3b)
	EX_TABLE(4b, .Lclear_byte, 6b)
END(arch_clear_user)

/* ssize_t arch_strncpy_from_user(char *dst, uint64_t src, size_t max) */
FUNC(arch_strncpy_from_user)
	mov x3, x0
	mov x0, xzr
1:	cmp x0, x2
	b.hs 3f
2:	ldrb w4, [x1, x0]
.Lstring:
	strb w4, [x3, x0]
	cbz w4, 3f
	add x0, x0, #1
	b 1b
3:	return
4:	mov x0, #-EFAULT
	return
	EX_TABLE(2b, .Lstring, 4b)
END(arch_strncpy_from_user)

/*
 * int arch_user_cmpxchg32(uint64_t addr, uint32_t expected, uint32_t desired, uint32_t *old)
 * Acquire and release.
 */
FUNC(arch_user_cmpxchg32)
1:	ldaxr w4, [x0]
	cmp w4, w1
	b.ne 2f
	stlxr w5, w2, [x0]
.Lcmpxchg:
	cbnz w5, 1b
2:	clrex
	str w4, [x3]
	mov x0, xzr
	return
3:	clrex
	str wzr, [x3]
	mov x0, #-EFAULT
	return
	EX_TABLE(1b, .Lcmpxchg, 3b)
END(arch_user_cmpxchg32)
	.section .note.GNU-stack, "", @progbits
