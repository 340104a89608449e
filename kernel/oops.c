/* Oopses, panics, backtraces. */
#include "kernel/oops.h"

#include "arch/pte.h"
#include "kernel/cmdline.h"
#include "kernel/harden/harden.h"
#include "kernel/harden/pin.h"
#include "kernel/lib/print.h"
#include "kernel/lib/spinlock.h"
#include "kernel/lib/string.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/time.h"

#define BACKTRACE_MAX 32
#define OOPS_LIMIT    10000 /* by default: a bug that an attacker may repeat ends in a panic */

static uint32_t oopses; /* atomic */

/* ---- Symbols: what grade/ksyms.py has written into the image ---- */

/* Offsets in text, ascending; then as many places of names, and the names. */
struct ksyms {
	uint32_t count;
	uint32_t offsets[];
};

extern const struct ksyms __ksyms_start;
extern char __text_start[], __text_end[];

static bool
is_text(uint64_t addr)
{
	return addr >= (uint64_t)__text_start && addr < (uint64_t)__text_end;
}

static const char *
ksyms_name(const struct ksyms *table, uint32_t i)
{
	const uint32_t *places = table->offsets + table->count;

	return (const char *)(places + table->count) + places[i];
}

const char *
symbol_name(uint64_t addr, uint64_t *offset)
{
	const struct ksyms *table = &__ksyms_start;
	uint32_t at, lo = 0, hi = table->count;

	if (!is_text(addr) || hi == 0)
		return NULL;
	at = (uint32_t)(addr - (uint64_t)__text_start);
	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (table->offsets[mid] <= at)
			lo = mid;
		else
			hi = mid;
	}
	*offset = at - table->offsets[lo];
	return ksyms_name(table, lo);
}

const char *
symbol_at(uint32_t i, uint64_t *addr)
{
	const struct ksyms *table = &__ksyms_start;

	if (i >= table->count)
		return NULL;
	*addr = (uint64_t)__text_start + table->offsets[i];
	return ksyms_name(table, i);
}

static void
print_location(uint64_t addr, bool returned_to)
{
	uint64_t offset, back = returned_to; /* a call that never returns may be its function's end */
	const char *name = symbol_name(addr - back, &offset);

	if (name)
		kalert("  %016lx %s+%#lx\n", addr, name, offset + back);
	else
		kalert("  %016lx\n", addr);
}

/* True if a frame record (two words) at fp can be read: it is on a kernel stack. */
static bool
frame_ok(uint64_t fp)
{
	return IS_ALIGNED(fp, 8) && fp >= kstack_area_base &&
	       fp < kstack_area_base + KSTACK_AREA_SIZE &&
	       pte_present(arch_pt_get(&kernel_pt, fp)) &&
	       pte_present(arch_pt_get(&kernel_pt, fp + 8));
}

void
backtrace(uint64_t ip, uint64_t fp, bool returned_to)
{
	kalert("backtrace:\n");
	print_location(ip, returned_to);
	for (unsigned i = 0; i < BACKTRACE_MAX && frame_ok(fp); i++) {
		const uint64_t *record = (const uint64_t *)fp;

		if (!is_text(record[1]))
			break;
		print_location(record[1], true);
		if (record[0] <= fp)
			break;
		fp = record[0];
	}
}

/* ---- The end ---- */

static void
print_process(void)
{
	const struct thread *t = current;

	kalert("cpu %u, thread %d \"%s\"", arch_cpu_number(), t->tid, t->name);
	if (t->process)
		kalert(", process %d \"%s\"", t->process->pid, t->process->name);
	kalert("\n");
}

/* Obeys panic=: 0 halts, N restarts after N seconds, negative restarts at once. */
static noreturn void
die(void)
{
	char value[16];
	uint64_t seconds, end;

	if (!cmdline_get("panic", value, sizeof(value)))
		arch_halt();
	if (value[0] == '-')
		arch_reboot();
	if (str_to_u64(value, 10, &seconds) || seconds == 0)
		arch_halt();
	kalert("restarting in %lu s\n", seconds);
	for (end = clock_monotonic() + seconds * NSEC_PER_SEC; clock_monotonic() < end;)
		arch_relax();
	arch_reboot();
}

static void printf_like(3, 0)
print_reason(const char *what, const char *mitigation, const char *fmt, va_list ap)
{
	char reason[256];

	vsnprintf(reason, sizeof(reason), fmt, ap);
	if (mitigation)
		kalert("%s: %s: %s\n", what, mitigation, reason);
	else
		kalert("%s: %s\n", what, reason);
}

noreturn void
panic(const char *fmt, ...)
{
	const uint64_t *record = (const uint64_t *)arch_frame_pointer();
	va_list ap;

	arch_irq_disable();
	arch_stop_others();
	va_start(ap, fmt);
	print_reason("panic", NULL, fmt, ap);
	va_end(ap);
	print_process();
	arch_print_registers();
	backtrace(record[1], record[0], true);
	die();
}

/* On the top of the thread's own stack: what was below is abandoned. */
static noreturn void
end_process(void *arg unused)
{
	arch_irq_enable();
	process_exit(SIGKILL);
}

static uint32_t
oops_limit(void)
{
	char value[16];
	uint64_t n;

	if (cmdline_get("oops_limit", value, sizeof(value)) && str_to_u64(value, 10, &n) == 0)
		return (uint32_t)MIN(n, (uint64_t)UINT32_MAX);
	return OOPS_LIMIT;
}

noreturn void
oops(const struct trapframe *tf, const char *mitigation, const char *fmt, ...)
{
	const uint64_t *record = (const uint64_t *)arch_frame_pointer();
	struct thread *t = current;
	const char *fatal = NULL;
	va_list ap;

	arch_irq_disable();
	pin_restore();
	va_start(ap, fmt);
	print_reason("oops", mitigation, fmt, ap);
	va_end(ap);
	print_process();
	if (tf) {
		arch_print_frame(tf);
		backtrace(tf_ip(tf), tf_frame_pointer(tf), false);
	} else {
		backtrace(record[1], record[0], true);
	}

	if (arch_in_interrupt())
		fatal = "in an interrupt handler";
	else if (this_cpu()->table_windows)
		fatal = "in a window on the page tables";
	else if (spin_depth[arch_cpu_number()])
		fatal = "with a spin lock held";
	else if (run_queues[arch_cpu_number()].running != t)
		fatal = "in the scheduler";
	else if (t->mutexes_held)
		fatal = "with a mutex held";
	else if (!t->process)
		fatal = "in a kernel thread";
	else if (t->process->pid == 1)
		fatal = "in process 1";
	else if (__atomic_add_fetch(&oopses, 1, __ATOMIC_RELAXED) >= oops_limit())
		fatal = "once too often (oops_limit)";
	if (fatal) {
		arch_stop_others();
		kalert("panic: oops %s\n", fatal);
		die();
	}
	arch_abandon_stack(end_process, NULL);
}
