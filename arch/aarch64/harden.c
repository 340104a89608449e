/*
 * The processor's side of the mitigations: which features there are, setting them on this CPU, reading
 * them back.
 */
#include "kernel/harden/harden.h"
#include "kernel/harden/pin.h"
#include "kernel/lib/print.h"
#include "cpu.h"

uint8_t a64_pan ro_after_init;

#define PAN_BIT S3_0_C4_C2_3 /* PSTATE.PAN */

/* PXN: on every user page, by the one place that makes entries (machine.h). */
bool
arch_user_exec_guard_supported(void)
{
	return true;
}

void
arch_user_exec_guard_enable(void)
{
}

bool
arch_user_exec_guard_active(void)
{
	return a64_user_pages_pxn();
}

/* PAN, from Armv8.1 on. */
bool
arch_user_access_guard_supported(void)
{
	return ID_FIELD(id_aa64mmfr1_el1, 20) != 0;
}

/* Set here for good and, with SPAN clear, by every exception. */
void
arch_user_access_guard_enable(void)
{
	a64_write_sctlr(READ_SYSREG(sctlr_el1) & ~SCTLR_SPAN);
	WRITE_SYSREG(PAN_BIT, PSTATE_PAN);
	if (!a64_pan) /* the boot processor; read-only by the time the others come */
		a64_pan = 1;
}

bool
arch_user_access_guard_active(void)
{
	return (READ_SYSREG(PAN_BIT) & PSTATE_PAN) && !(READ_SYSREG(sctlr_el1) & SCTLR_SPAN);
}

/*
 * What user mode may reach of the system registers.  Off, it reads the interrupt mask, the physical
 * counter and the performance counters; on, it has the virtual counter alone, as on Linux.  Off is for the
 * attack alone: the bit for the mask, which row pin keeps, is for reads and writes alike, and a program that
 * masks interrupts keeps its CPU.
 */
#define CNTKCTL_EL0PCTEN BIT(0)
#define CNTKCTL_EL0VCTEN BIT(1)
#define PMUSER_EN	 BIT(0)

bool
a64_has_pmu(void)
{
	uint64_t v = ID_FIELD(id_aa64dfr0_el1, 8);

	return v != 0 && v != 15;
}

bool
arch_user_info_guard_supported(void)
{
	return true;
}

void
arch_user_info_guard_enable(void)
{
	a64_write_sctlr(READ_SYSREG(sctlr_el1) & ~SCTLR_UMA);
	WRITE_SYSREG(cntkctl_el1, CNTKCTL_EL0VCTEN);
	if (a64_has_pmu())
		WRITE_SYSREG(pmuserenr_el0, 0);
}

bool
arch_user_info_guard_active(void)
{
	return !(READ_SYSREG(sctlr_el1) & SCTLR_UMA) &&
	       READ_SYSREG(cntkctl_el1) == CNTKCTL_EL0VCTEN &&
	       !(a64_has_pmu() && READ_SYSREG(pmuserenr_el0)) &&
	       /* Whatever the row: start.S closes them for good. */
	       (READ_SYSREG(mdscr_el1) & MDSCR_TDCC) &&
	       !(ID_FIELD(id_aa64pfr0_el1, 44) && READ_SYSREG(AMUSERENR_EL0));
}

/* UXN and PXN are part of the architecture: there is no bit that turns them on. */
bool
arch_no_execute_supported(void)
{
	return true;
}

bool
arch_no_execute_active(void)
{
	return true;
}

/* The kernel always obeys AP[2]; mmu.c leaves it out of the kernel's pages for harden=-wp. */
void
arch_write_protect_set(bool on unused)
{
}

/* Asks the processor: would a write to rodata be refused? */
bool
arch_write_protect_active(void)
{
	irqstate_t s = arch_irq_save();
	uint64_t par;

	__asm__ volatile("at s1e1w, %0" : : "r"(__rodata_start) : "memory");
	a64_isb();
	par = READ_SYSREG(par_el1);
	arch_irq_restore(s);
	return par & BIT(0);
}

/* ---- Pinned bits (pin.S) ---- */

struct a64_pin a64_sctlr_pin ro_after_init;

/* The register, and which bits harden and are as they should be.  PSTATE.PAN is no bit of a register that stays. */
static struct a64_pin
hardened_sctlr(void)
{
	uint64_t now = READ_SYSREG(sctlr_el1), set = now & SCTLR_WXN;

	return (struct a64_pin){now, set | (~now & (SCTLR_SPAN | SCTLR_UMA))};
}

void
arch_pin_registers(void)
{
	a64_sctlr_pin = hardened_sctlr();
}

void
a64_sctlr_undone(uint64_t bits)
{
	pin_undone("SCTLR_EL1", bits);
}

void
arch_pin_restore(void)
{
	const struct a64_pin *pin = &a64_sctlr_pin;

	a64_write_sctlr(READ_SYSREG(sctlr_el1)); /* what is pinned, and the TLB with it */
	if (pin->mask)
		a64_write_sctlr((READ_SYSREG(sctlr_el1) & pin->mask) | (pin->value & ~pin->mask));
}

void
arch_pin_probe(unsigned *tried, unsigned *held)
{
	uint64_t sctlr = READ_SYSREG(sctlr_el1);

	for (uint64_t left = hardened_sctlr().mask; left; left &= left - 1) {
		a64_write_sctlr(sctlr ^ (left & -left));
		++*tried;
		*held += READ_SYSREG(sctlr_el1) == sctlr;
		a64_write_sctlr(sctlr);
	}
	__asm__ volatile("tlbi vmalle1" : : : "memory"); /* what was cached while WXN was not as it should be */
	a64_dsb(nsh);
	a64_isb();
}

/*
 * Branch prediction (ARM D17.2.65, ID_AA64PFR0_EL1.CSV2): from 1 on, one context does not steer another's
 * predicted branches, and there is nothing to set.
 */
bool
arch_branch_guard_supported(void)
{
	return ID_FIELD(id_aa64pfr0_el1, 56) != 0;
}

void
arch_branch_guard_enable(void)
{
}

bool
arch_branch_guard_active(void)
{
	return arch_branch_guard_supported();
}

bool
arch_sibling_guard_supported(void)
{
	return false;
}

void
arch_sibling_guard_enable(void)
{
}

bool
arch_sibling_guard_active(void)
{
	return false;
}

/* With CSV2 none is needed; without, only firmware knows one (SMCCC_ARCH_WORKAROUND_1), and QEMU's does not. */
bool
arch_predictor_barrier_supported(void)
{
	return false;
}

void
arch_predictor_barrier(void)
{
}

/* RNDR (ARM D17.2.112), from Armv8.5 on; it may run dry, so it is tried a few times. */
bool
arch_entropy(uint64_t *out)
{
	bool rndr = ID_FIELD(id_aa64isar0_el1, 60) != 0;
	uint64_t ok = 0;

	for (unsigned i = 0; i < 16 && !ok && rndr; i++)
		__asm__ volatile("mrs %0, s3_3_c2_c4_0\n\tcset %1, ne"
				 : "=r"(*out), "=r"(ok)
				 :
				 : "cc");
	return ok;
}

noreturn void
arch_halt(void)
{
	for (;;)
		__asm__ volatile("msr daifset, #15\n\twfi" : : : "memory");
}

/* ---- Branches through registers: every instruction in memory as text (ARM C4.1) ---- */

#define INSN_BRANCH_MASK 0xfffffc1fu
#define INSN_BR		 0xd61f0000u
#define INSN_BLR	 0xd63f0000u
#define INSN_RET	 0xd65f0000u
#define INSN_DSB_SY	 0xd5033f9fu
#define INSN_ISB	 0xd5033fdfu
#define INSN_MOV_X16	 0xaa0003f0u
#define INSN_MOV_MASK	 0xffe0ffffu

/*
 * True if whoever runs straight on past *p soon meets a barrier.  The stubs for calls that GCC puts behind a
 * function, `mov x16, xN; br x16`, have one barrier for all.
 */
static bool
barrier_behind(const uint32_t *p, const uint32_t *end)
{
	while (p + 4 < end && (p[1] & INSN_MOV_MASK) == INSN_MOV_X16 &&
	       (p[2] & INSN_BRANCH_MASK) == INSN_BR)
		p += 2;
	return p[1] == INSN_DSB_SY && p[2] == INSN_ISB;
}

bool
arch_branches_guarded(const void *code unused, size_t size unused, char *how, size_t how_size)
{
	const uint32_t *end = (const uint32_t *)__text_end;
	unsigned branches = 0, bare = 0;

	/* Behind start-up's code, which has data among it and runs before any program. */
	for (const uint32_t *p = (const uint32_t *)__text_boot_end; p + 2 < end; p++) {
		uint32_t branch = *p & INSN_BRANCH_MASK;

		if (branch != INSN_BR && branch != INSN_BLR && branch != INSN_RET)
			continue;
		branches++;
		bare += branch == INSN_BLR || !barrier_behind(p, end);
	}
	snprintf(how, how_size, "%u of %u branches through registers have no barrier behind them", bare,
		 branches);
	return branches && !bare;
}
