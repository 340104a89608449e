/*
 * User copies: the only instructions that touch user memory, plain loads and stores.  None of them knows of
 * PAN: it is cleared and set by who calls them, at the end of this file.
 *
 * A fault in a word goes on byte by byte from there (registers move only past what was copied), so what
 * is left is exact.
 */
#include "asm.h"

#define EFAULT 14

	.arch armv8.1-a
	.section .text.uaccess, "ax"

.macro set_pan value
	adrp x9, a64_pan
	ldrb w9, [x9, :lo12:a64_pan]
	cbz w9, 8f
	msr pan, #\value
8:
.endm

/* One door for all: success and fault come back to it, and it is shut in one place. */
.macro gated name, plain
FUNC(\name)
	stp x29, x30, [sp, #-16]!
	mov x29, sp
	set_pan 0
	bl \plain
	set_pan 1
	ldp x29, x30, [sp], #16
	return
END(\name)
.endm

/* size_t arch_copy_from_user(void *dst, uint64_t src, size_t n): x0 = dst, x1 = src, x2 = left */
FUNC(uaccess_plain_copy_from_user)
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
END(uaccess_plain_copy_from_user)

/* size_t arch_copy_to_user(uint64_t dst, const void *src, size_t n) */
FUNC(uaccess_plain_copy_to_user)
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
END(uaccess_plain_copy_to_user)

/* size_t arch_clear_user(uint64_t dst, size_t n) */
FUNC(uaccess_plain_clear_user)
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
END(uaccess_plain_clear_user)

/* ssize_t arch_strncpy_from_user(char *dst, uint64_t src, size_t max) */
FUNC(uaccess_plain_strncpy_from_user)
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
END(uaccess_plain_strncpy_from_user)

/*
 * int arch_user_cmpxchg32(uint64_t addr, uint32_t expected, uint32_t desired, uint32_t *old)
 * Acquire and release.
 */
FUNC(uaccess_plain_user_cmpxchg32)
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
END(uaccess_plain_user_cmpxchg32)

/* ---- What the rest of the kernel calls ---- */

	gated arch_copy_from_user, uaccess_plain_copy_from_user
	gated arch_copy_to_user, uaccess_plain_copy_to_user
	gated arch_clear_user, uaccess_plain_clear_user
	gated arch_strncpy_from_user, uaccess_plain_strncpy_from_user
	gated arch_user_cmpxchg32, uaccess_plain_user_cmpxchg32
	.section .note.GNU-stack, "", @progbits
