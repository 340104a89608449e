/*
 * Traps: exceptions become page-fault handling, signals or oopses; interrupts go to their devices.
 */
#include "kernel/errno.h"
#include "kernel/harden/harden.h"
#include "kernel/harden/kaslr.h"
#include "kernel/harden/ro_pgtable.h"
#include "kernel/harden/stack_guard.h"
#include "kernel/lib/print.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/oops.h"
#include "kernel/proc/call.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "cpu.h"

/* Fault status codes (ARM D17.2.37, ISS of aborts): the low two bits are the level. */
#define FSC_CLASS	0x3c
#define FSC_TRANSLATION 0x04
#define FSC_ACCESS_FLAG 0x08
#define FSC_PERMISSION	0x0c
#define FSC_ALIGNMENT	0x21

static unsigned
exception_class(const struct trapframe *tf)
{
	return (unsigned)(tf->esr >> ESR_EC_SHIFT & 0x3f);
}

/* True for faults that the tables decide: a missing entry or a permission. */
static bool
is_page_fault(uint64_t esr)
{
	uint64_t class = esr & ESR_FSC & FSC_CLASS;

	return class == FSC_TRANSLATION || class == FSC_ACCESS_FLAG || class == FSC_PERMISSION;
}

static bool
is_permission(uint64_t esr)
{
	return (esr & ESR_FSC & FSC_CLASS) == FSC_PERMISSION;
}

struct ex_entry {
	int32_t from, end, to; /* each relative to itself */
};

static uint64_t
ex_address(const int32_t *field)
{
	return (uint64_t)field + (uint64_t)(int64_t)*field;
}

static uint64_t
find_fixup(uint64_t ip)
{
	extern const struct ex_entry __ex_table_start[], __ex_table_end[];

	for (const struct ex_entry *e = __ex_table_start; e < __ex_table_end; e++) {
		if (ip >= ex_address(&e->from) && ip < ex_address(&e->end))
			return ex_address(&e->to);
	}
	return 0;
}

/* The top byte of a user address is not part of it (TCR_EL1.TBI0). */
static uint64_t
untag(uint64_t addr)
{
	return addr & BIT(55) ? addr : addr & ~(0xfful << 56);
}

static unsigned
fault_access(const struct trapframe *tf)
{
	unsigned ec = exception_class(tf);

	if (ec == EC_FETCH_USER || ec == EC_FETCH)
		return PROT_EXEC;
	return (tf->esr & (ESR_WNR | ESR_CM)) == ESR_WNR ? PROT_WRITE : PROT_READ;
}

static void
user_abort(struct trapframe *tf)
{
	unsigned access = fault_access(tf);
	uint64_t addr = untag(tf->far);
	int signo = SIGSEGV, code = SEGV_MAPERR;

	if (!is_page_fault(tf->esr)) {
		signal_fault(SIGBUS, (tf->esr & ESR_FSC) == FSC_ALIGNMENT ? BUS_ADRALN : BUS_ADRERR,
			     addr);
		return;
	}
	/* How far the kernel's tables lead there would tell where it lies. */
	if (addr >= USER_END)
		current->arch.fault_esr = (tf->esr & ~(uint64_t)ESR_FSC) | FSC_TRANSLATION;
	if (addr < USER_END && vm_fault(current->vm, addr, access, &signo, &code) == 0)
		return;
	if (access == PROT_EXEC && is_permission(tf->esr))
		harden_report("nx", "%s[%d] jumped to %016lx, which is not executable",
			      current->name, current->tid, addr);
	current->arch.fault_addr = addr;
	signal_fault(signo, code, addr);
}

/* True if addr is an address of kernel text, its own or that in the direct map. */
static bool
is_kernel_text(uint64_t addr)
{
	struct boot_range text = arch_kernel_text();

	return addr - (uint64_t)__text_start < text.size ||
	       addr - (direct_map_base + text.base.v) < text.size;
}

/* What a kernel fault at addr means; reports and does not return. */
static noreturn void
bad_kernel_abort(struct trapframe *tf, uint64_t addr)
{
	unsigned access = fault_access(tf);
	bool user_address = addr < USER_END, permission = is_permission(tf->esr);

	if (this_cpu()->table_windows)
		oops(tf, "ro-pgtable", "the kernel took %016lx for a page table", addr);
	if (addr < MMAP_MIN_ADDR && !permission)
		oops(tf, "null-guard", "the kernel used address %016lx", addr);
	if (user_address && access == PROT_EXEC)
		oops(tf, "smep", "the kernel jumped to user address %016lx", addr);
	if (user_address && permission && access == PROT_WRITE && !(tf->pstate & PSTATE_PAN))
		oops(tf, "wp", "the kernel wrote to user address %016lx, which is read-only", addr);
	if (user_address)
		oops(tf, "smap", "the kernel used user address %016lx outside a user copy", addr);
	if (stack_guard_hit(addr))
		stack_guard_report(tf, addr);
	if (permission && access == PROT_EXEC)
		oops(tf, "wx", "the kernel jumped to %016lx, which is not executable", addr);
	if (permission && access == PROT_WRITE && is_kernel_text(addr))
		oops(tf, "wx", "the kernel wrote to %016lx, its own text", addr);
	if (permission && access == PROT_WRITE && pgtable_owns((void *)addr))
		oops(tf, "ro-pgtable", "the kernel wrote to %016lx, a page table", addr);
	if (permission && access == PROT_WRITE)
		oops(tf, "wp", "the kernel wrote to %016lx, which is read-only", addr);
	if (kaslr_miss(addr))
		oops(tf, "kaslr", "the kernel used %016lx, where it was linked to be and is not", addr);
	oops(tf, NULL, "page fault at %016lx (esr %lx)", addr, tf->esr);
}

static void
kernel_abort(struct trapframe *tf)
{
	uint64_t addr = tf->far, user = untag(addr), fixup = find_fixup(tf->pc);
	int signo, code;

	if (!fixup || user >= USER_END || !current->vm)
		bad_kernel_abort(tf, addr);
	/* A user copy: may sleep, unless its caller had interrupts off. */
	if (!(tf->pstate & PSTATE_I) && is_page_fault(tf->esr)) {
		int err;

		arch_irq_enable();
		err = vm_fault(current->vm, user, fault_access(tf), &signo, &code);
		arch_irq_disable();
		if (!err)
			return;
	}
	tf->pc = fixup;
}

/* ESR_EL1 of a trapped floating-point exception: the lowest that is set decides si_code. */
static int
fpe_code(uint64_t esr)
{
	if (!(esr & BIT(23))) /* which one it was is not known */
		return SI_KERNEL;
	if (esr & BIT(0))
		return FPE_FLTINV;
	if (esr & BIT(1))
		return FPE_FLTDIV;
	if (esr & BIT(2))
		return FPE_FLTOVF;
	if (esr & BIT(3))
		return FPE_FLTUND;
	return esr & BIT(4) ? FPE_FLTRES : SI_KERNEL;
}

/*
 * An instruction that user mode may not use: system registers, and vector extensions that the kernel
 * does not switch.  Reads of what the umip row hides are reported.
 */
static void
forbidden_instruction(struct trapframe *tf)
{
	if (exception_class(tf) == EC_SYSREG && (tf->esr & 1) && arch_user_info_guard_active())
		harden_report("umip", "%s[%d] at %016lx tried to read a system register",
			      current->name, current->tid, tf->pc);
	signal_fault(SIGILL, ILL_ILLOPC, tf->pc);
}

static void
user_exception(struct trapframe *tf)
{
	struct thread *t = current;

	t->arch.fault_esr = tf->esr;
	t->arch.fault_addr = 0;
	arch_irq_enable();
	switch (exception_class(tf)) {
	case EC_FETCH_USER:
	case EC_DATA_USER:
		user_abort(tf);
		break;
	case EC_PC_ALIGN:
		signal_fault(SIGBUS, BUS_ADRALN, tf->pc);
		break;
	case EC_SP_ALIGN:
		signal_fault(SIGBUS, BUS_ADRALN, tf->sp);
		break;
	case EC_FP_TRAP:
		signal_fault(SIGFPE, fpe_code(tf->esr), tf->pc);
		break;
	case EC_BRK:
	case EC_BREAK_USER:
		signal_fault(SIGTRAP, TRAP_BRKPT, tf->pc);
		break;
	case EC_STEP_USER:
		tf->pstate &= ~PSTATE_SS;
		signal_fault(SIGTRAP, TRAP_TRACE, tf->pc);
		break;
	case EC_SERROR:
		panic("asynchronous external abort (esr %lx)", tf->esr);
	case EC_ILLEGAL: /* a return to user mode with a frame that no code of ours makes */
	default:
		forbidden_instruction(tf);
		break;
	}
	arch_irq_disable();
}

static const char *
exception_name(unsigned ec)
{
	switch (ec) {
	case EC_UNKNOWN:
		return "undefined instruction";
	case EC_FP:
		return "floating point in the kernel";
	case EC_ILLEGAL:
		return "illegal execution state";
	case EC_PC_ALIGN:
		return "misaligned instruction address";
	case EC_SP_ALIGN:
		return "misaligned stack pointer";
	case EC_BRK:
		return "breakpoint";
	default:
		return "unexpected exception";
	}
}

/* From entry.S, interrupts off; on the thread's kernel stack. */
void
a64_trap(struct trapframe *tf)
{
	unsigned ec = exception_class(tf);

	if (tf_from_user(tf))
		user_exception(tf);
	else if (ec == EC_DATA || ec == EC_FETCH)
		kernel_abort(tf);
	else
		oops(tf, NULL, "%s (esr %lx)", exception_name(ec), tf->esr);
}

/* From entry.S, interrupts off. */
void
a64_irq(struct trapframe *tf)
{
	struct cpu *c = this_cpu();
	uint32_t ack = a64_gic_begin(), irq = ack & 0xffffff;

	if (firmware_info.gic_version == 2)
		irq &= 0x3ff; /* the rest says which CPU sent it */
	if (irq >= IRQ_SPURIOUS)
		return;
	c->irq_depth++;
	/* First what has a number of its own: in the device tree's numbers 0 is none, and here one of these. */
	if (irq == SGI_CALL) {
		serve_call();
	} else if (irq == SGI_STOP) {
		arch_halt();
	} else if (irq == SGI_RESCHEDULE) {
		/* thread.work is looked at on the way out */
	} else if (irq == firmware_info.timer_irq) {
		a64_timer_ack();
		timer_interrupt(tf_from_user(tf));
	} else if (irq == firmware_info.uart_irq) {
		a64_serial_interrupt();
	} else {
		kprintf("irq: nobody expects interrupt %u\n", irq);
	}
	a64_gic_end(ack);
	c->irq_depth--;
}

/* ---- Emergencies ---- */

/* A stack for the report of another's overflow.  Until it is there, the boot stack must do. */
void
a64_cpu_stacks(struct cpu *c)
{
	void *stack;

	if (kstack_alloc(&stack))
		panic("trap: no memory for CPU %u's overflow stack", c->number);
	c->overflow_sp = (uint64_t)stack + KSTACK_SIZE;
}

/* From entry.S, interrupts off, on this CPU's overflow stack.  tf->sp is outside every stack. */
noreturn void
a64_overflow(struct trapframe *tf)
{
	/* Where the push that would have followed goes; what faulted may have reached below it. */
	uint64_t at = tf->sp - sizeof(*tf);

	if (stack_guard_hit(tf->far))
		stack_guard_report(tf, tf->far);
	if (stack_guard_hit(at))
		stack_guard_report(tf, at);
	oops(tf, NULL, "the stack pointer %016lx is on no kernel stack", tf->sp);
}

noreturn void
a64_bad_vector(struct trapframe *tf, uint64_t vector)
{
	arch_print_frame(tf);
	panic("exception through vector %lu (esr %lx)", vector, tf->esr);
}

noreturn void
arch_abandon_stack(void (*fn)(void *arg), void *arg)
{
	a64_run_on_stack(arch_user_frame(current), fn, arg);
}

void
arch_init(void)
{
	a64_cpu_stacks(this_cpu());
	a64_cpu_init(this_cpu());
	a64_gic_init();
	a64_gic_cpu_init();
	a64_timer_init();
	a64_timer_cpu_init();
	a64_serial_enable_interrupt();
}
