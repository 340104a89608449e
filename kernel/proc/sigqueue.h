/*
 * What the signal files share: queues of pending signals, and helpers of signal.c.
 */
#pragma once

#include "arch/arch.h"
#include "kernel/proc/signal.h"
#include "kernel/proc/thread.h"
#include "kernel/types.h"

/* ---- Queues (sigqueue.c); the caller holds the sighand lock -------------------------------------
 *
 * Makes info->signo pending.  Standard signals collapse into one; real-time ones queue.  limit:
 * most entries that the queues of its process may hold.  0, or -EAGAIN (a real-time signal whose info finds no room).
 */
must_use int sigqueue_add(struct sigqueue *q, const struct siginfo *info, uint64_t limit);
/* As above with an entry that is already there.  False: it is still queued. */
must_use bool sigqueue_add_entry(struct sigqueue *q, struct sigqueue_entry *e);
/* Takes e off its queue, if it is on one. */
void sigqueue_remove_entry(struct sigqueue_entry *e);
/* Takes the next signal of set: faults first, then by number.  Its number, or 0. */
int sigqueue_take(struct sigqueue *q, sigset_t set, struct siginfo *out);
/* Drops every pending signal of set. */
void sigqueue_flush(struct sigqueue *q, sigset_t set);

/* ---- Helpers of signal.c --------------------------------------------------------------------- */
/* Takes process_lock unless this CPU holds it already; gives it back if it was taken. */
must_use bool signal_tree_lock(irqstate_t *s);
void signal_tree_unlock(bool taken, irqstate_t s);
/* Sets or clears the current thread's WORK_SIGNAL.  Caller holds the sighand lock. */
void signal_recalculate(struct process *p, struct thread *t);
/* Makes t look at its signals, and wakes it if it is in one of the states (bits of THREAD_*). */
void signal_wake(struct thread *t, unsigned states);
#define WAKE_SIGNAL BIT(THREAD_INTERRUPTIBLE)
#define WAKE_KILL   (BIT(THREAD_INTERRUPTIBLE) | BIT(THREAD_STOPPED))
/* True if the action does nothing. */
bool sigaction_ignores(const struct sigaction *act, int signo);
/* True if every thread of p but `except` takes part in the group stop.  Caller holds both locks. */
bool signal_all_stopped(const struct process *p, const struct thread *except);
