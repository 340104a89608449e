/*
 * Futexes: sleeping on a word of user memory.
 */
#pragma once

#include "kernel/types.h"

struct thread;

/* Where a futex is: equal keys are the same word. */
struct futex_key {
	uint64_t object; /* address space, or inode of a shared mapping */
	uint64_t id;	 /* inode number: an inode's memory may be used again */
	uint64_t offset; /* address in it */
};

/*
 * Sleeps until woken or the deadline (monotonic ns or NO_DEADLINE).  0: woken; -EAGAIN (*addr is
 * not val), -EINVAL, -EFAULT, -ETIMEDOUT, -ERESTARTSYS.
 */
must_use int futex_wait(uaddr_t addr, bool shared, uint32_t val, uint32_t bitset,
			uint64_t deadline);
/* Number of threads woken, or -EINVAL, -EFAULT. */
must_use long futex_wake(uaddr_t addr, bool shared, uint32_t max, uint32_t bitset);
/*
 * Wakes up to nwake waiters of addr and moves up to nmove others to addr2.  compare: not NULL and
 * different from *addr: -EAGAIN.  How many were woken and moved, or woken alone if compare is NULL.
 */
must_use long futex_requeue(uaddr_t addr, uaddr_t addr2, bool shared, int nwake, int nmove,
			    const uint32_t *compare);
/* FUTEX_WAKE_OP: op is the encoded operation on *addr2. */
must_use long futex_wake_op(uaddr_t addr, uaddr_t addr2, bool shared, int nwake, int nwake2,
			    uint32_t op);

/* Wakes up to n waiters on the word at addr (shared or private) of the current address space. */
void futex_wake_address(uaddr_t addr, unsigned n);
/* The current thread t ends or execs: marks the locks on its robust list as ownerless. */
void futex_exit_robust(struct thread *t);
