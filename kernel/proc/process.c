/* The process table: numbers, lookup, process groups, sessions, and a process's life as an
 * object. */
#include "kernel/proc/process.h"

#include "kernel/errno.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/sched.h"

struct spinlock process_lock = SPINLOCK_INIT;
struct list process_all = LIST_INIT(process_all);
struct process *init_process;
unsigned thread_total;
unsigned threads_created;
unsigned thread_limit ro_after_init;

const struct cred root_cred;

static struct slab_cache *process_cache ro_after_init;
static struct slab_cache *sighand_cache ro_after_init;

/* What one number is used for; free when it is used for nothing.  [process_lock] */
struct pid_slot {
	struct thread *thread;
	struct process *process; /* until it is reaped */
	struct list group;	 /* process.group_link */
	unsigned session;	 /* processes in the session of this number */
};

/* The table grows by chunks and never shrinks. */
#define CHUNK 64
static struct pid_slot *chunks[PID_MAX / CHUNK];
static int last_pid;

/* After a wrap low numbers are left to the system's first processes, as Linux does. */
#define PID_RESERVED 300

static struct pid_slot *
slot_find(int id)
{
	struct pid_slot *c;

	if (id <= 0 || id >= PID_MAX)
		return NULL;
	c = chunks[id / CHUNK];
	return c ? &c[id % CHUNK] : NULL;
}

static bool
slot_used(const struct pid_slot *s)
{
	return s->thread || s->process || s->session || !list_empty(&s->group);
}

int
pid_alloc(void)
{
	int id = last_pid;

	for (int tries = 0; tries < PID_MAX; tries++) {
		struct pid_slot *c;

		if (++id >= PID_MAX)
			id = PID_RESERVED;
		c = chunks[id / CHUNK];
		if (!c) {
			c = kzalloc(CHUNK * sizeof(*c));
			if (!c)
				return -EAGAIN;
			for (int i = 0; i < CHUNK; i++)
				list_init(&c[i].group);
			chunks[id / CHUNK] = c;
		}
		if (!slot_used(&c[id % CHUNK])) {
			last_pid = id;
			return id;
		}
	}
	return -EAGAIN;
}

void
pid_set_thread(int id, struct thread *t)
{
	slot_find(id)->thread = t;
}

void
pid_set_process(int id, struct process *p)
{
	slot_find(id)->process = p;
}

void
process_set_group(struct process *p, int pgid)
{
	list_remove(&p->group_link);
	p->pgid = pgid;
	if (pgid)
		list_push_back(&slot_find(pgid)->group, &p->group_link);
}

void
process_set_session(struct process *p, int sid)
{
	if (p->sid)
		slot_find(p->sid)->session--;
	p->sid = sid;
	if (sid)
		slot_find(sid)->session++;
}

struct thread *
thread_find(int tid)
{
	struct pid_slot *s = slot_find(tid);

	assert(spin_held(&process_lock));
	return s ? s->thread : NULL;
}

struct process *
process_find_locked(int pid)
{
	struct pid_slot *s = slot_find(pid);

	assert(spin_held(&process_lock));
	return s ? s->process : NULL;
}

struct process *
process_find(int pid)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	struct process *p = process_find_locked(pid);

	if (p)
		refcount_get(&p->refs);
	spin_unlock_irq(&process_lock, s);
	return p;
}

struct list *
process_group(int pgid)
{
	struct pid_slot *s = slot_find(pgid);

	assert(spin_held(&process_lock));
	return s && !list_empty(&s->group) ? &s->group : NULL;
}

bool
process_group_orphaned(int pgid)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	bool orphaned = signal_group_orphaned(pgid, NULL);

	spin_unlock_irq(&process_lock, s);
	return orphaned;
}

unsigned
process_count_user(uint32_t uid)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	struct process *p;
	unsigned n = 0;

	list_for_each (p, &process_all, all)
		if (p->cred.uid == uid)
			n += p->state == PROCESS_ALIVE ? p->nthreads : 1;
	spin_unlock_irq(&process_lock, s);
	return n;
}

int
sighand_create(const struct sighand *from, struct sighand **out)
{
	struct sighand *h = slab_alloc(sighand_cache);

	if (!h)
		return -ENOMEM;
	refcount_init(&h->refs);
	spin_init(&h->lock);
	if (from)
		memcpy(h->action, from->action, sizeof(h->action));
	else
		memset(h->action, 0, sizeof(h->action));
	*out = h;
	return 0;
}

void
sighand_put(struct sighand *h)
{
	if (refcount_put(&h->refs))
		slab_free(sighand_cache, h);
}

int
process_alloc(struct process **out)
{
	struct process *p = slab_alloc(process_cache);

	if (!p)
		return -ENOMEM;
	memset(p, 0, sizeof(*p));
	refcount_init(&p->refs);
	list_init(&p->all);
	list_init(&p->threads);
	list_init(&p->children);
	list_init(&p->sibling);
	list_init(&p->group_link);
	sigqueue_init(&p->pending, &p->signals_queued);
	wait_queue_init(&p->child_wait);
	spin_init(&p->lock);
	*out = p;
	return 0;
}

void
process_put(struct process *p)
{
	if (!refcount_put(&p->refs))
		return;
	if (p->sighand)
		sighand_put(p->sighand);
	kfree(p->timers);
	slab_free(process_cache, p);
}

bool
cred_in_group(const struct cred *c, uint32_t gid)
{
	if (gid == c->fsgid)
		return true;
	for (unsigned i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return false;
}

int
process_link(struct process *p, struct thread *t)
{
	int id = pid_alloc();

	assert(spin_held(&process_lock));
	if (id < 0)
		return id;
	t->tid = id;
	if (!p->pid) {
		p->pid = id;
		pid_set_process(id, p);
		list_push_back(&process_all, &p->all);
		if (p->parent) {
			p->ppid = p->parent->pid;
			list_push_back(&p->parent->children, &p->sibling);
		}
	}
	pid_set_thread(id, t);
	spin_lock(&p->sighand->lock);
	list_push_back(&p->threads, &t->siblings);
	p->nthreads++;
	spin_unlock(&p->sighand->lock);
	__atomic_fetch_add(&p->live, 1, __ATOMIC_RELAXED);
	refcount_get(&p->refs); /* given back when t is freed */
	__atomic_fetch_add(&thread_total, 1, __ATOMIC_RELAXED);
	threads_created++;
	return 0;
}

void
process_times(struct process *p, uint64_t *utime, uint64_t *stime)
{
	struct thread *t;

	*utime = p->dead_utime;
	*stime = p->dead_stime;
	list_for_each (t, &p->threads, siblings) {
		uint64_t user, system;

		sched_times(t, &user, &system);
		*utime += user;
		*stime += system;
	}
}

/* A thread costs at least its kernel stack: at most an eighth of memory goes into those. */
#define STACK_SHARE 8

void
process_init(void)
{
	uint64_t most = page_total() * PAGE_SIZE / (KSTACK_SIZE * STACK_SHARE);

	thread_limit = (unsigned)MIN(MAX(most, 64ul), (uint64_t)PID_MAX - PID_RESERVED - 1);
	process_cache = slab_create_usercopy("process", sizeof(struct process), 64,
					     offsetof(struct process, cred.groups),
					     sizeof(((struct process *)0)->cred.groups));
	sighand_cache = slab_create("sighand", sizeof(struct sighand), 64);
}
