/*
 * The scheduler.
 *
 * Each CPU has two lists: threads that still have some of their time slice (active), and those that
 * used it up (expired), in order of arrival.  The next thread is the head of the active list; when
 * that is empty the two change places.  So every pick takes constant time, a thread that sleeps a lot
 * runs soon after it wakes, and none starves.  Nice levels set the length of the slice.  A new thread gets
 * half of what its creator has left: the active list comes to its end however many threads make others.
 *
 * A thread's state is set to a sleeping one by itself, without a lock; every other change is made
 * under the lock of the run queue of thread.cpu.  A CPU that finds nothing to run takes a thread from
 * another queue.
 */
#include "kernel/proc/sched.h"

#include "kernel/errno.h"
#include "kernel/harden/kstack_offset.h"
#include "kernel/harden/ibpb.h"
#include "kernel/lib/print.h"
#include "kernel/proc/itimer.h"
#include "kernel/proc/process.h"

#define TICK	    (10 * NSEC_PER_MSEC)
#define SLICE	    ((int64_t)SCHED_SLICE_NS)
#define WAKE_MARGIN (5 * (int64_t)NSEC_PER_MSEC)  /* slice that a woken thread must be ahead */

struct run_queue run_queues[MAX_CPUS];
uint64_t cpus_online;

static uint64_t idle_cpus; /* atomic: CPUs that wait for an interrupt */

static struct run_queue *
this_rq(void)
{
	return &run_queues[arch_cpu_number()];
}

static int64_t
slice_of(const struct thread *t)
{
	/* nice -20: 60 ms, 0: 30 ms, 19: 1.5 ms */
	return SLICE * (20 - t->nice) / 20;
}

/* ---- Queues ---- */

/* True if t has some of its slice left: it is on the active list. */
static bool
enqueue(struct run_queue *rq, struct thread *t)
{
	bool active = t->slice > 0;

	assert(spin_held(&rq->lock));
	if (!active)
		t->slice = slice_of(t);
	list_push_back(&rq->queues[active ? rq->active : !rq->active], &t->run_link);
	t->cpu = (int)(rq - run_queues);
	t->on_rq = true;
	rq->nr_ready++;
	return active;
}

static void
dequeue(struct run_queue *rq, struct thread *t)
{
	list_remove(&t->run_link);
	t->on_rq = false;
	rq->nr_ready--;
}

/* The next thread that may run on cpu; almost always the head of a list. */
static struct thread *
pick(struct run_queue *rq, unsigned cpu)
{
	for (unsigned tries = 0; tries < 2; tries++) {
		struct thread *t;

		list_for_each(t, &rq->queues[rq->active], run_link) {
			if (t->affinity & BIT(cpu)) {
				dequeue(rq, t);
				return t;
			}
		}
		rq->active = !rq->active;
	}
	return NULL;
}

/* Locks the run queue that t belongs to, which may change until it is locked. */
static struct run_queue *
lock_rq_of(struct thread *t, irqstate_t *s)
{
	for (;;) {
		int cpu = READ_ONCE(t->cpu);
		struct run_queue *rq = &run_queues[cpu];

		*s = spin_lock_irq(&rq->lock);
		if (t->cpu == cpu)
			return rq;
		spin_unlock_irq(&rq->lock, *s);
	}
}

/*
 * t, on no queue, is to go from rq, which is locked, to cpu's: the result, locked instead.  Who changes its
 * affinity looks for it there from then on; until then that may have happened.
 */
static struct run_queue *
move(struct run_queue *rq, struct thread *t, unsigned cpu)
{
	struct run_queue *to = &run_queues[cpu];

	t->cpu = (int)cpu;
	if (to != rq) {
		spin_unlock(&rq->lock);
		spin_lock(&to->lock);
	}
	return to;
}

/* Takes one thread from another CPU's queue for this one.  Interrupts are off, no lock held. */
static struct thread *
steal(unsigned cpu)
{
	for (unsigned i = 1; i < MAX_CPUS; i++) {
		struct run_queue *rq = &run_queues[(cpu + i) % MAX_CPUS];
		struct thread *t;

		if (READ_ONCE(rq->nr_ready) == 0)
			continue;
		spin_lock(&rq->lock);
		t = pick(rq, cpu);
		if (t)
			t->cpu = (int)cpu;
		spin_unlock(&rq->lock);
		if (t)
			return t;
	}
	return NULL;
}

/* ---- Time ---- */

static void
charge(struct thread *t, uint64_t now)
{
	uint64_t ran = now - t->run_since;

	t->run_since = now;
	t->runtime += ran;
	t->slice -= (int64_t)ran;
}

/* From the timer interrupt, every TICK while a thread runs. */
void
sched_tick(bool user)
{
	struct run_queue *rq = this_rq();
	struct thread *t = current;

	if (t == rq->idle)
		return;
	charge(t, clock_monotonic());
	kstack_offset_seed(t);
	if (user) {
		t->user_ticks++;
		rq->user_ticks++;
	} else {
		t->kernel_ticks++;
		rq->kernel_ticks++;
	}
	if (t->process)
		itimer_tick(t, user ? TICK : 0, user ? 0 : TICK);
	if (t->slice <= 0) {
		if (READ_ONCE(rq->nr_ready))
			__atomic_fetch_or(&t->work, WORK_RESCHED, __ATOMIC_RELAXED);
		else
			t->slice = slice_of(t);
	}
	timer_set_tick(clock_monotonic() + TICK);
}

void
sched_times(struct thread *t, uint64_t *utime, uint64_t *stime)
{
	uint64_t total = READ_ONCE(t->runtime), ticks = t->user_ticks + t->kernel_ticks;

	if (t == current)
		total += clock_monotonic() - t->run_since;
	*utime = ticks ? total / ticks * t->user_ticks : total;
	*stime = total - *utime;
}

/* ---- Switching ---- */

/* What is owed after a switch: the thread before is off this CPU now. */
static void
settle(struct thread *prev)
{
	__atomic_store_n(&prev->on_cpu, false, __ATOMIC_RELEASE);
}

/* First C that a new thread runs; arch code calls it with the thread that ran before. */
void
sched_thread_begin(struct thread *prev)
{
	settle(prev);
	arch_irq_enable();
}

/* Puts the thread that leaves the CPU back on a queue if it can still run. */
static void
put_back(struct run_queue *rq, struct thread *prev, unsigned cpu)
{
	if (prev->state != THREAD_RUNNABLE) {
		prev->nvcsw++;
		return;
	}
	prev->nivcsw++;
	if (likely(prev->affinity & BIT(cpu))) {
		enqueue(rq, prev);
		return;
	}
	/* Its affinity changed: it goes elsewhere, and waits there until it is off this CPU. */
	do
		rq = move(rq, prev, (unsigned)__builtin_ctzll(prev->affinity & cpus_online));
	while (!(prev->affinity & BIT(rq - run_queues)));
	enqueue(rq, prev);
	spin_unlock(&rq->lock);
	arch_send_reschedule((unsigned)(rq - run_queues));
	spin_lock(&run_queues[cpu].lock);
}

void
schedule(void)
{
	irqstate_t s = arch_irq_save();
	unsigned cpu = arch_cpu_number();
	struct run_queue *rq = &run_queues[cpu];
	struct thread *prev = current, *next;
	uint64_t now = clock_monotonic();

	assert(spin_depth[cpu] == 0);
	spin_lock(&rq->lock);
	__atomic_fetch_and(&prev->work, ~(uint32_t)WORK_RESCHED, __ATOMIC_RELAXED);
	charge(prev, now);
	if (prev != rq->idle)
		put_back(rq, prev, cpu);
	else
		rq->idle_ns += now - MIN(now, rq->idle_since);
	/* From here on a wake-up of prev must queue it: it is no longer "on its way to sleep". */
	rq->running = rq->idle;
	next = pick(rq, cpu);
	if (!next) {
		spin_unlock(&rq->lock);
		next = steal(cpu);
		spin_lock(&rq->lock);
		/* A wake-up may have come meanwhile: then the stolen thread waits its turn. */
		if (!next)
			next = pick(rq, cpu);
		if (!next)
			next = rq->idle;
	}
	/*
	 * Another CPU may not have saved next's registers yet.  Only the idle thread, for which nobody
	 * waits, waits for that: two CPUs that each wanted the other's thread would wait for ever.
	 */
	if (unlikely(next->on_cpu && next != prev && prev != rq->idle)) {
		enqueue(rq, next);
		next = rq->idle;
	}
	if (next == rq->idle)
		rq->idle_since = now;
	else
		timer_set_tick(now + TICK);
	rq->running = next;
	spin_unlock(&rq->lock);
	if (next != prev) {
		rq->switches++;
		while (__atomic_load_n(&next->on_cpu, __ATOMIC_ACQUIRE))
			arch_relax();
		next->on_cpu = true;
		next->run_since = now;
		ibpb_switch(prev, next);
		settle(arch_switch(prev, next));
	} else {
		/* arch_switch's part in sched_kick: `running` before the look at work. */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	}
	arch_irq_restore(s);
}

void
sched_yield(void)
{
	if (READ_ONCE(this_rq()->nr_ready) == 0)
		return;
	current->slice = 0;
	schedule();
}

void
cond_resched(void)
{
	if (unlikely(READ_ONCE(current->work) & WORK_RESCHED))
		schedule();
}

noreturn void
sched_exit(void)
{
	arch_irq_disable();
	current->state = THREAD_DEAD;
	schedule();
	panic("a dead thread ran");
}

void
sched_wait_off_cpu(struct thread *t)
{
	while (__atomic_load_n(&t->on_cpu, __ATOMIC_ACQUIRE))
		arch_relax();
}

/* ---- Waking ---- */

/* Where a thread that becomes ready should run: where it was, unless another CPU idles. */
static unsigned
choose_cpu(const struct thread *t)
{
	uint64_t allowed = t->affinity & __atomic_load_n(&cpus_online, __ATOMIC_RELAXED);
	uint64_t idle = allowed & __atomic_load_n(&idle_cpus, __ATOMIC_RELAXED);
	unsigned last = (unsigned)t->cpu;

	if (idle) {
		unsigned cpu = idle & BIT(last) ? last : (unsigned)__builtin_ctzll(idle);

		/* Taken: the next thread that wakes goes to another one. */
		__atomic_fetch_and(&idle_cpus, ~BIT(cpu), __ATOMIC_RELAXED);
		return cpu;
	}
	return allowed & BIT(last) ? last : (unsigned)__builtin_ctzll(allowed);
}

/* Queues t, and makes rq's CPU look if t should run before what runs there. */
static void
enqueue_woken(struct run_queue *rq, struct thread *t)
{
	bool active = enqueue(rq, t);
	struct thread *running = rq->running;
	unsigned cpu = (unsigned)(rq - run_queues);

	if (running != rq->idle && (!active || t->slice - running->slice < WAKE_MARGIN))
		return;
	__atomic_fetch_or(&running->work, WORK_RESCHED, __ATOMIC_RELAXED);
	if (cpu != arch_cpu_number())
		arch_send_reschedule(cpu);
}

/* Queues t, which is ready and on no queue, where it may run.  rq is its own, locked; the result is. */
static struct run_queue *
make_ready(struct run_queue *rq, struct thread *t)
{
	do
		rq = move(rq, t, choose_cpu(t));
	while (!(t->affinity & BIT(rq - run_queues)));
	enqueue_woken(rq, t);
	return rq;
}

void
sched_start(struct thread *t)
{
	struct thread *me = current;
	irqstate_t s;
	struct run_queue *rq = lock_rq_of(t, &s); /* and no tick takes of the slice meanwhile */

	t->slice = MAX(me->slice, 0) / 2;
	me->slice -= t->slice;
	t->state = THREAD_RUNNABLE;
	rq = make_ready(rq, t);
	spin_unlock_irq(&rq->lock, s);
}

bool
sched_wake(struct thread *t, unsigned states)
{
	irqstate_t s;
	struct run_queue *rq = lock_rq_of(t, &s);

	if (!(states & BIT(__atomic_load_n(&t->state, __ATOMIC_SEQ_CST)))) {
		spin_unlock_irq(&rq->lock, s);
		return false;
	}
	t->state = THREAD_RUNNABLE;
	if (rq->running == t) { /* still on its way to sleep: schedule() will see the new state */
		spin_unlock_irq(&rq->lock, s);
		return true;
	}
	/* RUNNABLE, on no queue, not running: only the waker that set that state is here. */
	rq = make_ready(rq, t);
	spin_unlock_irq(&rq->lock, s);
	return true;
}

void
sched_kick(struct thread *t)
{
	unsigned cpu;

	/* The caller's work bit before the look at who runs; arch_switch has the other half. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	cpu = (unsigned)READ_ONCE(t->cpu);
	if (cpu != arch_cpu_number() && READ_ONCE(run_queues[cpu].running) == t)
		arch_send_reschedule(cpu);
}

int
sched_set_affinity(struct thread *t, uint64_t mask)
{
	irqstate_t s;
	struct run_queue *rq;

	mask &= cpus_online;
	if (!mask)
		return -EINVAL;
	rq = lock_rq_of(t, &s);
	t->affinity = mask;
	if (mask & BIT(rq - run_queues)) {
		spin_unlock_irq(&rq->lock, s);
	} else if (t->on_rq) {
		dequeue(rq, t);
		rq = make_ready(rq, t);
		spin_unlock_irq(&rq->lock, s);
	} else { /* running: it leaves when it next schedules; sleeping: choose_cpu sees the mask */
		__atomic_fetch_or(&t->work, WORK_RESCHED, __ATOMIC_RELAXED);
		spin_unlock_irq(&rq->lock, s);
		sched_kick(t);
	}
	return 0;
}

void
user_return_work(struct trapframe *tf)
{
	uint32_t work = __atomic_load_n(&current->work, __ATOMIC_ACQUIRE);

	if (work & WORK_RESCHED)
		schedule();
	if (work & WORK_SIGNAL)
		signal_deliver(tf);
}

/* ---- Load average (as Linux reports it: fixed point with 11 fractional bits, every 5 s) ---- */

static struct spinlock load_lock;
static uint64_t load[3];	/* [load_lock] */
static uint64_t load_updated; /* [load_lock] ns */

void
sched_loadavg(uint64_t out[3], unsigned *running)
{
	static const uint64_t decay[3] = {1884, 2014, 2037}; /* 2048 / exp(5 s / 1, 5, 15 min) */
	unsigned n = 0;
	irqstate_t s;

	for (unsigned i = 0; i < MAX_CPUS; i++) {
		const struct run_queue *rq = &run_queues[i];

		n += READ_ONCE(rq->nr_ready) + (rq->running && rq->running != rq->idle);
	}
	s = spin_lock_irq(&load_lock);
	for (; clock_monotonic() - load_updated >= 5 * NSEC_PER_SEC;
	     load_updated += 5 * NSEC_PER_SEC) {
		for (unsigned i = 0; i < 3; i++)
			load[i] = (load[i] * decay[i] + n * 2048ul * (2048 - decay[i])) / 2048;
	}
	for (unsigned i = 0; i < 3; i++)
		out[i] = load[i];
	spin_unlock_irq(&load_lock, s);
	*running = n;
}

/* ---- Idle ---- */

noreturn void
sched_idle(void)
{
	struct run_queue *rq = this_rq();
	uint64_t me = BIT(arch_cpu_number());

	for (;;) {
		arch_irq_disable();
		__atomic_fetch_or(&idle_cpus, me, __ATOMIC_SEQ_CST);
		if (READ_ONCE(rq->nr_ready) == 0)
			arch_wait_for_interrupt();
		arch_irq_disable();
		__atomic_fetch_and(&idle_cpus, ~me, __ATOMIC_SEQ_CST);
		schedule();
	}
}

static void
idle_main(void *arg unused)
{
	sched_idle();
}

void
sched_init(unsigned ncpus)
{
	for (unsigned i = 0; i < MAX_CPUS; i++) {
		struct run_queue *rq = &run_queues[i];
		char name[THREAD_NAME_LEN];

		list_init(&rq->queues[0]);
		list_init(&rq->queues[1]);
		if (i >= ncpus)
			continue;
		snprintf(name, sizeof(name), "idle/%u", i);
		if (thread_create(name, idle_main, NULL, &rq->idle))
			panic("sched: no memory for CPU %u's idle thread", i);
		rq->idle->cpu = (int)i;
		rq->idle->on_cpu = i != 0;
		rq->idle->state = THREAD_RUNNABLE;
		rq->running = rq->idle;
	}
	cpus_online = BIT(0);
}

noreturn void
sched_enter(void)
{
	struct thread *idle = this_rq()->idle;

	arch_irq_disable();
	idle->on_cpu = true;
	arch_switch(current, idle);
	panic("the boot context ran again");
}
