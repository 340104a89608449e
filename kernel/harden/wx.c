/*
 * wx
 *
 * Threat:    A kernel write primitive patches kernel text, or plants code in kernel data; a process
 *            writes code where it runs it.
 * Property:  No mapping is writable and executable.  No frame of kernel text has a writable alias.
 *            User memory never gains execution after it was writable.
 * Mechanism: One decision for the kernel's own pages (arch/NAME/mmu.c, kernel_prot), one for user
 *            mappings (kernel/mm/vm.c, asked by mmap, mprotect and exec).
 * Limit:     Code reuse; frames that the kernel maps for itself later (see ro-pgtable).
 * Check:     grade/tests/test_harden.py walks every address space and looks for aliases; attack wx.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"

struct findings {
	unsigned bad;
	struct boot_range text;
};

static void
look(void *arg, uint64_t va unused, uint64_t size, paddr_t pa, unsigned prot)
{
	struct findings *f = arg;
	bool alias = pa.v < f->text.base.v + f->text.size && f->text.base.v < pa.v + size;

	if (!(prot & PROT_WRITE) || (!(prot & PROT_EXEC) && !alias))
		return;
	f->bad++;
}

static enum harden_state
probe(char *how, size_t size)
{
	struct findings f = {.text = arch_kernel_text()};

	arch_kernel_walk(look, &f);
	if (f.bad) {
		snprintf(how, size, "%u kernel pages are writable text or executable data", f.bad);
		return HARDEN_OFF;
	}
	snprintf(how, size, "no kernel page is writable and executable, text has no writable alias");
	return HARDEN_ON;
}

const struct mitigation wx_row = {"wx", "nothing is writable and executable", probe};
