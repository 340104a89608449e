/*
 * canary
 *
 * Threat:    A copy that is longer than its buffer runs on over the stack (CWE-121) to a return address.
 * Property:  Between the arrays of a function and its return address lies a value that nobody knows who has
 *            not read that thread's stack.  A function that finds it changed does not return: the thread ends
 *            with a report that names the function.
 * Mechanism: -fstack-protector-strong.  Each thread draws a value of its own when it is made, forked ones
 *            too; compiled code reads it from the per-CPU block, into which each switch copies it (x86_64),
 *            or from the thread itself (aarch64).  Its first byte is 0, so that string functions neither read
 *            past it nor write it; 56 bits are left to guess, and each wrong guess costs a process.
 * Limit:     Whoever reads the stack knows it; writes that jump over it; pointers and arrays of the same
 *            frame.  Functions without arrays or locals whose address is taken have none, nor has assembly.
 * Check:     grade/tests/test_canary.py compares every thread's while programs run, and disassembles every
 *            function that has an array; attack canary.
 */
#include "kernel/harden/canary.h"

#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"
#include "kernel/oops.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"

#define STRING_END 0xfful /* the byte that is lowest in memory */

uint64_t
canary_new(void)
{
	return harden_wanted(HARDEN_CANARY) ? random_u64() & ~STRING_END : 0;
}

no_canary void
canary_start(void)
{
	current->canary = canary_new();
	arch_canary_load(current);
}

/* ---- The probe: a thread that is there to be caught ---- */

static struct mutex probe_lock = MUTEX_INIT(probe_lock);
static struct wait_queue probe_end = WAIT_QUEUE_INIT(probe_end);
static struct thread *victim; /* [probe_lock] */
static bool victim_over, victim_caught; /* [probe_lock] the victim's to set */

static noreturn void
end_victim(void *arg unused)
{
	arch_irq_disable(); /* once it is over, it leaves this CPU for good */
	WRITE_ONCE(victim_over, true);
	wake_all(&probe_end);
	sched_exit();
}

/*
 * Writes behind its array what an attacker knows without a leak: zeros.  Looks for the canary first, for
 * where a compiler puts it is its own business.
 */
static noinline void
overwrite_canary(void)
{
	uint64_t array[4], *word = array;

	__asm__ volatile("" : "+r"(word) : : "memory");
	for (unsigned i = 0; i < 4; i++) {
		if (word[ARRAY_LEN(array) + i] == arch_canary()) {
			((volatile uint64_t *)word)[ARRAY_LEN(array) + i] = 0;
			return;
		}
	}
}

static void
victim_main(void *arg unused)
{
	overwrite_canary();
	end_victim(NULL);
}

/* True if an overwritten canary was found: the code that compares is there, and zeros are no answer. */
static bool
overwriting_is_caught(void)
{
	bool caught;

	mutex_lock(&probe_lock);
	victim_over = victim_caught = false;
	if (thread_create("canary-probe", victim_main, NULL, &victim)) {
		mutex_unlock(&probe_lock);
		return false;
	}
	sched_start(victim);
	wait_event(&probe_end, READ_ONCE(victim_over));
	sched_wait_off_cpu(victim);
	thread_free(victim);
	victim = NULL;
	caught = victim_caught;
	mutex_unlock(&probe_lock);
	return caught;
}

/* On each CPU: compiled code reads the canary of the thread that runs. */
static bool
cpu_has_its_threads(void)
{
	return arch_canary() == current->canary;
}

static bool
always(void)
{
	return true;
}

/* Threads but the current one that have its canary, or none. */
static unsigned
count_shared(unsigned *threads)
{
	unsigned shared = 0;
	struct process *p;
	struct thread *t;
	irqstate_t s = spin_lock_irq(&process_lock);

	*threads = 0;
	list_for_each(p, &process_all, all) {
		list_for_each(t, &p->threads, siblings) {
			++*threads;
			shared += t->canary == 0 || (t != current && t->canary == current->canary);
		}
	}
	spin_unlock_irq(&process_lock, s);
	return shared;
}

static enum harden_state
probe(char *how, size_t size)
{
	bool caught = overwriting_is_caught();
	enum harden_state loaded =
		harden_poll_cpus(always, cpu_has_its_threads, "the thread's canary", how, size);
	unsigned threads, shared = count_shared(&threads);

	snprintf(how, size, "an overwritten one was %s; %u of %u threads have none of their own%s",
		 caught ? "caught" : "not noticed", shared, threads,
		 loaded == HARDEN_ON ? "" : "; a CPU has another thread's");
	return caught && !shared && loaded == HARDEN_ON ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation canary_row = {
	"canary", "a function whose frame was overrun does not return", probe};

/* ---- What compiled code calls ---- */

no_canary noreturn void
__stack_chk_fail(void)
{
	/* The call may be the function's last instruction: what follows it is the next one's. */
	uint64_t ip = (uint64_t)__builtin_return_address(0) - 1, offset;
	const uint64_t *record = (const uint64_t *)arch_frame_pointer();
	const char *name = symbol_name(ip, &offset);
	struct trapframe tf;

	if (current == victim && !current->process) {
		victim_caught = true;
		arch_abandon_stack(end_victim, NULL);
	}
	arch_kernel_frame(&tf, ip, record[0]);
	oops(&tf, "canary", "the stack of %s was overwritten", name ? name : "an unknown function");
}
