/*
 * Interval timers (setitimer, alarm), posix timers (timer_create) and RLIMIT_CPU.
 */
#pragma once

#include "kernel/types.h"

struct process;
struct thread;

/* exec: deletes the current process's posix timers; interval timers go on. */
void itimers_exec(struct process *p);
/* The last thread of p ends: deletes every timer.  Before its sighand goes; sleeps not. */
void itimers_exit(struct process *p);
/*
 * The tick has charged t, the current thread, with so much CPU time.  Interrupts off, no run queue
 * lock held.
 */
void itimer_tick(struct thread *t, uint64_t user_ns, uint64_t sys_ns);
