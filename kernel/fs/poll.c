/*
 * poll and select: one pass over the files that also queues the caller on each, then sleeps until
 * some driver wakes it, and passes that only ask.
 */
#include "kernel/fs/poll.h"
#include "kernel/errno.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/signal.h"
#include "kernel/proc/thread.h"

#define POLL_ON_STACK 8u
#define POLL_BLOCK    16u

struct poller;

struct poll_entry {
	struct waiter w;
	struct poller *poller;
};

/* Entries beyond the first allocation: files with two queues. */
struct poll_block {
	struct poll_block *next;
	struct poll_entry entries[POLL_BLOCK];
};

struct poller {
	struct poll_table pt;
	struct wait_queue wq; /* where the caller sleeps */
	bool triggered;
	int error;
	struct poll_entry *next, *end; /* unused entries */
	struct poll_entry *first;      /* of the first allocation */
	struct poll_entry *first_end;  /* its used part */
	struct poll_block *blocks;
};

void
poll_wait(struct poll_table *pt, struct wait_queue *q)
{
	if (pt)
		pt->queue(pt, q);
}

uint64_t
poll_deadline(const struct timespec *ts)
{
	uint64_t ns = timespec_to_ns(ts);
	uint64_t now;

	if (ns == 0)
		return 0;
	now = clock_monotonic();
	return ns >= NO_DEADLINE - 1 - now ? NO_DEADLINE : now + ns;
}

static void
poller_wake(struct waiter *w)
{
	struct poller *p = container_of(w, struct poll_entry, w)->poller;

	WRITE_ONCE(p->triggered, true);
	wake_all(&p->wq);
}

static void
poller_queue(struct poll_table *pt, struct wait_queue *q)
{
	struct poller *p = container_of(pt, struct poller, pt);
	struct poll_entry *e;

	if (p->next == p->end) {
		struct poll_block *b = kmalloc(sizeof(*b));

		if (!b) {
			p->error = -ENOMEM;
			return;
		}
		if (!p->blocks)
			p->first_end = p->next;
		b->next = p->blocks;
		p->blocks = b;
		p->next = b->entries;
		p->end = b->entries + POLL_BLOCK;
	}
	e = p->next++;
	list_init(&e->w.link);
	e->w.wq = NULL;
	e->w.thread = current;
	e->w.wake = poller_wake;
	e->w.exclusive = false;
	e->poller = p;
	wait_link(q, &e->w);
}

static void
poller_init(struct poller *p, struct poll_entry *entries, unsigned n)
{
	p->pt.queue = poller_queue;
	wait_queue_init(&p->wq);
	p->triggered = false;
	p->error = 0;
	p->first = p->next = entries;
	p->end = entries + n;
	p->first_end = NULL;
	p->blocks = NULL;
}

static void
poller_finish(struct poller *p)
{
	struct poll_entry *e, *end = p->blocks ? p->first_end : p->next;
	struct poll_block *b, *next;

	for (e = p->first; e < end; e++)
		wait_unlink(&e->w);
	for (b = p->blocks; b; b = next) {
		/* Only the newest block may be partly used. */
		end = b == p->blocks ? p->next : b->entries + POLL_BLOCK;
		for (e = b->entries; e < end; e++)
			wait_unlink(&e->w);
		next = b->next;
		kfree(b);
	}
}

/*
 * Sleeps until a file of p wakes it.  0, -ETIMEDOUT or -ERESTARTSYS: these two also if files wake it all the
 * time, of which none is ready.
 */
static int
poller_sleep(struct poller *p, uint64_t deadline)
{
	int err = wait_event_until(&p->wq, READ_ONCE(p->triggered), deadline);

	/* Cleared before the next pass looks at the files: what comes later sets it again. */
	__atomic_store_n(&p->triggered, false, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!err && signal_pending())
		err = -ERESTARTSYS;
	if (!err && deadline != NO_DEADLINE && clock_monotonic() >= deadline)
		err = -ETIMEDOUT;
	cond_resched();
	return err;
}

static unsigned
poll_scan(struct pollfd *fds, const struct fd_use *files, unsigned n, struct poll_table *pt)
{
	unsigned ready = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned mask = 0;

		if (files[i].file) {
			mask = file_poll(files[i].file, pt) &
			       ((uint16_t)fds[i].events | POLLERR | POLLHUP);
		} else if (fds[i].fd >= 0) {
			mask = POLLNVAL;
		}
		fds[i].revents = (int16_t)mask;
		if (mask) {
			ready++;
			pt = NULL; /* there will be no sleep */
		}
	}
	return ready;
}

long
poll_files(struct pollfd *fds, unsigned n, uint64_t deadline)
{
	struct {
		struct poll_entry entries[POLL_ON_STACK];
		struct fd_use files[POLL_ON_STACK];
	} small;
	struct poll_entry *entries = small.entries;
	struct fd_use *files = small.files;
	struct poll_table *pt;
	struct poller p;
	long result;
	int err = 0;

	if (n > POLL_ON_STACK) {
		entries = kmalloc(n * (sizeof(*entries) + sizeof(*files)));
		if (!entries)
			return -ENOMEM;
		files = (struct fd_use *)(entries + n);
	}
	for (unsigned i = 0; i < n; i++)
		files[i] = fd_use(fds[i].fd); /* -1 and its like: no file */
	poller_init(&p, entries, MAX(n, POLL_ON_STACK));
	pt = deadline ? &p.pt : NULL;
	for (;;) {
		result = poll_scan(fds, files, n, pt);
		pt = NULL; /* registered once */
		if (result == 0 && p.error)
			result = p.error;
		if (result || !deadline || err == -ETIMEDOUT)
			break;
		if (err) {
			result = -ERESTARTNOHAND;
			break;
		}
		err = poller_sleep(&p, deadline);
	}
	poller_finish(&p);
	for (unsigned i = 0; i < n; i++)
		fd_done(files[i]);
	if (entries != small.entries)
		kfree(entries);
	return result;
}

/* What each of select's three sets asks for: Linux's POLLIN_SET, POLLOUT_SET, POLLEX_SET. */
#define SELECT_IN  (POLLRDNORM | 0x0080u | POLLIN | POLLHUP | POLLERR)
#define SELECT_OUT (0x0200u | POLLWRNORM | POLLOUT | POLLERR)
#define SELECT_EX  POLLPRI

static const unsigned select_mask[3] = {SELECT_IN, SELECT_OUT, SELECT_EX};

struct select_slot {
	struct fd_use use;
	unsigned fd;
	unsigned want; /* bits 0..2: in, out, ex */
};

/* Enters a file's state into the sets that ask for it (want: bits 0..2).  In how many it is ready. */
static long
select_enter(uint64_t *const out[3], unsigned fd, unsigned want, unsigned mask)
{
	long ready = 0;

	for (unsigned k = 0; k < 3; k++) {
		if ((want & BIT(k)) && (mask & select_mask[k])) {
			out[k][fd / 64] |= BIT(fd % 64);
			ready++;
		}
	}
	return ready;
}

static unsigned
select_want(const uint64_t *const in[3], unsigned w, unsigned b)
{
	return (unsigned)((in[0][w] >> b & 1) | (in[1][w] >> b & 1) << 1 | (in[2][w] >> b & 1) << 2);
}

static long
select_scan(struct select_slot *slots, unsigned count, uint64_t *const out[3],
	    struct poll_table *pt)
{
	long ready = 0;

	for (struct select_slot *s = slots; s < slots + count; s++) {
		unsigned mask = file_poll(s->use.file, pt);

		if (mask)
			ready += select_enter(out, s->fd, s->want, mask);
		if (ready)
			pt = NULL;
	}
	return ready;
}

/* Who does not want to sleep needs no more than one look at each file. */
static long
select_now(unsigned words, const uint64_t *const in[3], uint64_t *const out[3])
{
	long ready = 0;

	for (unsigned w = 0; w < words; w++) {
		uint64_t bits = in[0][w] | in[1][w] | in[2][w];

		for (; bits; bits &= bits - 1) {
			unsigned b = (unsigned)__builtin_ctzll(bits), mask;
			struct fd_use use = fd_use((int)(w * 64 + b));

			if (!use.file)
				return -EBADF;
			mask = file_poll(use.file, NULL);
			fd_done(use);
			if (mask)
				ready += select_enter(out, w * 64 + b, select_want(in, w, b), mask);
		}
	}
	return ready;
}

static void
select_put(struct select_slot *slots, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		fd_done(slots[i].use);
}

long
poll_select(unsigned n, const uint64_t *const in[3], uint64_t *const out[3], uint64_t deadline)
{
	struct {
		struct poll_entry entries[POLL_ON_STACK];
		struct select_slot slots[POLL_ON_STACK];
	} small;
	struct poll_entry *entries = small.entries;
	struct select_slot *slots = small.slots;
	struct poll_table *pt;
	struct poller p;
	unsigned words = (n + 63) / 64, want = 0, count = 0;
	long result;
	int err = 0;

	if (deadline == 0)
		return select_now(words, in, out);
	for (unsigned w = 0; w < words; w++)
		want += (unsigned)popcount64(in[0][w] | in[1][w] | in[2][w]);
	if (want > POLL_ON_STACK) {
		entries = kmalloc(want * (sizeof(*entries) + sizeof(*slots)));
		if (!entries)
			return -ENOMEM;
		slots = (struct select_slot *)(entries + want);
	}
	result = -EBADF;
	for (unsigned w = 0; w < words; w++) {
		uint64_t bits = in[0][w] | in[1][w] | in[2][w];

		for (; bits; bits &= bits - 1) {
			unsigned b = (unsigned)__builtin_ctzll(bits);
			struct select_slot *s = &slots[count];

			s->fd = w * 64 + b;
			s->use = fd_use((int)s->fd);
			if (!s->use.file)
				goto out;
			s->want = select_want(in, w, b);
			count++;
		}
	}
	poller_init(&p, entries, MAX(want, POLL_ON_STACK));
	pt = &p.pt;
	for (;;) {
		result = select_scan(slots, count, out, pt);
		pt = NULL;
		if (result == 0 && p.error)
			result = p.error;
		if (result || err == -ETIMEDOUT)
			break;
		if (err) {
			result = -ERESTARTNOHAND;
			break;
		}
		err = poller_sleep(&p, deadline);
	}
	poller_finish(&p);
out:
	select_put(slots, count);
	if (entries != small.entries)
		kfree(entries);
	return result;
}
