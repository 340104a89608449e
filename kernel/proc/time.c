/*
 * Clocks and timers.  Each CPU keeps its armed timers in a pairing heap (Fredman, Sedgewick, Sleator,
 * Tarjan 1986): intrusive, constant-time insertion, nothing to allocate.  Its hardware timer is set
 * for the earlier of the heap's first deadline and the scheduler's tick; without either it is silent.
 */
#include "kernel/proc/time.h"

#include "arch/arch.h"
#include "kernel/lib/print.h"
#include "kernel/lib/spinlock.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/vdso.h"

struct timer_base {
	struct spinlock lock;	/* interrupts off */
	struct timer *first;	/* [lock] root of the heap */
	struct timer *running;	/* [lock] whose fn runs now */
	uint64_t armed;		/* own CPU: what the hardware is set for */
	uint64_t tick;		/* own CPU: when the scheduler wants to be called */
} aligned(64);

static struct timer_base bases[MAX_CPUS];

uint64_t
clock_monotonic(void)
{
	return arch_clock_ns();
}

uint64_t
clock_realtime(void)
{
	return clock_monotonic() + __atomic_load_n(&vdso_page.data.realtime_offset, __ATOMIC_RELAXED);
}

void
clock_realtime_set(uint64_t ns)
{
	__atomic_store_n(&vdso_page.data.realtime_offset, ns - clock_monotonic(), __ATOMIC_RELAXED);
}

void
time_init(void)
{
	for (unsigned i = 0; i < MAX_CPUS; i++)
		bases[i].armed = bases[i].tick = UINT64_MAX;
	clock_realtime_set(arch_rtc_seconds() * NSEC_PER_SEC);
}

struct timespec
ns_to_timespec(uint64_t ns)
{
	return (struct timespec){(int64_t)(ns / NSEC_PER_SEC), (int64_t)(ns % NSEC_PER_SEC)};
}

struct timeval
ns_to_timeval(uint64_t ns)
{
	return (struct timeval){(int64_t)(ns / NSEC_PER_SEC),
				(int64_t)(ns % NSEC_PER_SEC / NSEC_PER_USEC)};
}

bool
timespec_valid(const struct timespec *ts)
{
	return ts->sec >= 0 && ts->nsec >= 0 && ts->nsec < (int64_t)NSEC_PER_SEC;
}

uint64_t
timespec_to_ns(const struct timespec *ts)
{
	uint64_t ns;

	if (__builtin_mul_overflow((uint64_t)ts->sec, NSEC_PER_SEC, &ns) ||
	    __builtin_add_overflow(ns, (uint64_t)ts->nsec, &ns) || ns == UINT64_MAX)
		return UINT64_MAX - 1;
	return ns;
}

/* ---- The heap ---- */

/* Joins two roots: the later one becomes the first child of the earlier one. */
static struct timer *
meld(struct timer *a, struct timer *b)
{
	if (!a)
		return b;
	if (!b)
		return a;
	if (b->deadline < a->deadline) {
		struct timer *t = a;

		a = b;
		b = t;
	}
	b->prev = a;
	b->sibling = a->child;
	if (b->sibling)
		b->sibling->prev = b;
	a->child = b;
	a->sibling = a->prev = NULL;
	return a;
}

/* Joins a list of siblings into one root: in pairs from the left, then from the right. */
static struct timer *
meld_siblings(struct timer *list)
{
	struct timer *pairs = NULL, *root = NULL;

	while (list) {
		struct timer *a = list, *b = a->sibling, *m;

		list = b ? b->sibling : NULL;
		a->sibling = a->prev = NULL;
		if (b)
			b->sibling = b->prev = NULL;
		m = meld(a, b);
		m->sibling = pairs;
		pairs = m;
	}
	while (pairs) {
		struct timer *next = pairs->sibling;

		pairs->sibling = NULL;
		root = meld(root, pairs);
		pairs = next;
	}
	return root;
}

static void
heap_remove(struct timer_base *b, struct timer *t)
{
	struct timer *children = meld_siblings(t->child);

	if (t == b->first) {
		b->first = children;
	} else {
		if (t->prev->child == t)
			t->prev->child = t->sibling;
		else
			t->prev->sibling = t->sibling;
		if (t->sibling)
			t->sibling->prev = t->prev;
		b->first = meld(b->first, children);
	}
	t->child = t->sibling = t->prev = NULL;
	__atomic_store_n(&t->cpu, -1, __ATOMIC_RELEASE);
}

/* ---- Timers ---- */

/* Sets this CPU's hardware if it is set for too late. */
static void
arm(struct timer_base *b, uint64_t ns)
{
	if (ns >= b->armed)
		return;
	b->armed = ns;
	arch_timer_set(ns);
}

void
timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	*t = (struct timer){.fn = fn, .cpu = -1};
}

bool
timer_pending(const struct timer *t)
{
	return READ_ONCE(t->cpu) >= 0;
}

void
timer_start(struct timer *t, uint64_t deadline)
{
	struct timer_base *b;
	irqstate_t s;

	timer_cancel(t);
	s = arch_irq_save();
	b = &bases[arch_cpu_number()];
	spin_lock(&b->lock);
	t->deadline = deadline;
	t->cpu = (int)arch_cpu_number();
	t->child = t->sibling = t->prev = NULL;
	b->first = meld(b->first, t);
	arm(b, b->first->deadline);
	spin_unlock(&b->lock);
	arch_irq_restore(s);
}

bool
timer_cancel(struct timer *t)
{
	bool was_armed = false;
	int cpu = __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE);

	/* It may have begun to run on any CPU, unless that is this one: then it is re-arming itself. */
	if (cpu >= 0) {
		struct timer_base *b = &bases[cpu];
		irqstate_t s = spin_lock_irq(&b->lock);

		if (t->cpu == cpu) {
			heap_remove(b, t);
			was_armed = true;
		}
		spin_unlock_irq(&b->lock, s);
	}
	for (unsigned i = 0; i < MAX_CPUS; i++) {
		while (__atomic_load_n(&bases[i].running, __ATOMIC_ACQUIRE) == t &&
		       i != arch_cpu_number())
			arch_relax();
	}
	return was_armed;
}

void
timer_set_tick(uint64_t ns)
{
	struct timer_base *b = &bases[arch_cpu_number()];

	b->tick = ns;
	arm(b, ns);
}

void
timer_interrupt(bool user)
{
	struct timer_base *b = &bases[arch_cpu_number()];
	uint64_t now = clock_monotonic();

	b->armed = UINT64_MAX;
	spin_lock(&b->lock);
	while (b->first && b->first->deadline <= now) {
		struct timer *t = b->first;

		/* Before t->cpu says that it is not armed: timer_cancel looks there without the lock. */
		b->running = t;
		heap_remove(b, t);
		spin_unlock(&b->lock);
		t->fn(t);
		spin_lock(&b->lock);
		__atomic_store_n(&b->running, NULL, __ATOMIC_RELEASE);
	}
	spin_unlock(&b->lock);
	if (b->tick <= now) {
		b->tick = UINT64_MAX;
		sched_tick(user); /* asks again if a thread runs */
	}
	spin_lock(&b->lock);
	arm(b, MIN(b->first ? b->first->deadline : UINT64_MAX, b->tick));
	spin_unlock(&b->lock);
}
