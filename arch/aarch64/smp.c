/*
 * The other processors: bring-up by PSCI (Arm DEN 0022), and requests between CPUs.
 *
 * A request is a function that a set of CPUs runs while the sender waits.  One is under way at a
 * time; whoever waits to send one serves what is sent to it meanwhile, so two senders cannot deadlock.
 * Never send with a spin lock held: its next taker may wait for it with interrupts off.
 */
#include "kernel/lib/print.h"
#include "kernel/mm/page.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/time.h"
#include "a64.h"

#define PSCI_CPU_ON 0xc4000003

struct a64_bringup a64_bringup;

static struct {
	uint32_t busy; /* atomic: a request is being made */
	void (*fn)(void *arg);
	void *arg;
	uint64_t pending; /* atomic: CPUs that have not run it yet */
} request;

uint64_t
a64_cpus_online(void)
{
	return __atomic_load_n(&cpus_online, __ATOMIC_ACQUIRE);
}

/* Serves the request that waits for this CPU, if there is one. */
static void
serve(void)
{
	uint64_t me = BIT(arch_cpu_number());

	/* Acquire: fn and arg are those that were written before pending. */
	if (!(__atomic_load_n(&request.pending, __ATOMIC_ACQUIRE) & me))
		return;
	request.fn(request.arg);
	__atomic_fetch_and(&request.pending, ~me, __ATOMIC_RELEASE);
}

void
a64_ipi_handler(void)
{
	serve();
}

void
a64_run_on_cpus(uint64_t mask, void (*fn)(void *arg), void *arg)
{
	uint64_t me = BIT(arch_cpu_number()), others = mask & ~me;

	if (others) {
		while (__atomic_exchange_n(&request.busy, 1, __ATOMIC_ACQUIRE)) {
			irqstate_t s = arch_irq_save();

			serve();
			arch_irq_restore(s);
			arch_relax();
		}
		request.fn = fn;
		request.arg = arg;
		__atomic_store_n(&request.pending, others, __ATOMIC_RELEASE);
		for (uint64_t left = others; left; left &= left - 1)
			a64_ipi((unsigned)__builtin_ctzll(left), SGI_CALL);
	}
	if (mask & me) {
		irqstate_t s = arch_irq_save();

		fn(arg);
		arch_irq_restore(s);
	}
	if (others) {
		while (__atomic_load_n(&request.pending, __ATOMIC_ACQUIRE))
			arch_relax();
		__atomic_store_n(&request.busy, 0, __ATOMIC_RELEASE);
	}
}

void
arch_call_all(void (*fn)(void *arg), void *arg)
{
	a64_run_on_cpus(a64_cpus_online(), fn, arg);
}

void
arch_send_reschedule(unsigned cpu)
{
	a64_ipi(cpu, SGI_RESCHEDULE);
}

/* A CPU that spins with interrupts masked does not stop: there is no NMI here. */
void
arch_stop_others(void)
{
	static uint32_t stopping;
	uint64_t others = a64_cpus_online() & ~BIT(arch_cpu_number());

	if (__atomic_exchange_n(&stopping, 1, __ATOMIC_ACQ_REL))
		return;
	for (; others; others &= others - 1)
		a64_ipi((unsigned)__builtin_ctzll(others), SGI_STOP);
}

/* First C of a secondary processor, on its idle thread's stack. */
no_canary noreturn void
a64_secondary(struct cpu *c)
{
	a64_percpu_init(c);
	arch_pt_activate(&kernel_pt); /* leaves the bring-up tables */
	__asm__ volatile("tlbi vmalle1" : : : "memory");
	a64_dsb(nsh);
	a64_isb();
	a64_cpu_init(c);
	a64_gic_cpu_init();
	a64_timer_cpu_init();
	cpu_main();
}

/* Cleans what the other CPU reads with its caches off: to memory. */
static void
clean_to_memory(const void *p)
{
	__asm__ volatile("dc civac, %0" : : "r"(p) : "memory");
}

static bool
start_cpu(unsigned i)
{
	struct cpu *c = &cpus[i];
	struct thread *idle = run_queues[i].idle;
	uint64_t entry = a64_image_phys(secondary_start), deadline;

	c->mpidr = firmware_info.mpidr[i];
	c->number = i;
	c->thread = idle;
	c->kernel_sp = (uint64_t)idle->kstack + KSTACK_SIZE;
	a64_cpu_stacks(c);
	a64_dsb(ishst); /* all of that before the CPU that reads it runs */
	if (a64_psci(PSCI_CPU_ON, c->mpidr, entry, (uint64_t)c) != 0)
		return false;
	deadline = arch_clock_ns() + 1000 * NSEC_PER_MSEC;
	while (!(a64_cpus_online() & BIT(i))) {
		if (arch_clock_ns() > deadline)
			return false;
		arch_relax();
	}
	return true;
}

void
arch_start_cpus(void)
{
	if (firmware_info.ncpus < 2)
		return;
	a64_bringup.low_root = a64_bringup_begin().v;
	a64_bringup.high_root = kernel_pt.root.v;
	a64_bringup.offset = (uint64_t)__image_start - a64_image_phys(__image_start);
	clean_to_memory(&a64_bringup.low_root);
	clean_to_memory(&a64_bringup.high_root);
	clean_to_memory(&a64_bringup.offset);
	a64_dsb(sy);
	for (unsigned i = 1; i < firmware_info.ncpus; i++) {
		if (!start_cpu(i))
			kprintf("smp: CPU %u (affinity %lx) does not answer\n", i,
				firmware_info.mpidr[i]);
	}
	a64_bringup_end();
}

unsigned
arch_cpu_count(void)
{
	return firmware_info.ncpus;
}
