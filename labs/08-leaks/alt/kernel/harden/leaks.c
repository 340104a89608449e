/*
 * leaks
 *
 * Threat:    One kernel address undoes kaslr, and files have always told some.
 * Property:  Who is not root reads no kernel address and no line of the log.
 * Mechanism: Who reads is asked, at each reading: root's tools find symbols, nobody else does.
 * Limit:     An attacker who is root needs no second bug.
 * Check:     make grade; attack leaks.
 */
#include "kernel/harden/leaks.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/proc/process.h"

static bool
everybody(void)
{
	return !harden_wanted(HARDEN_LEAKS);
}

uint64_t
leaks_address(uint64_t addr)
{
	if (capable() || everybody())
		return addr;
	return 0;
}

bool
leaks_log_allowed(bool root)
{
	if (everybody())
		return true;
	return root;
}

static enum harden_state
probe(char *how, size_t size)
{
	bool open = leaks_log_allowed(false);

	snprintf(how, size, "addresses and the log are %s", open ? "everybody's" : "root's");
	return open ? HARDEN_OFF : HARDEN_ON;
}

const struct mitigation leaks_row = {
	"leaks", "files tell no kernel address, the log is root's", probe};
