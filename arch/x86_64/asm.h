/* Macros of every assembly file. */
#pragma once

#define FUNC(name)                                                                                 \
	.globl name;                                                                               \
	.hidden name;                                                                              \
	.type name, @function;                                                                     \
	.balign 16;                                                                                \
	name:

#define END(name) .size name, . - name

/* If the instruction at `from` faults on a user address, go on at `to`.  Section .ex_table. */
#define EX_TABLE(from, to)                                                                         \
	.pushsection .ex_table, "a";                                                               \
	.long from - .;                                                                            \
	.long to - .;                                                                              \
	.popsection

/*
 * The window through which the kernel reaches user pages (EFLAGS.AC, SDM 3A 4.6).  Without SMAP stac
 * and clac are undefined instructions, so a read-only flag decides.
 */
.macro open_user_window
	cmpb $0, x86_smap(%rip)
	je 8f
	stac
8:
.endm

.macro close_user_window
	cmpb $0, x86_smap(%rip)
	je 9f
	clac
9:
.endm

/*
 * What every trap begins with in the kernel proper: flags that were chosen by whoever was interrupted, user
 * mode for one.  DF, for string instructions; AC, for it opens the window.
 */
.macro kernel_flags
	cld
	close_user_window
.endm

/*
 * Returns and branches through a register, guarded as in compiled code (kernel/harden/retpoline.c).  What
 * follows one that always leaves is int3: a processor that runs straight on finds nothing to do.
 */
.macro return
#if RETURN_THUNKS
	jmp __x86_return_thunk
#else
	ret
#endif
	int3
.endm

.macro call_register reg
#if RETPOLINE
	call __x86_indirect_thunk_\reg
#else
	call *%\reg
#endif
.endm

.macro jump_register reg
#if RETPOLINE
	jmp __x86_indirect_thunk_\reg
#else
	jmp *%\reg
#endif
	int3
.endm

/* A return that asks no predictor: what one would foretell is a loop that goes nowhere. */
.macro return_unforetold
	call 2f
1:	pause
	lfence
	jmp 1b
	int3
2:	lea 8(%rsp), %rsp
	ret
	int3
.endm

/*
 * Through a pointer of struct cpu, without asking a predictor (kernel/harden/retpoline.c): what is pushed
 * is where `thunk` returns to.
 */
.macro jump_through pointer, thunk
#if RETPOLINE
	push %gs:\pointer
	jmp \thunk
#else
	jmp *%gs:\pointer
#endif
	int3
.endm
