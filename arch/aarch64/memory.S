/*
 * Copying and filling memory, for all of the kernel: what string.h declares, in the C library's terms.  Only general
 * registers: the vector registers are the user's.
 */
#include "asm.h"

	.section .text.memory, "ax"

/* void *memcpy(void *dst, const void *src, size_t n) */
FUNC(memcpy)
	mov x11, x0
	subs x2, x2, #64
	b.lo 2f
1:	ldp x3, x4, [x1]
	ldp x5, x6, [x1, #16]
	ldp x7, x8, [x1, #32]
	ldp x9, x10, [x1, #48]
	add x1, x1, #64
	stp x3, x4, [x11]
	stp x5, x6, [x11, #16]
	stp x7, x8, [x11, #32]
	stp x9, x10, [x11, #48]
	add x11, x11, #64
	subs x2, x2, #64
	b.hs 1b
	/* Less than 64 are left, and x2 is 64 too few: its low six bits are right. */
2:	tbz x2, #5, 3f
	ldp x3, x4, [x1], #16
	ldp x5, x6, [x1], #16
	stp x3, x4, [x11], #16
	stp x5, x6, [x11], #16
3:	tbz x2, #4, 4f
	ldp x3, x4, [x1], #16
	stp x3, x4, [x11], #16
4:	tbz x2, #3, 5f
	ldr x3, [x1], #8
	str x3, [x11], #8
5:	tbz x2, #2, 6f
	ldr w3, [x1], #4
	str w3, [x11], #4
6:	tbz x2, #1, 7f
	ldrh w3, [x1], #2
	strh w3, [x11], #2
7:	tbz x2, #0, 8f
	ldrb w3, [x1]
	strb w3, [x11]
8:	return
END(memcpy)

/*
 * void *memset(void *dst, int c, size_t n).  Zeros go by whole cache blocks where DC ZVA is
 * allowed (ARM D17.2.33: DCZID_EL0); the direct map and everything else that is cleared is ordinary
 * memory.
 */
FUNC(memset)
	mov x11, x0
	and x1, x1, #255
	mov x3, #0x0101010101010101
	mul x1, x1, x3
	cbnz x1, 2f
	cmp x2, #512
	b.lo 2f
	mrs x3, dczid_el0
	tbnz x3, #4, 2f
	mov x4, #4
	lsl x3, x4, x3 /* bytes that one DC ZVA clears, a power of two */
	sub x4, x3, #1
	cmp x2, x3, lsl #1
	b.lo 2f
	/* Up to the first block by 8 bytes, if dst is aligned to those at all. */
	tst x11, #7
	b.ne 2f
1:	tst x11, x4
	b.eq 3f
	str xzr, [x11], #8
	sub x2, x2, #8
	b 1b
3:	sub x2, x2, x3
4:	dc zva, x11
	add x11, x11, x3
	subs x2, x2, x3
	b.hs 4b
	add x2, x2, x3
2:	subs x2, x2, #64
	b.lo 6f
5:	stp x1, x1, [x11]
	stp x1, x1, [x11, #16]
	stp x1, x1, [x11, #32]
	stp x1, x1, [x11, #48]
	add x11, x11, #64
	subs x2, x2, #64
	b.hs 5b
6:	tbz x2, #5, 7f
	stp x1, x1, [x11], #16
	stp x1, x1, [x11], #16
7:	tbz x2, #4, 8f
	stp x1, x1, [x11], #16
8:	tbz x2, #3, 9f
	str x1, [x11], #8
9:	tbz x2, #2, 10f
	str w1, [x11], #4
10:	tbz x2, #1, 11f
	strh w1, [x11], #2
11:	tbz x2, #0, 12f
	strb w1, [x11]
12:	return
END(memset)
	.section .note.GNU-stack, "", @progbits
