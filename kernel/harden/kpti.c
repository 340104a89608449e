/*
 * kpti
 *
 * Threat:    A processor that reads ahead of the permission check (Meltdown, and its kin that reads system
 *            registers) lets user mode read whatever the active tables translate: all of memory, by the
 *            direct map.
 * Property:  While user mode runs, the active tables translate nothing of the kernel but the way in.
 * Mechanism: User mode has a root of its own for the kernel half, and the first instructions of every
 *            entry, which it does have, change to the kernel's; the last ones of every exit change back.
 *            Nothing that the TLB remembers of the kernel is used in user mode.
 * Limit:     What the way in holds can be read, on x86_64 the registers that an NMI found in the kernel among
 *            it; so can what the kernel leaves in other buffers of the processor (MDS).
 * Check:     grade/tests/test_kpti.py walks the tables of CPUs that are in user mode; attack kpti.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"

void
kpti_cpu_init(void)
{
	if (harden_wanted(HARDEN_KPTI) && arch_kernel_hidden_supported())
		arch_kernel_hidden_enable();
}

static enum harden_state
probe(char *how, size_t size)
{
	return harden_poll_cpus(arch_kernel_hidden_supported, arch_kernel_hidden_active,
				ARCH_NAME_KERNEL_HIDDEN, how, size);
}

const struct mitigation kpti_row = {
	"kpti", "user mode runs on tables without the kernel", probe};
