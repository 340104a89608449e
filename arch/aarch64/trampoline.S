/*
 * The trampoline: the one page of the kernel that user mode's tables have (row kpti).
 *
 * It is mapped at TRAMPOLINE in the kernel's tables, too, runs there, and says nothing of where the rest
 * of the kernel is: what it knows is in registers that user mode cannot read.
 */
#include "asm.h"
#include "offsets.h"
#include "sysreg.h"

	.arch armv8.1-a
	.section .text.trampoline, "ax"
	.balign 4096
	.globl a64_trampoline
	.hidden a64_trampoline
	.type a64_trampoline, %function
a64_trampoline:
	/* To user mode: x30 is in FAR_EL1, VBAR_EL1 is set. */
	mrs x30, ttbr1_el1
	orr x30, x30, #TTBR1_USER_ROOT
	orr x30, x30, #TTBR1_USER_ASID
	msr ttbr1_el1, x30 /* root and ASID change in one write */
	mrs x30, far_el1
	exception_return

/* From user mode: to the same vector of the kernel.  Root and ASID first, then what they translate. */
.macro trampoline_vector number, half
	.balign 128
	msr tpidrro_el0, x30
	mrs x30, ttbr1_el1
	bic x30, x30, #TTBR1_USER_ROOT
	bic x30, x30, #TTBR1_USER_ASID
	msr ttbr1_el1, x30
	isb
	mrs x30, tpidr_el1
	ldr x30, [x30, #CPU_VECTORS]
	msr vbar_el1, x30
	isb /* nothing is taken by the old vectors any more */
	add x30, x30, #(\number * 128 + \half)
	jump_register x30
.endm

	.balign 2048
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7 /* none should come */
	trampoline_vector \n, 0
	.endr
	.irp n, 8, 9
	trampoline_vector \n, 64
	.endr
	trampoline_vector 10, 0
	trampoline_vector 11, 64
	.irp n, 12, 13, 14, 15
	trampoline_vector \n, 0
	.endr
	.balign 2048
	.size a64_trampoline, . - a64_trampoline
	.section .note.GNU-stack, "", @progbits
