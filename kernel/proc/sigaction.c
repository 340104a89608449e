/*
 * Masks, the alternate stack, dispositions, and what fork, exec and exit do to signals.
 */
#include "kernel/errno.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/process.h"
#include "kernel/proc/signal.h"
#include "kernel/proc/sigqueue.h"

#define UNBLOCKABLE (SIGMASK(SIGKILL) | SIGMASK(SIGSTOP))

/* ---- Masks and the alternate stack ----------------------------------------------------------- */

/* Signals of `which` that wait for any thread of p: the current one will not take them. */
static void
retarget(struct process *p, sigset_t which)
{
	struct thread *t, *self = current;
	irqstate_t s;
	bool taken = signal_tree_lock(&s);

	spin_lock(&p->sighand->lock);
	which &= p->pending.set;
	list_for_each(t, &p->threads, siblings) {
		if (t != self && (which & ~t->sig.mask)) {
			signal_wake(t, WAKE_SIGNAL);
			which &= t->sig.mask;
		}
	}
	spin_unlock(&p->sighand->lock);
	signal_tree_unlock(taken, s);
}

void
signal_set_mask(sigset_t mask)
{
	struct thread *t = current;
	struct process *p = t->process;
	sigset_t newly;
	irqstate_t s;

	mask &= ~UNBLOCKABLE;
	s = spin_lock_irq(&p->sighand->lock);
	newly = mask & ~t->sig.mask & p->pending.set;
	t->sig.mask = mask;
	signal_recalculate(p, t);
	spin_unlock_irq(&p->sighand->lock, s);
	if (unlikely(newly && READ_ONCE(p->nthreads) > 1))
		retarget(p, newly);
}

int
signal_set_user_mask(uaddr_t mask, size_t size)
{
	struct thread *t = current;
	sigset_t set;
	int err;

	if (!mask.v)
		return 0;
	if (size != sizeof(set))
		return -EINVAL;
	err = get_user(&set, mask);
	if (err < 0)
		return err;
	t->sig.saved_mask = t->sig.mask;
	t->sig.restore_mask = true;
	signal_set_mask(set);
	return 0;
}

void
signal_restore_user_mask(void)
{
	struct thread *t = current;

	if (t->sig.restore_mask) {
		t->sig.restore_mask = false;
		signal_set_mask(t->sig.saved_mask);
	}
}

int
signal_altstack_state(uint64_t sp)
{
	const struct sigstack *a = &current->sig.altstack;

	if (!a->size)
		return SS_DISABLE;
	/* One that disarms itself is never in use: it is not there while a handler runs on it. */
	if (a->flags & (int32_t)SS_AUTODISARM)
		return 0;
	return sp > a->sp && sp - a->sp <= a->size ? SS_ONSTACK : 0;
}

int
signal_set_altstack(const struct sigstack *ss, uint64_t sp)
{
	struct sigstack *a = &current->sig.altstack;
	unsigned mode = (unsigned)ss->flags & ~SS_AUTODISARM;

	if (signal_altstack_state(sp) == SS_ONSTACK)
		return -EPERM;
	if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0)
		return -EINVAL;
	if (mode == SS_DISABLE) {
		*a = (struct sigstack){.flags = ss->flags};
		return 0;
	}
	if (ss->size < ARCH_MINSIGSTKSZ)
		return -ENOMEM;
	*a = (struct sigstack){.sp = ss->sp, .flags = ss->flags, .size = ss->size};
	return 0;
}

/* ---- Dispositions ---------------------------------------------------------------------------- */

int
signal_action(int signo, const struct sigaction *act, struct sigaction *old)
{
	struct process *p = current->process;
	struct sigaction *a;
	struct thread *t;
	bool flush;
	irqstate_t s;

	if (signo < 1 || signo > NSIG || (act && (UNBLOCKABLE & SIGMASK(signo))))
		return -EINVAL;
	flush = act && sigaction_ignores(act, signo);
	a = &p->sighand->action[signo - 1];
	s = arch_irq_save();
	if (flush)
		spin_lock(&process_lock);
	spin_lock(&p->sighand->lock);
	if (old)
		*old = *a;
	if (act) {
		*a = *act;
		a->mask &= ~UNBLOCKABLE;
	}
	if (flush) {
		/* POSIX: ignoring a signal drops it if it is pending, blocked or not. */
		sigqueue_flush(&p->pending, SIGMASK(signo));
		list_for_each(t, &p->threads, siblings)
			sigqueue_flush(&t->sig.pending, SIGMASK(signo));
	}
	spin_unlock(&p->sighand->lock);
	if (flush)
		spin_unlock(&process_lock);
	arch_irq_restore(s);
	return 0;
}

/* ---- Fork, exec, exit ------------------------------------------------------------------------ */

void
signal_thread_init(struct thread *t, struct process *p, const struct thread *parent)
{
	t->sig = (struct thread_signals){.mask = parent ? parent->sig.mask : 0};
	t->sig.altstack.flags = SS_DISABLE;
	sigqueue_init(&t->sig.pending, &p->signals_queued);
}

void
signal_exec(struct process *p)
{
	irqstate_t s = spin_lock_irq(&p->sighand->lock);

	for (int i = 0; i < NSIG; i++) {
		struct sigaction *a = &p->sighand->action[i];

		*a = (struct sigaction){.handler = a->handler == SIG_IGN ? SIG_IGN : SIG_DFL};
	}
	current->sig.altstack = (struct sigstack){.flags = SS_DISABLE};
	current->sig.forced = 0;
	spin_unlock_irq(&p->sighand->lock, s);
}

void
signal_thread_exit(struct thread *t)
{
	struct process *p = t->process;
	irqstate_t s;
	bool taken, complete;

	/* From here on the thread takes no signal. */
	t->sig.mask = ~UNBLOCKABLE;
	if (READ_ONCE(p->nthreads) > 1 && p->pending.set)
		retarget(p, ~0ull);
	taken = signal_tree_lock(&s);
	spin_lock(&p->sighand->lock);
	sigqueue_flush(&t->sig.pending, ~0ull);
	complete = p->stop_signal && !t->sig.stopped && p->nthreads > 1 && signal_all_stopped(p, t);
	t->sig.stopped = true;
	spin_unlock(&p->sighand->lock);
	if (complete) {
		p->stop_reported = false;
		process_notify_stop(p, CLD_STOPPED);
	}
	signal_tree_unlock(taken, s);
}

void
signal_process_exit(struct process *p)
{
	irqstate_t s = spin_lock_irq(&p->sighand->lock);

	sigqueue_flush(&p->pending, ~0ull);
	spin_unlock_irq(&p->sighand->lock, s);
}

void
signal_kill_threads(struct process *p, struct thread *except)
{
	struct thread *t;

	assert(spin_held(&process_lock));
	spin_lock(&p->sighand->lock);
	p->stop_signal = 0;
	list_for_each(t, &p->threads, siblings) {
		if (t == except)
			continue;
		t->sig.die = true;
		signal_wake(t, WAKE_KILL);
	}
	spin_unlock(&p->sighand->lock);
}
