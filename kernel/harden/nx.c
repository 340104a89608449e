/*
 * nx
 *
 * Threat:    Data that an attacker wrote, on a stack, a heap or in a mapped file, is run as code.
 * Property:  A user page is executable only if its mapping asked for PROT_EXEC.
 * Mechanism: The execute-disable bit of every leaf entry (pte_make), which the processor obeys once
 *            it is told to, before the first tables are used.
 * Limit:     Code that is already mapped can be reused (see aslr, cfi).
 * Check:     grade/tests/test_harden.py walks every address space; attack nx.
 */
#include "arch/pte.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/thread.h"

struct count {
	unsigned pages, executable;
};

static pte_t
look(void *arg, uint64_t va unused, pte_t e)
{
	struct count *c = arg;

	c->pages++;
	c->executable += (pte_prot(e) & PROT_EXEC) != 0;
	return e;
}

/* Every page of the current process in an area that is not executable must not be either. */
static enum harden_state
probe(char *how, size_t size)
{
	struct count c = {0};
	struct vm *vm = current->vm;
	enum harden_state state = harden_poll_cpus(arch_no_execute_supported, arch_no_execute_active,
						  ARCH_NAME_NO_EXECUTE, how, size);

	if (state != HARDEN_ON || !vm)
		return state;
	mutex_lock(&vm->lock);
	for (unsigned i = 0; i < vm->count; i++) {
		const struct vma *a = vm->areas[i];

		if (!(a->prot & PROT_EXEC))
			arch_pt_update(&vm->pt, a->start, a->end, look, &c);
	}
	mutex_unlock(&vm->lock);
	snprintf(how, size, "%s on every CPU; %u of this process's %u data pages are executable",
		 ARCH_NAME_NO_EXECUTE, c.executable, c.pages);
	return c.executable ? HARDEN_OFF : HARDEN_ON;
}

const struct mitigation nx_row = {"nx", "user data is not executable", probe};
