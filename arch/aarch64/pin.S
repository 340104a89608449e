/*
 * The only code that writes SCTLR_EL1 once the kernel runs (row pin).  Whoever jumps straight to the write, with
 * registers of his choice and no stack at all, runs on into the check, which needs neither.
 */
#include "asm.h"
#include "offsets.h"
#include "sysreg.h"

	.text
/* x0 = the register's new value; what is pinned stays, and then it is reported. */
FUNC(a64_write_sctlr)
	mov x2, xzr /* bits that had to be set right */
1:	msr sctlr_el1, x0
	isb /* what follows runs under the new rules */
	mrs x1, sctlr_el1
	adrp x3, a64_sctlr_pin
	add x3, x3, :lo12:a64_sctlr_pin
	ldp x4, x5, [x3]
	eor x1, x1, x4
	and x1, x1, x5
	mrs x3, tpidr_el1
	ldrb w3, [x3, #CPU_WXN_OFF]
	bic x1, x1, x3, lsl #SCTLR_WXN_SHIFT /* this CPU runs an exempt program */
	cbnz x1, 2f
	cbnz x2, 3f
	return
2:	mov x2, x1
	eor x0, x0, x1
	b 1b
3:	tlbi vmalle1 /* WXN may have been cached with translations (ARM D8.4.2) */
	dsb nsh
	isb
	mov x0, x2
	b a64_sctlr_undone
END(a64_write_sctlr)
	.section .note.GNU-stack, "", @progbits
