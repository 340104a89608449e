/* System calls on futexes: futex(2) and robust lists. */
#include "kernel/proc/futex.h"

#include "kernel/errno.h"
#include "kernel/fs/procfs.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/clock.h"
#include "kernel/proc/process.h"
#include "kernel/proc/wait.h"
#include "kernel/sys/syscalls.h"

#define FUTEX_WAIT	      0
#define FUTEX_WAKE	      1
#define FUTEX_REQUEUE	      3
#define FUTEX_CMP_REQUEUE     4
#define FUTEX_WAKE_OP	      5
#define FUTEX_WAIT_BITSET     9
#define FUTEX_WAKE_BITSET     10
#define FUTEX_PRIVATE_FLAG    128u
#define FUTEX_CLOCK_REALTIME  256u
#define ROBUST_LIST_HEAD_SIZE 24

/* Continues futex_wait with its deadline after a signal without a handler. */
static long
restart_wait(struct thread *t)
{
	uint64_t *a = t->restart_args;
	int err = futex_wait(UADDR(a[0]), a[3], (uint32_t)a[1], a[1] >> 32, a[2]);

	return err == -ERESTARTSYS ? -ERESTARTBLOCK : err;
}

static long
wait(struct trapframe *tf, bool shared, bool absolute, bool realtime, uint32_t bitset)
{
	struct thread *t = current;
	uaddr_t addr = arg_user(tf, 0), timeout = arg_user(tf, 3);
	uint32_t val = arg_uint(tf, 2);
	uint64_t deadline = NO_DEADLINE;
	struct timespec ts;
	int err;

	if (timeout.v) {
		err = get_user(&ts, timeout);
		if (err < 0)
			return err;
		if (!timespec_valid(&ts))
			return -EINVAL;
		deadline = clock_deadline(&ts, absolute, realtime);
	}
	err = futex_wait(addr, shared, val, bitset, deadline);
	if (err != -ERESTARTSYS || !timeout.v)
		return err;
	t->restart_args[0] = addr.v;
	t->restart_args[1] = val | (uint64_t)bitset << 32;
	t->restart_args[2] = deadline;
	t->restart_args[3] = shared;
	t->restart_fn = restart_wait;
	return -ERESTARTBLOCK;
}

long
sys_futex(struct trapframe *tf)
{
	uaddr_t addr = arg_user(tf, 0), addr2 = arg_user(tf, 4);
	unsigned op = arg_uint(tf, 1), cmd = op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
	uint32_t val = arg_uint(tf, 2), val2 = arg_uint(tf, 3), val3 = arg_uint(tf, 5);
	bool shared = !(op & FUTEX_PRIVATE_FLAG), realtime = op & FUTEX_CLOCK_REALTIME;

	if (realtime && cmd != FUTEX_WAIT_BITSET)
		return -ENOSYS;
	switch (cmd) {
	case FUTEX_WAIT:
		return wait(tf, shared, false, false, UINT32_MAX);
	case FUTEX_WAIT_BITSET:
		return wait(tf, shared, true, realtime, val3);
	case FUTEX_WAKE:
		return futex_wake(addr, shared, MAX((int)val, 1), UINT32_MAX);
	case FUTEX_WAKE_BITSET:
		return futex_wake(addr, shared, MAX((int)val, 1), val3);
	case FUTEX_REQUEUE:
		return futex_requeue(addr, addr2, shared, (int)val, (int)val2, NULL);
	case FUTEX_CMP_REQUEUE:
		return futex_requeue(addr, addr2, shared, (int)val, (int)val2, &val3);
	case FUTEX_WAKE_OP:
		return futex_wake_op(addr, addr2, shared, (int)val, (int)val2, val3);
	default:
		return -ENOSYS; /* locks with priority inheritance */
	}
}

long
sys_set_robust_list(struct trapframe *tf)
{
	if (arg_u64(tf, 1) != ROBUST_LIST_HEAD_SIZE)
		return -EINVAL;
	current->robust_list = arg_user(tf, 0);
	current->robust_list_len = ROBUST_LIST_HEAD_SIZE;
	return 0;
}

long
sys_get_robust_list(struct trapframe *tf)
{
	int pid = arg_int(tf, 0), err;
	uint64_t head = current->robust_list.v, len = ROBUST_LIST_HEAD_SIZE;

	if (pid) {
		irqstate_t s = spin_lock_irq(&process_lock);
		struct thread *t = thread_find(pid);
		struct process *p = t ? t->process : NULL;
		bool may;

		if (p) {
			refcount_get(&p->refs);
			head = t->robust_list.v;
		}
		spin_unlock_irq(&process_lock, s);
		if (!p)
			return -ESRCH;
		/* It tells where the program lies.  Asked last: an exec may have come in between. */
		may = procfs_may_inspect(p);
		process_put(p);
		if (!may)
			return -EPERM;
	}
	err = put_user(arg_user(tf, 2), &len);
	if (!err)
		err = put_user(arg_user(tf, 1), &head);
	return err;
}
