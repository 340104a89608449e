/*
 * asid
 *
 * Threat:    The TLB keeps translations of address spaces that do not run, told apart by a number.  There
 *            are fewer numbers than processes: one that comes again while old entries are there gives its
 *            new owner the memory of the one before.
 * Property:  No translation is used by an address space that it is not of.
 * Mechanism: Numbers are handed out in generations (arch/NAME/asid.c): when they run out, every CPU
 *            forgets all translations of users before it uses one of the new generation.
 * Limit:     QEMU's TLB is emptied at every change of the number, so that only a number that two address
 *            spaces have in a row shows there; with row kpti on, each entry of the kernel hides that.
 * Check:     grade/tests/test_asid.py compares the numbers of every address space and CPU while they
 *            run out again and again.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"

static enum harden_state
probe(char *how, size_t size)
{
	bool clean;

	if (!arch_asid_supported()) {
		snprintf(how, size, "translations have no numbers here: each switch forgets them");
		return HARDEN_ABSENT;
	}
	clean = arch_asid_reuse_is_clean();
	snprintf(how, size, "the numbers were used up: an old translation was %s",
		 clean ? "forgotten" : "used again");
	return clean ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation asid_row = {
	"asid", "no address space uses another's translations", probe};
