/* Macros of every assembly file. */
#pragma once

#define FUNC(name)                                                                                 \
	.globl name;                                                                               \
	.hidden name;                                                                              \
	.type name, %function;                                                                     \
	.balign 16;                                                                                \
	name:

#define END(name) .size name, . - name

/*
 * If an instruction in [from, end) faults on a user address, go on at `to`.  Section .ex_table.
 */
#define EX_TABLE(from, end, to)                                                                    \
	.pushsection .ex_table, "a";                                                               \
	.long from - .;                                                                            \
	.long end - .;                                                                             \
	.long to - .;                                                                              \
	.popsection

/*
 * Returns and branches through a register.  What follows one is a barrier: a processor that runs straight
 * on past it finds nothing to do (kernel/harden/retpoline.c).
 */
.macro speculation_ends
#if RETPOLINE
	dsb sy
	isb
#endif
.endm

.macro return
	ret
	speculation_ends
.endm

.macro jump_register reg
	br \reg
	speculation_ends
.endm

.macro call_register reg
	adr x30, .Lback\@
	jump_register \reg
.Lback\@:
.endm

/* Straight-line speculation must not run past an exception return. */
.macro exception_return
	eret
	dsb nsh
	isb
.endm
