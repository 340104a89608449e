/*
 * Sleeping: wait queues and mutexes.
 *
 * A sleeper prepares (it is queued and its state says that it sleeps), tests its condition, and only
 * then gives up the CPU: a wake-up in between is not lost.  The wait_event macros do the dance.
 */
#pragma once

#include "kernel/lib/list.h"
#include "kernel/lib/spinlock.h"

struct thread;

struct wait_queue {
	struct spinlock lock; /* taken with interrupts off: wake-ups come from interrupts */
	struct list waiters;  /* [lock] struct waiter.link */
};

struct waiter {
	struct list link;      /* [queue's lock] */
	struct wait_queue *wq; /* the queue it is on, or NULL */
	struct thread *thread;
	/* Called with the queue's lock held, interrupts off.  NULL: wake the thread. */
	void (*wake)(struct waiter *w);
	bool exclusive; /* wake_one stops after one exclusive waiter */
};

#define WAIT_QUEUE_INIT(name) {SPINLOCK_INIT, LIST_INIT((name).waiters)}

void wait_queue_init(struct wait_queue *q);

/* Queues w for the current thread and marks the thread as sleeping.  May be repeated. */
void wait_prepare(struct wait_queue *q, struct waiter *w, bool interruptible);
/* Takes w off its queue and marks the current thread as running. */
void wait_finish(struct waiter *w);

/* For poll: links w without changing the thread's state; unlink afterwards. */
void wait_link(struct wait_queue *q, struct waiter *w);
void wait_unlink(struct waiter *w);

/* Wakes every waiter / every non-exclusive and one exclusive waiter.  From any context. */
void wake_all(struct wait_queue *q);
void wake_one(struct wait_queue *q);

/*
 * Gives up the CPU in the state that wait_prepare set, until woken or until the monotonic clock
 * reaches deadline (ns; NO_DEADLINE: never).  0, -ETIMEDOUT, or -ERESTARTSYS if the sleep is
 * interruptible and a signal is pending.
 */
#define NO_DEADLINE UINT64_MAX
must_use int wait_sleep(uint64_t deadline);

/* Sleeps until cond holds; not interruptible: only for waits that the kernel itself bounds. */
#define wait_event(q, cond)                                                                        \
	do {                                                                                       \
		struct waiter we_ = {.link = LIST_INIT(we_.link)};                                 \
		for (;;) {                                                                         \
			wait_prepare(q, &we_, false);                                              \
			if (cond)                                                                  \
				break;                                                             \
			(void)!wait_sleep(NO_DEADLINE);                                            \
		}                                                                                  \
		wait_finish(&we_);                                                                 \
	} while (0)

/* Sleeps until cond holds: 0; or -ERESTARTSYS (a signal), -ETIMEDOUT (deadline in monotonic ns). */
#define wait_event_until(q, cond, deadline)                                                        \
	({                                                                                         \
		struct waiter we_ = {.link = LIST_INIT(we_.link)};                                 \
		int we_err_ = 0;                                                                   \
		for (;;) {                                                                         \
			wait_prepare(q, &we_, true);                                               \
			if (cond) {                                                                \
				we_err_ = 0;                                                       \
				break;                                                             \
			}                                                                          \
			if (we_err_)                                                               \
				break;                                                             \
			we_err_ = wait_sleep(deadline);                                            \
		}                                                                                  \
		wait_finish(&we_);                                                                 \
		we_err_;                                                                           \
	})

#define wait_event_interruptible(q, cond) wait_event_until(q, cond, NO_DEADLINE)

/* A sleeping lock.  Not recursive; may not be taken from interrupts. */
struct mutex {
	struct thread *owner; /* [wq.lock] NULL: free */
	struct wait_queue wq;
};

#define MUTEX_INIT(name) {NULL, WAIT_QUEUE_INIT((name).wq)}

void mutex_init(struct mutex *m);
void mutex_lock(struct mutex *m);
must_use bool mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);
bool mutex_held(const struct mutex *m);
