/* Limits, usage and priorities. */
#include "kernel/errno.h"
#include "kernel/lib/string.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/sys/rusage.h"
#include "kernel/sys/syscalls.h"

#define NOFILE_MAX (1ull << 20) /* as Linux's fs.nr_open */

/* Gets and / or sets a limit of p.  0, -EINVAL, -EPERM. */
static int
limit(struct process *p, unsigned which, const struct rlimit *set, struct rlimit *get)
{
	bool root = capable();
	int err = 0;

	if (which >= RLIM_NLIMITS)
		return -EINVAL;
	if (set && set->cur > set->max)
		return -EINVAL;
	if (set && which == RLIMIT_NOFILE && set->max > NOFILE_MAX)
		return -EPERM;
	spin_lock(&p->lock);
	if (get)
		*get = p->rlimit[which];
	if (set && set->max > p->rlimit[which].max && !root)
		err = -EPERM;
	else if (set)
		p->rlimit[which] = *set;
	/* No CPU time at all means the least there is, as with Linux. */
	if (!err && set && which == RLIMIT_CPU && set->cur == 0)
		p->rlimit[which].cur = 1;
	spin_unlock(&p->lock);
	return err;
}

long
sys_getrlimit(struct trapframe *tf)
{
	struct rlimit r;
	int err = limit(current->process, arg_uint(tf, 0), NULL, &r);

	if (err)
		return err;
	return put_user(arg_user(tf, 1), &r);
}

long
sys_setrlimit(struct trapframe *tf)
{
	struct rlimit r;

	if (get_user(&r, arg_user(tf, 1)))
		return -EFAULT;
	return limit(current->process, arg_uint(tf, 0), &r, NULL);
}

/* Another process's limits are its own users' business. */
static bool
may_limit(const struct process *p)
{
	const struct cred *me = cred(), *c = &p->cred;

	if (p == current->process || capable())
		return true;
	return me->uid == c->uid && me->uid == c->euid && me->uid == c->suid && me->gid == c->gid &&
	       me->gid == c->egid && me->gid == c->sgid;
}

long
sys_prlimit64(struct trapframe *tf)
{
	uaddr_t set_addr = arg_user(tf, 2), get_addr = arg_user(tf, 3);
	int pid = arg_int(tf, 0), err;
	struct rlimit set, get = {0};
	struct process *p = NULL;
	struct thread *t;
	irqstate_t s;

	if (set_addr.v && get_user(&set, set_addr))
		return -EFAULT;
	s = spin_lock_irq(&process_lock);
	t = pid ? thread_find(pid) : current;
	if (t) {
		p = t->process;
		refcount_get(&p->refs);
	}
	spin_unlock_irq(&process_lock, s);
	if (!p)
		return -ESRCH;
	err = may_limit(p) ? limit(p, arg_uint(tf, 1), set_addr.v ? &set : NULL, &get) : -EPERM;
	process_put(p);
	if (!err && get_addr.v)
		err = put_user(get_addr, &get);
	return err;
}

#define RUSAGE_SELF	0
#define RUSAGE_CHILDREN (-1)
#define RUSAGE_THREAD	1

/* Faults and switches of a thread, added to r. */
static void
add_counts(struct rusage *r, const struct thread *t)
{
	r->minflt += (int64_t)t->min_flt;
	r->majflt += (int64_t)t->maj_flt;
	r->nvcsw += (int64_t)t->nvcsw;
	r->nivcsw += (int64_t)t->nivcsw;
}

long
sys_getrusage(struct trapframe *tf)
{
	struct process *p = current->process;
	uint64_t utime, stime, rss = MAX(p->maxrss, p->vm->peak_rss);
	int who = arg_int(tf, 0);
	struct rusage r;
	struct thread *t;
	irqstate_t s;

	if (who != RUSAGE_SELF && who != RUSAGE_CHILDREN && who != RUSAGE_THREAD)
		return -EINVAL;
	memset(&r, 0, sizeof(r));
	s = spin_lock_irq(&process_lock);
	switch (who) {
	case RUSAGE_SELF:
		process_times(p, &utime, &stime);
		r.minflt = (int64_t)p->min_flt;
		r.majflt = (int64_t)p->maj_flt;
		r.nvcsw = (int64_t)p->nvcsw;
		r.nivcsw = (int64_t)p->nivcsw;
		list_for_each (t, &p->threads, siblings)
			add_counts(&r, t);
		break;
	case RUSAGE_THREAD:
		sched_times(current, &utime, &stime);
		add_counts(&r, current);
		break;
	default:
		utime = p->child_utime;
		stime = p->child_stime;
		r.minflt = (int64_t)p->child_min_flt;
		r.majflt = (int64_t)p->child_maj_flt;
		rss = p->child_maxrss;
		break;
	}
	spin_unlock_irq(&process_lock, s);
	r.utime = ns_to_timeval(utime);
	r.stime = ns_to_timeval(stime);
	r.maxrss = (int64_t)(rss * (PAGE_SIZE / 1024));
	return put_user(arg_user(tf, 1), &r);
}

#define TICK_NS (NSEC_PER_SEC / 100) /* of times(2): USER_HZ is 100 */

long
sys_times(struct trapframe *tf)
{
	struct process *p = current->process;
	uaddr_t to = arg_user(tf, 0);
	uint64_t utime, stime;
	int64_t tms[4];
	irqstate_t s;

	s = spin_lock_irq(&process_lock);
	process_times(p, &utime, &stime);
	tms[2] = (int64_t)(p->child_utime / TICK_NS);
	tms[3] = (int64_t)(p->child_stime / TICK_NS);
	spin_unlock_irq(&process_lock, s);
	tms[0] = (int64_t)(utime / TICK_NS);
	tms[1] = (int64_t)(stime / TICK_NS);
	if (to.v && put_user(to, &tms))
		return -EFAULT;
	return (long)(clock_monotonic() / TICK_NS);
}

/* ---- Priorities ------------------------------------------------------------------------------ */

#define PRIO_PROCESS 0
#define PRIO_PGRP    1
#define PRIO_USER    2

struct nice_request {
	bool set;
	int nice;
	long result; /* best priority found as 20 - nice, or 0; or -errno */
};

static int
may_set_nice(const struct thread *t, int nice)
{
	const struct cred *me = cred(), *c = &t->process->cred;

	if (capable())
		return 0;
	if (me->euid != c->uid && me->euid != c->euid)
		return -EPERM;
	if (nice < t->nice &&
	    20 - nice > (int64_t)MIN(t->process->rlimit[RLIMIT_NICE].cur, (uint64_t)40))
		return -EACCES;
	return 0;
}

/* Applies the request to one thread.  The result is a success that no later error undoes. */
static void
nice_one(struct nice_request *r, struct thread *t)
{
	if (!r->set) {
		r->result = MAX(r->result, 20l - t->nice);
		return;
	}
	int err = may_set_nice(t, r->nice);

	if (!err)
		t->nice = (int8_t)r->nice;
	if (err || r->result == -ESRCH)
		r->result = err;
}

static void
nice_process(struct nice_request *r, struct process *p)
{
	struct thread *t;

	list_for_each (t, &p->threads, siblings)
		nice_one(r, t);
}

static long
nice_apply(struct nice_request *r, int which, int who)
{
	struct process *p;
	struct thread *t;
	irqstate_t s;
	uint32_t uid = who ? (uint32_t)who : cred()->uid;

	r->result = -ESRCH;
	if (which < PRIO_PROCESS || which > PRIO_USER)
		return -EINVAL;
	s = spin_lock_irq(&process_lock);
	switch (which) {
	case PRIO_PROCESS:
		t = who ? thread_find(who) : current;
		if (t)
			nice_one(r, t);
		break;
	case PRIO_PGRP:
		for_each_in_group (p, who ? who : current->process->pgid)
			nice_process(r, p);
		break;
	default:
		list_for_each (p, &process_all, all)
			if (p->cred.uid == uid)
				nice_process(r, p);
		break;
	}
	spin_unlock_irq(&process_lock, s);
	return r->result;
}

long
sys_getpriority(struct trapframe *tf)
{
	struct nice_request r = {.set = false};

	return nice_apply(&r, arg_int(tf, 0), arg_int(tf, 1));
}

long
sys_setpriority(struct trapframe *tf)
{
	struct nice_request r = {.set = true, .nice = MIN(MAX(arg_int(tf, 2), -20), 19)};

	return nice_apply(&r, arg_int(tf, 0), arg_int(tf, 1));
}
