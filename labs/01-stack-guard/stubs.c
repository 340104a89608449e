/* The starter's code: it works, and guards nothing.  Each section takes the place of what cut names. */

/* ==== kernel/harden/stack_guard.c ==== */

/*
 * stack-guard
 *
 * Threat:    Deep recursion, or a large frame, runs off the end of a kernel stack and silently
 *            overwrites whatever lies below: another thread's stack, with its return addresses.
 * Property:  Below each kernel stack lies memory that is not mapped.  Running into it ends the thread
 *            with a report that names it; the kernel lives on, and never triple-faults.
 * Mechanism: Yours.
 * Limit:     Yours: what does your design still miss?
 * Check:     make grade; user/attack/stack_guard.c.
 */
#include "kernel/harden/stack_guard.h"

#include "kernel/errno.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/spinlock.h"
#include "kernel/mm/page.h"
#include "kernel/oops.h"
#include "kernel/proc/thread.h"

#define STACK_ORDER 3 /* 2^3 frames are KSTACK_SIZE */

struct free_stack {
	struct free_stack *next;
};

static struct spinlock lock;
static struct free_stack *free_stacks; /* [lock] */
static uint8_t *fresh, *fresh_end;     /* [lock] never used yet */

/* Takes as large a block as there is.  Caller holds lock. */
static int
more_stacks(void)
{
	for (unsigned order = PAGE_MAX_ORDER + 1; order-- > STACK_ORDER;) {
		struct page *p;

		if (page_alloc_order(order, PAGE_KERNEL, &p) == 0) {
			for (unsigned i = 1; i < 1u << order; i++)
				p[i].type = PAGE_KERNEL; /* row usercopy asks of each frame */
			fresh = page_addr(p);
			fresh_end = fresh + (PAGE_SIZE << order);
			return 0;
		}
	}
	return -ENOMEM;
}

/*
 * Stacks come out of large blocks of the direct map, one right above the other: what runs off the
 * lower end of one is in the next.
 *
 * To do: give stacks a place where the memory below each is not mapped, whoever they belong to, on
 * whichever CPU they were made, and however often they are used again.  arch/arch.h has what changes
 * the kernel's tables (kernel_pt); kstack_area_base begins a part of the address space that is free
 * for this.  kstack_free must give everything back, or keep it for the next thread.
 */
int
kstack_alloc(void **out)
{
	int err = 0;

	spin_lock(&lock);
	if (free_stacks) {
		*out = free_stacks;
		free_stacks = free_stacks->next;
	} else {
		if (fresh == fresh_end)
			err = more_stacks();
		if (!err) {
			*out = fresh;
			fresh += KSTACK_SIZE;
		}
	}
	spin_unlock(&lock);
	return err;
}

void
kstack_free(void *stack)
{
	struct free_stack *s = stack;

	spin_lock(&lock);
	s->next = free_stacks;
	free_stacks = s;
	spin_unlock(&lock);
}

/* To do: remember it, for the report.  thread_create calls this for each new thread. */
void
stack_guard_name(void *stack unused, struct thread *t unused)
{
}

/* To do: nothing is guarded yet, so no address is in a guard. */
bool
stack_guard_hit(uint64_t addr unused)
{
	return false;
}

/*
 * To do: one line that says "stack-guard", the number and the name of the thread whose stack it was,
 * and the address in hexadecimal, 16 digits; oops() in kernel/oops.h does the rest.
 */
noreturn void
stack_guard_report(const struct trapframe *tf, uint64_t addr)
{
	oops(tf, NULL, "page fault at %016lx", addr);
}

/* To do: look at the tables, below every stack that is in use. */
static enum harden_state
probe(char *how, size_t size)
{
	snprintf(how, size, "kernel stacks lie side by side");
	return HARDEN_OFF;
}

const struct mitigation stack_guard_row = {
	"stack-guard", "kernel stacks end in unmapped pages", probe};

/* ==== arch/x86_64/trap.c ==== */

/*
 * Which vectors get a stack of their own: the number of an entry in the TSS, or 0 to stay on the
 * stack that is in use (SDM 3A 6.14.5).  The TSS names short stacks in struct entry_data; from there
 * x86_paranoid moves on to emergency_sp[number - 1].
 *
 * To do: when a stack overflows, the processor cannot push the page fault's frame on it.  What does
 * it raise then, and where shall it push that?
 */
static uint8_t
ist_of(unsigned vector)
{
	switch (vector) {
	case VEC_NMI:
		return IST_NMI;
	case VEC_MC:
		return IST_MC;
	case VEC_DB:
		return IST_DB;
	default:
		return 0;
	}
}

/*
 * The stacks of NMI, #MC and #DB, which need the allocator.  Called once for each CPU, by the first
 * one, before the others start.
 *
 * To do: the emergency stack is missing (IST_DF).  Can CPUs share one?
 */
void
x86_cpu_stacks(struct cpu *c)
{
	for (unsigned ist = IST_NMI; ist <= IST_COUNT; ist++) {
		void *stack;

		if (kstack_alloc(&stack))
			panic("trap: no memory for CPU %u's emergency stacks", c->number);
		c->emergency_sp[ist - 1] = (uint64_t)stack + KSTACK_SIZE;
	}
	if (c == this_cpu()) {
		for (unsigned i = 0; i < ARRAY_LEN(idt); i++)
			idt[i].ist = ist_of(i);
	}
}

/*
 * To do: was it an overflow?  Then whose?  Where is the address that the stack ran into, and what
 * may you not do here, on a stack that all double faults of this CPU share?
 */
noreturn void
x86_double_fault(struct trapframe *tf)
{
	oops(tf, NULL, "double fault");
}

/* ==== arch/aarch64/trap.c ==== */

/*
 * To do: this CPU's emergency stack, c->overflow_sp.  It is the stack that the machine started on, until
 * you say otherwise (a64_percpu_init).  Can CPUs share one?
 */
void
a64_cpu_stacks(struct cpu *c unused)
{
}

/*
 * From entry.S, interrupts off.
 *
 * To do: was it an overflow?  Then whose, and where did it run into the guard: is that what FAR says, or
 * what SP says?  What may you not do here, on a stack that all overflows of this CPU share?
 */
noreturn void
a64_overflow(struct trapframe *tf)
{
	oops(tf, NULL, "the stack pointer %016lx is on no kernel stack", tf->sp);
}
