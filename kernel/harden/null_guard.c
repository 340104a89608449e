/*
 * null-guard
 *
 * Threat:    The kernel follows a NULL pointer, to a page that the attacker mapped at address 0.
 * Property:  Page 0 is mapped nowhere, and users map nothing below MMAP_MIN_ADDR.
 * Mechanism: mmap and its relatives refuse (kernel/mm/vm.c); the kernel's tables begin empty there.
 * Limit:     A NULL pointer with a large, attacker-chosen index.
 * Check:     grade/tests/test_harden.py walks every address space; attack null-guard.
 */
#include "arch/pte.h"
#include "kernel/errno.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/mm/vm.h"

/* Tries it, on an address space made for the purpose. */
static enum harden_state
probe(char *how, size_t size)
{
	struct vm *vm;
	uint64_t at;
	int err = vm_create(&vm);

	if (err) {
		snprintf(how, size, "no memory for the probe");
		return HARDEN_OFF;
	}
	err = vm_mmap(vm, 0, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0,
		      &at);
	vm_put(vm);
	snprintf(how, size, "mapping page 0 %s", err ? "was refused" : "succeeded");
	if (!err || pte_present(arch_pt_get(&kernel_pt, 0)))
		return HARDEN_OFF;
	return HARDEN_ON;
}

const struct mitigation null_guard_row = {"null-guard", "page 0 is never mapped", probe};
