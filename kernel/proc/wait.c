/* Wait queues and mutexes. */
#include "kernel/proc/wait.h"

#include "kernel/errno.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/signal.h"

void
wait_queue_init(struct wait_queue *q)
{
	spin_init(&q->lock);
	list_init(&q->waiters);
}

static void
link_waiter(struct wait_queue *q, struct waiter *w)
{
	if (w->wq)
		return;
	w->wq = q;
	w->thread = current;
	/* Exclusive waiters stand behind the others, in order. */
	if (w->exclusive)
		list_push_back(&q->waiters, &w->link);
	else
		list_push_front(&q->waiters, &w->link);
}

void
wait_prepare(struct wait_queue *q, struct waiter *w, bool interruptible)
{
	irqstate_t s = spin_lock_irq(&q->lock);

	link_waiter(q, w);
	/* Before the caller's look at its condition, in the eyes of every CPU. */
	__atomic_store_n(&current->state,
			 interruptible ? THREAD_INTERRUPTIBLE : THREAD_UNINTERRUPTIBLE,
			 __ATOMIC_SEQ_CST);
	spin_unlock_irq(&q->lock, s);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void
wait_finish(struct waiter *w)
{
	WRITE_ONCE(current->state, THREAD_RUNNABLE);
	wait_unlink(w);
}

void
wait_link(struct wait_queue *q, struct waiter *w)
{
	irqstate_t s = spin_lock_irq(&q->lock);

	link_waiter(q, w);
	spin_unlock_irq(&q->lock, s);
	/* On the list before the caller looks at what it waits for; wake() has the other half. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void
wait_unlink(struct waiter *w)
{
	struct wait_queue *q = w->wq;
	irqstate_t s;

	if (!q)
		return;
	s = spin_lock_irq(&q->lock);
	list_remove(&w->link);
	w->wq = NULL;
	spin_unlock_irq(&q->lock, s);
}

static void
wake(struct wait_queue *q, bool all)
{
	struct waiter *w, *tmp;
	irqstate_t s;

	/* Orders the caller's change of the condition before the look at the list. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (list_empty(&q->waiters))
		return;
	s = spin_lock_irq(&q->lock);
	list_for_each_safe(w, tmp, &q->waiters, link) {
		bool last = w->exclusive && !all;

		if (w->wake)
			w->wake(w);
		else if (!sched_wake(w->thread,
				     BIT(THREAD_INTERRUPTIBLE) | BIT(THREAD_UNINTERRUPTIBLE)))
			last = false; /* it is awake already: the wake-up goes to the next */
		if (last)
			break;
	}
	spin_unlock_irq(&q->lock, s);
}

void
wake_all(struct wait_queue *q)
{
	wake(q, true);
}

void
wake_one(struct wait_queue *q)
{
	wake(q, false);
}

struct sleep_timer {
	struct timer timer;
	struct thread *thread;
};

static void
sleep_over(struct timer *t)
{
	struct sleep_timer *s = container_of(t, struct sleep_timer, timer);

	sched_wake(s->thread, BIT(THREAD_INTERRUPTIBLE) | BIT(THREAD_UNINTERRUPTIBLE));
}

int
wait_sleep(uint64_t deadline)
{
	struct thread *t = current;
	struct sleep_timer s;

	if (t->state == THREAD_INTERRUPTIBLE && signal_pending()) {
		WRITE_ONCE(t->state, THREAD_RUNNABLE);
		return -ERESTARTSYS;
	}
	if (deadline == NO_DEADLINE) {
		schedule();
		return 0;
	}
	if (clock_monotonic() >= deadline) {
		WRITE_ONCE(t->state, THREAD_RUNNABLE);
		return -ETIMEDOUT;
	}
	timer_init(&s.timer, sleep_over);
	s.thread = t;
	timer_start(&s.timer, deadline);
	schedule();
	timer_cancel(&s.timer);
	return clock_monotonic() >= deadline ? -ETIMEDOUT : 0;
}

/* ---- Mutexes ---- */

void
mutex_init(struct mutex *m)
{
	m->owner = NULL;
	wait_queue_init(&m->wq);
}

bool
mutex_held(const struct mutex *m)
{
	return READ_ONCE(m->owner) == current;
}

bool
mutex_trylock(struct mutex *m)
{
	struct thread *expected = NULL;

	if (!__atomic_compare_exchange_n(&m->owner, &expected, current, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return false;
	current->mutexes_held++;
	return true;
}

void
mutex_lock(struct mutex *m)
{
	struct waiter w = {.link = LIST_INIT(w.link), .exclusive = true};

	if (likely(mutex_trylock(m)))
		return;
	assert(m->owner != current);
	for (;;) {
		wait_prepare(&m->wq, &w, false);
		if (mutex_trylock(m))
			break;
		(void)!wait_sleep(NO_DEADLINE);
	}
	wait_finish(&w);
}

void
mutex_unlock(struct mutex *m)
{
	assert(m->owner == current);
	current->mutexes_held--;
	__atomic_store_n(&m->owner, NULL, __ATOMIC_RELEASE);
	wake_one(&m->wq);
}
