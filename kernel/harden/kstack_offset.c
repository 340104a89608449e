/*
 * kstack-offset
 *
 * Threat:    A kernel function uses a local that it never set (CWE-457).  What lies there is what an earlier
 *            system call left, at the same place each time: the attacker has it left a value of his choice.
 * Property:  Each system call's frames begin at one of 32 places, drawn anew for each: two in a row meet with
 *            a chance of 1 in 32.
 * Mechanism: syscall_dispatch lowers the stack first.  Each thread's draws begin with a number of the random
 *            generator's, with another at every tick of the timer, and the cycle counter goes into each.
 * Limit:     5 bits are soon guessed by who may try often, or who fills 512 bytes with his value; a generator
 *            this quick is no cipher, and who sees many places learns the next until the tick.  Frames keep
 *            their distances from one another.  Traps and interrupts begin where they always do.
 * Check:     grade/tests/test_kstack_offset.py takes down where calls begin; attack kstack-offset.
 */
#include "kernel/harden/kstack_offset.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"
#include "kernel/sys/syscall.h"
#include "syscall_nr.h"

#define SAMPLES 64
/* Of 64 fair draws from 32 fewer than 16 differ once in 10^13. */
#define ENOUGH 16

uint64_t kstack_offset_mask ro_after_init;

void
kstack_offset_init(void)
{
	if (harden_wanted(HARDEN_KSTACK_OFFSET))
		kstack_offset_mask = (KSTACK_OFFSET_PLACES - 1) * KSTACK_OFFSET_STEP;
}

void
kstack_offset_seed(struct thread *t)
{
	t->stack_draw ^= random_u64();
}

/* As a system call of the probe's own: tells where its frame is. */
static noinline long
tell_frame(struct thread *t unused)
{
	return (long)arch_frame_pointer();
}

/* Makes system calls, by the one way into them, and counts the places at which they began. */
static enum harden_state
probe(char *how, size_t size)
{
	long (*kept)(struct thread *) = current->restart_fn;
	struct trapframe tf = {0};
	uint64_t first = 0, seen = 0;
	unsigned places = 0;

	for (unsigned i = 0; i < SAMPLES; i++) {
		uint64_t at, place;

		current->restart_fn = tell_frame;
		tf_set_syscall(&tf, SYS_restart_syscall);
		syscall_dispatch(&tf);
		at = (uint64_t)tf_result(&tf) / KSTACK_OFFSET_STEP;
		if (i == 0)
			first = at;
		place = (at - first) % 64; /* at most 31 above or below */
		places += !(seen & BIT(place));
		seen |= BIT(place);
	}
	current->restart_fn = kept;
	snprintf(how, size, "%u system calls began at %u places", SAMPLES, places);
	return places >= ENOUGH ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation kstack_offset_row = {
	"kstack-offset", "each system call's stack begins elsewhere", probe};
