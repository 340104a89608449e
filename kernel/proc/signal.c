/*
 * Signals: sending, job control, and delivery on the way back to user mode.  The queues are in
 * sigqueue.c, masks and dispositions in sigaction.c, the system calls in kernel/sys/signal.c.
 *
 * Lock order: process_lock (who the threads are, who the parent is), then sighand->lock (what is
 * pending).  WORK_SIGNAL is set in a thread's work whenever it may have something to do here; only
 * the thread itself clears it, so that an interrupted call always comes through signal_deliver.
 */
#include "kernel/proc/signal.h"

#include "kernel/errno.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/sigqueue.h"
#include "kernel/proc/wait.h"
#include "syscall_nr.h"

#define STOP_SIGNALS (SIGMASK(SIGSTOP) | SIGMASK(SIGTSTP) | SIGMASK(SIGTTIN) | SIGMASK(SIGTTOU))
/* Do nothing by default (SIGCONT has done its work when it is sent). */
#define DEFAULT_IGNORED                                                                            \
	(SIGMASK(SIGCHLD) | SIGMASK(SIGURG) | SIGMASK(SIGWINCH) | SIGMASK(SIGCONT))

struct wait_queue signal_arrival = WAIT_QUEUE_INIT(signal_arrival);

/* process_lock is only ever held with interrupts off: nobody else can be on this CPU. */
bool
signal_tree_lock(irqstate_t *s)
{
	*s = arch_irq_save();
	if (spin_held(&process_lock))
		return false;
	spin_lock(&process_lock);
	return true;
}

void
signal_tree_unlock(bool taken, irqstate_t s)
{
	if (taken)
		spin_unlock(&process_lock);
	arch_irq_restore(s);
}

bool
sigaction_ignores(const struct sigaction *act, int signo)
{
	return act->handler == SIG_IGN ||
	       (act->handler == SIG_DFL && (DEFAULT_IGNORED & SIGMASK(signo)));
}

/* Would the signal do nothing to t, which does not block it?  Process 1 has no default actions. */
static bool
is_ignored(const struct process *p, const struct thread *t, int signo)
{
	const struct sigaction *act = &p->sighand->action[signo - 1];

	if ((t->sig.mask | t->sig.awaited) & SIGMASK(signo))
		return false;
	return sigaction_ignores(act, signo) || (p == init_process && act->handler == SIG_DFL);
}

static bool
has_work(const struct process *p, const struct thread *t)
{
	return ((t->sig.pending.set | p->pending.set) & ~t->sig.mask) || p->stop_signal ||
	       p->exiting || t->sig.die || p->tell_continued;
}

void
signal_recalculate(struct process *p, struct thread *t)
{
	if (has_work(p, t))
		__atomic_fetch_or(&t->work, WORK_SIGNAL, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(&t->work, ~(uint32_t)WORK_SIGNAL, __ATOMIC_SEQ_CST);
}

void
signal_wake(struct thread *t, unsigned states)
{
	__atomic_fetch_or(&t->work, WORK_SIGNAL, __ATOMIC_SEQ_CST);
	/* An interrupt may have caught the current thread on its way to sleep. */
	if (t == current && READ_ONCE(t->state) == THREAD_RUNNABLE)
		return;
	if (!sched_wake(t, states))
		sched_kick(t);
}

/* ---- Sending --------------------------------------------------------------------------------- */

/*
 * What a signal does to job control the moment it is sent, blocked or not: a stop cancels a pending
 * continue, a continue cancels pending stops and wakes.  Caller holds both locks.
 */
static void
job_control(struct process *p, int signo)
{
	struct thread *t;
	sigset_t drop;

	if (signo == SIGCONT)
		drop = STOP_SIGNALS;
	else if (STOP_SIGNALS & SIGMASK(signo))
		drop = SIGMASK(SIGCONT);
	else
		return;
	sigqueue_flush(&p->pending, drop);
	list_for_each(t, &p->threads, siblings)
		sigqueue_flush(&t->sig.pending, drop);
	if (signo != SIGCONT)
		return;
	p->stop_taken = false;
	if (!p->stop_signal)
		return;
	p->stop_signal = 0;
	p->cont_pending = true;
	/* The first thread to come by tells the parent: the sender here may be an interrupt. */
	p->tell_continued = true;
	list_for_each(t, &p->threads, siblings)
		signal_wake(t, BIT(THREAD_STOPPED));
}

/* Makes a thread look at a signal queued for t, or for all of p.  Caller holds both locks. */
static void
wake_target(struct process *p, struct thread *t, int signo)
{
	struct thread *i, *chosen = NULL;

	if (signo == SIGKILL) {
		p->stop_signal = 0;
		p->stop_taken = false;
		list_for_each(i, &p->threads, siblings)
			signal_wake(i, WAKE_KILL);
		return;
	}
	if (t) {
		if (!(t->sig.mask & SIGMASK(signo)))
			signal_wake(t, WAKE_SIGNAL);
		return;
	}
	list_for_each(i, &p->threads, siblings) {
		if ((i->sig.mask & SIGMASK(signo)) || i->state == THREAD_DEAD)
			continue;
		if (!chosen)
			chosen = i;
		if (!(READ_ONCE(i->work) & WORK_SIGNAL)) {
			chosen = i;
			break;
		}
	}
	if (chosen)
		signal_wake(chosen, WAKE_SIGNAL);
}

/*
 * t NULL: to any thread.  e: the entry to use, else one is allocated.  *queued (may be NULL): whether it was
 * neither ignored nor pending already.
 */
static int
send(struct process *p, struct thread *t, const struct siginfo *info, struct sigqueue_entry *e,
     bool *queued)
{
	int signo = info->signo, err = 0;
	irqstate_t s;
	bool taken = signal_tree_lock(&s), fresh = false, pends = false;
	struct sighand *sh = p->sighand;

	if (p->state != PROCESS_ALIVE || !sh || list_empty(&p->threads))
		goto out;
	spin_lock(&sh->lock);
	if (!p->exiting) {
		struct thread *judge = t ? t : list_first(&p->threads, struct thread, siblings);
		struct sigqueue *q = t ? &t->sig.pending : &p->pending;

		job_control(p, signo);
		if (!is_ignored(p, judge, signo)) {
			fresh = !(q->set & SIGMASK(signo));
			if (e)
				fresh = sigqueue_add_entry(q, e);
			else
				err = sigqueue_add(q, info, p->rlimit[RLIMIT_SIGPENDING].cur);
			pends = !err;
			if (pends)
				wake_target(p, t, signo);
		}
	}
	spin_unlock(&sh->lock);
	if (pends)
		wake_all(&signal_arrival);
out:
	signal_tree_unlock(taken, s);
	if (queued)
		*queued = fresh && !err;
	return err;
}

int
signal_queue_thread(struct thread *t, const struct siginfo *info)
{
	return send(t->process, t, info, NULL, NULL);
}

int
signal_queue_process(struct process *p, const struct siginfo *info)
{
	return send(p, NULL, info, NULL, NULL);
}

void
signal_send_thread(struct thread *t, const struct siginfo *info)
{
	(void)send(t->process, t, info, NULL, NULL);
}

void
signal_send_process(struct process *p, const struct siginfo *info)
{
	(void)send(p, NULL, info, NULL, NULL);
}

bool
signal_send_entry(struct process *p, struct thread *t, struct sigqueue_entry *e)
{
	bool queued;

	(void)send(p, t, &e->info, e, &queued);
	return queued;
}

void
signal_cancel_entry(struct process *p, struct sigqueue_entry *e)
{
	irqstate_t s = spin_lock_irq(&p->sighand->lock);

	sigqueue_remove_entry(e);
	spin_unlock_irq(&p->sighand->lock, s);
}

bool
signal_send_kernel(struct process *p, int signo)
{
	struct siginfo info = {.signo = signo, .code = SI_KERNEL};
	bool queued;

	(void)send(p, NULL, &info, NULL, &queued);
	return queued;
}

void
signal_sent_to_many(struct process *p, int signo)
{
	/* No child can miss what is ignored, or what the sender may not send: else anybody could keep it from forking. */
	if (signo > 0 && (READ_ONCE(p->pending.set) & SIGMASK(signo)))
		__atomic_fetch_add(&p->signals_to_many, 1, __ATOMIC_RELEASE);
}

int
signal_send_group(int pgid, int signo)
{
	struct process *p;
	irqstate_t s;
	bool taken = signal_tree_lock(&s);
	int err = -ESRCH;

	for_each_in_group (p, pgid) {
		signal_send_kernel(p, signo);
		signal_sent_to_many(p, signo);
		err = 0;
	}
	signal_tree_unlock(taken, s);
	return err;
}

void
signal_force(const struct siginfo *info)
{
	struct thread *t = current;
	struct process *p = t->process;
	int signo = info->signo;
	irqstate_t s = spin_lock_irq(&p->sighand->lock);
	struct sigaction *act = &p->sighand->action[signo - 1];

	if (act->handler == SIG_IGN || (t->sig.mask & SIGMASK(signo))) {
		act->handler = SIG_DFL;
		t->sig.mask &= ~SIGMASK(signo);
	}
	if (act->handler == SIG_DFL)
		t->sig.forced |= SIGMASK(signo);
	(void)!sigqueue_add(&t->sig.pending, info, RLIM_INFINITY);
	__atomic_fetch_or(&t->work, WORK_SIGNAL, __ATOMIC_SEQ_CST);
	spin_unlock_irq(&p->sighand->lock, s);
}

/* Who dies of his own mistake, and where, for the log: at most ten in five seconds. */
static void
log_fault(int signo, uint64_t addr)
{
	static uint64_t period; /* atomic */
	static unsigned count;	/* atomic */
	uint64_t now = clock_monotonic() / (5 * NSEC_PER_SEC);
	const struct trapframe *tf = arch_user_frame(current);

	if (__atomic_exchange_n(&period, now, __ATOMIC_RELAXED) != now)
		__atomic_store_n(&count, 0, __ATOMIC_RELAXED);
	if (__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED) < 10)
		kprintf("%s[%d]: signal %d: address %lx, ip %lx, sp %lx\n", current->name, current->tid,
			signo, addr, tf_ip(tf), tf_sp(tf));
}

void
signal_fault(int signo, int code, uint64_t addr)
{
	struct siginfo info = {.signo = signo, .code = code};

	info.fault.addr = addr;
	signal_force(&info);
	if (current->sig.forced & SIGMASK(signo))
		log_fault(signo, addr);
}

/* ---- Group stop ------------------------------------------------------------------------------ */

bool
signal_group_orphaned(int pgid, const struct process *except)
{
	struct process *p;

	assert(spin_held(&process_lock));
	for_each_in_group (p, pgid) {
		if (p == except || p->state != PROCESS_ALIVE || !p->parent ||
		    p->parent == init_process)
			continue;
		if (p->parent->pgid != pgid && p->parent->sid == p->sid)
			return false;
	}
	return true;
}

bool
signal_all_stopped(const struct process *p, const struct thread *except)
{
	struct thread *t;

	list_for_each(t, &p->threads, siblings) {
		if (t != except && t->state != THREAD_DEAD && !t->sig.stopped)
			return false;
	}
	return true;
}

/* Starts a group stop by signo, unless the process is being killed.  No locks held. */
static void
group_stop(struct process *p, int signo)
{
	struct thread *t;
	irqstate_t s = spin_lock_irq(&process_lock);

	if (signo != SIGSTOP && signal_group_orphaned(p->pgid, NULL)) {
		spin_unlock_irq(&process_lock, s);
		return;
	}
	spin_lock(&p->sighand->lock);
	/* A SIGCONT or SIGKILL that came since the stop was taken wins: it may be on no queue. */
	if (p->stop_taken && !p->stop_signal && !p->exiting && !current->sig.die) {
		p->stop_signal = signo;
		p->stop_reported = true; /* not yet to be reported: threads still run */
		p->cont_pending = false;
		list_for_each(t, &p->threads, siblings) {
			t->sig.stopped = false;
			signal_wake(t, WAKE_SIGNAL);
		}
	}
	spin_unlock(&p->sighand->lock);
	spin_unlock_irq(&process_lock, s);
}

/* The current thread takes part in the group stop and sleeps until it ends.  No locks held. */
static void
join_stop(struct process *p, struct thread *t)
{
	for (;;) {
		irqstate_t s = spin_lock_irq(&process_lock);
		bool complete;

		spin_lock(&p->sighand->lock);
		if (!p->stop_signal || p->exiting || t->sig.die) {
			t->sig.stopped = false;
			spin_unlock(&p->sighand->lock);
			spin_unlock_irq(&process_lock, s);
			return;
		}
		complete = !t->sig.stopped && signal_all_stopped(p, t);
		t->sig.stopped = true;
		__atomic_store_n(&t->state, THREAD_STOPPED, __ATOMIC_SEQ_CST);
		spin_unlock(&p->sighand->lock);
		if (complete) {
			p->stop_reported = false;
			process_notify_stop(p, CLD_STOPPED);
		}
		spin_unlock_irq(&process_lock, s);
		schedule();
	}
}

static void
notify_continued(struct process *p)
{
	irqstate_t s = spin_lock_irq(&process_lock);

	if (p->tell_continued) {
		p->tell_continued = false;
		process_notify_stop(p, CLD_CONTINUED);
	}
	spin_unlock_irq(&process_lock, s);
}

/* ---- Delivery -------------------------------------------------------------------------------- */

bool
signal_pending(void)
{
	/* After the store of a sleeping state: who sends sets the bit, then looks at the state. */
	return __atomic_load_n(&current->work, __ATOMIC_SEQ_CST) & WORK_SIGNAL;
}

int
signal_restart(void)
{
	__atomic_fetch_or(&current->work, WORK_SIGNAL, __ATOMIC_SEQ_CST);
	return -ERESTARTNOINTR;
}

bool
signal_killed(void)
{
	struct thread *t = current;
	struct process *p = t->process;

	if (!(READ_ONCE(t->work) & WORK_SIGNAL) || !p)
		return false;
	return READ_ONCE(t->sig.die) || READ_ONCE(p->exiting) ||
	       ((READ_ONCE(t->sig.pending.set) | READ_ONCE(p->pending.set)) & SIGMASK(SIGKILL));
}

bool
signal_ignored_or_blocked(int signo)
{
	struct thread *t = current;

	return (t->sig.mask & SIGMASK(signo)) ||
	       t->process->sighand->action[signo - 1].handler == SIG_IGN;
}

int
signal_dequeue(sigset_t set, struct siginfo *out)
{
	struct thread *t = current;
	struct process *p = t->process;
	irqstate_t s = spin_lock_irq(&p->sighand->lock);
	int signo = sigqueue_take(&t->sig.pending, set, out);

	if (!signo)
		signo = sigqueue_take(&p->pending, set, out);
	signal_recalculate(p, t);
	spin_unlock_irq(&p->sighand->lock, s);
	return signo;
}

sigset_t
signal_pending_set(void)
{
	struct thread *t = current;

	return READ_ONCE(t->sig.pending.set) | READ_ONCE(t->process->pending.set);
}

/*
 * Takes signals and does their default actions until one has a handler (its number, with *act) or
 * none is left (0).  Does not return if the thread or the process is to end.
 */
static int
next_handler(struct siginfo *info, struct sigaction *act)
{
	struct thread *t = current;
	struct process *p = t->process;
	struct sighand *sh = p->sighand;

	for (;;) {
		irqstate_t s = spin_lock_irq(&sh->lock);
		sigset_t set = ~t->sig.mask;
		bool forced;
		int signo;

		if (unlikely(p->exiting || t->sig.die)) {
			spin_unlock_irq(&sh->lock, s);
			thread_exit(p->exit_status);
		}
		if (unlikely(p->tell_continued)) {
			spin_unlock_irq(&sh->lock, s);
			notify_continued(p);
			continue;
		}
		if (unlikely(p->stop_signal)) {
			spin_unlock_irq(&sh->lock, s);
			join_stop(p, t);
			continue;
		}
		signo = sigqueue_take(&t->sig.pending, set, info);
		if (!signo)
			signo = sigqueue_take(&p->pending, set, info);
		signal_recalculate(p, t);
		if (!signo) {
			spin_unlock_irq(&sh->lock, s);
			return 0;
		}
		*act = sh->action[signo - 1];
		forced = t->sig.forced & SIGMASK(signo);
		t->sig.forced &= ~SIGMASK(signo);
		if (STOP_SIGNALS & SIGMASK(signo))
			p->stop_taken = true;
		if (act->handler > SIG_IGN && (act->flags & SA_RESETHAND))
			sh->action[signo - 1].handler = SIG_DFL;
		spin_unlock_irq(&sh->lock, s);

		if (act->handler > SIG_IGN)
			return signo;
		/* A timer may send the next as soon as this one is taken. */
		cond_resched();
		if (sigaction_ignores(act, signo) || (p == init_process && !forced))
			continue;
		if (STOP_SIGNALS & SIGMASK(signo)) {
			group_stop(p, signo);
			continue;
		}
		/*
		 * Signals whose default is to dump core only terminate: no core file is written, so
		 * the status does not have the bit that says so.
		 */
		process_exit(signo);
	}
}

/* What an interrupted call returns if a handler runs; or makes it run again after it. */
static void
finish_call(struct trapframe *tf, const struct sigaction *act)
{
	if (tf_syscall(tf) == UINT64_MAX)
		return;
	switch (tf_result(tf)) {
	case -ERESTARTNOINTR:
		tf_restart_syscall(tf, tf_syscall(tf));
		break;
	case -ERESTARTSYS:
		if (act->flags & SA_RESTART) {
			tf_restart_syscall(tf, tf_syscall(tf));
			break;
		}
		/* fall through */
	case -ERESTARTNOHAND:
	case -ERESTARTBLOCK:
		tf_set_result(tf, -EINTR);
	}
	tf_forget_syscall(tf);
}

/* No handler runs: an interrupted call goes on as if nothing had happened. */
static void
restart_call(struct trapframe *tf)
{
	if (tf_syscall(tf) == UINT64_MAX)
		return;
	switch (tf_result(tf)) {
	case -ERESTARTNOINTR:
	case -ERESTARTSYS:
	case -ERESTARTNOHAND:
		tf_restart_syscall(tf, tf_syscall(tf));
		tf_forget_syscall(tf);
		break;
	case -ERESTARTBLOCK:
		tf_restart_syscall(tf, SYS_restart_syscall);
		tf_forget_syscall(tf);
	}
}

/* The user stack has no room for a frame: SIGSEGV, or death if it was one already. */
static void
frame_failed(struct thread *t, int signo)
{
	struct sighand *sh = t->process->sighand;

	if (signo == SIGSEGV) {
		irqstate_t s = spin_lock_irq(&sh->lock);

		sh->action[SIGSEGV - 1].handler = SIG_DFL;
		spin_unlock_irq(&sh->lock, s);
	}
	signal_fault(SIGSEGV, SI_KERNEL, 0);
}

static void
run_handler(struct trapframe *tf, int signo, const struct sigaction *act,
	    const struct siginfo *info)
{
	struct thread *t = current;
	sigset_t old = t->sig.restore_mask ? t->sig.saved_mask : t->sig.mask;
	bool on_altstack = (act->flags & SA_ONSTACK) && !signal_altstack_state(tf_sp(tf));
	sigset_t mask = t->sig.mask | act->mask;

	finish_call(tf, act);
	if (arch_signal_frame(tf, act, info, old, on_altstack) < 0) {
		frame_failed(t, signo);
		return;
	}
	t->sig.restore_mask = false;
	if (t->sig.altstack.flags & (int32_t)SS_AUTODISARM)
		t->sig.altstack = (struct sigstack){.flags = SS_DISABLE};
	if (!(act->flags & SA_NODEFER))
		mask |= SIGMASK(signo);
	signal_set_mask(mask);
}

void
signal_deliver(struct trapframe *tf)
{
	struct siginfo info;
	struct sigaction act;
	bool handled = false;
	int signo;

	while ((signo = next_handler(&info, &act))) {
		run_handler(tf, signo, &act, &info);
		handled = true;
	}
	if (!handled)
		restart_call(tf);
	signal_restore_user_mask();
}
