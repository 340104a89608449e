/*
 * retpoline
 *
 * Threat:    A processor guesses where a branch through a register goes from where such branches went
 *            before, in the attacker's program too, and runs what it finds there until it knows better
 *            (Spectre variant 2); or it runs straight on past a branch that always leaves (SLS).  What it
 *            touched meanwhile is measured in the caches.
 * Property:  x86_64: no such branch of the kernel is guessed from a history that a program can write.  Both:
 *            nothing but a barrier stands behind a return or a branch through a register.
 * Mechanism: A compile-time choice (make RETPOLINE=0).  x86_64: the branch becomes a call of a thunk whose
 *            return is guessed to lead to a trap for speculation; int3.  aarch64: barriers; FEAT_CSV2 keeps
 *            histories apart.  No table of jumps on x86_64.
 * Limit:     The return itself, where the return predictor is empty and asks the other (Retbleed):
 *            RETURN_THUNKS=1 makes every return one that is not guessed so.  On aarch64 a run straight on may
 *            meet other stubs' branches before the barrier.  No emulator shows any of it.
 * Check:     grade/tests/test_retpoline.py disassembles every function of the image.  The row looks at the
 *            bytes in memory.  There is no attack, for nothing here speculates.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/oops.h"
#include "kernel/sys/syscall.h"

/* Bytes of the function at p: as far as its name goes. */
static size_t
function_size(const void *p)
{
	uint64_t start = (uint64_t)p, size = 1, offset;

	while (symbol_name(start + size, &offset) && offset == size)
		size++;
	return size;
}

static enum harden_state
probe(char *how, size_t size)
{
	const void *code = (const void *)syscall_dispatch;

	return arch_branches_guarded(code, function_size(code), how, size) ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation retpoline_row = {
	"retpoline", "branches through registers are not speculated through", probe};
