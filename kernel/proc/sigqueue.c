/*
 * Queues of pending signals: a bit for each signal, and entries for those that say more.
 */
#include "kernel/proc/sigqueue.h"

#include "kernel/errno.h"
#include "kernel/mm/heap.h"
#include "kernel/proc/posix_timer.h"

/* What the current instruction caused is delivered before anything else. */
#define FAULT_SIGNALS                                                                              \
	(SIGMASK(SIGSEGV) | SIGMASK(SIGBUS) | SIGMASK(SIGILL) | SIGMASK(SIGTRAP) |                 \
	 SIGMASK(SIGFPE) | SIGMASK(SIGSYS))

void
sigqueue_init(struct sigqueue *q, unsigned *count)
{
	q->set = 0;
	q->count = count;
	list_init(&q->queued);
}

static void
append(struct sigqueue *q, struct sigqueue_entry *e)
{
	e->queue = q;
	list_push_back(&q->queued, &e->link);
	(*q->count)++;
	q->set |= SIGMASK(e->info.signo);
}

static void
detach(struct sigqueue_entry *e)
{
	list_remove(&e->link);
	(*e->queue->count)--;
	e->queue = NULL;
}

int
sigqueue_add(struct sigqueue *q, const struct siginfo *info, uint64_t limit)
{
	struct sigqueue_entry *e = NULL;
	int signo = info->signo;

	if (signo < SIGRTMIN && (q->set & SIGMASK(signo)))
		return 0;
	/* Nothing to remember: and so the kernel's own signals can be sent from an interrupt. */
	if (signo == SIGKILL || (info->code == SI_KERNEL && !info->rt.pid && !info->rt.value)) {
		q->set |= SIGMASK(signo);
		return 0;
	}
	/* As Linux: the limit does not bind the kernel's and kill's standard signals. */
	if (*q->count < limit || (signo < SIGRTMIN && info->code >= 0))
		e = kmalloc(sizeof(*e));
	if (!e) {
		if (signo >= SIGRTMIN && info->code != SI_USER)
			return -EAGAIN;
		q->set |= SIGMASK(signo);
		return 0;
	}
	e->timer = NULL;
	e->info = *info;
	append(q, e);
	return 0;
}

bool
sigqueue_add_entry(struct sigqueue *q, struct sigqueue_entry *e)
{
	if (e->queue)
		return false;
	if (e->info.signo < SIGRTMIN && (q->set & SIGMASK(e->info.signo)))
		return false;
	append(q, e);
	return true;
}

void
sigqueue_remove_entry(struct sigqueue_entry *e)
{
	struct sigqueue *q = e->queue;
	struct sigqueue_entry *i;

	if (!q)
		return;
	detach(e);
	list_for_each(i, &q->queued, link) {
		if (i->info.signo == e->info.signo)
			return;
	}
	q->set &= ~SIGMASK(e->info.signo);
}

int
sigqueue_take(struct sigqueue *q, sigset_t set, struct siginfo *out)
{
	struct sigqueue_entry *e, *found = NULL;
	int signo;

	set &= q->set;
	if (!set)
		return 0;
	if (set & FAULT_SIGNALS)
		set &= FAULT_SIGNALS;
	signo = __builtin_ctzll(set) + 1;
	list_for_each(e, &q->queued, link) {
		if (e->info.signo != signo)
			continue;
		if (found) /* another one stays pending */
			goto take;
		found = e;
	}
	q->set &= ~SIGMASK(signo);
	if (!found) {
		*out = (struct siginfo){.signo = signo, .code = SI_KERNEL};
		return signo;
	}
take:
	detach(found);
	if (found->timer)
		posix_timer_dequeued(found->timer);
	*out = found->info;
	if (!found->timer)
		kfree(found);
	return signo;
}

void
sigqueue_flush(struct sigqueue *q, sigset_t set)
{
	struct sigqueue_entry *e, *tmp;

	if (!(q->set & set))
		return;
	q->set &= ~set;
	list_for_each_safe(e, tmp, &q->queued, link) {
		if (!(SIGMASK(e->info.signo) & set))
			continue;
		detach(e);
		if (e->timer)
			posix_timer_dequeued(e->timer);
		else
			kfree(e);
	}
}
