/*
 * The processor's side of the mitigations: which bits there are, setting them on this CPU, reading
 * them back.
 */
#include "x86.h"

uint8_t x86_smap ro_after_init;

/* CPUID 7.0 (SDM 2A CPUID) */
static struct cpuid
features(void)
{
	return x86_cpuid(0, 0).a >= 7 ? x86_cpuid(7, 0) : (struct cpuid){0};
}

static void
set_cr4(uint64_t bits)
{
	x86_write_cr4(x86_read_cr4() | bits);
}

bool
arch_user_exec_guard_supported(void)
{
	return features().b & BIT(7); /* SMEP */
}

void
arch_user_exec_guard_enable(void)
{
	set_cr4(CR4_SMEP);
}

bool
arch_user_exec_guard_active(void)
{
	return x86_read_cr4() & CR4_SMEP;
}

bool
arch_user_access_guard_supported(void)
{
	return features().b & BIT(20); /* SMAP */
}

void
arch_user_access_guard_enable(void)
{
	set_cr4(CR4_SMAP);
	if (!x86_smap) /* the boot processor; read-only by the time the others come */
		x86_smap = 1;
}

bool
arch_user_access_guard_active(void)
{
	return x86_read_cr4() & CR4_SMAP;
}

bool
arch_user_info_guard_supported(void)
{
	return features().c & BIT(2); /* UMIP */
}

void
arch_user_info_guard_enable(void)
{
	set_cr4(CR4_UMIP);
}

bool
arch_user_info_guard_active(void)
{
	return x86_read_cr4() & CR4_UMIP;
}

bool
arch_no_execute_supported(void)
{
	return x86_cpuid(0x80000001, 0).d & BIT(20);
}

bool
arch_no_execute_active(void)
{
	return x86_rdmsr(MSR_EFER) & EFER_NXE;
}

void
arch_write_protect_set(bool on)
{
	x86_write_cr0((x86_read_cr0() & ~CR0_WP) | (on ? CR0_WP : 0));
}

bool
arch_write_protect_active(void)
{
	return x86_read_cr0() & CR0_WP;
}

/* ---- Branch prediction: CPUID 7.0 EDX (SDM 2A CPUID), SDM 4 2.1 ---- */

bool
arch_branch_guard_supported(void)
{
	uint32_t edx = features().d;

	/* ARCH_CAPABILITIES says whether setting the bit once is enough. */
	return edx & BIT(26) && edx & BIT(29) &&
	       x86_rdmsr(MSR_ARCH_CAPABILITIES) & ARCH_CAP_IBRS_ALL;
}

void
arch_branch_guard_enable(void)
{
	x86_wrmsr(MSR_SPEC_CTRL, x86_rdmsr(MSR_SPEC_CTRL) | SPEC_CTRL_IBRS);
}

bool
arch_branch_guard_active(void)
{
	return x86_rdmsr(MSR_SPEC_CTRL) & SPEC_CTRL_IBRS;
}

bool
arch_sibling_guard_supported(void)
{
	return features().d & BIT(27);
}

void
arch_sibling_guard_enable(void)
{
	x86_wrmsr(MSR_SPEC_CTRL, x86_rdmsr(MSR_SPEC_CTRL) | SPEC_CTRL_STIBP);
}

bool
arch_sibling_guard_active(void)
{
	return x86_rdmsr(MSR_SPEC_CTRL) & SPEC_CTRL_STIBP;
}

bool
arch_predictor_barrier_supported(void)
{
	return features().d & BIT(26);
}

noinline void
arch_predictor_barrier(void)
{
	x86_wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
}

/* RDSEED, else RDRAND (SDM 1 7.3.17); either may run dry, so it is tried a few times. */
bool
arch_entropy(uint64_t *out)
{
	bool rdseed = features().b & BIT(18), rdrand = x86_cpuid(1, 0).c & BIT(30);
	uint8_t ok = 0;

	for (unsigned i = 0; i < 16 && !ok && (rdseed || rdrand); i++) {
		if (rdseed)
			__asm__ volatile("rdseed %0; setc %1" : "=r"(*out), "=qm"(ok) : : "cc");
		else
			__asm__ volatile("rdrand %0; setc %1" : "=r"(*out), "=qm"(ok) : : "cc");
	}
	return ok;
}

noreturn void
arch_halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt" : : : "memory");
}
