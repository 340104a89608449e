/*
 * Signals: pending sets, dispositions, delivery on the way back to user mode.
 */
#pragma once

#include "kernel/lib/list.h"
#include "kernel/types.h"

struct trapframe;
struct thread;
struct process;
struct posix_timer;
struct wait_queue;

#define NSIG 64
typedef uint64_t sigset_t; /* bit n - 1 is signal n */
#define SIGMASK(n) BIT((n)-1)

enum {
	SIGHUP = 1,
	SIGINT = 2,
	SIGQUIT = 3,
	SIGILL = 4,
	SIGTRAP = 5,
	SIGABRT = 6,
	SIGBUS = 7,
	SIGFPE = 8,
	SIGKILL = 9,
	SIGUSR1 = 10,
	SIGSEGV = 11,
	SIGUSR2 = 12,
	SIGPIPE = 13,
	SIGALRM = 14,
	SIGTERM = 15,
	SIGSTKFLT = 16,
	SIGCHLD = 17,
	SIGCONT = 18,
	SIGSTOP = 19,
	SIGTSTP = 20,
	SIGTTIN = 21,
	SIGTTOU = 22,
	SIGURG = 23,
	SIGXCPU = 24,
	SIGXFSZ = 25,
	SIGVTALRM = 26,
	SIGPROF = 27,
	SIGWINCH = 28,
	SIGIO = 29,
	SIGPWR = 30,
	SIGSYS = 31,
	SIGRTMIN = 32,
};

/* si_code */
enum {
	SI_USER = 0,
	SI_KERNEL = 0x80,
	SI_QUEUE = -1,
	SI_TIMER = -2,
	SI_TKILL = -6,
	ILL_ILLOPC = 1,
	ILL_ILLOPN = 2,
	FPE_INTDIV = 1,
	FPE_FLTDIV = 3,
	FPE_FLTOVF = 4,
	FPE_FLTUND = 5,
	FPE_FLTRES = 6,
	FPE_FLTINV = 7,
	SEGV_MAPERR = 1,
	SEGV_ACCERR = 2,
	BUS_ADRALN = 1,
	BUS_ADRERR = 2,
	TRAP_BRKPT = 1,
	TRAP_TRACE = 2,
	CLD_EXITED = 1,
	CLD_KILLED = 2,
	CLD_DUMPED = 3,
	CLD_STOPPED = 5,
	CLD_CONTINUED = 6,
};

/* Linux's siginfo_t, 128 bytes; the union as the ABI lays it out on 64-bit machines. */
struct siginfo {
	int32_t signo;
	int32_t err;
	int32_t code;
	int32_t pad;
	union {
		struct {
			int32_t pid;
			uint32_t uid;
			uint64_t value;
		} rt; /* kill, sigqueue, tgkill */
		struct {
			int32_t tid;
			int32_t overrun;
			uint64_t value;
		} timer;
		struct {
			int32_t pid;
			uint32_t uid;
			int32_t status;
			int32_t pad2;
			int64_t utime;
			int64_t stime;
		} chld;
		struct {
			uint64_t addr;
		} fault;
		struct {
			uint64_t call_addr;
			int32_t nr;
			uint32_t arch;
		} sys; /* SIGSYS of seccomp */
		struct {
			int64_t band;
			int32_t fd;
		} poll;
		uint8_t bytes[112];
	};
};
_Static_assert(sizeof(struct siginfo) == 128, "siginfo is part of the ABI");

#define SA_NOCLDSTOP 0x00000001u
#define SA_NOCLDWAIT 0x00000002u
#define SA_SIGINFO   0x00000004u
#define SA_RESTORER  0x04000000u
#define SA_ONSTACK   0x08000000u
#define SA_RESTART   0x10000000u
#define SA_NODEFER   0x40000000u
#define SA_RESETHAND 0x80000000u

#define SIG_DFL 0ull
#define SIG_IGN 1ull

/* The kernel's rt_sigaction structure, as the ABI lays it out (x86_64 and aarch64 alike). */
struct sigaction {
	uint64_t handler;
	uint64_t flags;
	uint64_t restorer;
	sigset_t mask;
};

/* sigaltstack(2)'s stack_t */
struct sigstack {
	uint64_t sp;
	int32_t flags;
	int32_t pad;
	uint64_t size;
};
#define SS_ONSTACK    1
#define SS_DISABLE    2
#define SS_AUTODISARM (1u << 31)

/*
 * Pending signals of a thread, or those of a process that any of its threads may take.  A signal in
 * `set` without an entry in `queued` is one from the kernel that says no more (SI_KERNEL).
 */
struct sigqueue {
	sigset_t set;	    /* which are pending */
	struct list queued; /* struct sigqueue_entry, in order of arrival */
	unsigned *count;    /* of its process: entries of all its queues, for RLIMIT_SIGPENDING */
};

/* The siginfo of one pending signal; posix timers embed theirs, the others are kmalloc'ed. */
struct sigqueue_entry {
	struct list link;	     /* [sighand lock] */
	struct sigqueue *queue;	     /* [sighand lock] on which it is, or NULL */
	struct posix_timer *timer;   /* fixed: its owner, or NULL */
	struct siginfo info;
};

/* A thread's part; [sighand lock], but only the own thread changes mask .. altstack. */
struct thread_signals {
	sigset_t mask;	     /* blocked */
	sigset_t saved_mask; /* to restore after sigsuspend, ppoll, pselect */
	bool restore_mask;
	sigset_t awaited; /* blocked again after sigtimedwait: not dropped although ignored */
	struct sigstack altstack;
	struct sigqueue pending;
	sigset_t forced; /* faults that must kill even process 1 */
	bool die;	 /* ends alone at the next return to user mode (group exit, exec) */
	bool stopped;	 /* has joined the group stop */
};

/* ---- Sending ------------------------------------------------------------------------------------
 * From any context, with or without process_lock held; they take the sighand lock.  Ignored signals
 * are dropped.  info->signo is 1 .. NSIG.
 */
/* To one thread: the current one, or process_lock is held.  No entry for info: it goes without. */
void signal_send_thread(struct thread *t, const struct siginfo *info);
/* To a process: to any of its threads that does not block it. */
void signal_send_process(struct process *p, const struct siginfo *info);
/* As above; -EAGAIN if the info cannot be queued and must be (real-time, not kill). */
must_use int signal_queue_thread(struct thread *t, const struct siginfo *info);
must_use int signal_queue_process(struct process *p, const struct siginfo *info);
/* A signal from the kernel (SI_KERNEL) to a process.  False: it is ignored, or waited already. */
bool signal_send_kernel(struct process *p, int signo);
/* p was to be sent a signal, as one of many: its fork under way must not miss it.  process_lock is held. */
void signal_sent_to_many(struct process *p, int signo);
/* To every process of a group: 0 or -ESRCH. */
int signal_send_group(int pgid, int signo);
/* A posix timer's own entry, which is not allocated.  False: dropped, or still queued. */
must_use bool signal_send_entry(struct process *p, struct thread *t, struct sigqueue_entry *e);
/* Takes it off whatever queue it is on. */
void signal_cancel_entry(struct process *p, struct sigqueue_entry *e);

/*
 * A fault of the current thread: cannot be blocked or ignored (it kills instead).
 * code is si_code, addr si_addr.
 */
void signal_fault(int signo, int code, uint64_t addr);
/* The same with all that info says. */
void signal_force(const struct siginfo *info);

/* True if the current thread has a signal to act on: interruptible sleeps end. */
bool signal_pending(void);
/* Has the current call made again, whatever is done with the signal that came in between. */
must_use int signal_restart(void);
/* True if the current thread has been told to die: every sleep and retry loop must end. */
bool signal_killed(void);
/* True if signo would do nothing if it were sent to the current thread now (blocked or ignored). */
bool signal_ignored_or_blocked(int signo);

/* ---- Receiving: the current thread ----------------------------------------------------------- */
/* On the way to user mode: acts on pending signals, restarts or fails the interrupted call. */
void signal_deliver(struct trapframe *tf);
/* Takes the next pending signal of set: its number, or 0.  For signalfd, sigtimedwait. */
int signal_dequeue(sigset_t set, struct siginfo *out);
/* Pending for the current thread, blocked or not. */
sigset_t signal_pending_set(void);
/* signalfd pollers: woken when a signal arrives somewhere. */
extern struct wait_queue signal_arrival;
/* Sets the blocked mask (KILL and STOP never are). */
void signal_set_mask(sigset_t mask);
/*
 * For ppoll, pselect, epoll_pwait: sets the mask from user memory until the call is over; mask 0:
 * does nothing.  0, -EINVAL, -EFAULT.  A call that ends with -EINTR or -ERESTART* leaves the mask
 * to signal_deliver, any other calls signal_restore_user_mask().
 */
must_use int signal_set_user_mask(uaddr_t mask, size_t size);
void signal_restore_user_mask(void);
/* sigaltstack(2)'s flags for a stack pointer of sp: SS_ONSTACK, SS_DISABLE or 0. */
int signal_altstack_state(uint64_t sp);
/* Sets the alternate stack; sp is the user stack pointer.  0, -EPERM, -EINVAL, -ENOMEM. */
must_use int signal_set_altstack(const struct sigstack *ss, uint64_t sp);

/* ---- Dispositions ---------------------------------------------------------------------------- */
/* Sets and / or gets an action of the current process.  0 or -EINVAL. */
must_use int signal_action(int signo, const struct sigaction *act, struct sigaction *old);

/* ---- For fork, exec and exit ----------------------------------------------------------------- */
/* An empty queue of a process that counts its entries in *count. */
void sigqueue_init(struct sigqueue *q, unsigned *count);
/* A new thread of p: nothing pending, the mask of parent (NULL: empty); no alternate stack. */
void signal_thread_init(struct thread *t, struct process *p, const struct thread *parent);
/* exec: handled signals become default, no alternate stack.  The sighand is not shared any more. */
void signal_exec(struct process *p);
/* Thread t (the current one) ends: frees what is pending for it; others take over the process's.
 * Takes process_lock unless it is held; before t leaves process.threads. */
void signal_thread_exit(struct thread *t);
/* Frees what is pending for the process.  Its sighand is still there. */
void signal_process_exit(struct process *p);
/* Makes every thread of p but `except` end alone.  Caller holds process_lock. */
void signal_kill_threads(struct process *p, struct thread *except);
/* True if no process of the group but `except` (or NULL) has a parent in another group of the same
 * session: nobody would continue it.  Caller holds process_lock. */
bool signal_group_orphaned(int pgid, const struct process *except);
