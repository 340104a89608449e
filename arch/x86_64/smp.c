/*
 * The other processors: bring-up by INIT-SIPI (SDM 3A 8.4), and interrupts between CPUs.
 */
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/page.h"
#include "kernel/proc/sched.h"
#include "cpu.h"

struct trampoline_params {
	uint64_t root, stack, entry, cpu;
};

extern const char x86_trampoline[], x86_trampoline_end[];

uint64_t
x86_cpus_online(void)
{
	return __atomic_load_n(&cpus_online, __ATOMIC_ACQUIRE);
}

void
arch_send_call(unsigned cpu)
{
	x86_ipi(cpus[cpu].apic_id, ICR_FIXED | VEC_IPI);
}

void
arch_send_reschedule(unsigned cpu)
{
	x86_ipi(cpus[cpu].apic_id, ICR_FIXED | VEC_RESCHEDULE);
}

/* By NMI: a CPU that spins with interrupts off stops too.  trap.c halts it. */
uint32_t x86_stopping;

void
arch_stop_others(void)
{
	uint64_t others = x86_cpus_online() & ~BIT(arch_cpu_number());

	if (__atomic_exchange_n(&x86_stopping, 1, __ATOMIC_ACQ_REL))
		return;
	for (; others; others &= others - 1)
		x86_ipi(cpus[__builtin_ctzll(others)].apic_id, ICR_NMI);
}

void
x86_prepare_trampoline(void)
{
	memcpy((void *)(direct_map_base + TRAMPOLINE_CODE), x86_trampoline,
	       (size_t)(x86_trampoline_end - x86_trampoline));
}

/* First C of a secondary processor, on its idle thread's stack and the bring-up tables. */
static no_canary noreturn void
secondary_entry(struct cpu *c)
{
	x86_percpu_init(c);
	arch_pt_activate(&kernel_pt);
	x86_cpu_init(c);
	x86_lapic_init();
	x86_timer_cpu_init();
	cpu_main();
}

void
arch_start_cpus(void)
{
	volatile struct trampoline_params *params = phys_to_virt(PADDR(TRAMPOLINE_DATA));
	paddr_t root;

	if (acpi_info.ncpus < 2)
		return;
	root = x86_bringup_begin();
	for (unsigned i = 1; i < acpi_info.ncpus; i++) {
		struct cpu *c = &cpus[i];

		c->apic_id = acpi_info.lapic_ids[i];
		x86_cpu_stacks(c);
		x86_ipi(c->apic_id, ICR_INIT | ICR_ASSERT);
	}
	x86_delay(200);
	for (unsigned i = 1; i < acpi_info.ncpus; i++) {
		struct cpu *c = &cpus[i];
		struct thread *idle = run_queues[i].idle;
		uint64_t deadline;

		c->thread = idle;
		c->number = i;
		c->kernel_sp = (uint64_t)idle->kstack + KSTACK_SIZE;
		params->root = root.v;
		params->stack = c->kernel_sp;
		params->entry = (uint64_t)secondary_entry;
		params->cpu = (uint64_t)c;
		for (unsigned attempt = 0; attempt < 2 && !(x86_cpus_online() & BIT(i)); attempt++) {
			x86_ipi(c->apic_id, ICR_STARTUP | TRAMPOLINE_CODE >> PAGE_SHIFT);
			deadline = arch_clock_ns() + (attempt ? 1000u : 100u) * NSEC_PER_MSEC;
			while (!(x86_cpus_online() & BIT(i)) && arch_clock_ns() < deadline)
				arch_relax();
		}
		if (!(x86_cpus_online() & BIT(i)))
			kprintf("smp: CPU %u (APIC %u) does not answer\n", i, c->apic_id);
	}
	x86_bringup_end();
}

unsigned
arch_cpu_count(void)
{
	return acpi_info.ncpus;
}
