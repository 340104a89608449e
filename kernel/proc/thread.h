/*
 * Threads: what the scheduler runs.  A user thread belongs to a process; a kernel thread (idle,
 * reaper) has none.
 */
#pragma once

#include "arch/arch.h"
#include "kernel/harden/seccomp.h"
#include "kernel/lib/list.h"
#include "kernel/proc/signal.h"
#include "kernel/proc/time.h"
#include "kernel/types.h"

struct process;
struct vm;
struct cpu;

enum thread_state {
	THREAD_RUNNABLE,	/* running, or on a run queue */
	THREAD_INTERRUPTIBLE,	/* sleeps; a signal or a wake-up ends it */
	THREAD_UNINTERRUPTIBLE, /* sleeps; only a wake-up ends it */
	THREAD_STOPPED,		/* job control; SIGCONT or SIGKILL ends it */
	THREAD_DEAD,		/* never runs again; its stack may be freed once it is off its CPU */
};

/* Work to do before the thread goes back to user mode: bits of thread.work. */
#define WORK_RESCHED BIT(0)
#define WORK_SIGNAL  BIT(1)

#define THREAD_NAME_LEN 16

struct thread {
	uint64_t canary; /* first: compiled code reads it there on some architectures; fixed */
	uint64_t stack_draw; /* own thread, and its timer interrupt: where system calls begin */
	struct arch_thread arch;

	int tid;
	char name[THREAD_NAME_LEN]; /* comm */
	struct process *process;    /* NULL for a kernel thread */
	struct vm *vm;		    /* address space in use; NULL for a kernel thread */
	void *kstack;		    /* lowest mapped byte of the kernel stack, KSTACK_SIZE long */
	struct list siblings;	    /* [process_lock] process.threads */

	/* Scheduling; [rq lock of .cpu] unless said otherwise. */
	enum thread_state state; /* [sched: rq lock; own thread may set its own to a sleeping state] */
	uint32_t work;		 /* WORK_* (atomic) */
	struct list run_link;
	bool on_rq;
	bool on_cpu;	    /* its registers are not saved yet: no other CPU may run it */
	int cpu;	    /* where it runs or ran last */
	uint64_t affinity;  /* CPUs that it may run on */
	int8_t nice;	    /* -20 .. 19 */
	uint8_t policy;	    /* SCHED_OTHER, SCHED_BATCH or SCHED_IDLE: kept and reported */
	int64_t slice;	    /* ns left of its time slice */
	uint64_t run_since; /* when it last got a CPU, or was last charged */
	uint64_t runtime;   /* ns that it has run */
	uint32_t user_ticks, kernel_ticks; /* samples: split runtime into user and system time */
	unsigned mutexes_held; /* own thread only */
	uint64_t nvcsw, nivcsw; /* context switches: voluntary, involuntary */

	/* System calls that it may make: see kernel/sys/table.c and kernel/harden/seccomp.c. */
	uint32_t syscall_limit; /* SYS_LIMIT; 0: each is judged */
	struct seccomp seccomp; /* [process_lock to change] */

	/* Signals; kernel/proc/signal.c says which lock guards what. */
	struct thread_signals sig;

	/* Threads library. */
	uaddr_t clear_child_tid; /* own thread only */
	uaddr_t robust_list;	 /* own thread only */
	size_t robust_list_len;

	/* A call to be continued by restart_syscall(2): own thread only. */
	long (*restart_fn)(struct thread *t);
	uint64_t restart_args[4];

	uint64_t exit_signal; /* what the parent gets, for a process leader */
	int exit_code;
	uint64_t min_flt, maj_flt;
};

#define KSTACK_SIZE 32768

/* The thread that runs on this CPU. */
#define current (arch_current())

/*
 * Allocates a thread with a kernel stack that will run fn(arg) when first scheduled.  Not started.
 * 0, -ENOMEM, -EAGAIN (too many threads).
 */
must_use int thread_create(const char *name, void (*fn)(void *arg), void *arg, struct thread **out);
/* Creates and starts a kernel thread. */
must_use int kthread_start(const char *name, void (*fn)(void *arg), void *arg);
/* Frees a thread that never ran, or that is dead and off its CPU. */
void thread_free(struct thread *t);
