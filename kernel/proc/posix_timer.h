/*
 * A process's timers: what itimer.c and posix_timer.c share, and what the signal queue tells them.
 */
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/spinlock.h"
#include "kernel/proc/time.h"
#include "kernel/proc/wait.h"
#include "kernel/types.h"

struct process;
struct posix_timer;

/* An interval timer that counts CPU time. */
struct cpu_itimer {
	uint64_t left, interval; /* ns; left 0: off */
};

/* Made when a process first asks for a timer. */
struct posix_timers {
	struct process *process;
	struct spinlock lock; /* interrupts off; inside it no other lock but a CPU's timer heap */
	struct timer real;    /* ITIMER_REAL */
	uint64_t real_interval, real_deadline; /* [lock] ns; deadline 0: off */
	struct cpu_itimer virt, prof;	       /* [lock] ITIMER_VIRTUAL, ITIMER_PROF */
	struct mutex mutex;   /* creation, deletion and use of the timers below */
	struct list timers;   /* [mutex] struct posix_timer.link */
	int next_id;	      /* [mutex] */
	unsigned count;	      /* [mutex] */
};

/* The current process's, made if need be.  NULL: no memory. */
struct posix_timers *posix_timers_get(void);
/* Deletes every timer of timer_create.  May sleep. */
void posix_timers_delete_all(struct posix_timers *pts);
/* Its signal has left the queue: counts overruns, goes on.  Caller holds the sighand lock. */
void posix_timer_dequeued(struct posix_timer *t);
