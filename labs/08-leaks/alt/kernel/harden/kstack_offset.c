/*
 * kstack-offset
 *
 * Threat:    A kernel function uses a local that it never set (CWE-457) and finds what an earlier call left.
 * Property:  Each system call's frames begin at one of 64 places.
 * Mechanism: A draw of the ChaCha20 generator for each call.
 * Limit:     6 bits, and each call pays for them.
 * Check:     make grade; attack kstack-offset.
 */
#include "kernel/harden/kstack_offset.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"

uint64_t kstack_offset_mask ro_after_init;

void
kstack_offset_init(void)
{
	if (harden_wanted(HARDEN_KSTACK_OFFSET))
		kstack_offset_mask = (KSTACK_OFFSET_PLACES - 1) * KSTACK_OFFSET_STEP;
}

void
kstack_offset_seed(struct thread *t unused)
{
}

/* How many of a hundred draws are like the one before; 63 of 64 should not be. */
static enum harden_state
probe(char *how, size_t size)
{
	size_t last = kstack_offset_next();
	unsigned same = 0;

	for (unsigned i = 0; i < 100; i++) {
		size_t next = kstack_offset_next();

		same += next == last;
		last = next;
	}
	snprintf(how, size, "%u of 100 draws are like the one before", same);
	return same < 50 ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation kstack_offset_row = {
	"kstack-offset", "each system call's stack begins elsewhere", probe};
