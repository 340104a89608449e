/* Waiting for children: what wait4 and waitid share. */
#include "kernel/errno.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"

static bool
eligible(const struct child_wait *w, const struct process *c)
{
	switch (w->which) {
	case WAIT_PID:
		if (c->pid != w->id)
			return false;
		break;
	case WAIT_GROUP:
		if (c->pgid != w->id)
			return false;
		break;
	case WAIT_ANY:
		break;
	}
	if ((w->options & WNOTHREAD) && c->parent_tid != current->tid)
		return false;
	/* A "clone child" is one that does not announce its end by SIGCHLD. */
	return (w->options & WALL) || (c->exit_signal != SIGCHLD) == !!(w->options & WCLONE);
}

static void
fill_usage(struct child_wait *w, struct process *c)
{
	process_times(c, &w->utime, &w->stime);
	w->utime += c->child_utime;
	w->stime += c->child_stime;
	w->min_flt = c->min_flt + c->child_min_flt;
	w->maj_flt = c->maj_flt + c->child_maj_flt;
	w->nvcsw = c->nvcsw;
	w->nivcsw = c->nivcsw;
	w->maxrss = c->maxrss;
}

/* Fills the result if c has something to report.  True if it has. */
static bool
report(struct child_wait *w, struct process *c)
{
	if (c->state == PROCESS_ZOMBIE) {
		if (!(w->options & WEXITED))
			return false;
		w->status = c->exit_status;
		w->code = (w->status & 0x7f) == 0 ? CLD_EXITED
			  : w->status & 0x80	  ? CLD_DUMPED
						  : CLD_KILLED;
	} else if ((w->options & WUNTRACED) && c->stop_signal && !c->stop_reported) {
		w->status = c->stop_signal << 8 | 0x7f;
		w->code = CLD_STOPPED;
		if (!(w->options & WNOWAIT))
			c->stop_reported = true;
	} else if ((w->options & WCONTINUED) && c->cont_pending) {
		w->status = 0xffff;
		w->code = CLD_CONTINUED;
		if (!(w->options & WNOWAIT))
			c->cont_pending = false;
	} else {
		return false;
	}
	w->pid = c->pid;
	w->uid = c->cred.uid;
	fill_usage(w, c);
	return true;
}

/* What the parent is charged for a child that it has waited for. */
static void
charge_parent(struct process *parent, const struct child_wait *w)
{
	parent->child_utime += w->utime;
	parent->child_stime += w->stime;
	parent->child_min_flt += w->min_flt;
	parent->child_maj_flt += w->maj_flt;
	parent->child_maxrss = MAX(parent->child_maxrss, w->maxrss);
}

/*
 * One look: a pid, 0 (there are children but none is ready) or -ECHILD.  *zombie is one that was
 * found and unlinked.  Does not sleep.
 */
static int
look(struct child_wait *w, struct process **zombie)
{
	struct process *me = current->process, *c;
	irqstate_t s = spin_lock_irq(&process_lock);
	int result = -ECHILD;

	list_for_each (c, &me->children, sibling) {
		if (!eligible(w, c))
			continue;
		result = 0;
		if (report(w, c)) {
			result = c->pid;
			if (c->state == PROCESS_ZOMBIE && !(w->options & WNOWAIT)) {
				charge_parent(me, w);
				process_unlink(c);
				*zombie = c;
			}
			break;
		}
	}
	spin_unlock_irq(&process_lock, s);
	return result;
}

int
child_wait(struct child_wait *w)
{
	struct process *zombie = NULL;
	int result = look(w, &zombie), err = 0;

	if (!result && !(w->options & WNOHANG))
		err = wait_event_interruptible(&current->process->child_wait,
					       (result = look(w, &zombie)) != 0);
	if (zombie)
		process_release(zombie);
	return result ? result : err;
}
