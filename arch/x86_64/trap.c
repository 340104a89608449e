/*
 * Traps: exceptions become page-fault handling, signals or oopses; interrupts go to their devices.
 */
#include "kernel/errno.h"
#include "kernel/harden/harden.h"
#include "kernel/harden/kaslr.h"
#include "kernel/harden/ro_pgtable.h"
#include "kernel/harden/stack_guard.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/oops.h"
#include "kernel/proc/call.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "cpu.h"

struct gate { /* SDM 3A 6.14.1 */
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_mid;
	uint32_t offset_high, reserved;
} packed;

#define GATE_INTERRUPT 0x8e /* present, DPL 0: interrupts are off on entry */
#define GATE_USER      0x60 /* DPL 3 */

static struct gate idt[256] aligned(4096) ro_after_init;
const struct gate *const x86_idt = idt;

static uint8_t
ist_of(unsigned vector)
{
	switch (vector) {
	case VEC_DF:
		return IST_DF;
	case VEC_NMI:
		return IST_NMI;
	case VEC_MC:
		return IST_MC;
	case VEC_DB:
		return IST_DB;
	default:
		return 0;
	}
}

void
x86_idt_init(uint64_t vectors)
{
	for (unsigned i = 0; i < ARRAY_LEN(idt); i++) {
		uint64_t entry = vectors + 16 * i;

		idt[i] = (struct gate){
			.offset_low = (uint16_t)entry,
			.selector = SEL_KERNEL_CODE,
			.type = GATE_INTERRUPT | (i == VEC_BP || i == VEC_OF ? GATE_USER : 0),
			.offset_mid = (uint16_t)(entry >> 16),
			.offset_high = (uint32_t)(entry >> 32),
		};
	}
}

void
x86_idt_load(uint64_t table)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} packed idtr = {sizeof(idt) - 1, table};

	__asm__ volatile("lidt %0" : : "m"(idtr));
}

/* The emergency stacks, which need the allocator: until then an early fault is a triple fault. */
void
x86_cpu_stacks(struct cpu *c)
{
	for (unsigned i = 0; i < IST_COUNT; i++) {
		void *stack;

		if (kstack_alloc(&stack))
			panic("trap: no memory for CPU %u's emergency stacks", c->number);
		c->emergency_sp[i] = (uint64_t)stack + KSTACK_SIZE;
	}
	if (c == this_cpu()) {
		for (unsigned i = 0; i < ARRAY_LEN(idt); i++)
			idt[i].ist = ist_of(i);
	}
}

/* ---- Exceptions ---- */

static const char *const exception_names[32] = {
	[VEC_DE] = "divide error",
	[VEC_DB] = "debug exception",
	[VEC_NMI] = "non-maskable interrupt",
	[VEC_BP] = "breakpoint",
	[VEC_OF] = "overflow",
	[VEC_BR] = "bound range exceeded",
	[VEC_UD] = "invalid opcode",
	[VEC_NM] = "device not available",
	[VEC_DF] = "double fault",
	[VEC_TS] = "invalid TSS",
	[VEC_NP] = "segment not present",
	[VEC_SS] = "stack fault",
	[VEC_GP] = "general protection fault",
	[VEC_PF] = "page fault",
	[VEC_MF] = "x87 error",
	[VEC_AC] = "alignment check",
	[VEC_MC] = "machine check",
	[VEC_XM] = "SIMD error",
};

static const char *
exception_name(uint64_t vector)
{
	const char *name = vector < ARRAY_LEN(exception_names) ? exception_names[vector] : NULL;

	return name ? name : "unknown exception";
}

struct ex_entry {
	int32_t from, to; /* each relative to itself */
};

static uint64_t
find_fixup(uint64_t ip)
{
	extern const struct ex_entry __ex_table_start[], __ex_table_end[];

	for (const struct ex_entry *e = __ex_table_start; e < __ex_table_end; e++) {
		if ((uint64_t)&e->from + (uint64_t)(int64_t)e->from == ip)
			return (uint64_t)&e->to + (uint64_t)(int64_t)e->to;
	}
	return 0;
}

static unsigned
fault_access(uint64_t error)
{
	if (error & PF_FETCH)
		return PROT_EXEC;
	return error & PF_WRITE ? PROT_WRITE : PROT_READ;
}

static void
user_page_fault(struct trapframe *tf, uint64_t addr)
{
	unsigned access = fault_access(tf->error);
	int signo = SIGSEGV, code = SEGV_MAPERR;

	if (addr < USER_END && vm_fault(current->vm, addr, access, &signo, &code) == 0)
		return;
	if (access == PROT_EXEC && (tf->error & PF_PRESENT))
		harden_report("nx", "%s[%d] jumped to %016lx, which is not executable",
			      current->name, current->tid, addr);
	current->arch.fault_addr = addr;
	signal_fault(signo, code, addr);
}

/* True if addr is an address of kernel text, its own or that in the direct map. */
static bool
is_kernel_text(uint64_t addr)
{
	extern char __text_start[];
	struct boot_range text = arch_kernel_text();

	return addr - (uint64_t)__text_start < text.size ||
	       addr - (direct_map_base + text.base.v) < text.size;
}

/* What a kernel fault at addr means; reports and does not return. */
static noreturn void
kernel_page_fault(struct trapframe *tf, uint64_t addr)
{
	bool user_address = addr < USER_END, present = tf->error & PF_PRESENT;

	if (this_cpu()->table_windows)
		oops(tf, "ro-pgtable", "the kernel took %016lx for a page table", addr);
	if (addr < MMAP_MIN_ADDR && !present)
		oops(tf, "null-guard", "the kernel used address %016lx", addr);
	if (user_address && (tf->error & PF_FETCH))
		oops(tf, "smep", "the kernel jumped to user address %016lx", addr);
	if (user_address && (arch_user_access_guard_active() || !(present && (tf->error & PF_WRITE))))
		oops(tf, "smap", "the kernel used user address %016lx outside a user copy", addr);
	if (stack_guard_hit(addr))
		stack_guard_report(tf, addr);
	if (present && (tf->error & PF_FETCH))
		oops(tf, "wx", "the kernel jumped to %016lx, which is not executable", addr);
	if (present && (tf->error & PF_WRITE) && is_kernel_text(addr))
		oops(tf, "wx", "the kernel wrote to %016lx, its own text", addr);
	if (present && (tf->error & PF_WRITE) && pgtable_owns((void *)addr))
		oops(tf, "ro-pgtable", "the kernel wrote to %016lx, a page table", addr);
	if (present && (tf->error & PF_WRITE))
		oops(tf, "wp", "the kernel wrote to %016lx, which is read-only", addr);
	if (kaslr_miss(addr))
		oops(tf, "kaslr", "the kernel used %016lx, where it was linked to be and is not", addr);
	oops(tf, NULL, "page fault at %016lx (error %lx)", addr, tf->error);
}

static void
page_fault(struct trapframe *tf)
{
	uint64_t addr = x86_read_cr2(), fixup;
	int signo, code;

	if (tf_from_user(tf)) {
		arch_irq_enable();
		user_page_fault(tf, addr);
		arch_irq_disable();
		return;
	}
	fixup = find_fixup(tf->rip);
	if (!fixup || addr >= USER_END || !current->vm)
		kernel_page_fault(tf, addr);
	/* A user copy: may sleep, unless its caller had interrupts off. */
	if (tf->rflags & RFLAGS_IF) {
		int err;

		arch_irq_enable();
		err = vm_fault(current->vm, addr, fault_access(tf->error), &signo, &code);
		arch_irq_disable();
		if (!err)
			return;
	}
	tf->rip = fixup;
}

/* x87 status and MXCSR: the lowest unmasked exception decides si_code. */
static int
fpe_code(uint32_t pending)
{
	if (pending & 0x01)
		return FPE_FLTINV;
	if (pending & 0x04)
		return FPE_FLTDIV;
	if (pending & 0x08)
		return FPE_FLTOVF;
	if (pending & 0x12)
		return FPE_FLTUND;
	if (pending & 0x20)
		return FPE_FLTRES;
	return SI_KERNEL;
}

static int
fpe_code_now(uint64_t vector)
{
	if (vector == VEC_MF) {
		uint16_t sw, cw;

		__asm__ volatile("fnstsw %0; fnstcw %1" : "=m"(sw), "=m"(cw));
		return fpe_code(sw & ~cw & 0x3fu);
	} else {
		uint32_t mxcsr;

		__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
		return fpe_code(mxcsr & ~(mxcsr >> 7) & 0x3f);
	}
}

/* SGDT, SIDT, SMSW, SLDT, STR: what UMIP turns into #GP (SDM 3A 2.5). */
static bool
is_descriptor_store(uint64_t ip)
{
	uint8_t b[3];
	unsigned op;

	if (copy_from_user(b, UADDR(ip), sizeof(b)) || b[0] != 0x0f)
		return false;
	op = b[2] >> 3 & 7;
	return (b[1] == 0 && op <= 1) || (b[1] == 1 && (op <= 1 || op == 4));
}

static void
user_exception(struct trapframe *tf)
{
	struct thread *t = current;

	t->arch.fault_vector = tf->vector;
	t->arch.fault_error = tf->error;
	if (tf->vector == VEC_PF) {
		/* Whether the kernel has a page there would tell where it lies. */
		if (x86_read_cr2() >= USER_END)
			t->arch.fault_error |= PF_PRESENT;
		page_fault(tf);
		return;
	}
	arch_irq_enable();
	switch (tf->vector) {
	case VEC_DE:
		signal_fault(SIGFPE, FPE_INTDIV, tf->rip);
		break;
	case VEC_DB:
		tf->rflags &= ~RFLAGS_TF;
		signal_fault(SIGTRAP, TRAP_TRACE, tf->rip);
		break;
	case VEC_BP:
		signal_fault(SIGTRAP, SI_KERNEL, 0);
		break;
	case VEC_UD:
		signal_fault(SIGILL, ILL_ILLOPN, tf->rip);
		break;
	case VEC_MF:
	case VEC_XM:
		signal_fault(SIGFPE, fpe_code_now(tf->vector), tf->rip);
		break;
	case VEC_SS:
	case VEC_NP:
		signal_fault(SIGBUS, SI_KERNEL, 0);
		break;
	case VEC_AC:
		signal_fault(SIGBUS, BUS_ADRALN, 0);
		break;
	case VEC_GP:
		if (arch_user_info_guard_active() && is_descriptor_store(tf->rip))
			harden_report("umip", "%s[%d] at %016lx tried to read a descriptor table's address",
				      t->name, t->tid, tf->rip);
		signal_fault(SIGSEGV, SI_KERNEL, 0);
		break;
	case VEC_MC:
		panic("machine check");
	default:
		signal_fault(SIGSEGV, SI_KERNEL, 0);
		break;
	}
	arch_irq_disable();
}

static void
interrupt(struct trapframe *tf)
{
	struct cpu *c = this_cpu();

	c->irq_depth++;
	switch (tf->vector) {
	case VEC_TIMER:
		x86_lapic_eoi();
		timer_interrupt(tf_from_user(tf));
		break;
	case VEC_SERIAL:
		x86_serial_interrupt();
		x86_lapic_eoi();
		break;
	case VEC_RESCHEDULE:
		x86_lapic_eoi();
		break; /* thread.work is looked at on the way out */
	case VEC_IPI:
		x86_lapic_eoi();
		serve_call();
		break;
	case VEC_SPURIOUS:
		break;
	default:
		x86_lapic_eoi();
		kprintf("irq: nobody expects vector %lu\n", tf->vector);
		break;
	}
	c->irq_depth--;
}

/* From entry.S, interrupts off; on the thread's kernel stack. */
void
x86_trap(struct trapframe *tf)
{
	if (tf->vector >= 32)
		interrupt(tf);
	else if (tf_from_user(tf))
		user_exception(tf);
	else if (tf->vector == VEC_PF)
		page_fault(tf);
	else
		oops(tf, NULL, "%s (error %lx)", exception_name(tf->vector), tf->error);
}

/*
 * From entry.S, interrupts off, on a stack of the vector's own; never for #DB and #MC of user mode.
 * May have interrupted anything: takes no lock, unless it never returns.
 */
void
x86_paranoid_trap(struct trapframe *tf)
{
	switch (tf->vector) {
	case VEC_NMI:
		if (__atomic_load_n(&x86_stopping, __ATOMIC_ACQUIRE))
			arch_halt();
		this_cpu()->nmis++;
		return;
	case VEC_DB: /* from the first instruction after MOV SS in user mode, say: not ours */
		tf->rflags &= ~RFLAGS_TF;
		return;
	default:
		panic("%s", exception_name(tf->vector));
	}
}

/* From entry.S, interrupts off, on this CPU's emergency stack.  CR2 is that of the first fault. */
noreturn void
x86_double_fault(struct trapframe *tf)
{
	uint64_t addr = x86_read_cr2();

	/* User mode's tables have the registers there, the kernel's that they are now. */
	memset(x86_entry_data_of(this_cpu())->short_stacks[IST_DF - 1], 0, ENTRY_SHORT_STACK);
	if (stack_guard_hit(addr))
		stack_guard_report(tf, addr);
	oops(tf, NULL, "double fault");
}

void
x86_bad_user_ip(struct trapframe *tf)
{
	current->arch.fault_vector = VEC_GP;
	current->arch.fault_error = 0;
	current->arch.fault_addr = tf->rip;
	signal_fault(SIGSEGV, SI_KERNEL, 0);
}

noreturn void
arch_abandon_stack(void (*fn)(void *arg), void *arg)
{
	x86_run_on_stack(arch_user_frame(current), fn, arg);
}

void
arch_init(void)
{
	x86_fpu_cache_init();
	x86_cpu_stacks(this_cpu());
	x86_lapic_init();
	x86_ioapic_init();
	x86_timer_calibrate();
	x86_timer_cpu_init();
	x86_serial_enable_interrupt();
}
