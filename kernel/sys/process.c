/* System calls of process identity, process groups, ends and waiting.  clone is in proc/fork.c. */
#include "kernel/errno.h"
#include "kernel/lib/string.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/sys/rusage.h"
#include "kernel/sys/syscalls.h"

long
sys_getpid(struct trapframe *tf unused)
{
	return current->process->pid;
}

long
sys_gettid(struct trapframe *tf unused)
{
	return current->tid;
}

long
sys_getppid(struct trapframe *tf unused)
{
	return READ_ONCE(current->process->ppid);
}

/* The process that setpgid, getpgid and getsid mean by pid (0: the caller).  process_lock is
 * held. */
static struct process *
find_or_self(int pid)
{
	struct thread *t;

	if (pid == 0 || pid == current->process->pid)
		return current->process;
	t = thread_find(pid);
	return t ? t->process : process_find_locked(pid);
}

long
sys_getpgid(struct trapframe *tf)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	struct process *p = find_or_self(arg_int(tf, 0));
	long id = p ? p->pgid : -ESRCH;

	spin_unlock_irq(&process_lock, s);
	return id;
}

long
sys_getsid(struct trapframe *tf)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	struct process *p = find_or_self(arg_int(tf, 0));
	long id = p ? p->sid : -ESRCH;

	spin_unlock_irq(&process_lock, s);
	return id;
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_getpgrp(struct trapframe *tf unused)
{
	return READ_ONCE(current->process->pgid);
}
#endif

/* May the caller move p to group pgid?  process_lock is held. */
static int
check_setpgid(const struct process *p, int pgid)
{
	const struct process *me = current->process;
	struct list *group;

	if (p != me) {
		if (p->parent != me)
			return -ESRCH;
		if (p->sid != me->sid)
			return -EPERM;
		if (p->did_exec)
			return -EACCES;
	}
	if (p->sid == p->pid)
		return -EPERM;
	if (pgid == p->pid)
		return 0;
	group = process_group(pgid);
	if (!group || list_first(group, struct process, group_link)->sid != me->sid)
		return -EPERM;
	return 0;
}

long
sys_setpgid(struct trapframe *tf)
{
	int pid = arg_int(tf, 0), pgid = arg_int(tf, 1), err;
	struct process *p;
	irqstate_t s;

	if (!pid)
		pid = current->process->pid;
	if (!pgid)
		pgid = pid;
	if (pgid < 0)
		return -EINVAL;
	s = spin_lock_irq(&process_lock);
	p = process_find_locked(pid);
	if (p)
		err = check_setpgid(p, pgid);
	else
		err = thread_find(pid) ? -EINVAL : -ESRCH;
	if (!err && p->pgid != pgid)
		process_set_group(p, pgid);
	spin_unlock_irq(&process_lock, s);
	return err;
}

long
sys_setsid(struct trapframe *tf unused)
{
	struct process *p = current->process;
	irqstate_t s = spin_lock_irq(&process_lock);
	long result = -EPERM;

	if (p->sid != p->pid && !process_group(p->pid)) {
		process_set_group(p, p->pid);
		process_set_session(p, p->pid);
		p->tty = NULL;
		result = p->pid;
	}
	spin_unlock_irq(&process_lock, s);
	return result;
}

long
sys_exit(struct trapframe *tf)
{
	thread_exit(EXIT_CODE(arg_int(tf, 0)));
}

long
sys_exit_group(struct trapframe *tf)
{
	process_exit(EXIT_CODE(arg_int(tf, 0)));
}

long
sys_set_tid_address(struct trapframe *tf)
{
	current->clear_child_tid = arg_user(tf, 0);
	return current->tid;
}

/* What a child that was waited for used, as the ABI gives it. */
static void
child_rusage(const struct child_wait *w, struct rusage *r)
{
	memset(r, 0, sizeof(*r));
	r->utime = ns_to_timeval(w->utime);
	r->stime = ns_to_timeval(w->stime);
	r->maxrss = (int64_t)(w->maxrss * (PAGE_SIZE / 1024));
	r->minflt = (int64_t)w->min_flt;
	r->majflt = (int64_t)w->maj_flt;
	r->nvcsw = (int64_t)w->nvcsw;
	r->nivcsw = (int64_t)w->nivcsw;
}

static int
put_child_rusage(const struct child_wait *w, uaddr_t to)
{
	struct rusage r;

	if (!to.v)
		return 0;
	child_rusage(w, &r);
	return put_user(to, &r);
}

long
sys_wait4(struct trapframe *tf)
{
	int pid = arg_int(tf, 0), result;
	unsigned options = arg_uint(tf, 2);
	uaddr_t status = arg_user(tf, 1);
	struct child_wait w = {.options = options | WEXITED};

	if (options & ~(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL))
		return -EINVAL;
	if (pid == INT32_MIN)
		return -ESRCH;
	if (pid > 0) {
		w.which = WAIT_PID;
		w.id = pid;
	} else if (pid == -1) {
		w.which = WAIT_ANY;
	} else {
		w.which = WAIT_GROUP;
		w.id = pid ? -pid : READ_ONCE(current->process->pgid);
	}
	result = child_wait(&w);
	if (result <= 0)
		return result;
	if (status.v && put_user(status, &w.status))
		return -EFAULT;
	if (put_child_rusage(&w, arg_user(tf, 3)))
		return -EFAULT;
	return result;
}

#define P_ALL  0
#define P_PID  1
#define P_PGID 2

/* waitid fills six words of siginfo and leaves the rest as it is. */
static int
put_waitid_info(uaddr_t to, const struct child_wait *w, bool found)
{
	int32_t head[3] = {found ? SIGCHLD : 0, 0, found ? w->code : 0};
	int32_t tail[3] = {0};

	if (found) {
		tail[0] = w->pid;
		tail[1] = (int32_t)w->uid;
		tail[2] = w->code == CLD_EXITED	   ? w->status >> 8 & 0xff
			  : w->code == CLD_STOPPED ? w->status >> 8 & 0xff
			  : w->code == CLD_CONTINUED ? SIGCONT
						     : w->status & 0x7f;
	}
	if (put_user(to, &head))
		return -EFAULT;
	return put_user(uaddr_add(to, offsetof(struct siginfo, chld)), &tail);
}

long
sys_waitid(struct trapframe *tf)
{
	int which = arg_int(tf, 0), id = arg_int(tf, 1), result;
	uaddr_t info = arg_user(tf, 2);
	struct child_wait w = {.options = arg_uint(tf, 3), .id = id};

	if (w.options &
	    ~(WNOHANG | WNOWAIT | WEXITED | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL))
		return -EINVAL;
	if (!(w.options & (WEXITED | WUNTRACED | WCONTINUED)))
		return -EINVAL;
	switch (which) {
	case P_ALL:
		w.which = WAIT_ANY;
		break;
	case P_PID:
		if (id <= 0)
			return -EINVAL;
		w.which = WAIT_PID;
		break;
	case P_PGID:
		if (id < 0)
			return -EINVAL;
		w.which = WAIT_GROUP;
		if (!id)
			w.id = READ_ONCE(current->process->pgid);
		break;
	default:
		return -EINVAL;
	}
	result = child_wait(&w);
	if (result > 0 && put_child_rusage(&w, arg_user(tf, 4)))
		return -EFAULT;
	/* As on Linux, info is written even when there was nothing to wait for. */
	if (info.v && put_waitid_info(info, &w, result > 0))
		return -EFAULT;
	return MIN(result, 0);
}
