/*
 * fpu
 *
 * Threat:    Keys and passwords pass through vector registers (AES instructions, memcpy).  A kernel that takes
 *            a short cut at a switch lets the next process read them: LazyFP, CVE-2018-3665, is one.
 * Property:  What a program finds in vector and floating-point registers and their control words is its own:
 *            clean after exec, its parent's after fork, what it left there otherwise.
 * Mechanism: arch_switch saves and loads the whole state at once, never later: all that XCR0 enables (XSAVE),
 *            or V0 to V31, FPCR and FPSR.  exec loads a clean state, fork copies the live registers.  Off, the
 *            kernel takes a system call for a function call, which need not preserve vector registers: a thread
 *            that waited in one goes on with those of whoever ran before.
 * Limit:     What a program leaves in its own registers stays there for its own bugs, and in signal frames on
 *            its stack.  Speculation past the load is not looked at.
 * Check:     grade/tests/test_fpu.py looks into every CPU's registers; attack fpu.
 */
#include "kernel/harden/fpu.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/proc/thread.h"

bool fpu_wanted ro_after_init;

void
fpu_init(void)
{
	fpu_wanted = harden_wanted(HARDEN_FPU);
}

bool
fpu_preempted(const struct thread *t)
{
	return tf_syscall(arch_user_frame((struct thread *)t)) == UINT64_MAX;
}

/* The probe's own thread is in a system call: it gives its registers away, and takes them back. */
static enum harden_state
probe(char *how, size_t size)
{
	unsigned back, count;

	if (arch_fpu_probe(&back, &count) != 0) {
		snprintf(how, size, "no memory for the probe");
		return HARDEN_OFF;
	}
	snprintf(how, size, "%u bytes of registers of %u came back after another's were there", back,
		 count);
	return back == count ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation fpu_row = {"fpu", "no process sees another's vector registers", probe};
