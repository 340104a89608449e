/*
 * ibpb
 *
 * Threat:    A program trains the indirect-branch predictor, and the next program on the CPU runs speculatively
 *            where the training says (Spectre variant 2 between processes).
 * Property:  No program's branches are predicted from what another process did before it, whoever's it is.
 * Mechanism: A barrier (SDM 4 IA32_PRED_CMD) at each switch to another process than the one that last ran on the CPU.
 * Limit:     Threads of one process are not kept apart, and dearer than by users: every pipe pays.
 * Check:     labs/25-speculation/checks.py plays the processor, and counts.
 */
#include "kernel/harden/ibpb.h"

#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/proc/process.h"

bool ibpb_active ro_after_init;

/* Which process ran last.  A number that was given out again may be another user's, so that counts, too. */
static struct guest {
	int pid;
	uint32_t user;
} guests[MAX_CPUS]; /* [this CPU, interrupts off] */

void
ibpb_cpu_init(void)
{
	if (arch_cpu_number() == 0)
		ibpb_active = harden_wanted(HARDEN_IBPB) && arch_predictor_barrier_supported();
}

static void
note(struct guest *g, const struct process *p)
{
	g->pid = p->pid;
	g->user = READ_ONCE(p->cred.uid);
}

void
ibpb_between(const struct thread *prev, const struct thread *next)
{
	struct guest *here = &guests[arch_cpu_number()], coming;

	if (prev->process)
		note(here, prev->process);
	if (!next->process)
		return;
	note(&coming, next->process);
	if (here->pid == coming.pid && here->user == coming.user)
		return;
	arch_predictor_barrier();
	*here = coming;
}

static enum harden_state
probe(char *how, size_t size)
{
	if (!arch_predictor_barrier_supported()) {
		snprintf(how, size, "this CPU has no %s", ARCH_NAME_PREDICTOR_BARRIER);
		return HARDEN_ABSENT;
	}
	snprintf(how, size, "%s is %swritten between processes", ARCH_NAME_PREDICTOR_BARRIER, ibpb_active ? "" : "not ");
	return ibpb_active ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation ibpb_row = {
	"ibpb", "no process trains the branches of another", probe};
