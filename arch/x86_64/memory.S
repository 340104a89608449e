/* Copying and filling memory, for all of the kernel: what string.h declares, in the C library's terms. */
#include "asm.h"

	.section .text.memory, "ax"

/* void *memcpy(void *dst, const void *src, size_t n) */
FUNC(memcpy)
	mov %rdi, %rax
	mov %rdx, %rcx
	shr $3, %rcx
	rep movsq
	mov %edx, %ecx
	and $7, %ecx
	rep movsb
	return
END(memcpy)

/* void *memset(void *dst, int c, size_t n) */
FUNC(memset)
	mov %rdi, %r8
	mov $0x0101010101010101, %rax
	movzbl %sil, %esi
	imul %rsi, %rax
	mov %rdx, %rcx
	shr $3, %rcx
	rep stosq
	mov %edx, %ecx
	and $7, %ecx
	rep stosb
	mov %r8, %rax
	return
END(memset)
	.section .note.GNU-stack, "", @progbits
