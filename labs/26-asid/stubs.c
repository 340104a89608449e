/* The starter's code: it works, and an address space may find what another one left.  Sections as cut names them. */

/* ==== arch/aarch64/asid.c ==== */
/*
 * Address-space identifiers.
 *
 * Each address space has a number, and by it two identifiers: the even one in the kernel, the odd one in
 * user mode (row kpti), so that no entry of the kernel's is of use there.
 *
 * To do: numbers are handed out in order, 127 of them, and then again from the first.  Who has one when it comes
 * again, and what do the TLBs still hold under it?
 */

#include "kernel/harden/harden.h"
#include "kernel/lib/spinlock.h"
#include "kernel/mm/page.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/thread.h"
#include "cpu.h"

#define LAST 127

static struct spinlock lock; /* interrupts off */
static uint64_t next = 1;    /* [lock] number to hand out; 0 is the kernel's */

uint64_t
asid_number(const struct arch_pt *pt)
{
	return __atomic_load_n(&pt->asid, __ATOMIC_RELAXED) * 2;
}

/*
 * To do: ID_AA64MMFR0_EL1.ASIDBits says how many bits the machine looks at, 8 or 16 (ID_FIELD, Arm ARM D17.2); the lowest
 * one says whose of the pair an identifier is.  How many numbers are that?
 */
void
asid_init(void)
{
}

/*
 * pt is about to be loaded on this CPU, and no other is while this runs here.
 *
 * To do: does the number that pt has still mean pt, on this CPU and on every other, and nobody else?  If it gets
 * another: what may be in this CPU's TLB under that one?  And under which number do CPUs go on that run pt now?
 */
uint64_t
asid_activate(struct arch_pt *pt)
{
	unsigned cpu = arch_cpu_number();

	spin_lock(&lock);
	if (!pt->asid) {
		__atomic_store_n(&pt->asid, next, __ATOMIC_RELAXED);
		next = next == LAST ? 1 : next + 1;
	}
	spin_unlock(&lock);
	__atomic_fetch_or(&pt->cpus, BIT(cpu), __ATOMIC_RELAXED);
	/* A flush that does not see number and bit has written its entries before this CPU walks. */
	a64_dsb(ish);
	return asid_number(pt);
}

/* ---- Row asid: are old entries forgotten when numbers come again? ---- */

bool
arch_asid_supported(void)
{
	return true;
}

void
arch_asid_enable(void)
{
}

/*
 * The next address space that needs a number gets one that others have had: /proc/harden looks at what it finds then.
 *
 * To do: the same with your numbers.
 */
void
arch_asid_use_up(void)
{
	spin_lock(&lock);
	next = 1;
	spin_unlock(&lock);
}
