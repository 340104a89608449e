/*
 * Processes: one or more threads that share an identity.  The process tree, process groups and
 * sessions are guarded by process_lock.
 *
 * Lock order: process_lock, then sighand.lock, then wait queues, then run queues.  The list of a
 * process's threads changes with both of the first two held: either is enough to walk it.
 */
#pragma once

#include "kernel/harden/refcount.h"
#include "kernel/lib/list.h"
#include "kernel/lib/spinlock.h"
#include "kernel/proc/thread.h"
#include "kernel/proc/wait.h"

struct file;
struct files;
struct fs_context;
struct tty;

#define NGROUPS 64 /* supplementary groups that a process may have */

/* Who a process is.  Replaced whole by its own threads under process.lock; read through cred(). */
struct cred {
	uint32_t uid, euid, suid, fsuid;
	uint32_t gid, egid, sgid, fsgid;
	unsigned ngroups;
	uint32_t groups[NGROUPS];
};

enum {
	RLIMIT_CPU,
	RLIMIT_FSIZE,
	RLIMIT_DATA,
	RLIMIT_STACK,
	RLIMIT_CORE,
	RLIMIT_RSS,
	RLIMIT_NPROC,
	RLIMIT_NOFILE,
	RLIMIT_MEMLOCK,
	RLIMIT_AS,
	RLIMIT_LOCKS,
	RLIMIT_SIGPENDING,
	RLIMIT_MSGQUEUE,
	RLIMIT_NICE,
	RLIMIT_RTPRIO,
	RLIMIT_RTTIME,
	RLIM_NLIMITS,
};
#define RLIM_INFINITY UINT64_MAX

#define ADDR_NO_RANDOMIZE 0x0040000u /* of personality(2) */
#define READ_IMPLIES_EXEC 0x0400000u

struct rlimit {
	uint64_t cur, max;
};

/* Signal dispositions, shared by threads and by clone(CLONE_SIGHAND). */
struct sighand {
	struct refcount refs;
	struct spinlock lock; /* interrupts off; guards every pending set of the sharing processes */
	struct sigaction action[NSIG];
};

struct process {
	struct refcount refs; /* the process table's one, plus holders of pointers */
	int pid;	      /* the leader's tid */
	char name[THREAD_NAME_LEN];
	struct list all;     /* [process_lock] process_all */
	struct list threads; /* [process_lock + sighand lock] thread.siblings */
	unsigned nthreads;   /* [process_lock + sighand lock] length of threads */
	unsigned live;	     /* atomic: threads that have not begun to exit */
	struct thread *last; /* [process_lock] of a zombie: its last thread, to be freed */
	struct thread *execing; /* [sighand lock] this thread alone survives: it is in execve */

	struct process *parent; /* [process_lock] */
	int ppid;		/* [process_lock to write] the parent's pid, 0 for process 1 */
	struct list children;	/* [process_lock] process.sibling */
	struct list sibling;	/* [process_lock] */
	int pgid, sid;		/* [process_lock] */
	struct list group_link; /* [process_lock] the members of its process group */
	int parent_tid;		/* the thread that created it, for __WNOTHREAD */
	struct tty *tty;	/* [process_lock] controlling terminal */
	bool subreaper;
	bool did_exec;

	enum { PROCESS_ALIVE, PROCESS_ZOMBIE, PROCESS_REAPED } state; /* [process_lock] */
	bool exiting;	 /* [sighand lock] a group exit is under way */
	int exit_status; /* as wait4 reports it */
	int stop_signal; /* [sighand lock] stopped by this signal; 0: runs */
	bool stop_taken; /* [sighand lock] a stop was taken off a queue, and no SIGCONT came since */
	unsigned signals_to_many; /* atomic: how often it was one of those that a signal was sent to */
	bool tell_continued; /* [process_lock] a thread that lives on is to tell the parent so */
	bool stop_reported, cont_pending; /* [process_lock] what wait4 may report */
	struct wait_queue child_wait; /* waits of wait4 and waitid */
	int exit_signal;	      /* sent to the parent */
	int pdeath_signal;
	struct wait_queue *vfork_wait; /* [process_lock] the parent's, until exec or exit */

	struct spinlock lock;
	struct cred cred;	   /* [lock] */
	bool no_new_privs;	   /* only ever set */
	struct syscall_mask syscall_mask; /* [process_lock to change] */
	bool dumpable;
	bool nproc_exceeded;  /* setuid went over RLIMIT_NPROC: execve may fail */
	bool allow_wx;	      /* the next program is exempt from W^X (PR_RAMPART_ALLOW_WX) */
	uint32_t personality; /* personality(2): kept and reported */
	struct vm *vm;		   /* fixed but in exec */
	struct files *files;	   /* fixed but in exec; shared by reference */
	struct fs_context *fs;	   /* cwd, root, umask; shared by reference */
	struct sighand *sighand;   /* fixed but in exec */
	struct sigqueue pending;   /* [sighand lock] */
	unsigned signals_queued;   /* [sighand lock] entries there and on its threads' queues */
	struct rlimit rlimit[RLIM_NLIMITS]; /* [lock] */
	struct file *exe;	   /* [lock] the running program */

	uint64_t start_time; /* monotonic ns */
	uint64_t dead_utime, dead_stime; /* [process_lock] of threads that ended */
	uint64_t child_utime, child_stime; /* [process_lock] of children waited for */
	/* [process_lock] as rusage reports them, of threads that ended; resident pages at most. */
	uint64_t min_flt, maj_flt, child_min_flt, child_maj_flt, nvcsw, nivcsw;
	uint64_t maxrss, child_maxrss;
	struct posix_timers *timers; /* kernel/proc/itimer.c: setitimer, alarm, timer_create */
};

extern struct spinlock process_lock; /* interrupts off */
extern struct list process_all;	     /* [process_lock] process.all, in order of creation */

/* Makes the process table.  Before init data becomes read-only. */
void process_init(void);
/* Starts process 1: executes the command line's init with the console as fds 0, 1, 2. */
void process_start_init(void);

/* The first process; it adopts orphans and is never killed by signals that it does not catch. */
extern struct process *init_process;

/* The process with that pid, with a reference taken, or NULL.  process_put gives it back. */
struct process *process_find(int pid);
void process_put(struct process *p);
/* The thread with that tid / the process with that pid; caller holds process_lock, and the result
 * is valid while it does.  NULL if there is none. */
struct thread *thread_find(int tid);
struct process *process_find_locked(int pid);
/* Walks the members (zombies too) of process group pgid; caller holds process_lock. */
struct list *process_group(int pgid);
#define for_each_in_group(p, pgid)                                                                 \
	for (struct list *group_ = process_group(pgid), *link_ = group_ ? group_->next : NULL;     \
	     group_ && link_ != group_ &&                                                          \
	     ((p) = list_entry(link_, struct process, group_link), true);                          \
	     link_ = link_->next)
/* signal_group_orphaned(pgid, NULL) for callers without process_lock. */
bool process_group_orphaned(int pgid);

/*
 * Tells p's parent that p stopped (CLD_STOPPED) or goes on (CLD_CONTINUED): SIGCHLD unless
 * SA_NOCLDSTOP, and waiters wake.  The caller holds process_lock and no sighand lock, and has set
 * stop_signal, stop_reported and cont_pending.
 */
void process_notify_stop(struct process *p, int why);

/* Ends the current thread / the whole process of the current thread.  status as wait4 reports it.
 * */
noreturn void thread_exit(int status);
noreturn void process_exit(int status);
#define EXIT_CODE(code) (((code)&0xff) << 8)

extern const struct cred root_cred;

/* The current process's identity (root's in a kernel thread); stable while its thread looks. */
static inline const struct cred *
cred(void)
{
	return likely(current->process) ? &current->process->cred : &root_cred;
}

bool cred_in_group(const struct cred *c, uint32_t gid);
/* True if the current process may act as root. */
static inline bool
capable(void)
{
	return cred()->euid == 0;
}

/* The soft limit RLIMIT_* of the current process. */
static inline uint64_t
rlimit(unsigned which)
{
	return likely(current->process) ? READ_ONCE(current->process->rlimit[which].cur)
					: RLIM_INFINITY;
}
