/*
 * Branches through a register, for which the processor would ask a predictor that an attacker has trained
 * (Spectre variant 2).  Compiled code and entry.S come here instead (Makefile, SPECULATION_*); see
 * kernel/harden/retpoline.c.
 */
#include "asm.h"

	.section .text.thunk, "ax"

/*
 * The return below is predicted to go where the call above would have: to 1, and nowhere from there.  In
 * truth it goes to the register.  Intel, "Retpoline: A Branch Target Injection Mitigation".
 */
.macro thunk reg
FUNC(__x86_indirect_thunk_\reg)
	call 2f
1:	pause
	lfence
	jmp 1b
	int3
2:	mov %\reg, (%rsp)
	ret
	int3
END(__x86_indirect_thunk_\reg)
.endm

	.globl x86_thunks, x86_thunks_end
	.hidden x86_thunks, x86_thunks_end
	.balign 16
x86_thunks:
	.irp reg, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	thunk \reg
	.endr
x86_thunks_end:

/*
 * With RETURN_THUNKS=1 every return: a return that found the return predictor empty would ask the other
 * one.  This one never does.
 */
FUNC(__x86_return_thunk)
	call 2f
1:	pause
	lfence
	jmp 1b
	int3
2:	lea 8(%rsp), %rsp
	ret
	int3
END(__x86_return_thunk)
	.section .note.GNU-stack, "", @progbits
