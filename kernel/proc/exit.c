/*
 * The end of threads and processes, and what it means for their families: zombies, orphans,
 * orphaned process groups, SIGCHLD.
 */
#include "kernel/errno.h"
#include "kernel/fs/tty.h"
#include "kernel/fs/vfs.h"
#include "kernel/lib/print.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/futex.h"
#include "kernel/proc/itimer.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"

/* Dead threads that nobody waits for: a thread cannot free the stack that it stands on. */
static struct list dead_threads = LIST_INIT(dead_threads); /* [process_lock] thread.siblings */
static struct wait_queue dead_wait = WAIT_QUEUE_INIT(dead_wait);

static void
free_thread(struct thread *t)
{
	struct process *p = t->process;

	sched_wait_off_cpu(t);
	thread_free(t);
	__atomic_fetch_sub(&thread_total, 1, __ATOMIC_RELAXED);
	process_put(p);
}

static struct thread *
take_dead_thread(void)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	struct thread *t = NULL;

	if (!list_empty(&dead_threads)) {
		t = list_first(&dead_threads, struct thread, siblings);
		list_remove(&t->siblings);
	}
	spin_unlock_irq(&process_lock, s);
	return t;
}

static void
reaper(void *arg unused)
{
	struct thread *t;

	for (;;) {
		wait_event(&dead_wait, !list_empty(&dead_threads));
		while ((t = take_dead_thread()))
			free_thread(t);
	}
}

int
reaper_start(void)
{
	return kthread_start("reaper", reaper, NULL);
}

void
process_unlink(struct process *p)
{
	assert(p->state == PROCESS_ZOMBIE);
	p->state = PROCESS_REAPED;
	list_remove(&p->sibling);
	list_remove(&p->all);
	process_set_group(p, 0);
	process_set_session(p, 0);
	pid_set_process(p->pid, NULL);
}

void
process_release(struct process *p)
{
	free_thread(p->last);
	process_put(p);
}

void
process_vfork_done(struct process *p)
{
	irqstate_t s;

	if (!READ_ONCE(p->vfork_wait))
		return;
	s = spin_lock_irq(&process_lock);
	if (p->vfork_wait) {
		struct wait_queue *q = p->vfork_wait;

		p->vfork_wait = NULL;
		wake_all(q);
	}
	spin_unlock_irq(&process_lock, s);
}

/* What the parent wants to know about its children. */
static struct sigaction
parent_action(struct process *parent)
{
	struct sigaction act;

	spin_lock(&parent->sighand->lock);
	act = parent->sighand->action[SIGCHLD - 1];
	spin_unlock(&parent->sighand->lock);
	return act;
}

static void
fill_sigchld(struct process *p, int code, int status, struct siginfo *info)
{
	uint64_t utime, stime;

	process_times(p, &utime, &stime);
	*info = (struct siginfo){.signo = SIGCHLD, .code = code};
	info->chld.pid = p->pid;
	info->chld.uid = p->cred.uid;
	info->chld.status = status;
	info->chld.utime = (int64_t)(utime / (NSEC_PER_SEC / 100));
	info->chld.stime = (int64_t)(stime / (NSEC_PER_SEC / 100));
}

/*
 * Tells the parent of a zombie.  True if it does not want to wait for it: the caller takes the
 * zombie out of the tables.
 */
static bool
notify_exit(struct process *p)
{
	struct process *parent = p->parent;
	int status = p->exit_status, signo = p->exit_signal;
	bool autoreap = false;
	struct siginfo info;

	if (signo == SIGCHLD) {
		struct sigaction act = parent_action(parent);

		autoreap = act.handler == SIG_IGN || (act.flags & SA_NOCLDWAIT);
		if (act.handler == SIG_IGN)
			signo = 0;
	}
	if (signo > 0 && signo <= NSIG) {
		if ((status & 0x7f) == 0)
			fill_sigchld(p, CLD_EXITED, status >> 8, &info);
		else
			fill_sigchld(p, status & 0x80 ? CLD_DUMPED : CLD_KILLED, status & 0x7f,
				     &info);
		info.signo = signo;
		signal_send_process(parent, &info);
	}
	wake_all(&parent->child_wait);
	return autoreap;
}

void
process_notify_stop(struct process *p, int why)
{
	struct process *parent = p->parent;
	struct siginfo info;
	struct sigaction act;

	assert(spin_held(&process_lock));
	if (!parent)
		return;
	act = parent_action(parent);
	if (act.handler != SIG_IGN && !(act.flags & SA_NOCLDSTOP)) {
		fill_sigchld(p, why, why == CLD_STOPPED ? p->stop_signal : SIGCONT, &info);
		signal_send_process(parent, &info);
	}
	wake_all(&parent->child_wait);
}

static bool
group_has_stopped(int pgid)
{
	struct process *p;

	for_each_in_group (p, pgid)
		if (p->state == PROCESS_ALIVE && p->stop_signal)
			return true;
	return false;
}

/*
 * p ends, or loses the parent that it has: if its group was connected to that parent's and has no
 * other such connection, stopped members would never be continued.  `ends` is p if it is p that
 * ends.
 */
static void
check_orphaned_group(struct process *p, struct process *parent, struct process *ends)
{
	int pgid = p->pgid;

	if (!parent || parent->pgid == pgid || parent->sid != p->sid)
		return;
	if (!group_has_stopped(pgid) || !signal_group_orphaned(pgid, ends))
		return;
	(void)signal_send_group(pgid, SIGHUP);
	(void)signal_send_group(pgid, SIGCONT);
}

/* Who adopts the children of p: its nearest ancestor that asked for it and lives, else init. */
static struct process *
find_reaper(struct process *p)
{
	for (struct process *a = p->parent; a; a = a->parent)
		if (a->subreaper && a->state == PROCESS_ALIVE && READ_ONCE(a->live))
			return a;
	return init_process;
}

/* Takes a zombie that nobody wants out of the tables, and leaves the rest to the reaper. */
static void
bury(struct process *p)
{
	process_unlink(p);
	list_push_back(&dead_threads, &p->last->siblings);
	wake_all(&dead_wait);
	process_put(p); /* the table's reference; the thread has another */
}

static void
give_away_children(struct process *p)
{
	struct process *heir, *c, *next;

	if (list_empty(&p->children))
		return;
	heir = find_reaper(p);
	list_for_each_safe (c, next, &p->children, sibling) {
		list_remove(&c->sibling);
		c->parent = heir;
		c->ppid = heir->pid;
		c->parent_tid = heir->pid;
		list_push_back(&heir->children, &c->sibling);
		c->exit_signal = SIGCHLD;
		if (c->pdeath_signal && c->state == PROCESS_ALIVE) {
			struct siginfo info = {.signo = c->pdeath_signal, .code = SI_USER};

			info.rt.pid = p->pid;
			info.rt.uid = p->cred.uid;
			signal_send_process(c, &info);
		}
		check_orphaned_group(c, p, NULL);
		if (c->state == PROCESS_ZOMBIE && notify_exit(c))
			bury(c);
	}
}

/* Takes the current thread out of its process.  The caller holds process_lock. */
static void
unlink_thread(struct process *p, struct thread *t)
{
	uint64_t utime, stime;

	sched_times(t, &utime, &stime);
	p->dead_utime += utime;
	p->dead_stime += stime;
	p->min_flt += t->min_flt;
	p->maj_flt += t->maj_flt;
	p->nvcsw += t->nvcsw;
	p->nivcsw += t->nivcsw;
	signal_thread_exit(t);
	spin_lock(&p->sighand->lock);
	list_remove(&t->siblings);
	p->nthreads--;
	spin_unlock(&p->sighand->lock);
	pid_set_thread(t->tid, NULL);
}

static void
exit_one_thread(struct process *p, struct thread *t)
{
	irqstate_t s = spin_lock_irq(&process_lock);

	unlink_thread(p, t);
	list_push_back(&dead_threads, &t->siblings);
	wake_all(&dead_wait);
	wake_all(&p->child_wait); /* execve waits there to be alone */
	spin_unlock_irq(&process_lock, s);
}

/* The last thread has given up everything: the process becomes a zombie. */
static void
exit_process(struct process *p, struct thread *t)
{
	irqstate_t s = spin_lock_irq(&process_lock);

	give_away_children(p);
	check_orphaned_group(p, p->parent, p);
	unlink_thread(p, t);
	signal_process_exit(p);
	p->last = t;
	p->state = PROCESS_ZOMBIE;
	if (notify_exit(p))
		bury(p);
	/* Whoever frees this thread waits until it is off its CPU: it must not sleep any more. */
	spin_unlock_irq(&process_lock, s);
}

/* Gives up what the process's threads shared.  May sleep. */
static void
release_resources(struct process *p)
{
	struct vm *vm = p->vm;
	struct files *files = p->files;
	struct fs_context *fs = p->fs;
	struct file *exe = p->exe;

	itimers_exit(p);
	if (vm) {
		p->maxrss = MAX(p->maxrss, vm->peak_rss);
		spin_lock(&p->lock);
		p->vm = NULL;
		spin_unlock(&p->lock);
		vm_put(vm);
		process_vfork_done(p);
	}
	spin_lock(&p->lock);
	p->files = NULL;
	p->fs = NULL;
	p->exe = NULL;
	spin_unlock(&p->lock);
	if (files)
		files_put(files);
	if (fs)
		fs_context_put(fs);
	if (exe)
		exec_close(exe);
	if (p->pid == p->sid)
		tty_session_exit(p);
}

noreturn void
thread_exit(int status)
{
	struct thread *t = current;
	struct process *p = t->process;

	if (!p)
		sched_exit();
	if (p->vm) {
		futex_exit_robust(t);
		/* Nobody looks at the word if nobody else has the address space. */
		if (t->clear_child_tid.v && (READ_ONCE(p->live) > 1 ||
					     refcount_read(&p->vm->refs) > 1)) {
			int32_t zero = 0;

			(void)!put_user(t->clear_child_tid, &zero);
			futex_wake_address(t->clear_child_tid, 1);
		}
	}
	if (t->tid == p->pid && !p->exiting)
		p->exit_status = status;
	vm_switch(NULL);
	if (__atomic_sub_fetch(&p->live, 1, __ATOMIC_ACQ_REL) != 0) {
		exit_one_thread(p, t);
		sched_exit();
	}
	if (p == init_process)
		panic("attempted to kill init (status 0x%08x)", p->exit_status);
	p->exiting = true; /* signals have nobody to go to any more */
	release_resources(p);
	exit_process(p, t);
	sched_exit();
}

noreturn void
process_exit(int status)
{
	struct process *p = current->process;
	irqstate_t s;

	if (!p)
		sched_exit();
	s = spin_lock_irq(&process_lock);
	spin_lock(&p->sighand->lock);
	if (p->exiting) {
		status = p->exit_status;
	} else if (!p->execing || p->execing == current || status & 0x7f) {
		p->exiting = true;
		p->exit_status = status;
	}
	spin_unlock(&p->sighand->lock);
	/*
	 * While another thread is in execve this one merely ends: it has been told so already.  But a signal that
	 * it has taken is for both.
	 */
	if (p->exiting && READ_ONCE(p->nthreads) > 1)
		signal_kill_threads(p, current);
	spin_unlock_irq(&process_lock, s);
	thread_exit(status);
}
