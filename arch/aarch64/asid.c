/*
 * Address-space identifiers.
 *
 * Each address space has a number, and by it two identifiers: the even one in the kernel, the odd one in
 * user mode (row kpti), so that no entry of the kernel's is of use there.
 *
 * TLB entries of user pages carry the number of the address space that they are of, so that a switch
 * need not forget them.  Numbers are handed out in order, each once in a generation; when they run out
 * a new generation begins, in which every CPU forgets all entries of users before it uses a number of
 * the new one.  An address space that runs on some CPU at that moment keeps its number.
 *
 * arch_pt.asid is the generation (from bit 16 on) and the number.  The same word for each CPU says what
 * it runs under; 0 says that a generation began since it was written.
 */

#include "kernel/harden/harden.h"
#include "kernel/lib/spinlock.h"
#include "kernel/mm/page.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/thread.h"
#include "cpu.h"

#define GENERATION BIT(16)
#define NUMBER(a)  ((a) & (GENERATION - 1))

static struct spinlock lock;		/* interrupts off */
static uint64_t generation = GENERATION; /* atomic; [lock] to change */
static uint64_t next = 1;		/* [lock] number to hand out; 0 is the kernel's */
static uint64_t stale;			/* [lock] CPUs that have not forgotten the old generation */
static struct {
	uint64_t active;   /* atomic */
	uint64_t reserved; /* [lock] what it ran under when the generation began */
} asid_cpus[MAX_CPUS];

uint64_t
asid_number(const struct arch_pt *pt)
{
	return NUMBER(__atomic_load_n(&pt->asid, __ATOMIC_RELAXED)) * 2;
}

static uint64_t asid_limit ro_after_init; /* one more than the last number */

/*
 * ID_AA64MMFR0_EL1.ASIDBits: 16 bits, or 8; the lowest says whose of the pair.  Without the row the
 * numbers of 8 bits do, again and again, and nobody forgets whose they were.
 */
void
asid_init(void)
{
	bool wide = ID_FIELD(id_aa64mmfr0_el1, 4) == 2 && harden_wanted(HARDEN_ASID);

	asid_limit = wide ? BIT(15) : BIT(7);
}

static void
begin_generation(void)
{
	__atomic_store_n(&generation, generation + GENERATION, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < MAX_CPUS; i++) {
		uint64_t active = __atomic_exchange_n(&asid_cpus[i].active, 0, __ATOMIC_RELAXED);

		/* 0: it has not switched since the last time; what it runs under is known. */
		if (active)
			asid_cpus[i].reserved = active;
	}
	stale = UINT64_MAX;
	next = 1;
}

static bool
is_reserved(uint64_t number)
{
	for (unsigned i = 0; i < MAX_CPUS; i++) {
		if (NUMBER(asid_cpus[i].reserved) == number)
			return true;
	}
	return false;
}

/* The same number in the new generation, on every CPU that runs under it.  False: none does. */
static bool
keep(uint64_t old, uint64_t new)
{
	bool found = false;

	for (unsigned i = 0; i < MAX_CPUS; i++) {
		if (asid_cpus[i].reserved == old) {
			asid_cpus[i].reserved = new;
			found = true;
		}
	}
	return found;
}

/* An identifier of the present generation for pt.  Caller holds lock. */
static uint64_t
renew(struct arch_pt *pt)
{
	uint64_t old = pt->asid;

	if (old && keep(old, generation | NUMBER(old)))
		return generation | NUMBER(old);
	for (;;) {
		if (next >= asid_limit && harden_wanted(HARDEN_ASID))
			begin_generation();
		else if (next >= asid_limit)
			next = 1;
		if (!is_reserved(next))
			break;
		next++;
	}
	__atomic_store_n(&pt->cpus, 0, __ATOMIC_RELAXED);
	return generation | next++;
}

static uint64_t
activate_slowly(struct arch_pt *pt, unsigned cpu)
{
	uint64_t asid;

	spin_lock(&lock);
	asid = pt->asid;
	if ((asid ^ generation) >= GENERATION || !asid) {
		asid = renew(pt);
		/* Who finds it finds the mask that goes with it. */
		__atomic_store_n(&pt->asid, asid, __ATOMIC_RELEASE);
	}
	if (stale & BIT(cpu)) {
		stale &= ~BIT(cpu);
		__asm__ volatile("tlbi vmalle1" : : : "memory");
		a64_dsb(nsh);
	}
	__atomic_store_n(&asid_cpus[cpu].active, asid, __ATOMIC_RELAXED);
	spin_unlock(&lock);
	return asid;
}

uint64_t
asid_activate(struct arch_pt *pt)
{
	unsigned cpu = arch_cpu_number();
	uint64_t asid = __atomic_load_n(&pt->asid, __ATOMIC_ACQUIRE);
	uint64_t active = __atomic_load_n(&asid_cpus[cpu].active, __ATOMIC_RELAXED);

	/* A generation that begins meanwhile sets active to 0, and the exchange fails. */
	if (!active || (asid ^ __atomic_load_n(&generation, __ATOMIC_RELAXED)) >= GENERATION || !asid ||
	    !__atomic_compare_exchange_n(&asid_cpus[cpu].active, &active, asid, false, __ATOMIC_RELAXED,
					 __ATOMIC_RELAXED))
		asid = activate_slowly(pt, cpu);
	if (!(__atomic_load_n(&pt->cpus, __ATOMIC_RELAXED) & BIT(cpu))) {
		__atomic_fetch_or(&pt->cpus, BIT(cpu), __ATOMIC_RELAXED);
		/* A flush that does not see number and bit has written its entries before this CPU walks. */
		a64_dsb(ish);
	}
	return NUMBER(asid) * 2;
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

/* All numbers are handed out, and one more. */
void
arch_asid_use_up(void)
{
	struct arch_pt nobody = {.asid = 0};

	a64_dsb(ishst);
	spin_lock(&lock);
	next = asid_limit;
	renew(&nobody);
	spin_unlock(&lock);
}
