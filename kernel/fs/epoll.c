/*
 * epoll.  Each watch (item) is queued on its file's wait queues for as long as it exists; a wake-up
 * puts it on its set's ready list, and epoll_wait asks the files on that list only.
 *
 * Locks: epoll_mutex (who watches what, over all sets), then a set's mutex (its items), an inner
 * set's after its outer one's, then a set's spin lock (the ready list), which wake-ups take from any
 * context.  A file that is being released waits for epoll_mutex before its driver's release, so an
 * item's file is always whole.
 */
#include "kernel/fs/epoll.h"
#include "kernel/errno.h"
#include "kernel/fs/poll.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/signal.h"
#include "kernel/proc/thread.h"

#define BUCKETS		64
#define ITEM_WAITERS	2 /* no driver has more queues */
#define NESTING_MAX	4 /* as Linux's EP_MAX_NESTS */
#define EVENTS_ALWAYS	(POLLERR | POLLHUP)
#define EVENTS_OPTIONS	(EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP)
#define EVENTS_EXCLUSIVE_OK                                                                        \
	(POLLIN | POLLOUT | POLLERR | POLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)

struct epoll {
	struct file *file; /* its own, which outlives it */
	struct mutex mutex;
	struct list items[BUCKETS]; /* [mutex and epoll_mutex to change] epoll_item.hash */
	struct spinlock lock;	    /* interrupts off */
	struct list ready;	    /* [lock] epoll_item.ready */
	unsigned nready;	    /* [lock] */
	struct wait_queue wait;	    /* epoll_wait */
	struct wait_queue poll;	    /* who watches this set */
	uint64_t walk;		    /* [epoll_mutex] the last walk that came here, */
	int depth;		    /* [epoll_mutex] and what it found */
};

struct epoll_item {
	struct list hash;      /* [set's mutex] */
	struct list file_link; /* [epoll_mutex] file.epoll_items */
	struct list ready;     /* [set's lock] */
	bool is_ready;	       /* [set's lock] */
	struct epoll *set;
	struct file *file;
	int fd;
	unsigned nwaiters;
	uint32_t events; /* [set's mutex; wake-ups read it] */
	uint64_t data;	 /* [set's mutex] */
	struct {
		struct waiter w;
		struct epoll_item *item;
	} waiters[ITEM_WAITERS];
};

struct item_table {
	struct poll_table pt;
	struct epoll_item *item;
};

static struct mutex epoll_mutex = MUTEX_INIT(epoll_mutex);
static uint64_t walks; /* [epoll_mutex] */
static const struct file_ops epoll_ops;

static struct list *
bucket(struct epoll *ep, const struct file *f, int fd)
{
	return &ep->items[(((uintptr_t)f >> 6) + (unsigned)fd) % BUCKETS];
}

static struct epoll_item *
item_find(struct epoll *ep, const struct file *f, int fd)
{
	struct list *b = bucket(ep, f, fd);
	struct epoll_item *it;

	list_for_each(it, b, hash) {
		if (it->file == f && it->fd == fd)
			return it;
	}
	return NULL;
}

/* Puts it on the ready list unless it is there, and wakes who waits for the set. */
static void
item_set_ready(struct epoll_item *it)
{
	struct epoll *ep = it->set;
	irqstate_t s = spin_lock_irq(&ep->lock);
	bool wake = !it->is_ready;

	if (wake) {
		it->is_ready = true;
		list_push_back(&ep->ready, &it->ready);
		ep->nready++;
	}
	spin_unlock_irq(&ep->lock, s);
	if (wake) {
		wake_one(&ep->wait);
		wake_all(&ep->poll);
	}
}

static void
item_unready(struct epoll_item *it)
{
	struct epoll *ep = it->set;
	irqstate_t s = spin_lock_irq(&ep->lock);

	if (it->is_ready) {
		it->is_ready = false;
		list_remove(&it->ready);
		ep->nready--;
	}
	spin_unlock_irq(&ep->lock, s);
}

/* A watched file's queue was woken: its lock is held, interrupts are off. */
static void
item_wake(struct waiter *w)
{
	struct epoll_item *it =
		((__typeof__(&((struct epoll_item *)0)->waiters[0]))(void *)w)->item;

	if (READ_ONCE(it->events) & ~EVENTS_OPTIONS)
		item_set_ready(it);
}

static void
item_queue(struct poll_table *pt, struct wait_queue *q)
{
	struct epoll_item *it = container_of(pt, struct item_table, pt)->item;
	struct waiter *w;

	assert(it->nwaiters < ITEM_WAITERS);
	it->waiters[it->nwaiters].item = it;
	w = &it->waiters[it->nwaiters++].w;
	list_init(&w->link);
	w->thread = current;
	w->wake = item_wake;
	wait_link(q, w);
}

/* Caller holds epoll_mutex and the set's mutex. */
static void
item_free(struct epoll_item *it)
{
	for (unsigned i = 0; i < it->nwaiters; i++)
		wait_unlink(&it->waiters[i].w);
	item_unready(it);
	list_remove(&it->hash);
	list_remove(&it->file_link);
	kfree(it);
}

void
epoll_release(struct file *f)
{
	mutex_lock(&epoll_mutex);
	while (!list_empty(&f->epoll_items)) {
		struct epoll_item *it = list_first(&f->epoll_items, struct epoll_item, file_link);
		struct epoll *ep = it->set;

		mutex_lock(&ep->mutex);
		item_free(it);
		mutex_unlock(&ep->mutex);
	}
	mutex_unlock(&epoll_mutex);
}

static void
epoll_close(struct file *f)
{
	struct epoll *ep = f->data;
	struct epoll_item *it, *next;

	mutex_lock(&epoll_mutex);
	mutex_lock(&ep->mutex);
	for (unsigned i = 0; i < BUCKETS; i++)
		list_for_each_safe(it, next, &ep->items[i], hash)
			item_free(it);
	mutex_unlock(&ep->mutex);
	mutex_unlock(&epoll_mutex);
	kfree(ep);
}

/* What item it waits for and its file has. */
static unsigned
item_poll(const struct epoll_item *it)
{
	return file_poll(it->file, NULL) & (it->events | EVENTS_ALWAYS);
}

/* Is an item of the set ready now?  Items that turn out not to be leave the ready list. */
static unsigned
epoll_poll(struct file *f, struct poll_table *pt)
{
	struct epoll *ep = f->data;
	unsigned n, mask = 0;

	poll_wait(pt, &ep->poll);
	if (!READ_ONCE(ep->nready))
		return 0;
	mutex_lock(&ep->mutex);
	for (n = READ_ONCE(ep->nready); n > 0; n--) {
		irqstate_t s = spin_lock_irq(&ep->lock);
		struct epoll_item *it = NULL;

		if (ep->nready)
			it = list_first(&ep->ready, struct epoll_item, ready);
		spin_unlock_irq(&ep->lock, s);
		if (!it)
			break;
		/*
		 * One that is ready stays: to put it back would wake who asks here, who would ask again, for ever.
		 * After one that was not is off the list it is asked again: a wake-up until then did nothing.
		 */
		if (item_poll(it)) {
			mask = POLLIN | POLLRDNORM;
			break;
		}
		item_unready(it);
		if (item_poll(it)) {
			item_set_ready(it);
			mask = POLLIN | POLLRDNORM;
			break;
		}
	}
	mutex_unlock(&ep->mutex);
	return mask;
}

static const struct file_ops epoll_ops = {
	.release = epoll_close,
	.poll = epoll_poll,
};

int
epoll_create_file(struct file **out)
{
	struct epoll *ep = kzalloc(sizeof(*ep));
	int err;

	if (!ep)
		return -ENOMEM;
	mutex_init(&ep->mutex);
	spin_init(&ep->lock);
	for (unsigned i = 0; i < BUCKETS; i++)
		list_init(&ep->items[i]);
	list_init(&ep->ready);
	wait_queue_init(&ep->wait);
	wait_queue_init(&ep->poll);
	err = file_create_anonymous("[eventpoll]", &epoll_ops, ep, O_RDWR, out);
	if (err)
		kfree(ep);
	else
		ep->file = *out;
	return err;
}

/*
 * How deep sets nest below f (0: f is no set); more than NESTING_MAX also if `target` is among them.
 * Caller holds epoll_mutex, which keeps all watches, and has begun a walk: each set is asked once,
 * however many ways lead to it.
 */
static int
nesting_below(const struct file *f, const struct file *target)
{
	struct epoll *ep = f->data;
	struct epoll_item *it;
	int deepest = 0;

	if (f->ops != &epoll_ops)
		return 0;
	if (f == target)
		return NESTING_MAX + 1;
	if (ep->walk == walks)
		return ep->depth;
	for (unsigned i = 0; i < BUCKETS; i++) {
		list_for_each(it, &ep->items[i], hash) {
			int d = nesting_below(it->file, target);

			deepest = MAX(deepest, d);
		}
	}
	ep->walk = walks;
	ep->depth = deepest + 1;
	return ep->depth;
}

/* How deep sets nest above the set of f, which watch it directly or through others.  As above. */
static int
nesting_above(const struct file *f)
{
	struct epoll *ep = f->data;
	struct epoll_item *it;
	int deepest = 0;

	if (ep->walk == walks)
		return ep->depth;
	list_for_each(it, &f->epoll_items, file_link) {
		int d = nesting_above(it->set->file) + 1;

		deepest = MAX(deepest, d);
	}
	ep->walk = walks;
	ep->depth = deepest;
	return deepest;
}

/* Would a watch of the set f by the set epf close a circle, or nest too deep? */
static bool
nests_too_deep(const struct file *f, const struct file *epf)
{
	int below, above;

	walks++;
	below = nesting_below(f, epf);
	if (below > NESTING_MAX)
		return true;
	walks++;
	above = nesting_above(epf);
	return below + above > NESTING_MAX;
}

static int
item_add(struct file *epf, struct file *f, int fd, uint32_t events, uint64_t data)
{
	struct epoll *ep = epf->data;
	struct epoll_item *it;
	struct item_table table = {.pt.queue = item_queue};

	if (f->ops == &epoll_ops && nests_too_deep(f, epf))
		return -ELOOP;
	it = kzalloc(sizeof(*it));
	if (!it)
		return -ENOMEM;
	it->set = ep;
	it->file = f;
	it->fd = fd;
	it->events = events;
	it->data = data;
	list_init(&it->ready);
	list_push_back(bucket(ep, f, fd), &it->hash);
	list_push_back(&f->epoll_items, &it->file_link);
	f->watched = true;
	table.item = it;
	if (file_poll(f, &table.pt) & (events | EVENTS_ALWAYS))
		item_set_ready(it);
	return 0;
}

static int
item_modify(struct epoll_item *it, uint32_t events, uint64_t data)
{
	if ((it->events | events) & EPOLLEXCLUSIVE)
		return -EINVAL;
	it->data = data;
	/* Visible to wake-ups before the question: none in between is lost. */
	__atomic_store_n(&it->events, events, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (file_poll(it->file, NULL) & (events | EVENTS_ALWAYS))
		item_set_ready(it);
	return 0;
}

int
epoll_control(struct file *epf, int op, struct file *f, int fd, const struct arch_epoll_event *ev)
{
	struct epoll *ep = epf->data;
	struct epoll_item *it;
	uint32_t events = ev->events;
	int err;

	if (!f->ops->poll)
		return -EPERM;
	if (f == epf || epf->ops != &epoll_ops)
		return -EINVAL;
	if (op != EPOLL_CTL_DEL && (events & EPOLLEXCLUSIVE) &&
	    (op == EPOLL_CTL_MOD || f->ops == &epoll_ops || (events & ~EVENTS_EXCLUSIVE_OK)))
		return -EINVAL;
	mutex_lock(&epoll_mutex);
	mutex_lock(&ep->mutex);
	it = item_find(ep, f, fd);
	switch (op) {
	case EPOLL_CTL_ADD:
		err = it ? -EEXIST : item_add(epf, f, fd, events | EVENTS_ALWAYS, ev->data);
		break;
	case EPOLL_CTL_MOD:
		err = it ? item_modify(it, events | EVENTS_ALWAYS, ev->data) : -ENOENT;
		break;
	case EPOLL_CTL_DEL:
		err = it ? 0 : -ENOENT;
		if (it)
			item_free(it);
		break;
	default:
		err = -EINVAL;
	}
	mutex_unlock(&ep->mutex);
	mutex_unlock(&epoll_mutex);
	return err;
}

/* Hands out events of items on the ready list, each looked at once.  How many, or -EFAULT. */
static long
send_events(struct epoll *ep, uaddr_t addr, int max)
{
	long sent = 0;
	unsigned n;

	mutex_lock(&ep->mutex);
	for (n = READ_ONCE(ep->nready); n > 0 && sent < max; n--) {
		irqstate_t s = spin_lock_irq(&ep->lock);
		struct epoll_item *it = NULL;
		struct arch_epoll_event ev = {0};

		if (ep->nready) {
			it = list_first(&ep->ready, struct epoll_item, ready);
			it->is_ready = false;
			list_remove(&it->ready);
			ep->nready--;
		}
		spin_unlock_irq(&ep->lock, s);
		if (!it)
			break;
		if (!(it->events & ~(EVENTS_OPTIONS)))
			continue; /* a one-shot that fired */
		ev.events = file_poll(it->file, NULL) & it->events;
		if (!ev.events)
			continue;
		ev.data = it->data;
		if (put_user(uaddr_add(addr, (uint64_t)sent * sizeof(ev)), &ev)) {
			item_set_ready(it);
			if (!sent)
				sent = -EFAULT;
			break;
		}
		sent++;
		if (it->events & EPOLLONESHOT)
			WRITE_ONCE(it->events, it->events & EVENTS_OPTIONS);
		else if (!(it->events & EPOLLET))
			item_set_ready(it);
	}
	mutex_unlock(&ep->mutex);
	return sent;
}

long
epoll_collect(struct file *epf, uaddr_t addr, int max, uint64_t deadline)
{
	struct epoll *ep = epf->data;

	if (epf->ops != &epoll_ops)
		return -EINVAL;
	for (int err = 0;;) {
		long n = READ_ONCE(ep->nready) ? send_events(ep, addr, max) : 0;

		if (n || !deadline || err == -ETIMEDOUT)
			return n;
		if (err)
			return -EINTR; /* never restarted, as Linux */
		err = wait_event_until(&ep->wait, READ_ONCE(ep->nready), deadline);
		/* Items may become ready all the time, and not be when asked. */
		if (!err && signal_pending())
			err = -ERESTARTSYS;
		if (!err && deadline != NO_DEADLINE && clock_monotonic() >= deadline)
			err = -ETIMEDOUT;
		cond_resched();
	}
}
