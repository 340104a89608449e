/*
 * umip
 *
 * Threat:    User mode reads the addresses of descriptor tables, which lie in the kernel: a free leak
 *            of its layout.
 * Property:  The instructions that store them fault in user mode.
 * Mechanism: One control-register bit on every CPU.
 * Limit:     Other leaks of addresses.  Where off lets a program read the interrupt mask it may write it,
 *            too, and keep its CPU (arch/aarch64/harden.c).
 * Check:     grade/tests/test_harden.py reads the control registers of every CPU while programs run;
 *            attack umip.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"

void
umip_cpu_init(void)
{
	if (harden_wanted(HARDEN_UMIP) && arch_user_info_guard_supported())
		arch_user_info_guard_enable();
}

static enum harden_state
probe(char *how, size_t size)
{
	return harden_poll_cpus(arch_user_info_guard_supported, arch_user_info_guard_active,
				ARCH_NAME_INFO_GUARD, how, size);
}

const struct mitigation umip_row = {
	"umip", "user mode cannot read where the kernel keeps its tables", probe};
