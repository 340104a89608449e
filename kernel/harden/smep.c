/*
 * smep
 *
 * Threat:    A kernel bug lets an attacker choose a code pointer: it points at code in user memory
 *            (ret2usr).
 * Property:  The processor refuses to fetch instructions from a user page while it runs the kernel.
 * Mechanism: One control-register bit on every CPU, set before its first thread, never cleared.
 * Limit:     Code that is already in the kernel can be reused; hijacked code can clear the bit.
 * Check:     grade/tests/test_harden.py reads the control registers of every CPU while programs run;
 *            attack smep.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"

void
smep_cpu_init(void)
{
	if (harden_wanted(HARDEN_SMEP) && arch_user_exec_guard_supported())
		arch_user_exec_guard_enable();
}

static enum harden_state
probe(char *how, size_t size)
{
	return harden_poll_cpus(arch_user_exec_guard_supported, arch_user_exec_guard_active,
				ARCH_NAME_EXEC_GUARD, how, size);
}

const struct mitigation smep_row = {
	"smep", "the kernel never executes a user page", probe};
