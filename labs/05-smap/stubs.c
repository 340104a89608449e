/* The starter's code: it works, and every user page is the kernel's to use.  Sections as cut names them. */

/* ==== kernel/harden/smap.c ==== */

/*
 * smap
 *
 * Threat:    A kernel bug lets an attacker choose a data pointer: it points at an object that was forged
 *            in user memory.
 * Property:  The processor refuses kernel loads and stores to user pages outside the user copies.
 * Mechanism: Yours.
 * Limit:     Yours: which address of the same memory does the processor not refuse?
 * Check:     make grade; user/attack/smap.c.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"

/*
 * To do: each CPU calls this once, the first one before there is any program.  Guard it, if it can be guarded
 * (arch_user_access_guard_supported) and harden= does not forbid it (harden_wanted(HARDEN_SMAP)).
 */
void
smap_cpu_init(void)
{
}

/* To do: harden_poll_cpus (kernel/harden/harden.h) asks every CPU; kernel/harden/smep.c shows how. */
static enum harden_state
probe(char *how, size_t size)
{
	snprintf(how, size, "the kernel uses user pages as its own");
	return HARDEN_OFF;
}

const struct mitigation smap_row = {
	"smap", "the kernel reaches user data only in user copies", probe};

/* ==== arch/x86_64/asm.h ==== */

/*
 * To do: what lets kernel code reach user pages for a moment.  On a CPU without the guard the instruction
 * for it is undefined: x86_smap (harden.c) is there to tell.
 */
.macro open_user_window
.endm

/* To do: the end of that moment. */
.macro close_user_window
.endm

/*
 * What every trap begins with in the kernel proper: flags that were chosen by whoever was interrupted, user
 * mode for one.  DF, for string instructions.
 *
 * To do: is there another flag that now matters?
 */
.macro kernel_flags
	cld
.endm

/* ==== arch/x86_64/cpu.c ==== */

/*
 * Flags that SYSCALL clears (SDM 3A 5.8.8): user mode may have set any of them.
 *
 * To do: which one is missing now?
 */
#define SYSCALL_CLEARS (RFLAGS_DF | RFLAGS_TF | RFLAGS_NT | RFLAGS_IF)

/* ==== arch/x86_64/harden.c ==== */

/* To do: on the CPU that runs this.  What must user copies know from then on? */
void
arch_user_access_guard_enable(void)
{
}

/* ==== arch/x86_64/signal.c ==== */

/*
 * Writes the frame to at, which is the user's: its pages are fetched first, and then it is written in place.
 * 0 or -EFAULT.
 *
 * To do: what will a guarded processor say to that?  And what if another thread unmaps a page in between?
 */
static int
frame_to_user(uaddr_t at, const struct sigframe *frame)
{
	uint64_t first = ALIGN_DOWN(at.v, PAGE_SIZE);

	if (vm_populate(current->vm, first, at.v + sizeof(*frame) - first, true) < 0)
		return -EFAULT;
	memcpy((void *)at.v, frame, sizeof(*frame));
	return 0;
}

/* ==== arch/aarch64/harden.c ==== */

/*
 * To do: on the CPU that runs this.  PSTATE is a CPU's present state, and an exception saves and replaces it:
 * what is PAN in the handler (ARM D1.3)?
 */
void
arch_user_access_guard_enable(void)
{
}

/* ==== arch/aarch64/signal.c ==== */

/*
 * Writes the frame to at, which is the user's: its pages are fetched first, and then it is written in place.
 * 0 or -EFAULT.
 *
 * To do: what will a guarded processor say to that?  And what if another thread unmaps a page in between?
 */
static int
frame_to_user(uaddr_t at, const struct sigframe *frame)
{
	uint64_t first = ALIGN_DOWN(at.v, PAGE_SIZE);

	if (vm_populate(current->vm, first, at.v + sizeof(*frame) - first, true) < 0)
		return -EFAULT;
	memcpy((void *)at.v, frame, sizeof(*frame));
	return 0;
}
