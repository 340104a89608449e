/*
 * The only code that writes CR0 and CR4 once the kernel runs (row pin).  Whoever jumps straight to one of the
 * writes, with registers of his choice and no stack at all, runs on into the check, which needs neither.
 */
#include "asm.h"
#include "offsets.h"

/* RDI = the register's new value; what is pinned stays, and then it is reported. */
	.macro write_pinned name, reg, pin, undone
FUNC(\name)
	xor %esi, %esi /* bits that had to be set right */
1:	mov %rdi, %\reg
	mov %\reg, %rax
	xor \pin + PIN_VALUE(%rip), %rax
	and \pin + PIN_MASK(%rip), %rax
	jnz 2f
	test %rsi, %rsi
	jnz 3f
	return
2:	mov %rax, %rsi
	xor %rax, %rdi
	jmp 1b
3:	mov %rsi, %rdi
	jmp \undone
END(\name)
	.endm

	.text
	write_pinned x86_write_cr0, cr0, x86_cr0_pin, x86_cr0_undone
	write_pinned x86_write_cr4, cr4, x86_cr4_pin, x86_cr4_undone
	.section .note.GNU-stack, "", @progbits
