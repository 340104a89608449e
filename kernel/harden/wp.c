/*
 * wp
 *
 * Threat:    A kernel write primitive reaches a read-only page: rodata, or a page that processes share
 *            copy-on-write.
 * Property:  The kernel obeys read-only mappings like user mode does.
 * Mechanism: One control-register bit on every CPU.
 * Limit:     Writable aliases of the same frame: see wx.
 * Check:     grade/tests/test_harden.py reads the control registers of every CPU; attack wp.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"

void
wp_cpu_init(void)
{
	arch_write_protect_set(harden_wanted(HARDEN_WP));
}

static bool
supported(void)
{
	return true;
}

static enum harden_state
probe(char *how, size_t size)
{
	return harden_poll_cpus(supported, arch_write_protect_active, ARCH_NAME_WRITE_PROTECT, how,
				size);
}

const struct mitigation wp_row = {"wp", "the kernel obeys read-only pages", probe};
