/*
 * Queues of pending signals.  Every function but sigqueue_init is called with the sighand lock held.
 */
#pragma once

#include "kernel/proc/signal.h"
#include "kernel/types.h"

/*
 * Makes info->signo pending.  Standard signals collapse into one; real-time ones queue.  limit: most
 * entries that q may hold.  0, or -EAGAIN (a real-time signal whose info finds no room).
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
