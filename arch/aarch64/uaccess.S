/*
 * User copies: the only instructions that touch user memory.  LDTR and STTR access memory as user mode
 * would (ARM C3.2.5), so that PSTATE.PAN stays set throughout; only the atomic operation, of which no
 * such form exists, clears it for three instructions.
 *
 * Copies go by 64 bytes, 8, and 1.  A fault in a chunk goes on byte by byte from the chunk's start
 * (registers move only past what was copied), so what is left is exact.
 */
#include "asm.h"

#define EFAULT 14

	.arch armv8.1-a
	.section .text.uaccess, "ax"

/*
 * size_t arch_copy_from_user(void *dst, uint64_t src, size_t n): x0 = dst, x1 = src, x2 = left
 */
FUNC(arch_copy_from_user)
	subs x2, x2, #64
	b.lo 2f
1:	ldtr x3, [x1]
	ldtr x4, [x1, #8]
	ldtr x5, [x1, #16]
	ldtr x6, [x1, #24]
	ldtr x7, [x1, #32]
	ldtr x8, [x1, #40]
	ldtr x9, [x1, #48]
	ldtr x10, [x1, #56]
.Lfrom_bulk:
	stp x3, x4, [x0]
	stp x5, x6, [x0, #16]
	stp x7, x8, [x0, #32]
	stp x9, x10, [x0, #48]
	add x0, x0, #64
	add x1, x1, #64
	subs x2, x2, #64
	b.hs 1b
2:	adds x2, x2, #(64 - 8)
	b.lt 4f
3:	ldtr x3, [x1]
.Lfrom_word:
	str x3, [x0], #8
	add x1, x1, #8
	subs x2, x2, #8
	b.hs 3b
4:	adds x2, x2, #8
	b.eq 6f
5:	ldtrb w3, [x1]
.Lfrom_byte:
	strb w3, [x0], #1
	add x1, x1, #1
	subs x2, x2, #1
	b.ne 5b
6:	mov x0, x2
	return
7:	add x2, x2, #64 /* 64 too few while the bulk is copied */
	b 5b
8:	add x2, x2, #8
	b 5b
	EX_TABLE(1b, .Lfrom_bulk, 7b)
	EX_TABLE(3b, .Lfrom_word, 8b)
	EX_TABLE(5b, .Lfrom_byte, 6b)
END(arch_copy_from_user)

/* size_t arch_copy_to_user(uint64_t dst, const void *src, size_t n) */
FUNC(arch_copy_to_user)
	subs x2, x2, #64
	b.lo 2f
1:	ldp x3, x4, [x1]
	ldp x5, x6, [x1, #16]
	ldp x7, x8, [x1, #32]
	ldp x9, x10, [x1, #48]
.Lto_bulk:
	sttr x3, [x0]
	sttr x4, [x0, #8]
	sttr x5, [x0, #16]
	sttr x6, [x0, #24]
	sttr x7, [x0, #32]
	sttr x8, [x0, #40]
	sttr x9, [x0, #48]
	sttr x10, [x0, #56]
.Lto_bulk_end:
	add x0, x0, #64
	add x1, x1, #64
	subs x2, x2, #64
	b.hs 1b
2:	adds x2, x2, #(64 - 8)
	b.lt 4f
3:	ldr x3, [x1]
.Lto_word:
	sttr x3, [x0]
.Lto_word_end:
	add x1, x1, #8
	add x0, x0, #8
	subs x2, x2, #8
	b.hs 3b
4:	adds x2, x2, #8
	b.eq 6f
5:	ldrb w3, [x1]
.Lto_byte:
	sttrb w3, [x0]
.Lto_byte_end:
	add x1, x1, #1
	add x0, x0, #1
	subs x2, x2, #1
	b.ne 5b
6:	mov x0, x2
	return
7:	add x2, x2, #64
	b 5b
8:	add x2, x2, #8
	b 5b
	EX_TABLE(.Lto_bulk, .Lto_bulk_end, 7b)
	EX_TABLE(.Lto_word, .Lto_word_end, 8b)
	EX_TABLE(.Lto_byte, .Lto_byte_end, 6b)
END(arch_copy_to_user)

/* size_t arch_clear_user(uint64_t dst, size_t n) */
FUNC(arch_clear_user)
	subs x1, x1, #8
	b.lo 2f
1:	sttr xzr, [x0]
.Lclear_word:
	add x0, x0, #8
	subs x1, x1, #8
	b.hs 1b
2:	adds x1, x1, #8
	b.eq 4f
3:	sttrb wzr, [x0]
.Lclear_byte:
	add x0, x0, #1
	subs x1, x1, #1
	b.ne 3b
4:	mov x0, x1
	return
5:	add x1, x1, #8
	b 3b
	EX_TABLE(1b, .Lclear_word, 5b)
	EX_TABLE(3b, .Lclear_byte, 4b)
END(arch_clear_user)

/* ssize_t arch_strncpy_from_user(char *dst, uint64_t src, size_t max) */
FUNC(arch_strncpy_from_user)
	mov x3, x0
	mov x0, xzr
1:	cmp x0, x2
	b.hs 3f
2:	ldtrb w4, [x1]
.Lstring:
	strb w4, [x3, x0]
	cbz w4, 3f
	add x1, x1, #1
	add x0, x0, #1
	b 1b
3:	return
4:	mov x0, #-EFAULT
	return
	EX_TABLE(2b, .Lstring, 4b)
END(arch_strncpy_from_user)

/*
 * int arch_user_cmpxchg32(uint64_t addr, uint32_t expected, uint32_t desired, uint32_t *old)
 * Acquire and release.  Success and fault leave through the same exit, which closes the window; the
 * flag is of a CPU that has PAN, where it is wanted.
 */
FUNC(arch_user_cmpxchg32)
	adrp x6, a64_pan
	ldrb w6, [x6, :lo12:a64_pan]
	mov x7, x0
	mov x0, xzr
	cbz w6, 1f
	msr pan, #0
1:	ldaxr w4, [x7]
	cmp w4, w1
	b.ne 2f
	stlxr w5, w2, [x7]
.Lcmpxchg:
	cbnz w5, 1b
2:	cbz w6, 3f
	msr pan, #1
3:	clrex
	str w4, [x3]
	return
4:	mov x0, #-EFAULT
	mov w4, wzr
	b 2b
	EX_TABLE(1b, .Lcmpxchg, 4b)
END(arch_user_cmpxchg32)
	.section .note.GNU-stack, "", @progbits
