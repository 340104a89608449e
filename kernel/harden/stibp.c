/*
 * stibp
 *
 * Threat:    A program trains the indirect-branch predictor that its core's other hardware thread shares,
 *            where a victim runs at the same time (Spectre variant 2 across siblings).
 * Property:  Indirect branches of one hardware thread are not predicted from what the other one did.
 * Mechanism: One bit, set for good on every CPU as it comes up (SDM 4 IA32_SPEC_CTRL).
 * Limit:     The siblings still share caches and ports.
 * Check:     grade/tests/test_bochs.py reads the register of every CPU. No emulator speculates.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"

void
stibp_cpu_init(void)
{
	if (harden_wanted(HARDEN_STIBP) && arch_sibling_guard_supported())
		arch_sibling_guard_enable();
}

static enum harden_state
probe(char *how, size_t size)
{
	return harden_poll_cpus(arch_sibling_guard_supported, arch_sibling_guard_active,
				ARCH_NAME_SIBLING_GUARD, how, size);
}

const struct mitigation stibp_row = {
	"stibp", "hardware threads do not train one another's branches", probe};
