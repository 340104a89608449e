/* One processor's private state: control registers, floating point, and threads' share of it. */
#include "kernel/harden/fpu.h"
#include "kernel/harden/harden.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/thread.h"
#include "cpu.h"

struct thread *a64_switch_stack(struct thread *prev, struct thread *next);
noreturn void a64_enter_user(struct trapframe *tf);
void a64_thread_start(void);

/* A thread that stands for the boot context until the first idle thread runs. */
struct thread a64_boot_thread = {.name = "boot"};

_Static_assert(offsetof(struct thread, canary) == CANARY_OFFSET, "what the compiler was told");

#define MPIDR_AFFINITY 0xff00fffffful

/* From the first instruction of C on, per-CPU data is reachable and exceptions are caught. */
no_canary void
a64_percpu_init(struct cpu *c)
{
	c->number = (uint32_t)(c - cpus);
	c->mpidr = READ_SYSREG(mpidr_el1) & MPIDR_AFFINITY;
	if (!c->thread)
		c->thread = &a64_boot_thread;
	if (!c->overflow_sp) /* what is below it does not matter any more once it is needed */
		c->overflow_sp = (uint64_t)boot_stack_top;
	WRITE_SYSREG(tpidr_el1, c);
	WRITE_SYSREG(sp_el0, c->thread);
	WRITE_SYSREG(tpidrro_el0, 0);
	c->vectors = (uint64_t)a64_vectors;
	WRITE_SYSREG(vbar_el1, c->vectors);
	a64_isb();
}

void
a64_cpu_init(struct cpu *c)
{
	uint64_t sctlr = READ_SYSREG(sctlr_el1) | SCTLR_UMA;

	/* Everything open that row umip closes, and PAN clear until row smap sets it. */
	WRITE_SYSREG(cntkctl_el1, 3);
	if (a64_has_pmu())
		WRITE_SYSREG(pmuserenr_el0, 1);
	if (arch_user_access_guard_supported())
		WRITE_SYSREG(S3_0_C4_C2_3, 0);
	if (!harden_wanted(HARDEN_STACK_GUARD))
		c->vectors = (uint64_t)a64_vectors_unchecked;
	WRITE_SYSREG(vbar_el1, c->vectors);
	if (harden_wanted(HARDEN_WX))
		sctlr |= SCTLR_WXN;
	a64_write_sctlr(sctlr);
	/* WXN may be cached with translations (ARM D8.4.2). */
	__asm__ volatile("tlbi vmalle1" : : : "memory");
	a64_dsb(nsh);
	a64_isb();
}

/* ---- Features that user mode may use: what the ID registers say and the kernel supports ---- */

struct hwcap {
	uint8_t reg, shift, minimum, bit; /* reg: index of id_register() */
};

/* Linux's Documentation/arch/arm64/elf_hwcaps.rst; nothing of SVE, SME, MTE, PAC or BTI. */
static const struct hwcap hwcaps[] = {
	{0, 16, 0, 0},	/* FP */
	{0, 20, 0, 1},	/* ASIMD */
	{1, 4, 1, 3},	/* AES */
	{1, 4, 2, 4},	/* PMULL */
	{1, 8, 1, 5},	/* SHA1 */
	{1, 12, 1, 6},	/* SHA2 */
	{1, 16, 1, 7},	/* CRC32 */
	{1, 20, 2, 8},	/* ATOMICS */
	{0, 16, 1, 9},	/* FPHP */
	{0, 20, 1, 10}, /* ASIMDHP */
	{1, 28, 1, 12}, /* ASIMDRDM */
	{2, 12, 1, 13}, /* JSCVT */
	{2, 16, 1, 14}, /* FCMA */
	{2, 20, 1, 15}, /* LRCPC */
	{2, 0, 1, 16},	/* DCPOP */
	{1, 32, 1, 17}, /* SHA3 */
	{1, 36, 1, 18}, /* SM3 */
	{1, 40, 1, 19}, /* SM4 */
	{1, 44, 1, 20}, /* ASIMDDP */
	{1, 12, 2, 21}, /* SHA512 */
	{1, 48, 1, 23}, /* ASIMDFHM */
	{0, 48, 1, 24}, /* DIT */
	{3, 32, 1, 25}, /* USCAT */
	{2, 20, 2, 26}, /* ILRCPC */
	{1, 52, 1, 27}, /* FLAGM */
	{2, 36, 1, 29}, /* SB */
	{2, 0, 2, 32},	/* from here on AT_HWCAP2: DCPODP */
	{1, 52, 2, 39}, /* FLAGM2 */
	{2, 32, 1, 40}, /* FRINT */
	{2, 52, 1, 45}, /* I8MM */
	{2, 44, 1, 46}, /* BF16 */
	{1, 60, 1, 48}, /* RNG */
};

static uint64_t
id_register(unsigned n)
{
	switch (n) {
	case 0:
		return READ_SYSREG(id_aa64pfr0_el1);
	case 1:
		return READ_SYSREG(id_aa64isar0_el1);
	case 2:
		return READ_SYSREG(id_aa64isar1_el1);
	default:
		return READ_SYSREG(S3_0_C0_C7_2); /* ID_AA64MMFR2_EL1 */
	}
}

static uint64_t
all_hwcaps(void)
{
	static uint64_t cached; /* the same whoever computes it */
	uint64_t found = READ_ONCE(cached);

	if (found)
		return found;
	for (unsigned i = 0; i < ARRAY_LEN(hwcaps); i++) {
		const struct hwcap *h = &hwcaps[i];
		uint64_t field = id_register(h->reg) >> h->shift & 15;

		/* Floating point is 15 where there is none; other fields begin at 1. */
		if (field >= h->minimum && !(h->reg == 0 && field == 15))
			found |= BIT(h->bit);
	}
	WRITE_ONCE(cached, found);
	return found;
}

uint64_t
arch_hwcap(void)
{
	return (uint32_t)all_hwcaps();
}

uint64_t
arch_hwcap2(void)
{
	return all_hwcaps() >> 32;
}

/* ---- Vector registers ---- */

/* prev, which has user registers, stops running. */
static always_inline void
fpu_leave(struct thread *prev)
{
	a64_fpu_save(&prev->arch.fpu);
}

/* next, which has user registers, starts. */
static always_inline void
fpu_enter(struct thread *next)
{
	if (fpu_must_load(next))
		a64_fpu_load(&next->arch.fpu);
}

/* Fills all vector registers, and not the control words. */
static void
fpu_load_pattern(struct a64_fpu *work, uint64_t seed)
{
	*work = (struct a64_fpu){0};
	for (unsigned i = 0; i < ARRAY_LEN(work->v); i++)
		work->v[i] = (i + 1) * seed;
	a64_fpu_load(work);
}

#define PROBE_SEED  0x9e3779b97f4a7c15ul
#define OTHERS_SEED 0xd1342543de82ef95ul

int
arch_fpu_probe(unsigned *back, unsigned *count)
{
	struct a64_fpu kept, work;
	irqstate_t s = arch_irq_save();

	a64_fpu_save(&kept);
	fpu_load_pattern(&work, PROBE_SEED);
	fpu_leave(current);
	fpu_load_pattern(&work, OTHERS_SEED);
	fpu_enter(current);
	a64_fpu_save(&work);
	a64_fpu_load(&kept);
	arch_irq_restore(s);
	*back = 0;
	for (unsigned i = 0; i < ARRAY_LEN(work.v); i++)
		*back += work.v[i] == (i + 1) * PROBE_SEED ? 8 : 0;
	*count = sizeof(work.v);
	return 0;
}

/* ---- Threads ---- */

int
arch_thread_fpu_init(struct thread *t)
{
	t->arch.fpu = (struct a64_fpu){0};
	t->arch.user = true;
	if (t == current)
		a64_fpu_load(&t->arch.fpu);
	return 0;
}

struct trapframe *
arch_user_frame(struct thread *t)
{
	return (struct trapframe *)((char *)t->kstack + KSTACK_SIZE) - 1;
}

void
arch_thread_init(struct thread *t, void (*fn)(void *arg), void *arg)
{
	/* What a64_switch_stack pops; below the place of the user's trap frame. */
	struct {
		uint64_t x29, x30, x19, x20, rest[8];
	} *s = (void *)arch_user_frame(t);

	s--;
	*s = (__typeof__(*s)){
		.x19 = (uint64_t)fn, .x20 = (uint64_t)arg, .x30 = (uint64_t)a64_thread_start};
	t->arch.sp = (uint64_t)s;
}

static void
forked_thread(void *unused_arg unused)
{
	arch_enter_user();
}

int
arch_thread_fork(struct thread *child, const struct trapframe *tf)
{
	struct trapframe *frame = arch_user_frame(child);

	a64_fpu_save(&child->arch.fpu); /* the live registers, not an older copy */
	child->arch.tls = READ_SYSREG(tpidr_el0);
	child->arch.user = true;
	arch_thread_init(child, forked_thread, NULL);
	*frame = *tf;
	frame->x[0] = 0;
	return 0;
}

void
arch_thread_destroy(struct thread *t)
{
	t->arch.user = false;
}

/*
 * Another CPU runs prev only after it has seen prev->on_cpu cleared with release (schedule), so what is
 * saved here needs no barrier for itself.
 */
no_canary struct thread *
arch_switch(struct thread *prev, struct thread *next)
{
	struct cpu *c = this_cpu();

	if (prev->arch.user && prev->state != THREAD_DEAD) {
		fpu_leave(prev);
		prev->arch.tls = READ_SYSREG(tpidr_el0);
	}
	if (next->arch.user) {
		fpu_enter(next);
		WRITE_SYSREG(tpidr_el0, next->arch.tls);
	}
	/* A thread without an address space runs on the one that is there. */
	if (next->vm)
		arch_pt_activate(&next->vm->pt);
	c->thread = next;
	/*
	 * Cache and TLB maintenance that prev began, perhaps in user mode, ends before prev can go on
	 * elsewhere; and arch.h's full barrier.
	 */
	a64_dsb(ish);
	return a64_switch_stack(prev, next);
}

noreturn void
arch_enter_user(void)
{
	a64_enter_user(arch_user_frame(current));
}

int
arch_set_tls(struct thread *t, uint64_t value)
{
	t->arch.tls = value;
	if (t == current)
		WRITE_SYSREG(tpidr_el0, value);
	return 0;
}

void
arch_exec_frame(struct trapframe *tf, uint64_t entry, uint64_t sp)
{
	*tf = (struct trapframe){
		.pc = entry,
		.sp = sp,
		.pstate = PSTATE_EL0,
		.syscall = NOT_SYSCALL,
	};
	(void)!arch_set_tls(current, 0);
}

void
arch_kernel_frame(struct trapframe *tf, uint64_t ip, uint64_t fp)
{
	*tf = (struct trapframe){
		.pc = ip,
		.sp = fp,
		.pstate = PSTATE_EL1H,
		.syscall = NOT_SYSCALL,
	};
	tf->x[29] = fp;
}

void
arch_print_frame(const struct trapframe *tf)
{
	kalert("pc  %016lx  sp  %016lx  pstate %08lx  esr %08lx\n", tf->pc, tf->sp, tf->pstate,
	       tf->esr);
	kalert("far %016lx  ttbr0 %016lx  sctlr %08lx\n", tf->far, READ_SYSREG(ttbr0_el1),
	       READ_SYSREG(sctlr_el1));
	for (unsigned i = 0; i < 30; i += 3)
		kalert("x%-2u %016lx  x%-2u %016lx  x%-2u %016lx\n", i, tf->x[i], i + 1, tf->x[i + 1],
		       i + 2, tf->x[i + 2]);
	kalert("x30 %016lx\n", tf->x[30]);
}

void
arch_print_registers(void)
{
	kalert("sctlr %08lx  esr %08lx  far %016lx  ttbr0 %016lx\n", READ_SYSREG(sctlr_el1),
	       READ_SYSREG(esr_el1), READ_SYSREG(far_el1), READ_SYSREG(ttbr0_el1));
}
