/*
 * The other processors: bring-up by PSCI (Arm DEN 0022), and interrupts between CPUs.
 */
#include "kernel/lib/print.h"
#include "kernel/mm/page.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/time.h"
#include "cpu.h"

#define PSCI_CPU_ON 0xc4000003

struct a64_bringup a64_bringup;

uint64_t
a64_cpus_online(void)
{
	return __atomic_load_n(&cpus_online, __ATOMIC_ACQUIRE);
}

void
arch_send_call(unsigned cpu)
{
	a64_ipi(cpu, SGI_CALL);
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
