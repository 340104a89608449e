/* The starter's code: it works, and tells everybody everything.  Sections as cut names them. */

/* ==== kernel/harden/leaks.c ==== */

/*
 * leaks
 *
 * Threat:    One kernel address undoes kaslr, and kernels have always told them for free: symbol tables,
 *            wait channels and object addresses in /proc, whatever a driver once printed to the log.
 * Property:  No file that an ordinary user reads holds a kernel address or a part of one; the kernel's log,
 *            in which reports of faults tell registers, is root's.
 * Mechanism: Yours.
 * Limit:     Yours: who is still told, and what do timing and bugs tell?
 * Check:     make grade; user/attack/leaks.c.
 */
#include "kernel/harden/leaks.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"

/* To do: who may see it?  And is there a number that is as good as none?  harden=-leaks shows it to all. */
uint64_t
leaks_address(uint64_t addr)
{
	return addr;
}

/* To do: who asks by this door, and which other doors are there? */
bool
leaks_log_allowed(bool root unused)
{
	return true;
}

/* To do: what would an ordinary user be shown?  See other rows' probes. */
static enum harden_state
probe(char *how, size_t size)
{
	snprintf(how, size, "nobody keeps anything back");
	return HARDEN_OFF;
}

const struct mitigation leaks_row = {
	"leaks", "files tell no kernel address, the log is root's", probe};

/* ==== kernel/harden/format.c ==== */

/*
 * format
 *
 * Threat:    A string that a user chose becomes a format: %x and %p read out registers and stack, %s reads
 *            through whatever they hold, %n writes through it.  And every honest %p tells an address.
 * Property:  Formats are literals.  %p tells no address.  There is no %n.
 * Mechanism: The compiler refuses what is no literal (-Wformat=2 with -Werror).  The rest is yours.
 * Limit:     Yours: what may be learnt from what %p prints now?
 * Check:     make grade; user/attack/format.c.
 */
#include "kernel/harden/format.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"

/*
 * To do: where in memory do literals lie, and what else lies nowhere near (kernel.lds)?  harden_report tells the
 * log of one that is refused; harden=-format takes it.
 */
const char *
format_literal(const char *fmt)
{
	return fmt;
}

/* To do: start-up calls it before anybody prints a pointer. */
void
format_init(void)
{
}

/* To do: nothing, or a number that stands for p.  What must be true of it for somebody who knows some pairs? */
uint64_t
format_pointer(const void *p)
{
	return (uint64_t)p;
}

/* %s follows what it is given. */
const char *
format_string(const char *str)
{
	return str ? str : "(null)";
}

/* To do: what can be seen by printing?  See other rows' probes. */
static enum harden_state
probe(char *how, size_t size)
{
	snprintf(how, size, "every format is taken, and %%p prints what it is given");
	return HARDEN_OFF;
}

const struct mitigation format_row = {
	"format", "formats are literals, and printed pointers do not tell addresses", probe};

/* ==== kernel/harden/kstack_offset.c ==== */

/*
 * kstack-offset
 *
 * Threat:    A kernel function uses a local that it never set (CWE-457).  What lies there is what an earlier
 *            system call left, at the same place each time: the attacker has it left a value of his choice.
 * Property:  Each system call's frames begin at one of at least 32 places, 16 bytes apart, drawn for each.
 * Mechanism: Yours, in kstack_offset_next.
 * Limit:     Yours: who may try a thousand times?
 * Check:     make grade; user/attack/kstack_offset.c.
 */
#include "kernel/harden/kstack_offset.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"

uint64_t kstack_offset_mask ro_after_init;

/* To do: start-up calls it, before there are threads.  What does harden=-kstack-offset leave of the places? */
void
kstack_offset_init(void)
{
}

/* To do: each new thread comes here, and whoever runs when the timer ticks. */
void
kstack_offset_seed(struct thread *t unused)
{
}

/* To do: where do some system calls of your own begin?  See other rows' probes. */
static enum harden_state
probe(char *how, size_t size)
{
	snprintf(how, size, "each system call begins where the last one did");
	return HARDEN_OFF;
}

const struct mitigation kstack_offset_row = {
	"kstack-offset", "each system call's stack begins elsewhere", probe};

/* ==== kernel/harden/kstack_offset.h ==== */

/*
 * Bytes by which this system call's stack begins lower.  Inline, for every system call asks.
 *
 * To do: 32 places, and the next is not known to whoever has seen the last ones.  Struct thread has a word for it.
 */
static always_inline size_t
kstack_offset_next(void)
{
	return 0;
}

/* ==== kernel/dev/mem.c ==== */

/* The log as a file. */
static int
kmsg_open(struct inode *inode unused, struct file *f)
{
	f->mode &= ~FILE_STREAM; /* readers have a position */
	return 0;
}

/* ==== kernel/fs/procfs_pid.c ==== */

/* Where things are, the kernel's own stack included, as ps shows it: the owner's business. */
static void
print_places(struct text *t, const struct vm *vm, bool any)
{
	if (vm)
		text_printf(t, "%lu %lu %lu %lu 0 ", vm->start_code, vm->end_code, vm->stack_top, (uint64_t)current->kstack);
	else
		text_printf(t, "%d %d 0 0 0 ", any, any);
}

/* ==== kernel/sys/misc_proc.c ==== */

/* The compiler would clear it first, and every member is set here. */
long
sys_sysinfo(struct trapframe *tf)
{
	struct sysinfo info __attribute__((uninitialized));
	uint64_t load[3];
	unsigned running;

	sched_loadavg(load, &running);
	for (int i = 0; i < 3; i++)
		info.loads[i] = load[i] << LOAD_SHIFT;
	info.uptime = (int64_t)((clock_monotonic() + NSEC_PER_SEC - 1) / NSEC_PER_SEC);
	info.totalram = page_total() * PAGE_SIZE;
	info.freeram = page_free_count() * PAGE_SIZE;
	info.sharedram = info.bufferram = info.totalswap = info.freeswap = 0;
	info.procs = (uint16_t)READ_ONCE(thread_total);
	info.totalhigh = info.freehigh = 0;
	info.mem_unit = 1;
	return put_user(arg_user(tf, 0), &info);
}
