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
