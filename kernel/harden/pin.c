/*
 * pin
 *
 * Threat:    A hijacked code pointer leads to the function that writes a control register, with a value that
 *            lacks a hardening bit; what the bit forbade comes next.
 * Property:  The bits that harden stay as start-up left them, on every CPU.
 * Mechanism: One writer for each register (arch/NAME/pin.S) reads back what it wrote, changes back what is pinned,
 *            and has the process ended.  Start-up's code, which writes without a check, is not executable any more.
 * Limit:     Bits that keep a CPU running (paging, caches); registers of other kinds (EFER, SPEC_CTRL); an
 *            interrupt between a write and its check finds the bit gone.  aarch64: WXN of CPUs that run an exempt
 *            program; PSTATE.PAN until the next exception.
 * Check:     grade/tests/test_pin.py reads the registers while programs attack, and jumps straight to the writes;
 *            attack pin.
 */
#include "kernel/harden/pin.h"

#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/oops.h"
#include "kernel/proc/call.h"
#include "kernel/proc/sched.h"

static bool silent[MAX_CPUS]; /* [this CPU, interrupts off] what is undone is nobody's attack */

void
pin_init(void)
{
	if (harden_wanted(HARDEN_PIN))
		arch_pin_registers();
}

/*
 * An oops, and not a report alone: the kernel never asks for this, so whoever did has its program counter, and
 * perhaps its stack.  To return would be to go where he sends us.
 */
void
pin_undone(const char *reg, uint64_t bits)
{
	if (silent[arch_cpu_number()])
		return;
	oops(NULL, "pin", "bits %#lx of %s were changed, and are changed back", bits, reg);
}

void
pin_restore(void)
{
	unsigned cpu = arch_cpu_number();

	silent[cpu] = true;
	arch_pin_restore();
	silent[cpu] = false;
}

/* ---- The probe: an attack of our own ---- */

static void
try_this_cpu(void *arg)
{
	uint64_t *on = arg; /* atomic: CPUs on which every bit stayed */
	unsigned cpu = arch_cpu_number(), tried = 0, held = 0;

	silent[cpu] = true;
	arch_pin_probe(&tried, &held);
	silent[cpu] = false;
	if (tried && held == tried)
		__atomic_fetch_or(on, BIT(cpu), __ATOMIC_RELAXED);
}

static enum harden_state
probe(char *how, size_t size)
{
	uint64_t on = 0;

	run_on_all_cpus(try_this_cpu, &on);
	snprintf(how, size, "a change of each hardening bit of %s was undone on CPUs %#lx of %#lx",
		 ARCH_NAME_PINNED, on, cpus_online);
	return on == cpus_online ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation pin_row = {"pin", "no write to a control register takes a defence off", probe};
