/* The starter's code: it works, and leaves every guess to the processor.  Sections as cut names them. */

/* ==== kernel/harden/ibpb.c ==== */
/*
 * ibpb
 *
 * Threat:    A program trains the indirect-branch predictor, and the next program on the CPU, another user's,
 *            runs speculatively where the training says (Spectre variant 2 between processes).
 * Property:  No program's branches are predicted from what another user's program did before it.
 * Mechanism: To do.
 * Limit:     To do: whom does your barrier not keep apart?
 * Check:     labs/25-speculation/checks.py plays the processor, and counts.
 */
#include "kernel/harden/ibpb.h"

#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/proc/process.h"

bool ibpb_active ro_after_init;

/* To do: each CPU calls it as it comes up.  When is ibpb_active to be true?  harden_wanted() knows the command line. */
void
ibpb_cpu_init(void)
{
}

/*
 * To do: prev leaves this CPU to next.  Whose program taught this CPU's predictor last, and is that prev?  A thread
 * without a process is the kernel's own.
 */
void
ibpb_between(const struct thread *prev unused, const struct thread *next unused)
{
}

static enum harden_state
probe(char *how, size_t size)
{
	if (!arch_predictor_barrier_supported()) {
		snprintf(how, size, "this CPU has no %s", ARCH_NAME_PREDICTOR_BARRIER);
		return HARDEN_ABSENT;
	}
	snprintf(how, size, "%s is %sasked for", ARCH_NAME_PREDICTOR_BARRIER, ibpb_active ? "" : "not ");
	return ibpb_active ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation ibpb_row = {
	"ibpb", "no user's program trains the branches of another's", probe};

/* ==== kernel/harden/ibrs.c ==== */

/* To do: each CPU calls it as it comes up.  harden=-ibrs (harden_wanted) leaves the processor as it is. */
void
ibrs_cpu_init(void)
{
}

/* ==== kernel/harden/stibp.c ==== */

/* To do: the same of row stibp. */
void
stibp_cpu_init(void)
{
}

/* ==== arch/x86_64/harden.c ==== */

/*
 * To do: which bits say that the registers are there, and that setting IBRS once is enough (SDM 4 2.1, table 2-2)?  What
 * happens if you read one that is not there?
 */
bool
arch_branch_guard_supported(void)
{
	return false;
}

/* To do: on this CPU, for good.  Whose is the rest of the register? */
void
arch_branch_guard_enable(void)
{
}

/* To do: it has a bit of its own in CPUID. */
bool
arch_sibling_guard_supported(void)
{
	return false;
}

/* To do. */
void
arch_sibling_guard_enable(void)
{
}

/* To do. */
bool
arch_predictor_barrier_supported(void)
{
	return false;
}

/* To do: the register can be written, and not read. */
noinline void
arch_predictor_barrier(void)
{
}

/*
 * To do: whether a thunk of yours, as it lies in memory at p, is whole.  x86_thunks[] to x86_thunks_end (entry.S) are all
 * of them, THUNK_STRIDE bytes from one to the next.
 */
static bool
thunk_stops_speculation(const uint8_t *p unused)
{
	return false;
}
