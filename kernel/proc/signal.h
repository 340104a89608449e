/*
 * Signals: pending sets, dispositions, delivery on the way back to user mode.
 */
#pragma once

#include "kernel/lib/list.h"
#include "kernel/types.h"

struct trapframe;
struct thread;
struct process;

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
#define MINSIGSTKSZ   2048

/* Pending signals of a thread, or those of a process that any of its threads may take. */
struct sigqueue {
	sigset_t set;	    /* which are pending */
	struct list queued; /* struct sigqueue_entry: their siginfo, in order of arrival */
};

/* A thread's part; [process.sig->lock] but mask and altstack, which only the own thread changes. */
struct thread_signals {
	sigset_t mask;	     /* blocked */
	sigset_t saved_mask; /* to restore after sigsuspend, ppoll, pselect */
	bool restore_mask;
	struct sigqueue pending;
	struct sigstack altstack;
};

/*
 * Sends a signal with the given siginfo (info->signo) to one thread / to a process (any thread that
 * does not block it).  Ignored signals are dropped.  From any context; takes the signal lock.
 */
void signal_send_thread(struct thread *t, const struct siginfo *info);
void signal_send_process(struct process *p, const struct siginfo *info);
/* A signal from the kernel (SI_KERNEL) to every process of a process group; 0 or -ESRCH. */
int signal_send_group(int pgid, int signo);

/*
 * A fault of the current thread: cannot be blocked or ignored (it kills instead).
 * code is si_code, addr si_addr.
 */
void signal_fault(int signo, int code, uint64_t addr);

/* True if the current thread has a signal to act on: interruptible sleeps end. */
bool signal_pending(void);
/* True if the current thread has been told to die: every sleep and retry loop must end. */
bool signal_killed(void);

/* On the way to user mode: acts on pending signals, restarts or fails the interrupted call. */
void signal_deliver(struct trapframe *tf);
