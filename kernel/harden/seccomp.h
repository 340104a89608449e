/*
 * seccomp: what a thread has given up of the system calls, and the check that holds it to it.
 */
#pragma once

#include "kernel/types.h"

struct bpf_insn;
struct process;
struct seccomp_filter; /* seccomp.c */
struct thread;
struct trapframe;

enum { SECCOMP_MODE_DISABLED, SECCOMP_MODE_STRICT, SECCOMP_MODE_FILTER };

/* What a filter returns: an action, and 16 bits of data (include/uapi/linux/seccomp.h). */
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#define SECCOMP_RET_KILL_THREAD	 0x00000000u
#define SECCOMP_RET_TRAP	 0x00030000u
#define SECCOMP_RET_ERRNO	 0x00050000u
#define SECCOMP_RET_USER_NOTIF	 0x7fc00000u
#define SECCOMP_RET_TRACE	 0x7ff00000u
#define SECCOMP_RET_LOG		 0x7ffc0000u
#define SECCOMP_RET_ALLOW	 0x7fff0000u
#define SECCOMP_RET_ACTION	 0xffff0000u
#define SECCOMP_RET_DATA	 0x0000ffffu

#define SECCOMP_FILTER_FLAG_TSYNC	BIT(0)
#define SECCOMP_FILTER_FLAG_LOG		BIT(1)
#define SECCOMP_FILTER_FLAG_SPEC_ALLOW	BIT(2) /* accepted: nothing here would be switched off */
#define SECCOMP_FILTER_FLAG_TSYNC_ESRCH BIT(4)

/* A thread's part: changed with process_lock held, and never loosened. */
struct seccomp {
	uint8_t mode;		       /* SECCOMP_MODE_* */
	uint32_t count;		       /* filters that apply */
	struct seccomp_filter *newest; /* the first of them; one reference */
};

/* A process's part: a bit for each system call that it may not make any more.  [process_lock] */
#define SYSCALL_MASK_WORDS 8
struct syscall_mask {
	bool set; /* somebody set it; only ever becomes true */
	uint64_t denied[SYSCALL_MASK_WORDS];
};

/*
 * From the system call's entry, for a thread whose syscall_limit the number is not below.  True: the
 * call may go on.  False: tf has its result, or a signal is on its way.  May not return: the thread
 * or the process is killed.
 */
must_use bool seccomp_permits(struct trapframe *tf, uint32_t nr);

/* The current thread is the parent of t, a thread of p; process_lock is held, and t never ran. */
void seccomp_inherit(struct process *p, struct thread *t);
/* Gives back what a dead thread, or one that never ran, has. */
void seccomp_release(struct thread *t);

/* May the current process confine itself?  Only if no set-ID program can be confused by it. */
bool seccomp_may_confine(void);
/* The current process may make no call any more whose bit is clear in allowed. */
void seccomp_mask(const uint64_t allowed[SYSCALL_MASK_WORDS]);
/* The current thread reads, writes, exits and returns from signals.  0 or -EINVAL. */
must_use int seccomp_strict(void);
/*
 * One more filter for the current thread, or for the whole process: a copy of the n instructions is
 * checked.  flags are SECCOMP_FILTER_FLAG_*.  0, -EINVAL, -ENOMEM, or with TSYNC the tid of a thread
 * that has filters of its own (-ESRCH, if that flag is set).
 */
must_use long seccomp_filter(const struct bpf_insn *code, unsigned n, uint64_t flags);
