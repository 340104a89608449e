/* System calls on signals. */
#include "kernel/proc/signal.h"

#include "kernel/errno.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/clock.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/sys/syscalls.h"

/* Flags that rt_sigaction keeps; the others are cleared, so that programs see what is supported. */
#define SA_KNOWN                                                                                   \
	(SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_RESTORER | SA_ONSTACK | SA_RESTART |        \
	 SA_NODEFER | SA_RESETHAND)

enum { SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK };

/* ---- Sending --------------------------------------------------------------------------------- */

/* May the current process send signo to p?  Caller holds process_lock. */
static int
may_signal(const struct process *p, int signo)
{
	const struct cred *me = cred(), *its = &p->cred;

	if (p == current->process || me->euid == 0 || me->euid == its->suid ||
	    me->euid == its->uid || me->uid == its->suid || me->uid == its->uid)
		return 0;
	if (signo == SIGCONT && p->sid == current->process->sid)
		return 0;
	return -EPERM;
}

static struct siginfo
user_info(int signo, int code)
{
	struct siginfo info = {.signo = signo, .code = code};

	info.rt.pid = current->process->pid;
	info.rt.uid = cred()->uid;
	return info;
}

/* Checks and sends (signo 0: only checks) to t, or to its process.  Caller holds process_lock. */
static int
send_checked(struct process *p, struct thread *t, const struct siginfo *info)
{
	int err = info->signo < 0 || info->signo > NSIG ? -EINVAL : may_signal(p, info->signo);

	if (err < 0 || info->signo == 0)
		return err;
	return t ? signal_queue_thread(t, info) : signal_queue_process(p, info);
}

/* To the process that tid belongs to.  Caller holds process_lock. */
static int
send_pid(int tid, const struct siginfo *info)
{
	struct process *p = process_find_locked(tid);

	if (!p) {
		struct thread *t = thread_find(tid);

		p = t ? t->process : NULL;
	}
	return p ? send_checked(p, NULL, info) : -ESRCH;
}

/* To one thread; tgid -1: of any process. */
static int
send_tid(int tgid, int tid, const struct siginfo *info)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	struct thread *t = thread_find(tid);
	int err = -ESRCH;

	if (t && t->process && (tgid == -1 || t->process->pid == tgid))
		err = send_checked(t->process, t, info);
	spin_unlock_irq(&process_lock, s);
	return err;
}

/* To all of a group: 0 if one got it, else the last error.  Caller holds process_lock. */
static int
send_group(int pgid, const struct siginfo *info)
{
	struct process *p;
	int err = -ESRCH;
	bool sent = false;

	for_each_in_group (p, pgid) {
		err = send_checked(p, NULL, info);
		signal_sent_to_many(p, info->signo);
		sent |= !err;
	}
	return sent ? 0 : err;
}

/* To everyone but process 1 and the caller.  Caller holds process_lock. */
static int
send_all(const struct siginfo *info)
{
	struct process *p;
	int result = -ESRCH;

	list_for_each(p, &process_all, all) {
		int err;

		if (p == init_process || p == current->process)
			continue;
		err = send_checked(p, NULL, info);
		signal_sent_to_many(p, info->signo);
		/* As Linux: those that one may not signal are passed over without complaint. */
		if (result == -ESRCH)
			result = 0;
		if (err < 0 && err != -EPERM)
			result = err;
	}
	return result;
}

long
sys_kill(struct trapframe *tf)
{
	int pid = arg_int(tf, 0), signo = arg_int(tf, 1), err;
	struct siginfo info = user_info(signo, SI_USER);
	irqstate_t s;

	if (pid == INT32_MIN)
		return -ESRCH;
	s = spin_lock_irq(&process_lock);
	if (pid > 0)
		err = send_pid(pid, &info);
	else if (pid == -1)
		err = send_all(&info);
	else
		err = send_group(pid ? -pid : current->process->pgid, &info);
	spin_unlock_irq(&process_lock, s);
	return err;
}

static long
tkill(int tgid, int tid, int signo)
{
	struct siginfo info = user_info(signo, SI_TKILL);

	return send_tid(tgid, tid, &info);
}

long
sys_tkill(struct trapframe *tf)
{
	if (arg_int(tf, 0) <= 0)
		return -EINVAL;
	return tkill(-1, arg_int(tf, 0), arg_int(tf, 1));
}

long
sys_tgkill(struct trapframe *tf)
{
	if (arg_int(tf, 0) <= 0 || arg_int(tf, 1) <= 0)
		return -EINVAL;
	return tkill(arg_int(tf, 0), arg_int(tf, 1), arg_int(tf, 2));
}

/* The sender's own siginfo; nobody may claim to be the kernel or kill to others. */
static int
get_info(uaddr_t from, int signo, bool to_self, struct siginfo *info)
{
	int err = get_user(info, from);

	if (err < 0)
		return err;
	info->signo = signo;
	if ((info->code >= 0 || info->code == SI_TKILL) && !to_self)
		return -EPERM;
	return 0;
}

long
sys_rt_sigqueueinfo(struct trapframe *tf)
{
	int pid = arg_int(tf, 0);
	struct siginfo info;
	irqstate_t s;
	int err = get_info(arg_user(tf, 2), arg_int(tf, 1), pid == current->process->pid, &info);

	if (err < 0)
		return err;
	s = spin_lock_irq(&process_lock);
	err = send_pid(pid, &info);
	spin_unlock_irq(&process_lock, s);
	return err;
}

long
sys_rt_tgsigqueueinfo(struct trapframe *tf)
{
	int tgid = arg_int(tf, 0), tid = arg_int(tf, 1);
	struct siginfo info;
	int err;

	if (tgid <= 0 || tid <= 0)
		return -EINVAL;
	err = get_info(arg_user(tf, 3), arg_int(tf, 2), tid == current->tid, &info);
	return err < 0 ? err : send_tid(tgid, tid, &info);
}

/* ---- Dispositions and masks ------------------------------------------------------------------ */

long
sys_rt_sigaction(struct trapframe *tf)
{
	int signo = arg_int(tf, 0), err;
	uaddr_t new = arg_user(tf, 1), out = arg_user(tf, 2);
	struct sigaction act, old;

	if (arg_u64(tf, 3) != sizeof(sigset_t))
		return -EINVAL;
	if (new.v) {
		err = get_user(&act, new);
		if (err < 0)
			return err;
		act.flags &= SA_KNOWN;
	}
	err = signal_action(signo, new.v ? &act : NULL, out.v ? &old : NULL);
	if (err < 0 || !out.v)
		return err;
	return put_user(out, &old);
}

long
sys_rt_sigprocmask(struct trapframe *tf)
{
	uaddr_t in = arg_user(tf, 1), out = arg_user(tf, 2);
	sigset_t old = current->sig.mask, set;
	int err;

	if (arg_u64(tf, 3) != sizeof(sigset_t))
		return -EINVAL;
	if (in.v) {
		err = get_user(&set, in);
		if (err < 0)
			return err;
		switch (arg_int(tf, 0)) {
		case SIG_BLOCK:
			set |= old;
			break;
		case SIG_UNBLOCK:
			set = old & ~set;
			break;
		case SIG_SETMASK:
			break;
		default:
			return -EINVAL;
		}
		signal_set_mask(set);
	}
	return out.v ? put_user(out, &old) : 0;
}

long
sys_rt_sigpending(struct trapframe *tf)
{
	sigset_t set = signal_pending_set() & current->sig.mask;

	if (arg_u64(tf, 1) > sizeof(set))
		return -EINVAL;
	return copy_to_user(arg_user(tf, 0), &set, arg_u64(tf, 1));
}

/* Sleeps until a signal is there that is not blocked. */
static long
wait_for_signal(void)
{
	while (!signal_pending()) {
		__atomic_store_n(&current->state, THREAD_INTERRUPTIBLE, __ATOMIC_SEQ_CST);
		(void)!wait_sleep(NO_DEADLINE);
	}
	__atomic_store_n(&current->state, THREAD_RUNNABLE, __ATOMIC_SEQ_CST);
	return -ERESTARTNOHAND;
}

long
sys_rt_sigsuspend(struct trapframe *tf)
{
	int err;

	/* For ppoll and its kin no mask means no change; here it is an error. */
	if (!arg_u64(tf, 0))
		return arg_u64(tf, 1) == sizeof(sigset_t) ? -EFAULT : -EINVAL;
	err = signal_set_user_mask(arg_user(tf, 0), arg_u64(tf, 1));
	return err < 0 ? err : wait_for_signal();
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_pause(struct trapframe *tf)
{
	(void)tf;
	return wait_for_signal();
}
#endif

/* Lets set through to this thread alone, without delivering it, until one comes or it is time. */
static int
await(sigset_t set, uint64_t deadline, struct siginfo *info)
{
	struct thread *t = current;
	sigset_t mask = t->sig.mask;
	int signo, err = 0;

	t->sig.awaited = mask & set; /* not dropped, though ignored, while it is unblocked */
	signal_set_mask(mask & ~set);
	while (!signal_pending() && !err) {
		__atomic_store_n(&t->state, THREAD_INTERRUPTIBLE, __ATOMIC_SEQ_CST);
		err = wait_sleep(deadline);
	}
	__atomic_store_n(&t->state, THREAD_RUNNABLE, __ATOMIC_SEQ_CST);
	signo = signal_dequeue(set, info);
	signal_set_mask(mask);
	t->sig.awaited = 0;
	if (signo)
		return signo;
	return err == -ETIMEDOUT ? -EAGAIN : -EINTR;
}

long
sys_rt_sigtimedwait(struct trapframe *tf)
{
	uaddr_t out = arg_user(tf, 1), timeout = arg_user(tf, 2);
	uint64_t deadline = NO_DEADLINE;
	bool poll = false;
	struct siginfo info;
	struct timespec ts;
	sigset_t set;
	int err, signo;

	if (arg_u64(tf, 3) != sizeof(set))
		return -EINVAL;
	err = get_user(&set, arg_user(tf, 0));
	if (err < 0)
		return err;
	if (timeout.v) {
		err = get_user(&ts, timeout);
		if (err < 0)
			return err;
		if (!timespec_valid(&ts))
			return -EINVAL;
		poll = !ts.sec && !ts.nsec;
		deadline = clock_deadline(&ts, false, false);
	}
	set &= ~(SIGMASK(SIGKILL) | SIGMASK(SIGSTOP));
	signo = signal_dequeue(set, &info);
	if (!signo)
		signo = poll ? -EAGAIN : await(set, deadline, &info);
	if (signo < 0 || !out.v)
		return signo;
	err = put_user(out, &info);
	return err < 0 ? err : signo;
}

long
sys_sigaltstack(struct trapframe *tf)
{
	uaddr_t in = arg_user(tf, 0), out = arg_user(tf, 1);
	struct sigstack old = current->sig.altstack, new;
	int err;

	if (in.v) {
		err = get_user(&new, in);
		if (err < 0)
			return err;
	}
	old.flags = signal_altstack_state(tf_sp(tf)) | (old.flags & (int32_t)SS_AUTODISARM);
	old.pad = 0;
	if (in.v) {
		err = signal_set_altstack(&new, tf_sp(tf));
		if (err < 0)
			return err;
	}
	return out.v ? put_user(out, &old) : 0;
}

/* ---- Coming back ----------------------------------------------------------------------------- */

long
sys_rt_sigreturn(struct trapframe *tf)
{
	if (arch_sigreturn(tf) < 0) {
		tf_forget_syscall(tf);
		signal_fault(SIGSEGV, SI_KERNEL, 0);
	}
	return tf_result(tf);
}

long
sys_restart_syscall(struct trapframe *tf)
{
	struct thread *t = current;
	long (*fn)(struct thread *) = t->restart_fn;

	(void)tf;
	t->restart_fn = NULL;
	return fn ? fn(t) : -EINTR;
}
