/*
 * Scheduling calls.  There is one scheduling class: real-time policies are refused with EPERM, a
 * listed difference from Linux.
 */
#include "kernel/errno.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/sys/syscalls.h"

#define SCHED_OTHER	    0
#define SCHED_FIFO	    1
#define SCHED_RR	    2
#define SCHED_BATCH	    3
#define SCHED_IDLE	    5
#define SCHED_RESET_ON_FORK 0x40000000
#define RT_PRIORITY_MAX	    99

long
sys_sched_yield(struct trapframe *tf unused)
{
	sched_yield();
	return 0;
}

/* The thread that pid means (0: the caller), or NULL.  process_lock is held. */
static struct thread *
target(int pid)
{
	return pid ? thread_find(pid) : current;
}

/* May the caller change how t is scheduled? */
static bool
may_schedule(const struct thread *t)
{
	const struct cred *c = &t->process->cred;

	return capable() || cred()->euid == c->euid || cred()->euid == c->uid;
}

long
sys_sched_setaffinity(struct trapframe *tf)
{
	int pid = arg_int(tf, 0), err;
	unsigned len = arg_uint(tf, 1);
	uint64_t mask = 0;
	struct thread *t;
	irqstate_t s;

	if (copy_from_user(&mask, arg_user(tf, 2), MIN(len, (unsigned)sizeof(mask))))
		return -EFAULT;
	if (!pid || pid == current->tid)
		return sched_set_affinity(current, mask);
	s = spin_lock_irq(&process_lock);
	t = thread_find(pid);
	if (!t)
		err = -ESRCH;
	else if (!may_schedule(t))
		err = -EPERM;
	else
		err = sched_set_affinity(t, mask);
	spin_unlock_irq(&process_lock, s);
	return err;
}

long
sys_sched_getaffinity(struct trapframe *tf)
{
	int pid = arg_int(tf, 0);
	unsigned len = arg_uint(tf, 1);
	uint64_t mask;
	struct thread *t;
	irqstate_t s;

	if (len < sizeof(mask) || len % sizeof(mask))
		return -EINVAL;
	s = spin_lock_irq(&process_lock);
	t = target(pid);
	mask = t ? t->affinity & cpus_online : 0;
	spin_unlock_irq(&process_lock, s);
	if (!t)
		return -ESRCH;
	return put_user(arg_user(tf, 2), &mask) ? -EFAULT : (long)sizeof(mask);
}

/* Sets policy (-1: keeps it) and priority, which is 0 in the one class that there is. */
static long
set_scheduler(int pid, int policy, uaddr_t param)
{
	int priority, err = 0;
	struct thread *t;
	irqstate_t s;

	if (pid < 0 || !param.v)
		return -EINVAL;
	if (get_user(&priority, param))
		return -EFAULT;
	if (policy >= 0)
		policy &= ~SCHED_RESET_ON_FORK;
	switch (policy) {
	case SCHED_FIFO:
	case SCHED_RR:
		return priority >= 1 && priority <= RT_PRIORITY_MAX ? -EPERM : -EINVAL;
	case -1:
	case SCHED_OTHER:
	case SCHED_BATCH:
	case SCHED_IDLE:
		if (priority != 0)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	s = spin_lock_irq(&process_lock);
	t = target(pid);
	if (!t)
		err = -ESRCH;
	else if (!may_schedule(t))
		err = -EPERM;
	else if (policy >= 0)
		t->policy = (uint8_t)policy;
	spin_unlock_irq(&process_lock, s);
	return err;
}

long
sys_sched_setscheduler(struct trapframe *tf)
{
	int policy = arg_int(tf, 1);

	if (policy < 0)
		return -EINVAL;
	return set_scheduler(arg_int(tf, 0), policy, arg_user(tf, 2));
}

long
sys_sched_setparam(struct trapframe *tf)
{
	return set_scheduler(arg_int(tf, 0), -1, arg_user(tf, 1));
}

/* The policy of a thread or -ESRCH. */
static long
get_policy(int pid)
{
	irqstate_t s;
	struct thread *t;
	long policy;

	if (pid < 0)
		return -EINVAL;
	s = spin_lock_irq(&process_lock);
	t = target(pid);
	policy = t ? t->policy : -ESRCH;
	spin_unlock_irq(&process_lock, s);
	return policy;
}

long
sys_sched_getscheduler(struct trapframe *tf)
{
	return get_policy(arg_int(tf, 0));
}

long
sys_sched_getparam(struct trapframe *tf)
{
	long policy = get_policy(arg_int(tf, 0));
	int priority = 0;

	if (!arg_user(tf, 1).v)
		return -EINVAL;
	if (policy < 0)
		return policy;
	return put_user(arg_user(tf, 1), &priority);
}

/* Priorities of a policy, lowest or highest. */
static long
priority_limit(int policy, int real_time)
{
	switch (policy) {
	case SCHED_FIFO:
	case SCHED_RR:
		return real_time;
	case SCHED_OTHER:
	case SCHED_BATCH:
	case SCHED_IDLE:
		return 0;
	}
	return -EINVAL;
}

long
sys_sched_get_priority_max(struct trapframe *tf)
{
	return priority_limit(arg_int(tf, 0), RT_PRIORITY_MAX);
}

long
sys_sched_get_priority_min(struct trapframe *tf)
{
	return priority_limit(arg_int(tf, 0), 1);
}

long
sys_sched_rr_get_interval(struct trapframe *tf)
{
	long policy = get_policy(arg_int(tf, 0));
	struct timespec ts = ns_to_timespec(SCHED_SLICE_NS);

	if (policy < 0)
		return policy;
	return put_user(arg_user(tf, 1), &ts);
}
