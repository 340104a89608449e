/*
 * Clocks and timers.  Kernel time is the monotonic clock: nanoseconds since boot, uint64_t.
 */
#pragma once

#include "kernel/types.h"

#define NSEC_PER_SEC  1000000000ull
#define NSEC_PER_USEC 1000ull
#define NSEC_PER_MSEC 1000000ull

struct timespec {
	int64_t sec;
	int64_t nsec;
};

struct timeval {
	int64_t sec;
	int64_t usec;
};

void time_init(void);

/* Nanoseconds since boot; never goes back, on any CPU. */
uint64_t clock_monotonic(void);
/* Nanoseconds since 1970-01-01 UTC. */
uint64_t clock_realtime(void);
/* Sets the real-time clock. */
void clock_realtime_set(uint64_t ns);

struct timespec ns_to_timespec(uint64_t ns);
struct timeval ns_to_timeval(uint64_t ns);
/* True if the fields are in range (sec >= 0, 0 <= nsec < 1e9). */
bool timespec_valid(const struct timespec *ts);
/* Saturates at UINT64_MAX - 1. */
uint64_t timespec_to_ns(const struct timespec *ts);

/*
 * One-shot timers.  fn runs in interrupt context on the CPU that armed the timer; it may re-arm it.
 * A timer that fired is idle again.
 */
struct timer {
	struct timer *child, *sibling, *prev; /* pairing heap; [that CPU's timer lock] */
	uint64_t deadline;
	void (*fn)(struct timer *t);
	int cpu; /* the CPU whose heap holds it, -1: idle */
};

void timer_init(struct timer *t, void (*fn)(struct timer *t));
/* (Re)arms t on this CPU for the monotonic time deadline. */
void timer_start(struct timer *t, uint64_t deadline);
/*
 * Disarms t and waits for a running fn to end, so that t may be freed.  Not from fn itself, not
 * with a lock held that fn takes.  True if it was armed.
 */
bool timer_cancel(struct timer *t);
/* True if t is armed. */
bool timer_pending(const struct timer *t);

/* Runs expired timers, charges the tick, programs the next event.  From the timer interrupt;
 * user: it interrupted user mode. */
void timer_interrupt(bool user);
/* Wants timer_interrupt on this CPU at `ns` at the latest, beside its timers (UINT64_MAX: no need). */
void timer_set_tick(uint64_t ns);
