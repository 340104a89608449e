/*
 * smap
 *
 * Threat:    A kernel bug lets an attacker choose a data pointer: it points at an object that was forged
 *            in user memory.
 * Property:  The processor refuses kernel loads and stores to user pages outside the user copies.
 * Mechanism: One control-register bit on every CPU; the copy routines, all in one assembly file, open
 *            a window for their own instructions.
 * Limit:     The direct map is a second address of the same frames.
 * Check:     grade/tests/test_harden.py reads the control registers of every CPU while programs run;
 *            attack smap.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"

void
smap_cpu_init(void)
{
	if (harden_wanted(HARDEN_SMAP) && arch_user_access_guard_supported())
		arch_user_access_guard_enable();
}

static enum harden_state
probe(char *how, size_t size)
{
	return harden_poll_cpus(arch_user_access_guard_supported, arch_user_access_guard_active,
				ARCH_NAME_ACCESS_GUARD, how, size);
}

const struct mitigation smap_row = {
	"smap", "the kernel reaches user data only in user copies", probe};
