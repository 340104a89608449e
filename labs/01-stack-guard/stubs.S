/* The starter's assembly. */

/* ==== arch/x86_64/entry.S ==== */

/*
 * #DF, from x86_paranoid, which has moved to the emergency stack that x86_cpu_stacks gave: RDI = RSP = the
 * frame; GS and the tables are the kernel's.
 *
 * To do: call x86_double_fault(frame), which does not return.
 */
FUNC(double_fault_entry)
	ud2
END(double_fault_entry)

/* ==== arch/aarch64/entry.S ==== */

/*
 * From the kernel, on the stack that was in use: no table says another one.
 *
 * To do: SP may be below that stack by now, or come to be by what is pushed here.  Then nothing may be
 * stored before SP is elsewhere: go to `overflow`.  An instruction needs a register, and each of them
 * still holds something of the interrupted code's.  A vector has room for 32 instructions.  The second
 * set of vectors (check is 0) is for harden=-stack-guard.
 */
.macro kernel_vector label, check
	.balign 128
	sub sp, sp, #TF_SIZE
	stp x0, x1, [sp, #TF_X]
	b \label
.endm

/*
 * The kernel stack is full, or SP is wild.
 *
 * To do: build a frame on this CPU's emergency stack (CPU_OVERFLOW_SP) and call a64_overflow(frame),
 * which does not return.
 */
FUNC(overflow)
	brk #0
END(overflow)
