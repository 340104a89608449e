/* The starter's code: it works, and counts like plain numbers.  Sections as cut names them. */

/* ==== kernel/harden/refcount.h ==== */

/*
 * Reference counters: see refcount.c.
 *
 * To do: which values may an operation find, and in which step is that known for certain?  Each of them is inline, some
 * hundred times in the kernel: what happens once in a machine's life goes out of line.
 */

/* To do: is this a good place for a counter to stay at?  What is still going to be done to it there, and by how many CPUs? */
#define REFCOUNT_STUCK (REFCOUNT_MAX + 1)

/* n references more; the caller has one.  To do: how large may n be, and what if the caller is wrong? */
static always_inline void
refcount_add(struct refcount *r, uint32_t n)
{
	__atomic_fetch_add(&r->n, n, __ATOMIC_RELAXED);
}

/* True if the caller dropped the last reference and now owns the object alone.  To do: what if he had none? */
static always_inline must_use bool
refcount_put(struct refcount *r)
{
	return __atomic_fetch_sub(&r->n, 1, __ATOMIC_ACQ_REL) == 1;
}

/* A reference of an object that may be dead: false, it is.  To do: when may it die? */
static inline must_use bool
refcount_get_unless_dead(struct refcount *r)
{
	if (READ_ONCE(r->n) == 0)
		return false;
	__atomic_fetch_add(&r->n, 1, __ATOMIC_RELAXED);
	return true;
}

/* Drops a reference unless it is the last one: then false, and nothing is done.  To do: who else drops one? */
static inline must_use bool
refcount_put_unless_last(struct refcount *r)
{
	if (READ_ONCE(r->n) <= 1)
		return false;
	__atomic_fetch_sub(&r->n, 1, __ATOMIC_ACQ_REL);
	return true;
}

/* ==== kernel/harden/refcount.c ==== */

/*
 * refcount
 *
 * Threat:    A path takes references and forgets to give them back (CWE-911).  Whoever walks it often enough
 *            wraps the counter: the next put frees an object that others use (CVE-2016-0728, CVE-2019-11487).
 * Property:  A counter that overflows, is raised from 0 or dropped below it never says "the last one" again:
 *            its object is lost, and not freed under its users.
 * Mechanism: Yours.
 * Limit:     Yours: which wrong put can nobody tell from a right one, and what may another CPU see?
 * Check:     make grade; user/attack/refcount.c.
 */
#include "kernel/harden/refcount.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"

/*
 * Out of line, from any context, any lock held.  To do: what becomes of the counter, and who is told, and how often?
 * harden=-refcount (harden_wanted) lets counters wrap.
 */
void
refcount_bad_get(struct refcount *r unused, uint32_t old unused)
{
}

void
refcount_bad_put(struct refcount *r unused, uint32_t old unused)
{
}

/* ---- The probe --------------------------------------------------------------------------------- */

/* To do: a counter of the probe's own is a good thing to try it with.  Two may ask at once. */
static enum harden_state
probe(char *how, size_t size)
{
	snprintf(how, size, "counters are plain numbers");
	return HARDEN_OFF;
}

const struct mitigation refcount_row = {
	"refcount", "no counter of references wraps", probe};

/* ==== kernel/mm/page.c ==== */

/* To do: who takes references of a frame, and how many may he take? */
void
page_get(struct page *p)
{
	__atomic_fetch_add(&p->refs.n, 1, __ATOMIC_RELAXED);
}

/* To do: the same, of those who drop them. */
void
page_put(struct page *p)
{
	if (__atomic_fetch_sub(&p->refs.n, 1, __ATOMIC_ACQ_REL) == 1)
		page_free(p);
}
