/*
 * The machine contract: what an architecture provides to the machine-independent kernel.
 *
 * arch/NAME/machine.h defines the types below and the functions that are worth inlining; the rest
 * is in the folder's .c and .S files.  Nothing above arch/ knows which architecture it runs on.
 */
#pragma once

#include "kernel/mm/layout.h"
#include "kernel/types.h"

struct thread;
struct process;
struct vm;
struct siginfo;
struct sigaction;
struct cpu;

/* Permissions and attributes of a mapping.  READ, WRITE, EXEC equal Linux's PROT_ bits. */
#define PROT_READ   1u
#define PROT_WRITE  2u
#define PROT_EXEC   4u
#define PROT_USER   8u	/* user mode may use it */
#define PROT_DEVICE 16u /* device memory: not cached, accesses neither merged nor reordered */

/*
 * Types that machine.h defines:
 *   struct trapframe     registers of the interrupted user (or kernel) code, on the kernel stack
 *   struct arch_thread   saved kernel stack pointer, TLS register, pointer to FPU state
 *   struct arch_pt       an address space's translation tables; member root, a paddr_t
 *   pte_t                one leaf entry, a structure
 *   irqstate_t           interrupt mask as saved
 *   struct cpu           per-CPU data, with members thread, number and table_windows (how many windows on
 *                        the page tables are open: row ro-pgtable); array cpus[MAX_CPUS]
 */
#include "machine.h"

/* ---- Start-up ------------------------------------------------------------------------------- */

/* What the boot loader said.  Physical ranges are sorted and do not overlap. */
struct boot_range {
	paddr_t base;
	uint64_t size;
};

struct boot_info {
	char cmdline[2048];
	struct boot_range ram[64]; /* usable, the kernel image and the initramfs not excluded */
	unsigned nram;
	struct boot_range initrd; /* size 0: none */
	uint8_t seed[64];	  /* random bytes, as many as it gave */
};
extern struct boot_info boot_info;

/*
 * The boot processor runs at physical addresses until it has called layout_choose (kernel/mm/layout.h).
 * It enters kernel_main (kernel/main.c) on its idle stack with interrupts off, the image relocated to its
 * final place, boot_info filled, and early tables that already keep W^X.
 */
noreturn void kernel_main(void);
/* Builds the final kernel tables (direct map included) with frames of page_alloc_early. */
void arch_vm_init(void);
/* Interrupt controller, traps, timer of the boot processor.  Interrupts stay off. */
void arch_init(void);
/* Processors that the machine has, at most MAX_CPUS. */
unsigned arch_cpu_count(void);
/* Where the kernel image lies in memory. */
struct boot_range arch_kernel_image(void);
/* Starts the other processors; each runs cpu_main(). Returns when all that answer are online. */
void arch_start_cpus(void);
/* Entered by each secondary processor with its own stack, tables and hardening bits set. */
noreturn void cpu_main(void);
/* Makes everything marked ro_after_init read-only in every alias; start-up's code is not executable any more. */
void arch_protect_init_data(void);

/* ---- Processors and interrupts ---------------------------------------------------------------
 *   unsigned arch_cpu_number(void)          0 .. MAX_CPUS-1 of the running CPU
 *   struct cpu *this_cpu(void)
 *   uint64_t arch_canary(void)              what compiled code compares its canaries with
 *   void arch_canary_load(t)                makes it that of t, the current thread
 *   struct thread *arch_current(void)
 *   irqstate_t arch_irq_save(void)          masks interrupts, returns the earlier state
 *   void arch_irq_restore(irqstate_t)
 *   void arch_irq_enable(void), arch_irq_disable(void), bool arch_irqs_enabled(void)
 *   void arch_wait_for_interrupt(void)      called masked; waits unmasked, atomically; returns unmasked
 *   void arch_relax(void)                   hint in a spin loop
 *   bool arch_in_interrupt(void)
 *   uint64_t arch_frame_pointer(void), tf_frame_pointer(tf)   for backtraces
 *   uint64_t arch_index_mask(index, limit)  all ones if index < limit, else 0, without a branch
 */
/* Makes cpu run its scheduler soon. */
void arch_send_reschedule(unsigned cpu);
/* Makes cpu call serve_call (kernel/proc/call.h) at once: in an interrupt. */
void arch_send_call(unsigned cpu);
/* Stops every other CPU for good (panic). */
void arch_stop_others(void);
noreturn void arch_halt(void);
noreturn void arch_poweroff(void);
noreturn void arch_reboot(void);

struct text;
/* Appends /proc/cpuinfo's paragraph about one processor. */
void arch_cpuinfo_print(struct text *t, unsigned cpu);

/* ---- Time ------------------------------------------------------------------------------------ */
/* Nanoseconds since start-up; monotonic, the same on every CPU. */
uint64_t arch_clock_ns(void);
/* Raises the timer interrupt on this CPU once, at monotonic time ns (UINT64_MAX: never). */
void arch_timer_set(uint64_t ns);
/* How user mode gets arch_clock_ns() from the counter that it may read: (counter - base) * mult >> 32. */
void arch_user_clock(uint64_t *base, uint64_t *mult);
/* Wall clock at boot in seconds since 1970, from the battery-backed clock; 0 if there is none. */
uint64_t arch_rtc_seconds(void);

/* ---- Console --------------------------------------------------------------------------------- */
/* Writes raw bytes (the caller adds \r).  Works from the first instruction, in any context. */
void arch_console_write(const char *s, size_t n);
/* Name of the console device as in console=: "ttyS0". */
const char *arch_console_name(void);
/* The architecture calls this for each byte that arrives, in interrupt context. */
void console_input(uint8_t byte);

/* ---- Threads --------------------------------------------------------------------------------- */
/* Prepares t (kstack is set) to run fn(arg) when first switched to. */
void arch_thread_init(struct thread *t, void (*fn)(void *arg), void *arg);
/* Gives t, the current thread or one that never ran, a clean user FPU state.  0 or -ENOMEM. */
must_use int arch_thread_fpu_init(struct thread *t);
/*
 * Makes child, new, return to user mode from a copy of tf with system call result 0 and a copy of
 * the current thread's FPU state and TLS register.  0 or -ENOMEM.
 */
must_use int arch_thread_fork(struct thread *child, const struct trapframe *tf);
/*
 * A live probe of row fpu: the current thread's registers, filled with a pattern, are saved, another pattern
 * is loaded, and they are taken back, by the functions that arch_switch uses.  How many bytes came back, of
 * how many.  0 or -ENOMEM.
 */
must_use int arch_fpu_probe(unsigned *back, unsigned *count);
/* Frees what the two before allocated. */
void arch_thread_destroy(struct thread *t);
/*
 * Switches stacks, FPU, TLS and address space; returns the thread that ran before on this CPU.  A full
 * memory barrier: what was stored before is visible to all before next loads anything.
 */
struct thread *arch_switch(struct thread *prev, struct thread *next);
/* The current thread's user registers (top of its kernel stack). */
struct trapframe *arch_user_frame(struct thread *t);
/* Enters user mode with the current thread's arch_user_frame. */
noreturn void arch_enter_user(void);
/* Sets the TLS register of t (the current thread, or one that never ran).  0, or -EPERM: bad value. */
must_use int arch_set_tls(struct thread *t, uint64_t value);
/* Fills tf, for a report, as if the kernel had been interrupted at ip with that frame pointer. */
void arch_kernel_frame(struct trapframe *tf, uint64_t ip, uint64_t fp);
/* Leaves the present kernel stack for good: runs fn(arg), which does not return, at its top. */
noreturn void arch_abandon_stack(void (*fn)(void *arg), void *arg);
/* Initialises tf, and the current thread's TLS and segment registers, to start a program. */
void arch_exec_frame(struct trapframe *tf, uint64_t entry, uint64_t sp);

/* ---- Trap frames (inlines in machine.h) -------------------------------------------------------
 *   bool tf_from_user(tf)
 *   uint64_t tf_ip(tf), tf_sp(tf)
 *   void tf_set_ip(tf, v)
 *   uint64_t tf_syscall(tf)                 number; UINT64_MAX if the frame is not of a system call
 *   void tf_set_syscall(tf, nr)             makes it the frame of that system call
 *   uint64_t tf_entry_syscall(tf)           the same while the call has not begun
 *   uint64_t tf_arg(tf, n)                  argument n = 0..5 of a system call
 *   long tf_result(tf), void tf_set_result(tf, v)
 *   void tf_restart_syscall(tf, nr)         makes the call run again, as number nr
 *   void tf_forget_syscall(tf)              tf_syscall() becomes UINT64_MAX: no restart twice
 *   void tf_set_sp(tf, v)
 *   struct clone_registers tf_clone_args(tf)   clone(2)'s arguments, in whatever order they come
 */
/* Prints the registers of tf to the console. */
void arch_print_frame(const struct trapframe *tf);
/* Prints the control registers, and the general ones that calls preserve: panics have no frame. */
void arch_print_registers(void);

/* ---- Translation tables -----------------------------------------------------------------------
 *   pte_t                                   an entry: what is done with one stands in arch/pte.h
 */
extern struct arch_pt kernel_pt;

/*
 * Tables come from kernel/harden/ro_pgtable.c and are written in windows: interrupts off, nothing else done
 * meanwhile.  A call opens few, so what belongs together is changed by one call.  None may be made from
 * interrupts; those that return -ENOMEM may wait for other CPUs.
 */

/* What one window changes at most. */
#define PT_BATCH 32

struct pt_leaf {
	uint64_t va;
	pte_t pte;
};

/* An empty user half and the shared kernel half.  0 or -ENOMEM. */
must_use int arch_pt_create(struct arch_pt *pt);
/* Frees the table pages.  No user leaf may be left, and no CPU may have pt active. */
void arch_pt_destroy(struct arch_pt *pt);
/* How many tables lie below its root; read anywhere. */
uint64_t arch_pt_tables(const struct arch_pt *pt);
/* Sets the leaf for va; allocates intermediate tables.  No TLB flush.  0 or -ENOMEM. */
must_use int arch_pt_map(struct arch_pt *pt, uint64_t va, pte_t pte);
/* The same for n <= PT_BATCH of them, where none is yet.  0, or -ENOMEM: none was set. */
must_use int arch_pt_map_all(struct arch_pt *pt, const struct pt_leaf *leaves, unsigned n);
/* The leaf for va; pte_none() if there is none. */
pte_t arch_pt_get(struct arch_pt *pt, uint64_t va);
/*
 * Calls fn for present leaves in [start, end), then stores what it returned where that differs: at most
 * PT_BATCH of them.  Returns where to go on, or end.  The caller flushes.  fn must not change pt.
 */
must_use uint64_t arch_pt_update_some(struct arch_pt *pt, uint64_t start, uint64_t end,
				      pte_t (*fn)(void *arg, uint64_t va, pte_t old), void *arg);

/* The same for all of them. */
static inline void
arch_pt_update(struct arch_pt *pt, uint64_t start, uint64_t end,
	       pte_t (*fn)(void *arg, uint64_t va, pte_t old), void *arg)
{
	while (start < end)
		start = arch_pt_update_some(pt, start, end, fn, arg);
}

/*
 * Tables will lie in a block of memory (PGTABLE_BLOCK bytes, aligned to that): standing mappings of it get
 * pgtable_prot(), and windows reach it.  The caller flushes.
 */
void arch_table_block(paddr_t block);
/* Forgets translations of [start, end) of pt on every CPU that may hold them.  Waits for them. */
void arch_tlb_flush(struct arch_pt *pt, uint64_t start, uint64_t end);
/* Forgets one translation on this CPU: enough after permissions grew. */
void arch_tlb_flush_local(uint64_t va);
/* Activates pt on this CPU (kernel_pt: no user half). */
void arch_pt_activate(struct arch_pt *pt);

/* ---- Constants in machine.h -------------------------------------------------------------------
 *   ARCH_IMAGE_LINK, ARCH_DIRECT_MAP_LINK, ARCH_KSTACK_AREA_LINK   the layout of kernel/mm/layout.h
 *                      where row kaslr does not move it, ARCH_REGION_PLACES   how far it may, in GiB
 *   DIRECT_MAP_MAX     bytes of physical memory for which there is room, KSTACK_AREA_SIZE
 *   USER_END           first address that is not the user's
 *   ARCH_PIE_BASE, ARCH_ELF_ALIGN   where programs go without aslr; their usual alignment
 *   ARCH_AUDIT         what seccomp filters call the architecture
 *   ARCH_ELF_MACHINE, ARCH_PLATFORM ("x86_64"), ARCH_UNAME_MACHINE, ARCH_HWCAP
 *   ARCH_HAS_LEGACY_SYSCALLS   open, stat, fork, pipe ...: x86_64 has them, aarch64 has not
 *   ARCH_MAP_32BIT             the flag of mmap that asks for addresses below 2 GiB: x86_64 has it, elsewhere it is 0
 */

/* ---- User copies ------------------------------------------------------------------------------
 * The only code that touches user memory.  The caller has checked that the range is the user's.
 * Each returns the number of bytes NOT copied (0: all), without a kernel fault whatever is mapped.
 */
must_use size_t arch_copy_from_user(void *dst, uint64_t src, size_t n);
must_use size_t arch_copy_to_user(uint64_t dst, const void *src, size_t n);
must_use size_t arch_clear_user(uint64_t dst, size_t n);
/* Length of the string at src without its NUL, at most max (no NUL found), or -EFAULT. Copies it. */
must_use ssize_t arch_strncpy_from_user(char *dst, uint64_t src, size_t max);
/* Atomic operations on an aligned user word for futexes.  0 or -EFAULT. */
must_use int arch_user_cmpxchg32(uint64_t addr, uint32_t expected, uint32_t desired, uint32_t *old);

/* ---- Signals ---------------------------------------------------------------------------------- */
/*
 * Builds the signal frame on the user stack (the alternate one, if on_altstack) and points tf at the
 * handler; mask is what sigreturn restores.  0 or -EFAULT.
 */
must_use int arch_signal_frame(struct trapframe *tf, const struct sigaction *act,
			       const struct siginfo *info, uint64_t mask, bool on_altstack);
/* Undoes it: registers (sanitised), FPU, alternate stack, mask.  0 or -EFAULT (the caller kills). */
must_use int arch_sigreturn(struct trapframe *tf);

/* Bytes of user stack that one signal frame takes at most: AT_MINSIGSTKSZ. */
uint64_t arch_signal_frame_size(void);

/* ---- Programs --------------------------------------------------------------------------------- */
/* What the processor and the kernel offer to user mode, in Linux's bits: AT_HWCAP and AT_HWCAP2. */
uint64_t arch_hwcap(void);
uint64_t arch_hwcap2(void);

/* ---- Entropy ---------------------------------------------------------------------------------- */
/* 64 bits from the processor's generator.  False if it has none or it failed. */
must_use bool arch_entropy(uint64_t *out);
/* uint64_t arch_cycles(void), inline: a fast-changing counter, for jitter. */

/* ---- Hardening ---------------------------------------------------------------------------------
 * Each is a property.  _supported: this CPU can; _enable: on this CPU, called on every one;
 * _active: read back from this CPU's registers.
 */
bool arch_user_exec_guard_supported(void); /* the kernel never executes a user page */
void arch_user_exec_guard_enable(void);
bool arch_user_exec_guard_active(void);
bool arch_user_access_guard_supported(void); /* the kernel reaches user data only by copy routines */
void arch_user_access_guard_enable(void);
bool arch_user_access_guard_active(void);
bool arch_user_info_guard_supported(void); /* user mode cannot read system registers or tables */
void arch_user_info_guard_enable(void);
bool arch_user_info_guard_active(void);
bool arch_no_execute_supported(void); /* pages can be non-executable */
bool arch_no_execute_active(void);
void arch_write_protect_set(bool on); /* the kernel obeys read-only pages */
bool arch_write_protect_active(void);
/*
 * From now on, on every CPU, those bits of the control registers that harden and are as they should be on this
 * one stay so, whatever their writers are told; pin_undone (kernel/harden/pin.h) hears of it.
 */
void arch_pin_registers(void);
/* Makes this CPU's registers, whole, what they were then: whoever wrote one of them is about to die. */
void arch_pin_restore(void);
/* Tries to change each of this CPU's, by the writers: how many there are, how many stayed.  Interrupts are off. */
void arch_pin_probe(unsigned *tried, unsigned *held);
bool arch_branch_guard_supported(void); /* user mode does not steer the kernel's predicted branches */
void arch_branch_guard_enable(void);
bool arch_branch_guard_active(void);
bool arch_sibling_guard_supported(void); /* nor do this core's other hardware threads anyone's */
void arch_sibling_guard_enable(void);
bool arch_sibling_guard_active(void);
bool arch_predictor_barrier_supported(void);
void arch_predictor_barrier(void); /* branches from here on are not predicted from those before */
/*
 * Whether branches through registers are guarded against speculation, by a look at the kernel's own bytes;
 * code and size are a function that makes some.  What was looked at goes to how.
 */
bool arch_branches_guarded(const void *code, size_t size, char *how, size_t how_size);
bool arch_asid_supported(void); /* translations are numbered by the address space they are of */
void arch_asid_enable(void); /* on this CPU */
/* The next activation of tables gets a number that others had before.  Interrupts are off. */
void arch_asid_use_up(void);
bool arch_kernel_hidden_supported(void); /* user mode runs on tables without the kernel */
void arch_kernel_hidden_enable(void);
bool arch_kernel_hidden_active(void);
/* ARCH_NAME_EXEC_GUARD ..., in machine.h: what the manuals call each bit. */

/*
 * What the tables that this CPU has in user mode, now that the current process runs, translate va to,
 * whatever the permissions.  False: nothing.
 */
must_use bool arch_user_view(uint64_t va, paddr_t *pa);

/* Calls fn for every mapping of the kernel half; size is that of the page. */
void arch_kernel_walk(void (*fn)(void *arg, uint64_t va, uint64_t size, paddr_t pa, unsigned prot),
		      void *arg);
/* The frames of kernel text. */
struct boot_range arch_kernel_text(void);
