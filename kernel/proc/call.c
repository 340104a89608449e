/*
 * Calls between processors: a function that a set of CPUs runs while the sender waits.  One is under way
 * at a time; whoever waits to send one serves what is sent to it meanwhile, so two senders cannot
 * deadlock.
 */
#include "kernel/proc/call.h"

#include "arch/arch.h"
#include "kernel/proc/sched.h"

static struct {
	uint32_t busy; /* atomic: a call is being made */
	void (*fn)(void *arg);
	void *arg;
	uint64_t pending; /* atomic: CPUs that have not run it yet */
} call;

void
serve_call(void)
{
	uint64_t me = BIT(arch_cpu_number());

	/* Acquire: fn and arg are those that were written before pending. */
	if (!(__atomic_load_n(&call.pending, __ATOMIC_ACQUIRE) & me))
		return;
	call.fn(call.arg);
	__atomic_fetch_and(&call.pending, ~me, __ATOMIC_RELEASE);
}

void
run_on_cpus(uint64_t mask, void (*fn)(void *arg), void *arg)
{
	uint64_t me = BIT(arch_cpu_number()), others = mask & ~me;

	if (others) {
		while (__atomic_exchange_n(&call.busy, 1, __ATOMIC_ACQUIRE)) {
			irqstate_t s = arch_irq_save();

			serve_call();
			arch_irq_restore(s);
			arch_relax();
		}
		call.fn = fn;
		call.arg = arg;
		__atomic_store_n(&call.pending, others, __ATOMIC_RELEASE);
		for (uint64_t left = others; left; left &= left - 1)
			arch_send_call((unsigned)__builtin_ctzll(left));
	}
	if (mask & me) {
		irqstate_t s = arch_irq_save();

		fn(arg);
		arch_irq_restore(s);
	}
	if (others) {
		while (__atomic_load_n(&call.pending, __ATOMIC_ACQUIRE))
			arch_relax();
		__atomic_store_n(&call.busy, 0, __ATOMIC_RELEASE);
	}
}

void
run_on_all_cpus(void (*fn)(void *arg), void *arg)
{
	run_on_cpus(__atomic_load_n(&cpus_online, __ATOMIC_ACQUIRE), fn, arg);
}
