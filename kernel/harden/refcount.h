/*
 * Reference counters that stick where they would wrap: see refcount.c.
 *
 * An operation is one atomic addition and one comparison; what is out of range goes out of line.
 */
#pragma once

#include "kernel/types.h"

struct refcount {
	uint32_t n; /* atomic; 0: the object is dead; beyond REFCOUNT_MAX: stuck */
};

#define REFCOUNT_INIT	{1}
#define REFCOUNT_MAX	(UINT32_MAX / 2)
#define REFCOUNT_STUCK	0xc0000000u /* far from either end: no number of CPUs gets it out of there at once */

/* The counter was old before something was added to it, or taken away, and had no such thing to do. */
void refcount_bad_get(struct refcount *r, uint32_t old);
void refcount_bad_put(struct refcount *r, uint32_t old);

static inline void
refcount_init(struct refcount *r)
{
	r->n = 1;
}

/* For decisions that a lock makes safe, and for statistics. */
static inline uint32_t
refcount_read(const struct refcount *r)
{
	return __atomic_load_n(&r->n, __ATOMIC_RELAXED);
}

/* n references more; the caller has one. */
static always_inline void
refcount_add(struct refcount *r, uint32_t n)
{
	uint32_t old = __atomic_fetch_add(&r->n, n, __ATOMIC_RELAXED);

	/* 0, stuck, or too many now: each is beyond the limit once 1 is taken off. */
	if (unlikely(n > REFCOUNT_MAX || old - 1 >= REFCOUNT_MAX - n))
		refcount_bad_get(r, old);
}

static always_inline void
refcount_get(struct refcount *r)
{
	refcount_add(r, 1);
}

/* True if the caller dropped the last reference and now owns the object alone. */
static always_inline must_use bool
refcount_put(struct refcount *r)
{
	uint32_t old = __atomic_fetch_sub(&r->n, 1, __ATOMIC_ACQ_REL);

	if (unlikely(old - 1 >= REFCOUNT_MAX))
		refcount_bad_put(r, old);
	return old == 1;
}

/* A reference of an object that may be dead: false, it is. */
static inline must_use bool
refcount_get_unless_dead(struct refcount *r)
{
	uint32_t n = READ_ONCE(r->n);

	do {
		if (n == 0)
			return false;
	} while (!__atomic_compare_exchange_n(&r->n, &n, n + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	if (unlikely(n >= REFCOUNT_MAX))
		refcount_bad_get(r, n);
	return true;
}

/* Drops a reference unless it is the last one: then false, and nothing is done. */
static inline must_use bool
refcount_put_unless_last(struct refcount *r)
{
	uint32_t n = READ_ONCE(r->n);

	do {
		if (n <= 1)
			return false;
	} while (!__atomic_compare_exchange_n(&r->n, &n, n - 1, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	if (unlikely(n > REFCOUNT_MAX))
		refcount_bad_put(r, n);
	return true;
}
