/*
 * stack-guard
 *
 * Threat:    Deep recursion runs off the end of a kernel stack into whatever lies below.
 * Property:  The page below each stack is not mapped; running into it ends the thread, by name.
 * Mechanism: One page and a stack, one page and a stack: the page is mapped with the rest and taken
 *            away again.  A bitmap says which are in use; what was mapped once stays mapped.  The
 *            emergency stacks lie apart, at an address that follows from the CPU's number.
 * Limit:     A frame larger than the page; memory of stacks is never given back.
 * Check:     grade; attack stack-guard.
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

#define STACKS	       8192u
#define PITCH	       (KSTACK_SIZE + PAGE_SIZE)
#define EMERGENCY_BASE (kstack_area_base + KSTACK_AREA_SIZE / 2)
#define EMERGENCY_SIZE (4 * PAGE_SIZE)

static struct spinlock lock;
static uint64_t in_use[STACKS / 64], mapped[STACKS / 64]; /* [lock] a bit a stack */
static struct thread *owners[STACKS];			  /* for the report */

static uint64_t
guard_of(uint32_t n)
{
	return kstack_area_base + n * PITCH;
}

static uint32_t
number_of(uint64_t addr)
{
	return (uint32_t)((addr - kstack_area_base) / PITCH);
}

static pte_t
take_away(void *arg, uint64_t va unused, pte_t old)
{
	*(paddr_t *)arg = pte_paddr(old);
	return pte_none();
}

/* Caller holds lock. */
static int
map(uint64_t start, uint64_t end)
{
	for (uint64_t va = start; va < end; va += PAGE_SIZE) {
		struct page *p;
		int err;

		if (pte_present(arch_pt_get(&kernel_pt, va)))
			continue;
		err = page_alloc(PAGE_KERNEL, &p);
		if (err)
			return err;
		err = arch_pt_map(&kernel_pt, va,
				  pte_make(page_paddr(p), PROT_READ | PROT_WRITE));
		if (err) {
			page_put(p);
			return err;
		}
	}
	return 0;
}

static void
unmap_guard(uint64_t guard)
{
	paddr_t frame = PADDR(0);

	arch_pt_update(&kernel_pt, guard, guard + PAGE_SIZE, take_away, &frame);
	arch_tlb_flush(&kernel_pt, guard, guard + PAGE_SIZE);
	if (frame.v)
		page_put(page_of(frame));
}

int
kstack_alloc(void **out)
{
	bool new = false;
	uint32_t n = 0;
	int err = -EAGAIN;

	spin_lock(&lock);
	for (uint32_t w = 0; w < STACKS / 64; w++) {
		if (!~in_use[w])
			continue;
		n = w * 64 + (uint32_t)__builtin_ctzll(~in_use[w]);
		new = !(mapped[w] & BIT(n % 64));
		err = new ? map(guard_of(n), guard_of(n) + PITCH) : 0;
		if (!err) {
			in_use[w] |= BIT(n % 64);
			mapped[w] |= BIT(n % 64);
			owners[n] = NULL;
		}
		break;
	}
	spin_unlock(&lock);
	if (err)
		return err;
	if (new)
		unmap_guard(guard_of(n));
	*out = (void *)(guard_of(n) + PAGE_SIZE);
	return 0;
}

void
kstack_free(void *stack)
{
	uint32_t n = number_of((uint64_t)stack);

	spin_lock(&lock);
	in_use[n / 64] &= ~BIT(n % 64);
	spin_unlock(&lock);
}

int
emergency_stack(unsigned cpu, uint64_t *top)
{
	uint64_t base = EMERGENCY_BASE + cpu * 2 * EMERGENCY_SIZE + EMERGENCY_SIZE;
	int err;

	spin_lock(&lock);
	err = map(base, base + EMERGENCY_SIZE);
	spin_unlock(&lock);
	*top = base + EMERGENCY_SIZE;
	return err;
}

void
stack_guard_name(void *stack, struct thread *t)
{
	owners[number_of((uint64_t)stack)] = t;
}

bool
stack_guard_hit(uint64_t addr)
{
	uint32_t n;

	if (addr < kstack_area_base || addr >= guard_of(STACKS))
		return false;
	n = number_of(addr);
	return addr < guard_of(n) + PAGE_SIZE && in_use[n / 64] & BIT(n % 64);
}

noreturn void
stack_guard_report(const struct trapframe *tf, uint64_t addr)
{
	const struct thread *t = owners[number_of(addr)];

	oops(tf, "stack-guard", "address %016lx is below the stack of %s[%d]", addr,
	     t ? t->name : "nobody", t ? t->tid : 0);
}

static enum harden_state
probe(char *how, size_t size)
{
	unsigned open = 0;

	spin_lock(&lock);
	for (uint32_t n = 0; n < STACKS; n++)
		open += (in_use[n / 64] & BIT(n % 64)) &&
			pte_present(arch_pt_get(&kernel_pt, guard_of(n)));
	spin_unlock(&lock);
	snprintf(how, size, "%u kernel stacks lack their guard page", open);
	return open ? HARDEN_OFF : HARDEN_ON;
}

const struct mitigation stack_guard_row = {
	"stack-guard", "kernel stacks end in unmapped pages", probe};
