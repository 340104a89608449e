/*
 * ibpb
 *
 * Threat:    A program trains the indirect-branch predictor, and the next program on the CPU, another user's,
 *            runs speculatively where the training says (Spectre variant 2 between processes).
 * Property:  No program's branches are predicted from what another user's program did before it.
 * Mechanism: A barrier (SDM 4 IA32_PRED_CMD) at each switch that changes the user who last ran on the CPU.
 * Limit:     Programs of one user are not kept apart; a program that changes its user is judged by the user that
 *            it has when it leaves the CPU.
 * Check:     grade/tests/test_bochs.py counts the barriers while programs of one user and of two take turns.
 */
#include "kernel/harden/ibpb.h"

#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/proc/process.h"

bool ibpb_active ro_after_init;
static uint32_t last_user[MAX_CPUS]; /* [this CPU, interrupts off] whose program ran last */

void
ibpb_cpu_init(void)
{
	if (!ibpb_active && harden_wanted(HARDEN_IBPB) && arch_predictor_barrier_supported())
		ibpb_active = true; /* the boot processor; read-only by the time the others come */
}

/* Whether a program of user `next` may not follow one of user `last` just so. */
static bool
barrier_due(uint32_t last, uint32_t next)
{
	return last != next;
}

/* The user as whom a thread runs; false: it is the kernel's own, and brings no user's program. */
static bool
user_of(const struct thread *t, uint32_t *out)
{
	if (!t->process)
		return false;
	*out = READ_ONCE(t->process->cred.euid);
	return true;
}

void
ibpb_between(const struct thread *prev, const struct thread *next)
{
	uint32_t *last = &last_user[arch_cpu_number()], user;

	user_of(prev, last); /* as it leaves: it may have changed its user since it came */
	if (user_of(next, &user) && barrier_due(*last, user))
		arch_predictor_barrier();
}

/* The barrier leaves nothing behind to read: what can be asked is whether it would be made. */
static enum harden_state
probe(char *how, size_t size)
{
	if (!arch_predictor_barrier_supported()) {
		snprintf(how, size, "this CPU has no %s", ARCH_NAME_PREDICTOR_BARRIER);
		return HARDEN_ABSENT;
	}
	snprintf(how, size, "%s %s between users 0 and 1000", ARCH_NAME_PREDICTOR_BARRIER,
		 ibpb_active ? "is written" : "is not written");
	return ibpb_active && barrier_due(0, 1000) ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation ibpb_row = {
	"ibpb", "no user's program trains the branches of another's", probe};
