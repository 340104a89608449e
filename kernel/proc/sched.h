/*
 * The scheduler: one run queue a CPU, each with an active and an expired list (constant-time pick);
 * threads that still have some of their slice left run before those that used it up.
 */
#pragma once

#include "kernel/lib/spinlock.h"
#include "kernel/proc/thread.h"

/* One a CPU. */
struct run_queue {
	struct spinlock lock;	/* interrupts off */
	struct list queues[2];	/* [lock] active and expired */
	unsigned active;	/* [lock] which of the two is active */
	unsigned nr_ready;	/* [lock] threads on both lists (not the running one) */
	struct thread *idle;	/* fixed */
	struct thread *running; /* [lock] */
	uint64_t idle_ns;	/* own CPU: time spent idle */
	uint64_t idle_since;	/* own CPU */
	uint64_t switches;	/* own CPU: for /proc/stat, as are the tick's samples: */
	uint64_t user_ticks, kernel_ticks; /* own CPU */
} aligned(64);

extern struct run_queue run_queues[MAX_CPUS];

/* A full time slice at nice 0. */
#define SCHED_SLICE_NS (30 * NSEC_PER_MSEC)

/* Makes run queues and an idle thread for each CPU; the boot processor is online. */
void sched_init(unsigned ncpus);
/* Leaves the boot context for the boot processor's idle thread. */
noreturn void sched_enter(void);
/* The idle loop: what a CPU runs on its idle thread. */
noreturn void sched_idle(void);
/* First call of a new thread, from the architecture: prev is the thread that ran before. */
void sched_thread_begin(struct thread *prev);
/* The scheduler's tick, from timer_interrupt. */
void sched_tick(bool user);

/* Puts a new thread on a run queue, with half of the slice that the current one has left. */
void sched_start(struct thread *t);

/*
 * Wakes t if it sleeps (in a state that `states`, a mask of BIT(THREAD_*), contains).  True if it
 * did.  From any context.
 */
bool sched_wake(struct thread *t, unsigned states);

/* Makes t notice its work bits soon, if it runs in user mode on another CPU. */
void sched_kick(struct thread *t);

/* Gives up the CPU: switches to the next thread.  Returns when this thread runs again. */
void schedule(void);
/* Lets others run if the time slice is used up or a better thread waits. */
void sched_yield(void);
/* For loops of unbounded length in the kernel: schedules if it is due.  May sleep. */
void cond_resched(void);
/* Ends the current thread, which must have given up everything but its stack. */
noreturn void sched_exit(void);
/* Waits until t, which is dead, is off its CPU. */
void sched_wait_off_cpu(struct thread *t);

/* Called on the return path to user mode while thread.work is not 0; interrupts on. */
void user_return_work(struct trapframe *tf);

/* Changes the CPUs that t may run on; moves it if need be.  -EINVAL: no such CPU online. */
must_use int sched_set_affinity(struct thread *t, uint64_t mask);

/* CPU time used by t so far, ns; its own thread's value is exact. */
void sched_times(struct thread *t, uint64_t *utime, uint64_t *stime);

/* Mask of CPUs that run. */
extern uint64_t cpus_online;

/* Load average in 1/2048 units over 1, 5, 15 minutes, and threads ready or running now. */
void sched_loadavg(uint64_t out[3], unsigned *running);
