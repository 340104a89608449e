/*
 * The interrupt controller: GICv2 (Arm IHI 0048) by its registers in memory, GICv3 (IHI 0069) by
 * system registers and a redistributor for each CPU.
 */
#include "kernel/lib/print.h"
#include "kernel/mm/page.h"
#include "cpu.h"

#define GICD_CTLR	0x0000
#define GICD_TYPER	0x0004
#define GICD_IGROUPR	0x0080
#define GICD_ISENABLER	0x0100
#define GICD_ICENABLER	0x0180
#define GICD_IPRIORITYR 0x0400
#define GICD_ITARGETSR	0x0800
#define GICD_SGIR	0x0f00
#define GICD_IROUTER	0x6000
#define CTLR_ENABLE	1u
#define CTLR_V3_ENABLE	0x13u /* affinity routing, group 1 (secure or not: the bits that exist) */
#define CTLR_PENDING	BIT(31)

#define GICC_CTLR 0x00
#define GICC_PMR  0x04
#define GICC_IAR  0x0c
#define GICC_EOIR 0x10

#define GICR_CTLR     0x0000
#define GICR_TYPER    0x0008
#define GICR_WAKER    0x0014
#define GICR_SGI      0x10000 /* second page: as the distributor's, for interrupts below 32 */
#define TYPER_VLPIS   BIT(1)
#define TYPER_LAST    BIT(4)
#define WAKER_SLEEP   BIT(1)
#define WAKER_ASLEEP  BIT(2)

#define PRIORITY      0xa0u
#define PRIORITY_MASK 0xf0u

#define ICC_PMR_EL1	S3_0_C4_C6_0
#define ICC_IAR1_EL1	S3_0_C12_C12_0
#define ICC_EOIR1_EL1	S3_0_C12_C12_1
#define ICC_CTLR_EL1	S3_0_C12_C12_4
#define ICC_SRE_EL1	S3_0_C12_C12_5
#define ICC_IGRPEN1_EL1 S3_0_C12_C12_7
#define ICC_SGI1R_EL1	S3_0_C12_C11_5


static volatile uint8_t *gicd ro_after_init, *gicc ro_after_init;
static unsigned version ro_after_init;

static uint32_t
read32(const volatile uint8_t *base, uint32_t reg)
{
	return *(const volatile uint32_t *)(base + reg);
}

static void
write32(volatile uint8_t *base, uint32_t reg, uint32_t v)
{
	*(volatile uint32_t *)(base + reg) = v;
}

static volatile uint8_t *
redistributor(void)
{
	return (volatile uint8_t *)this_cpu()->gic;
}

/* Everything off and at one priority, and shared interrupts at the boot processor. */
void
a64_gic_init(void)
{
	uint32_t lines;

	version = firmware_info.gic_version;
	if (!version)
		panic("irq: the device tree names no interrupt controller that is known");
	gicd = phys_to_virt(firmware_info.gicd.base);
	gicc = phys_to_virt(firmware_info.gicc.base);
	lines = MIN(32 * ((read32(gicd, GICD_TYPER) & 31) + 1), 1020u);
	write32(gicd, GICD_CTLR, 0);
	for (uint32_t i = 32; i < lines; i += 32) {
		write32(gicd, GICD_ICENABLER + i / 8, UINT32_MAX);
		if (version == 3)
			write32(gicd, GICD_IGROUPR + i / 8, UINT32_MAX);
	}
	for (uint32_t i = 32; i < lines; i += 4)
		write32(gicd, GICD_IPRIORITYR + i, PRIORITY * 0x01010101u);
	write32(gicd, GICD_CTLR, version == 3 ? CTLR_V3_ENABLE : CTLR_ENABLE);
}

/* The redistributor whose affinity is this CPU's; 0 if there is none. */
static uint64_t
find_redistributor(void)
{
	uint64_t mpidr = this_cpu()->mpidr;
	uint32_t affinity = (uint32_t)((mpidr >> 8 & 0xff000000) | (mpidr & 0xffffff));

	for (unsigned i = 0; i < MAX_GIC_REGIONS; i++) {
		const struct boot_range *r = &firmware_info.gicr[i];

		for (uint64_t at = 0; at < r->size && r->size - at >= 0x20000;) {
			volatile uint8_t *frame = phys_to_virt(PADDR(r->base.v + at));
			uint64_t type = *(volatile uint64_t *)(frame + GICR_TYPER);

			if (type >> 32 == affinity)
				return (uint64_t)frame;
			if (type & TYPER_LAST)
				break;
			at += type & TYPER_VLPIS ? 0x40000 : 0x20000;
		}
	}
	return 0;
}

static void
v2_cpu_init(void)
{
	/* Each CPU reads its own bit in the targets of the interrupts that are its own. */
	this_cpu()->gic = read32(gicd, GICD_ITARGETSR) & 0xff;
	for (uint32_t i = 0; i < 32; i += 4)
		write32(gicd, GICD_IPRIORITYR + i, PRIORITY * 0x01010101u);
	write32(gicc, GICC_PMR, PRIORITY_MASK);
	write32(gicc, GICC_CTLR, CTLR_ENABLE);
}

static void
v3_cpu_init(void)
{
	volatile uint8_t *r;

	this_cpu()->gic = find_redistributor();
	r = redistributor();
	if (!r)
		panic("irq: CPU %u has no redistributor", this_cpu()->number);
	write32(r, GICR_WAKER, read32(r, GICR_WAKER) & ~(uint32_t)WAKER_SLEEP);
	while (read32(r, GICR_WAKER) & WAKER_ASLEEP)
		arch_relax();
	write32(r, GICR_SGI + GICD_IGROUPR, UINT32_MAX);
	for (uint32_t i = 0; i < 32; i += 4)
		write32(r, GICR_SGI + GICD_IPRIORITYR + i, PRIORITY * 0x01010101u);
	WRITE_SYSREG(ICC_SRE_EL1, READ_SYSREG(ICC_SRE_EL1) | 1);
	a64_isb(); /* the other registers exist only from here on */
	WRITE_SYSREG(ICC_PMR_EL1, PRIORITY_MASK);
	WRITE_SYSREG(ICC_CTLR_EL1, 0);
	WRITE_SYSREG(ICC_IGRPEN1_EL1, 1);
	a64_isb();
}

void
a64_gic_cpu_init(void)
{
	if (version == 3)
		v3_cpu_init();
	else
		v2_cpu_init();
	a64_gic_enable(SGI_RESCHEDULE);
	a64_gic_enable(SGI_CALL);
	a64_gic_enable(SGI_STOP);
}

void
a64_gic_enable(uint32_t irq)
{
	volatile uint8_t *base = gicd;
	uint32_t offset = 0;

	if (version == 3 && irq < 32) {
		base = redistributor();
		offset = GICR_SGI;
	} else if (version == 3) {
		*(volatile uint64_t *)(gicd + GICD_IROUTER + 8 * irq) = cpus[0].mpidr;
	} else if (irq >= 32) {
		*(gicd + GICD_ITARGETSR + irq) = (uint8_t)cpus[0].gic;
	}
	write32(base, offset + GICD_ISENABLER + irq / 32 * 4, 1u << irq % 32);
}

uint32_t
a64_gic_begin(void)
{
	uint32_t irq = version == 2 ? read32(gicc, GICC_IAR) : (uint32_t)READ_SYSREG(ICC_IAR1_EL1);

	/* It is acknowledged before the handler looks at its device, or at what another CPU wants. */
	a64_dsb(sy);
	return irq;
}

void
a64_gic_end(uint32_t irq)
{
	if (version == 2)
		write32(gicc, GICC_EOIR, irq);
	else
		WRITE_SYSREG(ICC_EOIR1_EL1, irq);
}

void
a64_ipi(unsigned cpu, unsigned sgi)
{
	uint64_t m = cpus[cpu].mpidr;

	/* What the other CPU shall find, which may be anything, before the interrupt that tells it. */
	a64_dsb(ishst);
	if (version == 2) {
		write32(gicd, GICD_SGIR, (uint32_t)cpus[cpu].gic << 16 | sgi);
		return;
	}
	/* Affinities 3, 2, 1; range and bit of affinity 0 (IHI 0069 12.2.19) */
	WRITE_SYSREG(ICC_SGI1R_EL1, (m >> 32 & 0xff) << 48 | (m >> 16 & 0xff) << 32 |
					  (m >> 4 & 15) << 44 | (m >> 8 & 0xff) << 16 |
					  (uint64_t)sgi << 24 | 1ul << (m & 15));
	a64_isb();
}
