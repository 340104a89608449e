/*
 * seccomp
 *
 * Threat:    A program that handles hostile input is taken over, and asks the kernel for what it never
 *            needed: opens a file, starts a shell.
 * Property:  What a thread has given up of the system calls it never gets back: not by fork, clone or
 *            exec, not in another thread, not by another number for the same call.
 * Mechanism: A bit per call for the process, and per thread Linux's strict mode or a stack of checked
 *            BPF programs, the severest of whose answers counts.  A confined thread has the
 *            syscall_limit 0, so that each of its calls fails the one comparison that every call makes,
 *            and comes here.
 * Limit:     Numbers and registers are judged, not what pointers point to; the calls that are left may
 *            do harm enough.  Strict mode leaves the time-stamp counter readable.  harden=-seccomp
 *            accepts filters and does not enforce them.
 * Check:     grade/tests/test_seccomp.py: a confined thread never reaches the call's function; filters
 *            lie in memory that no user reaches.  Attacks seccomp and seccomp-mask.
 */
#include "kernel/harden/seccomp.h"

#include "arch/arch.h"
#include "kernel/errno.h"
#include "kernel/harden/bpf.h"
#include "kernel/harden/refcount.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/proc/process.h"
#include "syscall_nr.h"

#define STACK_MAX 32768u /* instructions of all filters of a thread, as on Linux */
#define FILTER_COST 4u	 /* what each counts beside its own */
#define SYS_SECCOMP 1	 /* si_code of SIGSYS */

_Static_assert(SYS_LIMIT <= SYSCALL_MASK_WORDS * 64, "the mask has a bit for every call");

/* One program.  Threads share it; each filter holds a reference on the one before. */
struct seccomp_filter {
	struct refcount refs;
	bool log; /* whatever it does not simply allow is reported */
	unsigned n;
	uint64_t stamp; /* [process_lock] see diverged */
	struct seccomp_filter *older;
	struct bpf_insn code[];
};

/* ---- Enforcing ------------------------------------------------------------------------------- */

/* From now on each call of t comes to seccomp_permits. */
static void
enforce(struct thread *t)
{
	if (harden_wanted(HARDEN_SECCOMP))
		WRITE_ONCE(t->syscall_limit, 0);
}

static bool
mask_allows(const struct syscall_mask *m, uint32_t nr)
{
	if (!m->set)
		return true;
	if (nr >= SYSCALL_MASK_WORDS * 64)
		return false;
	return !(READ_ONCE(m->denied[nr / 64]) & BIT(nr % 64));
}

static bool
strict_allows(uint32_t nr)
{
	return nr == SYS_read || nr == SYS_write || nr == SYS_exit || nr == SYS_rt_sigreturn;
}

/* The severer an action, the smaller it is as a signed number. */
static int32_t
severity(uint32_t answer)
{
	return (int32_t)(answer & SECCOMP_RET_ACTION);
}

/* Asks every filter.  The severest answer, the newest of equals, and which filter gave it. */
static uint32_t
ask_filters(const struct seccomp_filter *newest, const struct seccomp_data *d,
	    const struct seccomp_filter **match)
{
	uint32_t answer = SECCOMP_RET_ALLOW;

	for (const struct seccomp_filter *f = newest; f; f = f->older) {
		uint32_t one = bpf_run(f->code, d);

		if (severity(one) < severity(answer)) {
			answer = one;
			*match = f;
		}
	}
	return answer;
}

static void
report(const struct trapframe *tf, uint32_t nr, const char *what)
{
	harden_report("seccomp", "%s[%d] at %016lx made system call %u: %s", current->name,
		      current->tid, tf_ip(tf), nr, what);
}

static noreturn void
kill_process(struct trapframe *tf, uint32_t nr, const char *why)
{
	report(tf, nr, why);
	process_exit(SIGSYS);
}

static noreturn void
kill_thread(struct trapframe *tf, uint32_t nr, int signo)
{
	report(tf, nr, "its thread is killed");
	if (READ_ONCE(current->process->live) == 1)
		process_exit(signo);
	thread_exit(signo);
}

/* SIGSYS, with the registers as they were: a handler may do the call's work in its place. */
static void
trap(struct trapframe *tf, uint32_t nr, uint32_t data)
{
	struct siginfo info = {.signo = SIGSYS, .err = (int)data, .code = SYS_SECCOMP};

	info.sys.call_addr = tf_ip(tf);
	info.sys.nr = (int32_t)nr;
	info.sys.arch = ARCH_AUDIT;
	tf_forget_syscall(tf);
	signal_force(&info);
}

/* Does what the filters said of a call.  True: the call goes on. */
static bool
act(struct trapframe *tf, uint32_t nr, uint32_t answer, bool log)
{
	uint32_t data = answer & SECCOMP_RET_DATA;

	switch (answer & SECCOMP_RET_ACTION) {
	case SECCOMP_RET_ALLOW:
		return true;
	case SECCOMP_RET_LOG:
		report(tf, nr, "logged");
		return true;
	case SECCOMP_RET_KILL_THREAD:
		kill_thread(tf, nr, SIGSYS);
	case SECCOMP_RET_TRAP:
		trap(tf, nr, data);
		break;
	case SECCOMP_RET_ERRNO:
		tf_set_result(tf, -(long)MIN(data, 4095u));
		break;
	case SECCOMP_RET_TRACE:	     /* to a tracer that does not exist */
	case SECCOMP_RET_USER_NOTIF: /* nor does the listener */
		tf_set_result(tf, -ENOSYS);
		break;
	default: /* kills, as what nobody knows does */
		kill_process(tf, nr, "its process is killed");
	}
	if (log)
		report(tf, nr, "refused");
	return false;
}

static bool
filters_permit(struct trapframe *tf, uint32_t nr)
{
	struct seccomp_data d = {.nr = (int32_t)nr,
				 .arch = ARCH_AUDIT,
				 .instruction_pointer = tf_ip(tf)};
	const struct seccomp_filter *match = NULL;
	uint32_t answer;

	for (unsigned i = 0; i < ARRAY_LEN(d.args); i++)
		d.args[i] = tf_arg(tf, i);
	answer = ask_filters(__atomic_load_n(&current->seccomp.newest, __ATOMIC_ACQUIRE), &d, &match);
	return act(tf, nr, answer, match && match->log);
}

bool
seccomp_permits(struct trapframe *tf, uint32_t nr)
{
	struct thread *t = current;

	if (t->syscall_limit) /* not confined: there is no such call */
		return true;
	if (!mask_allows(&t->process->syscall_mask, nr))
		kill_process(tf, nr, "not in the process's mask");
	switch (__atomic_load_n(&t->seccomp.mode, __ATOMIC_ACQUIRE)) {
	case SECCOMP_MODE_STRICT:
		if (!strict_allows(nr))
			kill_thread(tf, nr, SIGKILL);
		return true;
	case SECCOMP_MODE_FILTER:
		return filters_permit(tf, nr);
	default:
		return true;
	}
}

/* ---- Confining ------------------------------------------------------------------------------- */

static void
filter_put(struct seccomp_filter *f)
{
	while (f && refcount_put(&f->refs)) {
		struct seccomp_filter *older = f->older;

		kfree(f);
		f = older;
	}
}

bool
seccomp_may_confine(void)
{
	return current->process->no_new_privs || capable();
}

void
seccomp_mask(const uint64_t allowed[SYSCALL_MASK_WORDS])
{
	struct process *p = current->process;
	irqstate_t s = spin_lock_irq(&process_lock);
	struct thread *t;

	for (unsigned i = 0; i < SYSCALL_MASK_WORDS; i++)
		p->syscall_mask.denied[i] |= ~allowed[i];
	p->syscall_mask.set = true;
	list_for_each(t, &p->threads, siblings)
		enforce(t);
	spin_unlock_irq(&process_lock, s);
}

int
seccomp_strict(void)
{
	struct thread *t = current;
	irqstate_t s = spin_lock_irq(&process_lock);
	int err = t->seccomp.mode == SECCOMP_MODE_FILTER ? -EINVAL : 0;

	if (!err) {
		t->seccomp.mode = SECCOMP_MODE_STRICT;
		enforce(t);
	}
	spin_unlock_irq(&process_lock, s);
	return err;
}

/*
 * The tid of a thread of the process that the current one's filters cannot be given to, or 0: its newest
 * filter is none of the current one's.  Those are stamped first, for there may be many of them and of the
 * threads.
 */
static int
diverged(struct process *p)
{
	static uint64_t stamp; /* [process_lock] */
	struct thread *t;

	stamp++;
	for (struct seccomp_filter *f = current->seccomp.newest; f; f = f->older)
		f->stamp = stamp;
	list_for_each(t, &p->threads, siblings) {
		if (t == current || t->seccomp.mode == SECCOMP_MODE_DISABLED)
			continue;
		if (t->seccomp.mode != SECCOMP_MODE_FILTER || t->seccomp.newest->stamp != stamp)
			return t->tid;
	}
	return 0;
}

/* -ENOMEM if n more instructions are more than one thread may have. */
static int
check_total(const struct seccomp *s, unsigned n)
{
	unsigned total = n;

	for (const struct seccomp_filter *f = s->newest; f; f = f->older)
		total += f->n + FILTER_COST;
	return total > STACK_MAX ? -ENOMEM : 0;
}

/* Puts f on top of t's filters; its reference is t's from now on. */
static void
push_filter(struct thread *t, struct seccomp_filter *f)
{
	f->older = t->seccomp.newest;
	t->seccomp.count++;
	__atomic_store_n(&t->seccomp.newest, f, __ATOMIC_RELEASE);
	__atomic_store_n(&t->seccomp.mode, SECCOMP_MODE_FILTER, __ATOMIC_RELEASE);
	enforce(t);
}

/* Gives the current thread's filters to every other one.  Those that they had are among them. */
static void
synchronise(struct process *p)
{
	struct seccomp *mine = &current->seccomp;
	struct thread *t;

	list_for_each(t, &p->threads, siblings) {
		struct seccomp_filter *old = t->seccomp.newest;

		if (t == current)
			continue;
		refcount_get(&mine->newest->refs);
		t->seccomp.count = mine->count;
		__atomic_store_n(&t->seccomp.newest, mine->newest, __ATOMIC_RELEASE);
		__atomic_store_n(&t->seccomp.mode, SECCOMP_MODE_FILTER, __ATOMIC_RELEASE);
		enforce(t);
		filter_put(old);
	}
}

static long
attach(struct seccomp_filter *f, uint64_t flags)
{
	struct thread *t = current;
	bool sync = flags & SECCOMP_FILTER_FLAG_TSYNC;
	irqstate_t s = spin_lock_irq(&process_lock);
	long err = t->seccomp.mode == SECCOMP_MODE_STRICT ? -EINVAL : 0;

	if (!err)
		err = check_total(&t->seccomp, f->n);
	if (!err && sync)
		err = diverged(t->process);
	if (err > 0 && (flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH))
		err = -ESRCH;
	if (!err) {
		push_filter(t, f);
		if (sync)
			synchronise(t->process);
	}
	spin_unlock_irq(&process_lock, s);
	return err;
}

/* A checked copy of the program: nobody can change it between the check and its use. */
static int
filter_create(const struct bpf_insn *code, unsigned n, bool log, struct seccomp_filter **out)
{
	struct seccomp_filter *f = kmalloc(sizeof(*f) + n * sizeof(*code));
	int err;

	if (!f)
		return -ENOMEM;
	refcount_init(&f->refs);
	f->log = log;
	f->n = n;
	f->stamp = 0;
	f->older = NULL;
	memcpy(f->code, code, n * sizeof(*code));
	err = bpf_check(f->code, n);
	if (err)
		kfree(f);
	else
		*out = f;
	return err;
}

long
seccomp_filter(const struct bpf_insn *code, unsigned n, uint64_t flags)
{
	struct seccomp_filter *f;
	long err = filter_create(code, n, flags & SECCOMP_FILTER_FLAG_LOG, &f);

	if (err)
		return err;
	err = attach(f, flags);
	if (err)
		kfree(f);
	return err;
}

/* ---- Inheriting ------------------------------------------------------------------------------ */

void
seccomp_inherit(struct process *p, struct thread *t)
{
	struct thread *me = current;

	assert(spin_held(&process_lock));
	t->seccomp = me->seccomp;
	t->syscall_limit = me->syscall_limit;
	if (t->seccomp.newest)
		refcount_get(&t->seccomp.newest->refs);
	if (p == me->process)
		return;
	p->syscall_mask = me->process->syscall_mask;
	/* Filters that came meanwhile came with it. */
	p->no_new_privs |= me->process->no_new_privs;
}

void
seccomp_release(struct thread *t)
{
	filter_put(t->seccomp.newest);
	t->seccomp.newest = NULL;
}

/* ---- The row --------------------------------------------------------------------------------- */

#define PROBE_NR 7

/* Lets PROBE_NR pass, by way of a scratch word, and nothing else. */
static const struct bpf_insn probe_code[] = {
	{BPF_LD_ABS, 0, 0, offsetof(struct seccomp_data, nr)},
	{BPF_ST, 0, 0, 3},
	{BPF_LDX_MEM, 0, 0, 3},
	{BPF_LD_IMM, 0, 0, PROBE_NR},
	{BPF_JEQ_X, 0, 1, 0},
	{BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW},
	{BPF_RET_K, 0, 0, SECCOMP_RET_KILL_PROCESS},
};

/* Does the checker take the program, and none of those that lack its end or its store? */
static bool
checker_works(void)
{
	const unsigned n = ARRAY_LEN(probe_code);

	return bpf_check(probe_code, n) == 0 && bpf_check(probe_code, n - 3) == -EINVAL &&
	       bpf_check(probe_code + 2, n - 2) == -EINVAL;
}

/* Confines a thread that never runs, and asks what its calls would meet. */
static bool
filter_works(struct thread *t, bool *enforced)
{
	struct seccomp_data d = {.nr = PROBE_NR, .arch = ARCH_AUDIT};
	const struct seccomp_filter *match = NULL;
	struct seccomp_filter *f;
	bool right;

	if (filter_create(probe_code, ARRAY_LEN(probe_code), false, &f))
		return false;
	push_filter(t, f);
	*enforced = t->syscall_limit == 0;
	right = ask_filters(t->seccomp.newest, &d, &match) == SECCOMP_RET_ALLOW;
	d.nr++;
	return right &&
	       ask_filters(t->seccomp.newest, &d, &match) == SECCOMP_RET_KILL_PROCESS &&
	       match == f;
}

static bool
mask_works(void)
{
	struct syscall_mask m = {.set = true};

	m.denied[PROBE_NR / 64] = BIT(PROBE_NR);
	return !mask_allows(&m, PROBE_NR) && mask_allows(&m, PROBE_NR + 1) &&
	       !mask_allows(&m, SYSCALL_MASK_WORDS * 64 + PROBE_NR);
}

static enum harden_state
probe(char *how, size_t size)
{
	struct thread *t = kzalloc(sizeof(*t));
	bool checker, filter, mask, enforced = false;

	if (!t) {
		snprintf(how, size, "no memory to look");
		return HARDEN_OFF;
	}
	t->syscall_limit = SYS_LIMIT;
	checker = checker_works();
	filter = filter_works(t, &enforced);
	mask = mask_works();
	seccomp_release(t);
	kfree(t);
	snprintf(how, size, "tried: checker %s, filter %s, mask %s, a confined thread's calls %s",
		 checker ? "right" : "WRONG", filter ? "right" : "WRONG", mask ? "right" : "WRONG",
		 enforced ? "come to them" : "pass them by");
	return checker && filter && mask && enforced ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation seccomp_row = {
	"seccomp", "a program never regains the system calls that it gave up", probe};
