/* The starter's code: it works, and everything lies where it always does.  Sections as cut names them. */

/* ==== kernel/harden/aslr.c ==== */

/*
 * aslr
 *
 * Threat:    Whoever bends a program's control or data flow knows from his own copy of the program where
 *            everything lies: code to return to, buffers, the stack.
 * Property:  Each exec places every part anew: independently of the others, of the exec before, and of what
 *            whoever starts the program would like.
 * Mechanism: Yours.
 * Limit:     Yours: what is one leaked pointer worth, and how many guesses does a part take?
 * Check:     make grade; user/attack/aslr.c.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/thread.h"

/* Everything where it always is: the stack at the top, mappings below what it may grow to. */
static void
fixed_layout(struct exec_layout *l)
{
	const uint64_t stack_gap = 256 * PAGE_SIZE;
	uint64_t top = USER_END - PAGE_SIZE; /* what straddles the end must not find a stack there */
	uint64_t room = MIN(MAX(rlimit(RLIMIT_STACK), 128ul << 20), USER_END / 6 * 5);

	*l = (struct exec_layout){
		.stack_top = top,
		.mmap_top = ALIGN_DOWN(USER_END - room - stack_gap, PAGE_SIZE),
		.pie = ARCH_PIE_BASE,
	};
}

/*
 * To do: six parts, and no two know of one another.  Which two of them follow mmap_top today, and which the
 * program?  Where may each lie, so that no draw makes two of them meet?  harden=-aslr (harden_wanted,
 * HARDEN_ASLR) leaves everything where it is, and so does fixed.
 */
void
aslr_layout(struct exec_layout *l, bool fixed unused)
{
	fixed_layout(l);
}

/* To do: what can be seen by drawing some layouts, and what of the program that asks?  See other rows' probes. */
static enum harden_state
probe(char *how, size_t size)
{
	snprintf(how, size, "every program lies where the last one did");
	return HARDEN_OFF;
}

const struct mitigation aslr_row = {"aslr", "each program's parts lie elsewhere at each exec", probe};

/* ==== kernel/proc/exec.c ==== */

/*
 * Where the program's parts go.
 *
 * To do: a debugger asks for fixed places, by the personality that a program inherits from whoever starts it.
 * Whose wish counts for whom?
 */
static void
choose_layout(struct exec_state *e)
{
	aslr_layout(&e->layout, current->process->personality & ADDR_NO_RANDOMIZE);
	e->vm->stack_top = e->layout.stack_top;
	e->vm->mmap_top = e->layout.mmap_top;
}
