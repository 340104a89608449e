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
