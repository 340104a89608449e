/*
 * stack-guard
 *
 * Threat:    Deep recursion, or a large frame, runs off the end of a kernel stack and silently
 *            overwrites whatever lies below: another thread's stack, with its return addresses.
 * Property:  Every kernel stack has unmapped pages below it.  Running into them ends the thread with a
 *            report that names it; the kernel lives on, and never triple-faults.
 * Mechanism: Stacks of 32 KiB in slots of 64 KiB; the lower half of a slot is never mapped.  The push
 *            that hits it faults, the fault cannot be pushed either, and the processor turns to the
 *            emergency stack (arch/).  No frame is larger than the gap (-Wframe-larger-than).
 * Limit:     A write that jumps over the whole gap; overflows inside the stack (see canary).
 * Check:     grade/tests/test_harden.py walks the tables below every thread's stack; attack stack-guard.
 */
#include "kernel/harden/stack_guard.h"

#include "arch/pte.h"
#include "kernel/errno.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/spinlock.h"
#include "kernel/mm/page.h"
#include "kernel/oops.h"
#include "kernel/proc/thread.h"

#define SLOTS	     16384u
#define STACK_PAGES  (KSTACK_SIZE / PAGE_SIZE)
#define GUARDED_SLOT (2ul * KSTACK_SIZE)
#define CACHED_MAX   64u /* free stacks that stay mapped */
#define NO_SLOT	     UINT32_MAX

struct slot {
	struct thread *owner; /* [lock] for the report; NULL: an emergency stack */
	uint32_t next;	      /* [lock] on one of the two lists */
	bool used;	      /* [lock] */
};

static struct spinlock lock;
static struct slot slots[SLOTS];
static uint32_t fresh;		     /* [lock] slots from here on were never used */
static uint32_t mapped = NO_SLOT;    /* [lock] list: free, with frames */
static uint32_t nmapped;	     /* [lock] */
static uint32_t unmapped = NO_SLOT;  /* [lock] list: free, without frames */

/* Distance between stacks: without the guard they touch. */
static uint64_t
stride(void)
{
	return harden_wanted(HARDEN_STACK_GUARD) ? GUARDED_SLOT : KSTACK_SIZE;
}

/* The stack fills the upper end of its slot; what is below it there is the guard. */
static uint64_t
stack_base(uint32_t slot)
{
	return kstack_area_base + (slot + 1) * stride() - KSTACK_SIZE;
}

static uint32_t
slot_of(uint64_t addr)
{
	return (uint32_t)((addr - kstack_area_base) / stride());
}

static uint32_t
pop(uint32_t *list)
{
	uint32_t slot = *list;

	if (slot != NO_SLOT)
		*list = slots[slot].next;
	return slot;
}

static void
push(uint32_t *list, uint32_t slot)
{
	slots[slot].next = *list;
	*list = slot;
}

static pte_t
take_frame(void *arg, uint64_t va, pte_t old)
{
	paddr_t *frames = arg;

	frames[va / PAGE_SIZE % STACK_PAGES] = pte_paddr(old);
	return pte_none();
}

/* Takes the frames of a stack away; not with a spin lock held. */
static void
unmap_stack(uint64_t base)
{
	paddr_t frames[STACK_PAGES] = {0};

	arch_pt_update(&kernel_pt, base, base + KSTACK_SIZE, take_frame, frames);
	arch_tlb_flush(&kernel_pt, base, base + KSTACK_SIZE);
	for (unsigned i = 0; i < STACK_PAGES; i++) {
		if (frames[i].v)
			page_put(page_of(frames[i]));
	}
}

/* Caller holds lock: kernel_pt's tables change. */
static int
map_stack(uint64_t base)
{
	for (uint64_t va = base; va < base + KSTACK_SIZE; va += PAGE_SIZE) {
		struct page *p;
		int err = page_alloc(PAGE_KERNEL, &p);

		if (!err) {
			err = arch_pt_map(&kernel_pt, va,
					  pte_make(page_paddr(p), PROT_READ | PROT_WRITE));
			if (err)
				page_put(p);
		}
		if (err)
			return err;
	}
	return 0;
}

int
kstack_alloc(void **out)
{
	uint32_t slot;
	int err = 0;

	spin_lock(&lock);
	slot = pop(&mapped);
	if (slot != NO_SLOT) {
		nmapped--;
	} else {
		slot = pop(&unmapped);
		if (slot == NO_SLOT && fresh < SLOTS)
			slot = fresh++;
		err = slot == NO_SLOT ? -EAGAIN : map_stack(stack_base(slot));
	}
	if (!err) {
		slots[slot].used = true;
		slots[slot].owner = NULL;
		*out = (void *)stack_base(slot);
	}
	spin_unlock(&lock);

	if (err && slot != NO_SLOT) {
		unmap_stack(stack_base(slot));
		spin_lock(&lock);
		push(&unmapped, slot);
		spin_unlock(&lock);
	}
	return err;
}

void
kstack_free(void *stack)
{
	uint32_t slot = slot_of((uint64_t)stack);
	bool keep;

	spin_lock(&lock);
	assert(slots[slot].used);
	slots[slot].used = false;
	slots[slot].owner = NULL;
	keep = nmapped < CACHED_MAX;
	if (keep) {
		push(&mapped, slot);
		nmapped++;
	}
	spin_unlock(&lock);

	if (!keep) {
		unmap_stack((uint64_t)stack);
		spin_lock(&lock);
		push(&unmapped, slot);
		spin_unlock(&lock);
	}
}

void
stack_guard_name(void *stack, struct thread *t)
{
	slots[slot_of((uint64_t)stack)].owner = t;
}

bool
stack_guard_hit(uint64_t addr)
{
	uint32_t slot;

	if (addr < kstack_area_base || addr >= kstack_area_base + SLOTS * stride())
		return false;
	slot = slot_of(addr);
	return slots[slot].used && addr < stack_base(slot);
}

noreturn void
stack_guard_report(const struct trapframe *tf, uint64_t addr)
{
	const struct slot *s = &slots[slot_of(addr)];

	if (!s->owner)
		oops(tf, "stack-guard", "an emergency stack overflowed at %016lx", addr);
	oops(tf, "stack-guard", "the kernel stack of thread %d \"%s\" overflowed at %016lx",
	     s->owner->tid, s->owner->name, addr);
}

/* Looks below every stack that is in use. */
static enum harden_state
probe(char *how, size_t size)
{
	unsigned stacks = 0, guarded = 0;

	spin_lock(&lock);
	for (uint32_t slot = 0; slot < fresh; slot++) {
		if (!slots[slot].used)
			continue;
		stacks++;
		guarded += !pte_present(arch_pt_get(&kernel_pt, stack_base(slot) - PAGE_SIZE));
	}
	spin_unlock(&lock);
	snprintf(how, size, "%u of %u kernel stacks have an unmapped page below", guarded, stacks);
	return guarded == stacks ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation stack_guard_row = {
	"stack-guard", "kernel stacks end in unmapped pages", probe};
