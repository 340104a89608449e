/*
 * leaks
 *
 * Threat:    One kernel address undoes kaslr, and kernels have always told them for free: symbol tables,
 *            wait channels and object addresses in /proc, whatever a driver once printed to the log.
 * Property:  No file that user mode reads holds a kernel address, whoever reads it; the kernel's log, in
 *            which reports of faults tell registers, is root's.
 * Mechanism: One decision for addresses in files, one for the log.  Everything that is copied out was
 *            cleared first: locals by the compiler (-ftrivial-auto-var-init=zero), structures as a whole.
 * Limit:     Root reads reports.  Timing, and what a bug reads out (VULN_READ), are not this row's.
 * Check:     grade/tests/test_leaks.py scans all that a program gets to see; attack leaks.
 */
#include "kernel/harden/leaks.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/oops.h"

uint64_t
leaks_address(uint64_t addr)
{
	return harden_wanted(HARDEN_LEAKS) ? 0 : addr;
}

bool
leaks_log_allowed(bool root)
{
	return root || !harden_wanted(HARDEN_LEAKS);
}

/* Asks both decisions on behalf of an ordinary user. */
static enum harden_state
probe(char *how, size_t size)
{
	uint64_t addr = 0;
	bool shown = symbol_at(0, &addr) && leaks_address(addr) == addr;
	bool open = leaks_log_allowed(false);

	snprintf(how, size, "files show %s addresses; the log is %s", shown ? "kernel" : "no kernel",
		 open ? "everybody's" : "root's");
	return shown || open ? HARDEN_OFF : HARDEN_ON;
}

const struct mitigation leaks_row = {
	"leaks", "files tell no kernel address, the log is root's", probe};
