/* One processor's private state: descriptor tables, system call MSRs, FPU, and threads' share of it. */
#include "kernel/errno.h"
#include "kernel/harden/fpu.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/thread.h"
#include "kernel/sys/table.h"
#include "cpu.h"

uint32_t x86_fpu_size ro_after_init = 512;
uint64_t x86_fpu_mask ro_after_init;

struct thread *x86_switch_stack(struct thread *prev, struct thread *next);
noreturn void x86_enter_user(struct trapframe *tf);
void x86_thread_start(void);

/* A thread that stands for the boot context until the first idle thread runs. */
static struct thread boot_thread = {.name = "boot"};

/* From the first instruction of C on, per-CPU data is reachable. */
no_canary void
x86_percpu_init(struct cpu *c)
{
	c->self = c;
	c->number = (uint32_t)(c - cpus);
	if (!c->thread)
		c->thread = &boot_thread;
	c->canary = c->thread->canary;
	x86_entry_init(c);
	x86_wrmsr(MSR_GS_BASE, (uint64_t)c);
	x86_wrmsr(MSR_KERNEL_GS_BASE, 0);
}

/* Flags that SYSCALL clears (SDM 3A 5.8.8): user mode may have set any of them, and AC opens its memory. */
#define SYSCALL_CLEARS (RFLAGS_AC | RFLAGS_DF | RFLAGS_TF | RFLAGS_NT | RFLAGS_IF)

void
x86_cpu_init(struct cpu *c)
{
	struct entry_data *there = x86_entry_data_of(c), *d = &x86_entry_data[c - cpus];
	struct {
		uint16_t limit;
		uint64_t base;
	} packed gdtr = {sizeof(d->gdt) - 1, (uint64_t)there->gdt};
	uint64_t tss = (uint64_t)&there->tss;

	/* SDM 3A 3.4.5, 8.2.3 */
	d->gdt[SEL_KERNEL_CODE / 8] = 0x00af9b000000ffff;
	d->gdt[SEL_KERNEL_DATA / 8] = 0x00cf93000000ffff;
	d->gdt[SEL_USER_DATA / 8] = 0x00cff3000000ffff;
	d->gdt[SEL_USER_CODE / 8] = 0x00affb000000ffff;
	d->gdt[SEL_TSS / 8] = (sizeof(d->tss) - 1) | (tss & 0xffffff) << 16 | 0x89ul << 40 |
			      (tss >> 24 & 0xff) << 56;
	d->gdt[SEL_TSS / 8 + 1] = tss >> 32;
	d->gdt[SEL_USER_CPU / 8] = 0x0040f10000000000 | c->number; /* data, read-only */
	d->tss.iomap_base = sizeof(d->tss); /* no I/O bitmap: user mode has no ports */
	d->tss.rsp[0] = (uint64_t)(there + 1);
	for (unsigned i = 0; i < IST_COUNT; i++)
		d->tss.ist[i] = (uint64_t)there->short_stacks[i + 1];

	__asm__ volatile("lgdt %0\n\t"
			 "pushq %1\n\t"
			 "lea 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\tmov %2, %%ss\n\t"
			 "ltr %w3"
			 :
			 : "m"(gdtr), "i"(SEL_KERNEL_CODE), "r"(SEL_KERNEL_DATA), "r"(SEL_TSS)
			 : "rax", "memory");
	x86_idt_load(x86_entry_idt());

	/* SYSCALL and SYSRET (SDM 3A 5.8.8); SYSRET adds 16 and 8 to the upper selector. */
	x86_wrmsr(MSR_STAR, (uint64_t)(SEL_USER_DATA - 8) << 48 | (uint64_t)SEL_KERNEL_CODE << 32);
	x86_wrmsr(MSR_LSTAR, x86_entry_text(c, x86_syscall_entry));
	x86_wrmsr(MSR_SFMASK, SYSCALL_CLEARS);
	x86_wrmsr(MSR_EFER, x86_rdmsr(MSR_EFER) | EFER_SCE | EFER_NXE);
	x86_write_cr4(x86_read_cr4() | CR4_PGE);
	x86_fpu_cpu_init();
}

/* CPUID 1 EDX */
uint64_t
arch_hwcap(void)
{
	return x86_cpuid(1, 0).d;
}

uint64_t
arch_hwcap2(void)
{
	return 0; /* HWCAP2_FSGSBASE is off: user mode may not set GS behind the kernel's back */
}

/* ---- FPU: XSAVE where there is one (SDM 1 13), else FXSAVE ---- */

static struct slab_cache *fpu_cache ro_after_init;
static uint32_t mxcsr_mask ro_after_init; /* bits that MXCSR has (SDM 1 11.6.6) */

/* XSAVE demands 64-byte alignment. */
void
x86_fpu_cache_init(void)
{
	uint8_t area[512] aligned(16);

	__asm__ volatile("fxsave64 %0" : "=m"(area));
	memcpy(&mxcsr_mask, area + 28, sizeof(mxcsr_mask));
	if (!mxcsr_mask)
		mxcsr_mask = 0xffbf;
	fpu_cache = slab_create_usercopy("fpu", x86_fpu_size, 64, 0, x86_fpu_size);
}

#define XCR0_WANTED 0xe7ul /* x87, SSE, AVX, AVX-512 (three parts) */
#define MXCSR_DEFAULT 0x1f80u
#define FCW_DEFAULT 0x37fu

void
x86_fpu_cpu_init(void)
{
	uint64_t cr4 = x86_read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT;

	x86_write_cr0((x86_read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
	if (!(x86_cpuid(1, 0).c & BIT(26))) {
		x86_write_cr4(cr4);
		return;
	}
	x86_write_cr4(cr4 | CR4_OSXSAVE);
	if (this_cpu() == &cpus[0]) {
		struct cpuid d = x86_cpuid(0xd, 0);

		x86_fpu_mask = ((uint64_t)d.d << 32 | d.a) & XCR0_WANTED;
		if ((x86_fpu_mask & 0xe0) != 0xe0)
			x86_fpu_mask &= ~0xe0ul;
	}
	__asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)x86_fpu_mask), "d"(0));
	if (this_cpu() == &cpus[0])
		x86_fpu_size = x86_cpuid(0xd, 0).b;
}

static void
fpu_save(void *area)
{
	if (x86_fpu_mask)
		__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(-1), "d"(-1) : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static void
fpu_load(const void *area)
{
	if (x86_fpu_mask)
		__asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(-1), "d"(-1) : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

void
x86_fpu_save(struct thread *t)
{
	fpu_save(t->arch.fpu);
}

void
x86_fpu_restore(struct thread *t)
{
	fpu_load(t->arch.fpu);
}

/*
 * XRSTOR faults on reserved MXCSR bits, on components that XCR0 lacks, and on a header whose
 * reserved bytes are not zero (SDM 1 13.8.1).
 */
bool
x86_fpu_image_ok(const void *image, size_t size)
{
	const uint8_t *b = image;
	uint32_t mxcsr;
	uint64_t header[8];

	if (size < 512)
		return false;
	memcpy(&mxcsr, b + 24, 4);
	if (mxcsr & ~mxcsr_mask)
		return false;
	if (!x86_fpu_mask)
		return true;
	if (size < x86_fpu_size)
		return false;
	memcpy(header, b + 512, sizeof(header));
	if (header[0] & ~x86_fpu_mask)
		return false;
	for (unsigned i = 1; i < 8; i++) {
		if (header[i])
			return false;
	}
	return true;
}

static int
fpu_alloc(struct thread *t)
{
	if (t->arch.fpu)
		return 0;
	t->arch.fpu = slab_alloc(fpu_cache);
	if (!t->arch.fpu)
		return -ENOMEM;
	/* XSAVE writes only part of the header; XRSTOR demands that the rest is zero. */
	memset(t->arch.fpu, 0, x86_fpu_size);
	return 0;
}

int
arch_thread_fpu_init(struct thread *t)
{
	uint8_t *area;
	uint32_t mxcsr = MXCSR_DEFAULT;
	uint16_t fcw = FCW_DEFAULT;
	int err = fpu_alloc(t);

	if (err)
		return err;
	area = t->arch.fpu;
	memset(area, 0, x86_fpu_size);
	memcpy(area, &fcw, sizeof(fcw));
	memcpy(area + 24, &mxcsr, sizeof(mxcsr));
	if (t == current)
		fpu_load(area);
	return 0;
}

/* prev, which may have user registers, stops running. */
static always_inline void
fpu_leave(struct thread *prev)
{
	if (prev->arch.fpu && prev->state != THREAD_DEAD)
		fpu_save(prev->arch.fpu);
}

/* next, which has user registers, starts. */
static always_inline void
fpu_enter(struct thread *next)
{
	if (fpu_must_load(next))
		fpu_load(next->arch.fpu);
}

/* ---- The probe of row fpu ---- */

#define FPU_COMPONENTS 64
#define XMM_AREA       160u /* of the legacy region; 256 bytes (SDM 1 10.5.1) */

/* Calls fn for each part of a saved state that holds vectors: one of each component that XCR0 enables. */
static void
fpu_each_part(uint8_t *area, void (*fn)(void *arg, uint8_t *part, unsigned size), void *arg)
{
	fn(arg, area + XMM_AREA, 256);
	for (unsigned i = 2; i < FPU_COMPONENTS; i++) {
		struct cpuid d;

		if (!(x86_fpu_mask & BIT(i)))
			continue;
		d = x86_cpuid(0xd, i);
		fn(arg, area + d.b, d.a);
	}
}

#define PATTERN(i, seed) ((uint8_t)((i) * 37 + (i) / 256 + (seed)))

static void
fill_part(void *seed, uint8_t *part, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		part[i] = PATTERN(i, *(const uint8_t *)seed);
}

struct matches {
	unsigned seed, same, all;
};

static void
compare_part(void *arg, uint8_t *part, unsigned size)
{
	struct matches *m = arg;

	for (unsigned i = 0; i < size; i++)
		m->same += part[i] == PATTERN(i, m->seed);
	m->all += size;
}

/* Fills all vector registers, by way of `area`, a saved state. */
static void
fpu_load_pattern(uint8_t *area, uint8_t seed)
{
	fpu_each_part(area, fill_part, &seed);
	if (x86_fpu_mask)
		memcpy(area + 512, &x86_fpu_mask, sizeof(x86_fpu_mask));
	fpu_load(area);
}

int
arch_fpu_probe(unsigned *back, unsigned *count)
{
	struct matches m = {.seed = 1};
	uint8_t *kept = slab_alloc(fpu_cache), *work = slab_alloc(fpu_cache);
	irqstate_t s;

	if (kept && work) {
		memset(kept, 0, x86_fpu_size);
		s = arch_irq_save();
		fpu_save(kept);
		memcpy(work, kept, x86_fpu_size);
		fpu_load_pattern(work, 1);
		fpu_leave(current);
		fpu_load_pattern(work, 101);
		fpu_enter(current);
		fpu_save(work);
		fpu_load(kept);
		arch_irq_restore(s);
		fpu_each_part(work, compare_part, &m);
	}
	*back = m.same;
	*count = m.all;
	if (work)
		slab_free(fpu_cache, work);
	if (kept)
		slab_free(fpu_cache, kept);
	return m.all ? 0 : -ENOMEM;
}

/* ---- Threads ---- */

struct trapframe *
arch_user_frame(struct thread *t)
{
	return (struct trapframe *)((char *)t->kstack + KSTACK_SIZE) - 1;
}

void
arch_thread_init(struct thread *t, void (*fn)(void *arg), void *arg)
{
	/* What x86_switch_stack pops; below the place of the user's trap frame. */
	struct {
		uint64_t r15, r14, r13, r12, rbx, rbp, ret;
	} *s = (void *)arch_user_frame(t);

	s--;
	*s = (__typeof__(*s)){
		.r12 = (uint64_t)fn, .r13 = (uint64_t)arg, .ret = (uint64_t)x86_thread_start};
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
	int err = fpu_alloc(child);

	if (err)
		return err;
	fpu_save(child->arch.fpu); /* the live registers, not an older copy */
	child->arch.fs_base = current->arch.fs_base;
	child->arch.gs_base = current->arch.gs_base;
	arch_thread_init(child, forked_thread, NULL);
	*frame = *tf;
	frame->rax = 0;
	return 0;
}

void
arch_thread_destroy(struct thread *t)
{
	if (t->arch.fpu)
		slab_free(fpu_cache, t->arch.fpu);
	t->arch.fpu = NULL;
}

/* A user may have loaded segment selectors; they must not reach the next process. */
static void
clear_selectors(void)
{
	uint16_t ds, es, fs, gs;

	__asm__ volatile("mov %%ds, %0; mov %%es, %1; mov %%fs, %2; mov %%gs, %3"
			 : "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs));
	if (likely(!(ds | es | fs | gs)))
		return;
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs" : : "r"(0));
	if (gs) { /* loading it would change the hidden base: do it while the user's is in place */
		irqstate_t s = arch_irq_save();

		__asm__ volatile("swapgs; mov %0, %%gs; swapgs" : : "r"(0) : "memory");
		arch_irq_restore(s);
	}
}

static void
load_tls(const struct thread *t)
{
	x86_wrmsr(MSR_FS_BASE, t->arch.fs_base);
	x86_wrmsr(MSR_KERNEL_GS_BASE, t->arch.gs_base);
}

no_canary struct thread *
arch_switch(struct thread *prev, struct thread *next)
{
	struct cpu *c = this_cpu();

	fpu_leave(prev);
	if (next->arch.fpu) {
		fpu_enter(next);
		clear_selectors();
		load_tls(next);
	}
	/* A thread without an address space runs on the one that is there. */
	if (next->vm)
		arch_pt_activate(&next->vm->pt);
	c->thread = next;
	c->canary = next->canary;
	c->kernel_sp = (uint64_t)next->kstack + KSTACK_SIZE;
	return x86_switch_stack(prev, next);
}

noreturn void
arch_enter_user(void)
{
	x86_enter_user(arch_user_frame(current));
}

int
arch_set_tls(struct thread *t, uint64_t value)
{
	/* The register does not take an address that is not canonical: it faults, here or in a switch. */
	if (value >= USER_END)
		return -EPERM;
	t->arch.fs_base = value;
	if (t == current)
		x86_wrmsr(MSR_FS_BASE, value);
	return 0;
}

/* arch_prctl(2), which only x86_64 has. */
#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004

long
sys_arch_prctl(struct trapframe *tf)
{
	struct thread *t = current;
	uint64_t value = arg_u64(tf, 1);

	switch (arg_int(tf, 0)) {
	case ARCH_SET_FS:
		return arch_set_tls(t, value);
	case ARCH_SET_GS:
		if (value >= USER_END)
			return -EPERM;
		t->arch.gs_base = value;
		x86_wrmsr(MSR_KERNEL_GS_BASE, value); /* active after the next swapgs */
		return 0;
	case ARCH_GET_FS:
		return put_user(arg_user(tf, 1), &t->arch.fs_base);
	case ARCH_GET_GS:
		return put_user(arg_user(tf, 1), &t->arch.gs_base);
	default:
		return -EINVAL;
	}
}

void
arch_exec_frame(struct trapframe *tf, uint64_t entry, uint64_t sp)
{
	*tf = (struct trapframe){
		.vector = TRAP_FORGOTTEN,
		.rip = entry,
		.cs = SEL_USER_CODE,
		.rflags = RFLAGS_FIXED | RFLAGS_IF,
		.rsp = sp,
		.ss = SEL_USER_DATA,
	};
	current->arch.gs_base = 0;
	(void)!arch_set_tls(current, 0);
	clear_selectors();
	load_tls(current);
}

void
arch_kernel_frame(struct trapframe *tf, uint64_t ip, uint64_t fp)
{
	*tf = (struct trapframe){
		.rip = ip,
		.cs = SEL_KERNEL_CODE,
		.rflags = RFLAGS_FIXED,
		.rbp = fp,
		.rsp = fp,
		.ss = SEL_KERNEL_DATA,
	};
}

void
arch_print_frame(const struct trapframe *tf)
{
	kalert("rip %016lx  cs %04lx  rflags %08lx  vector %lu  error %lx\n", tf->rip, tf->cs,
	       tf->rflags, tf->vector, tf->error);
	kalert("rsp %016lx  ss %04lx  cr2 %016lx  cr3 %016lx\n", tf->rsp, tf->ss, x86_read_cr2(),
	       x86_read_cr3());
	kalert("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", tf->rax, tf->rbx, tf->rcx,
	       tf->rdx);
	kalert("rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx\n", tf->rsi, tf->rdi, tf->rbp,
	       tf->r8);
	kalert("r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx\n", tf->r9, tf->r10, tf->r11,
	       tf->r12);
	kalert("r13 %016lx  r14 %016lx  r15 %016lx  cr4 %08lx\n", tf->r13, tf->r14, tf->r15,
	       x86_read_cr4());
}

void
arch_print_registers(void)
{
	uint64_t rbx, rbp, rsp, r12, r13, r14, r15, rflags;

	__asm__ volatile("mov %%rbx, %0; mov %%rbp, %1; mov %%rsp, %2"
			 : "=m"(rbx), "=m"(rbp), "=m"(rsp));
	__asm__ volatile("mov %%r12, %0; mov %%r13, %1; mov %%r14, %2; mov %%r15, %3"
			 : "=m"(r12), "=m"(r13), "=m"(r14), "=m"(r15));
	__asm__ volatile("pushfq; popq %0" : "=r"(rflags));
	kalert("rsp %016lx  rbp %016lx  rbx %016lx  rflags %08lx\n", rsp, rbp, rbx, rflags);
	kalert("r12 %016lx  r13 %016lx  r14 %016lx  r15 %016lx\n", r12, r13, r14, r15);
	kalert("cr0 %08lx  cr2 %016lx  cr3 %016lx  cr4 %08lx\n", x86_read_cr0(), x86_read_cr2(),
	       x86_read_cr3(), x86_read_cr4());
}
