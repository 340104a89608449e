/*
 * The processor's side of the mitigations: which bits there are, setting them on this CPU, reading
 * them back.
 */
#include "kernel/harden/pin.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "cpu.h"

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

/* ---- Pinned bits (pin.S) ---- */

struct x86_pin x86_cr0_pin ro_after_init, x86_cr4_pin ro_after_init;

/* The register, and those of `set` and `clear` that are set, or clear, in it. */
static struct x86_pin
hardened(uint64_t now, uint64_t set, uint64_t clear)
{
	return (struct x86_pin){now, (now & set) | (~now & clear)};
}

static struct x86_pin
hardened_cr0(void)
{
	return hardened(x86_read_cr0(), CR0_WP, 0);
}

/* FSGSBASE would let user mode choose GS, by which entry.S finds the kernel's data when an NMI comes. */
static struct x86_pin
hardened_cr4(void)
{
	return hardened(x86_read_cr4(), CR4_SMEP | CR4_SMAP | CR4_UMIP,
			features().b & BIT(0) ? CR4_FSGSBASE : 0);
}

void
arch_pin_registers(void)
{
	x86_cr0_pin = hardened_cr0();
	x86_cr4_pin = hardened_cr4();
}

void
x86_cr0_undone(uint64_t bits)
{
	pin_undone("CR0", bits);
}

void
x86_cr4_undone(uint64_t bits)
{
	pin_undone("CR4", bits);
}

void
arch_pin_restore(void)
{
	uint64_t cr3 = x86_read_cr3();

	if (!x86_cr4_pin.mask)
		return;
	if (x86_cr4_pin.value & ~x86_read_cr4() & CR4_PCIDE)
		x86_write_cr3(cr3 & CR3_ROOT); /* the CPU takes it only then (SDM 3A 4.10.1) */
	x86_write_cr0(x86_cr0_pin.value);
	x86_write_cr4(x86_cr4_pin.value);
	x86_write_cr3(cr3);
}

void
arch_pin_probe(unsigned *tried, unsigned *held)
{
	uint64_t cr0 = x86_read_cr0(), cr4 = x86_read_cr4();

	for (uint64_t left = hardened_cr0().mask; left; left &= left - 1) {
		x86_write_cr0(cr0 ^ (left & -left));
		++*tried;
		*held += x86_read_cr0() == cr0;
		x86_write_cr0(cr0);
	}
	for (uint64_t left = hardened_cr4().mask; left; left &= left - 1) {
		x86_write_cr4(cr4 ^ (left & -left));
		++*tried;
		*held += x86_read_cr4() == cr4;
		x86_write_cr4(cr4);
	}
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

/* ---- Branches through registers: what lies in memory as text ---- */

#define THUNK_STRIDE 32

/* One thunk's bytes (thunk.S); the stores of the upper eight registers begin with another prefix. */
static bool
thunk_stops_speculation(const uint8_t *p)
{
	static const uint8_t head[] = {0xe8, 0x08, 0, 0, 0, 0xf3, 0x90, 0x0f, 0xae, 0xe8, 0xeb, 0xf9, 0xcc};

	return memcmp(p, head, sizeof(head)) == 0 && (p[13] == 0x48 || p[13] == 0x4c) && p[14] == 0x89 &&
	       (p[15] & 0xc7) == 0x04 && p[16] == 0x24 && p[17] == 0xc3 && p[18] == 0xcc;
}

/* A scan by bytes, not by instructions: only what must be there can be found so. */
static unsigned
calls_between(const uint8_t *code, size_t size, const char *start, const char *end)
{
	unsigned n = 0;

	for (size_t i = 0; i + 5 <= size; i++) {
		int32_t distance;
		const char *to;

		memcpy(&distance, code + i + 1, sizeof(distance));
		to = (const char *)code + i + 5 + distance;
		n += (code[i] == 0xe8 || code[i] == 0xe9) && to >= start && to < end;
	}
	return n;
}

bool
arch_branches_guarded(const void *code, size_t size, char *how, size_t how_size)
{
	extern const char x86_thunks[], x86_thunks_end[];
	unsigned thunks = 0, good = 0, calls = calls_between(code, size, x86_thunks, x86_thunks_end);

	for (const char *p = x86_thunks; p < x86_thunks_end; p += THUNK_STRIDE) {
		thunks++;
		good += thunk_stops_speculation((const uint8_t *)p);
	}
	snprintf(how, how_size, "%u of %u thunks stop speculation; system calls go by one: %s", good, thunks,
		 calls ? "yes" : "no");
	return good == thunks && calls;
}
