/*
 * canary
 *
 * Threat:    A copy that is longer than its buffer runs on over the stack (CWE-121) to a return address.
 * Property:  A function whose frame was overrun does not return: its thread ends with a report.
 * Mechanism: -fstack-protector-strong, and 64 random bits for each thread.  No byte is spared for strings: what
 *            they may read then is worth one thread.
 * Limit:     Whoever reads the stack knows it; writes that jump over it.
 * Check:     make grade; attack canary.
 */
#include "kernel/harden/canary.h"

#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"
#include "kernel/oops.h"
#include "kernel/proc/thread.h"

/* 0 says that a thread has none, and is what an overflow with zeros writes.  t may be the thread that runs. */
no_canary void
canary_give(struct thread *t)
{
	uint64_t value = 0;

	while (harden_wanted(HARDEN_CANARY) && value == 0)
		value = random_u64();
	t->canary = value;
}

/* Its own frame may not be guarded, for the canary changes in its middle. */
no_canary void
canary_start(void)
{
	canary_give(current);
	arch_canary_load(current);
}

/* ---- What can be seen of a CPU: it compares with its thread's, and that is not what everybody knows ---- */

static bool
always(void)
{
	return true;
}

static bool
compares_with_its_own(void)
{
	return current->canary != 0 && arch_canary() == current->canary;
}

static enum harden_state
probe(char *how, size_t size)
{
	return harden_poll_cpus(always, compares_with_its_own, "the thread's canary", how, size);
}

const struct mitigation canary_row = {
	"canary", "a function whose frame was overrun does not return", probe};

no_canary noreturn void
__stack_chk_fail(void)
{
	uint64_t offset;
	const char *name = symbol_name((uint64_t)__builtin_return_address(0) - 1, &offset);

	oops(NULL, "canary", "%s found its canary changed", name ? name : "a function");
}
