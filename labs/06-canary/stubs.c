/* The starter's code: it works, and everybody knows every canary.  Sections as cut names them. */

/* ==== kernel/harden/canary.c ==== */

/*
 * canary
 *
 * Threat:    A copy that is longer than its buffer runs on over the stack (CWE-121) to a return address.
 * Property:  A function whose frame was overrun does not return, unless the attacker has read that thread's
 *            stack; the thread ends with a report that names the function.
 * Mechanism: Yours, around what -fstack-protector-strong compiles into each function that has an array.
 * Limit:     Yours: which writes to a stack does a canary not see?
 * Check:     make grade; user/attack/canary.c.
 */
#include "kernel/harden/canary.h"

#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/oops.h"

/*
 * To do: whose value, from where, and is any of its bytes special?  With harden=-canary (harden_wanted,
 * HARDEN_CANARY) it stays 0.  Nobody asks yet.
 */
uint64_t
canary_new(void)
{
	return 0;
}

/*
 * To do: kernel_main calls it first of all.  What runs until the first idle thread does, and with what does it
 * compare?  Mind how a function ends that changes its own canary.
 */
void
canary_start(void)
{
}

/* To do: what can be seen by overwriting one, and what of each CPU?  See other rows' probes. */
static enum harden_state
probe(char *how, size_t size)
{
	snprintf(how, size, "compiled code compares with a value that everybody knows");
	return HARDEN_OFF;
}

const struct mitigation canary_row = {
	"canary", "a function whose frame was overrun does not return", probe};

/*
 * Compiled code calls it where a function finds its canary changed, and has nothing behind the call.
 *
 * To do: whoever overruns a frame stops the machine for all.  oops (kernel/oops.h) ends one process; it wants
 * to know which row has stopped what, and where.
 */
no_canary noreturn void
__stack_chk_fail(void)
{
	panic("a stack was overwritten");
}

/* ==== kernel/proc/thread.c ==== */

/* To do: t is a new thread, a forked one, too.  With which canary does it run? */
int
thread_create(const char *name, void (*fn)(void *arg), void *arg, struct thread **out)
{
	struct thread *t = kzalloc(sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	err = kstack_alloc(&t->kstack);
	if (err) {
		kfree(t);
		return err;
	}
	kstack_offset_seed(t);
	strlcpy(t->name, name, sizeof(t->name));
	list_init(&t->siblings);
	list_init(&t->run_link);
	t->state = THREAD_UNINTERRUPTIBLE;
	t->affinity = UINT64_MAX;
	t->syscall_limit = SYS_LIMIT;
	t->cpu = (int)arch_cpu_number();
	t->slice = 1; /* a new thread begins on the active list, with little */
	arch_thread_init(t, fn, arg);
	stack_guard_name(t->kstack, t);
	*out = t;
	return 0;
}

/* ==== arch/x86_64/cpu.c ==== */

/*
 * From the first instruction of C on, per-CPU data is reachable.
 *
 * To do: with which canary does this CPU begin?
 */
no_canary void
x86_percpu_init(struct cpu *c)
{
	c->self = c;
	c->number = (uint32_t)(c - cpus);
	if (!c->thread)
		c->thread = &boot_thread;
	x86_entry_init(c);
	x86_wrmsr(MSR_GS_BASE, (uint64_t)c);
	x86_wrmsr(MSR_KERNEL_GS_BASE, 0);
}

/* To do: from here on another thread's frames are in use.  Where does compiled code look for its canary? */
no_canary struct thread *
arch_switch(struct thread *prev, struct thread *next)
{
	struct cpu *c = this_cpu();

	fpu_leave(prev);
	if (next->arch.fpu) {
		fpu_enter(next);
		clear_selectors();
		load_tls(next);
	}
	/* A thread without an address space runs on the one that is there. */
	if (next->vm)
		arch_pt_activate(&next->vm->pt);
	c->thread = next;
	c->kernel_sp = (uint64_t)next->kstack + KSTACK_SIZE;
	return x86_switch_stack(prev, next);
}
