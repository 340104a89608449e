/*
 * ibrs
 *
 * Threat:    User mode trains the indirect-branch predictor, and the kernel then runs, speculatively, where
 *            the training says (Spectre variant 2, CVE-2017-5715).
 * Property:  What less privileged code taught the predictor does not steer the kernel's indirect branches.
 * Mechanism: One bit, set for good on every CPU as it comes up (SDM 4 IA32_SPEC_CTRL: enhanced IBRS).
 * Limit:     A processor without enhanced IBRS wants the bit written at each entry; there retpoline stands in.
 *            Branch history (BHI) and returns (Retbleed) are not restricted by it.
 * Check:     grade/tests/test_bochs.py reads the register of every CPU. No emulator speculates.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"

void
ibrs_cpu_init(void)
{
	if (harden_wanted(HARDEN_IBRS) && arch_branch_guard_supported())
		arch_branch_guard_enable();
}

static enum harden_state
probe(char *how, size_t size)
{
	return harden_poll_cpus(arch_branch_guard_supported, arch_branch_guard_active,
				ARCH_NAME_BRANCH_GUARD, how, size);
}

const struct mitigation ibrs_row = {
	"ibrs", "user mode does not steer the kernel's predicted branches", probe};
