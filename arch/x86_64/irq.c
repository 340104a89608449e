/* Interrupt controllers: the local APIC (SDM 3A 10) and the I/O APIC (Intel 82093AA). */
#include "kernel/lib/print.h"
#include "kernel/mm/page.h"
#include "cpu.h"

#define LAPIC_ID	0x020
#define LAPIC_TPR	0x080
#define LAPIC_EOI	0x0b0
#define LAPIC_SVR	0x0f0
#define LAPIC_ICR_LOW	0x300
#define LAPIC_ICR_HIGH	0x310
#define LAPIC_LVT_LINT0 0x350
#define LAPIC_LVT_LINT1 0x360
#define LAPIC_LVT_ERROR 0x370
#define LVT_MASKED	BIT(16)
#define LVT_NMI		0x400
#define SVR_ENABLE	BIT(8)
#define ICR_BUSY	BIT(12)

#define IOAPIC_VERSION	 1
#define IOAPIC_ENTRY(n)	 (0x10 + 2 * (n))
#define IOAPIC_LOW	 BIT(13)
#define IOAPIC_LEVEL	 BIT(15)
#define IOAPIC_MASKED	 BIT(16)

static volatile uint32_t *lapic ro_after_init;

uint32_t
x86_lapic_read(uint32_t reg)
{
	return lapic[reg / 4];
}

void
x86_lapic_write(uint32_t reg, uint32_t v)
{
	lapic[reg / 4] = v;
}

void
x86_lapic_eoi(void)
{
	x86_lapic_write(LAPIC_EOI, 0);
}

void
x86_lapic_init(void)
{
	lapic = lapic ? lapic : phys_to_virt(PADDR(acpi_info.lapic));
	x86_wrmsr(MSR_APIC_BASE, x86_rdmsr(MSR_APIC_BASE) | BIT(11));
	x86_lapic_write(LAPIC_TPR, 0);
	x86_lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
	x86_lapic_write(LAPIC_LVT_LINT1, LVT_NMI); /* where the platform wires NMIs */
	x86_lapic_write(LAPIC_LVT_ERROR, LVT_MASKED);
	x86_lapic_write(LAPIC_SVR, SVR_ENABLE | VEC_SPURIOUS);
	this_cpu()->apic_id = x86_lapic_read(LAPIC_ID) >> 24;
}

/* The two halves of a command must not be torn by an interrupt that sends one itself. */
void
x86_ipi(uint32_t apic_id, uint32_t icr_low)
{
	irqstate_t s = arch_irq_save();

	while (x86_lapic_read(LAPIC_ICR_LOW) & ICR_BUSY)
		arch_relax();
	x86_lapic_write(LAPIC_ICR_HIGH, apic_id << 24);
	x86_lapic_write(LAPIC_ICR_LOW, icr_low | ICR_ASSERT);
	arch_irq_restore(s);
}

static volatile uint32_t *
ioapic(void)
{
	return phys_to_virt(PADDR(acpi_info.ioapic));
}

static void
ioapic_write(uint32_t reg, uint32_t v)
{
	ioapic()[0] = reg;
	ioapic()[4] = v;
}

/* Masks both 8259 controllers and routes the serial port's interrupt to the boot processor. */
void
x86_ioapic_init(void)
{
	uint32_t count, pin, low = VEC_SERIAL;

	x86_out8(0x21, 0xff);
	x86_out8(0xa1, 0xff);
	if (!acpi_info.ioapic) {
		kprintf("irq: no I/O APIC: the console takes no input\n");
		return;
	}
	ioapic()[0] = IOAPIC_VERSION;
	count = (ioapic()[4] >> 16 & 0xff) + 1;
	for (uint32_t i = 0; i < count; i++)
		ioapic_write(IOAPIC_ENTRY(i), IOAPIC_MASKED);
	pin = acpi_info.serial_gsi - acpi_info.ioapic_gsi_base;
	if (pin >= count)
		return;
	if ((acpi_info.serial_flags & 3) == 3)
		low |= IOAPIC_LOW;
	if ((acpi_info.serial_flags >> 2 & 3) == 3)
		low |= IOAPIC_LEVEL;
	ioapic_write(IOAPIC_ENTRY(pin) + 1, acpi_info.lapic_ids[0] << 24);
	ioapic_write(IOAPIC_ENTRY(pin), low);
}
