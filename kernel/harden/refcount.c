/*
 * refcount
 *
 * Threat:    A path takes references and forgets to give them back (CWE-911).  Whoever walks it often enough
 *            wraps the counter: the next put frees an object that others use (CVE-2016-0728, CVE-2019-11487).
 * Property:  A counter that overflows, is raised from 0 or dropped below it never says "the last one" again:
 *            its object is lost, and not freed under its users.
 * Mechanism: Half of the range is forbidden.  What would leave the other half puts the counter into the middle
 *            of the forbidden one, and so does everything that is done to it later.  Frames have such counters,
 *            too: their references are user mode's to take, by mappings.
 * Limit:     A put too many of a counter that is 2 or more: nothing tells it from a right one.  Another CPU may
 *            see a counter that was raised from 0 for the moment until it sticks.
 * Check:     grade/tests/test_refcount.py drives a file's counter from outside; attacks refcount, refcount-frame.
 */
#include "kernel/harden/refcount.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/spinlock.h"
#include "kernel/oops.h"

static struct refcount trial; /* [trial_lock] the probe's: it does not make the news */
static struct spinlock trial_lock = SPINLOCK_INIT;

/* From any context, any lock held. */
static noinline void
stick(struct refcount *r, uint32_t old, const char *what, void *where)
{
	const char *name;
	uint64_t offset;

	if (!harden_wanted(HARDEN_REFCOUNT))
		return;
	__atomic_store_n(&r->n, REFCOUNT_STUCK, __ATOMIC_RELAXED);
	if (old > REFCOUNT_MAX || r == &trial)
		return; /* it was reported when it began to stick */
	name = symbol_name((uint64_t)where, &offset);
	harden_report("refcount", "a counter was %s in %s: its object is never freed", what,
		      name ? name : "(unknown)");
}

void
refcount_bad_get(struct refcount *r, uint32_t old)
{
	stick(r, old, old ? "raised beyond its limit" : "raised from 0", __builtin_return_address(0));
}

void
refcount_bad_put(struct refcount *r, uint32_t old)
{
	stick(r, old, "dropped below 0", __builtin_return_address(0));
}

/* ---- The probe --------------------------------------------------------------------------------- */

/* Once the trial counter sticks, neither get nor put frees it. */
static bool
stays(void)
{
	bool last = refcount_put(&trial);

	refcount_get(&trial);
	return !last && !refcount_put(&trial) && refcount_read(&trial) == REFCOUNT_STUCK;
}

static bool
counts(void)
{
	refcount_init(&trial);
	refcount_get(&trial);
	return !refcount_put(&trial) && refcount_put(&trial);
}

static bool
sticks_above(void)
{
	trial.n = REFCOUNT_MAX;
	refcount_get(&trial);
	return stays();
}

static bool
sticks_below(void)
{
	trial.n = 0;
	return !refcount_put(&trial) && stays();
}

static bool
stays_dead(void)
{
	trial.n = 0;
	refcount_get(&trial);
	return stays();
}

static enum harden_state
probe(char *how, size_t size)
{
	bool legal, above, below, dead;

	spin_lock(&trial_lock);
	legal = counts();
	above = sticks_above();
	below = sticks_below();
	dead = stays_dead();
	spin_unlock(&trial_lock);
	snprintf(how, size, "a counter %s at its limit, %s below 0, %s", above ? "sticks" : "wraps",
		 below ? "sticks" : "wraps", dead ? "is not raised from 0" : "comes back from 0");
	return legal && above && below && dead ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation refcount_row = {
	"refcount", "no counter of references wraps", probe};
