/*
 * Every way into the kernel and out of it: system calls, exceptions, interrupts, the switch between
 * threads.  Each entry builds a struct trapframe; on each way out to user mode interrupts are masked
 * from the last look at thread.work to the eret.
 *
 * Row kpti: user mode has tables, vectors and an ASID of its own, and the trampoline (trampoline.S) is the way
 * between them.
 *
 * In user mode SP_EL1 is the top of the thread's kernel stack.  In the kernel SP_EL0 is the thread;
 * the user's own is in the frame.
 */
#include "asm.h"
#include "offsets.h"
#include "sysreg.h"

	.arch armv8.1-a
	.section .text.entry, "ax"

/* Room for the frame is taken already and x0, x1 are stored. */
.macro save_registers
	stp x2, x3, [sp, #TF_X + 16]
	stp x4, x5, [sp, #TF_X + 32]
	stp x6, x7, [sp, #TF_X + 48]
	stp x8, x9, [sp, #TF_X + 64]
	stp x10, x11, [sp, #TF_X + 80]
	stp x12, x13, [sp, #TF_X + 96]
	stp x14, x15, [sp, #TF_X + 112]
	stp x16, x17, [sp, #TF_X + 128]
	stp x18, x19, [sp, #TF_X + 144]
	stp x20, x21, [sp, #TF_X + 160]
	stp x22, x23, [sp, #TF_X + 176]
	stp x24, x25, [sp, #TF_X + 192]
	stp x26, x27, [sp, #TF_X + 208]
	stp x28, x29, [sp, #TF_X + 224]
.endm

.macro restore_registers
	ldp x0, x1, [sp, #TF_X]
	ldp x2, x3, [sp, #TF_X + 16]
	ldp x4, x5, [sp, #TF_X + 32]
	ldp x6, x7, [sp, #TF_X + 48]
	ldp x8, x9, [sp, #TF_X + 64]
	ldp x10, x11, [sp, #TF_X + 80]
	ldp x12, x13, [sp, #TF_X + 96]
	ldp x14, x15, [sp, #TF_X + 112]
	ldp x16, x17, [sp, #TF_X + 128]
	ldp x18, x19, [sp, #TF_X + 144]
	ldp x20, x21, [sp, #TF_X + 160]
	ldp x22, x23, [sp, #TF_X + 176]
	ldp x24, x25, [sp, #TF_X + 192]
	ldp x26, x27, [sp, #TF_X + 208]
	ldp x28, x29, [sp, #TF_X + 224]
	ldr x30, [sp, #TF_X + 240]
	add sp, sp, #TF_SIZE
.endm

/* The rest of a frame of user mode; SP_EL0 becomes the thread. Clobbers x10 to x14. */
.macro finish_user_frame
	mrs x11, sp_el0
	mrs x12, elr_el1
	mrs x13, spsr_el1
	stp x30, x11, [sp, #TF_X + 240]
	stp x12, x13, [sp, #TF_PC]
	mrs x14, tpidr_el1
	ldr x10, [x14, #CPU_THREAD]
	msr sp_el0, x10
	mov x29, xzr /* a backtrace ends here */
.endm

.macro finish_kernel_frame
	add x11, sp, #TF_SIZE
	mrs x12, elr_el1
	mrs x13, spsr_el1
	stp x30, x11, [sp, #TF_X + 240]
	stp x12, x13, [sp, #TF_PC]
.endm

/* Why an exception came; the frame is not of a system call. */
.macro save_cause
	mrs x11, esr_el1
	mrs x12, far_el1
	mov x13, #-1
	stp x13, x11, [sp, #TF_SYSCALL]
	str x12, [sp, #TF_ESR + 8]
.endm

/* ---- Vectors (ARM D1.3.1): 16 of 128 bytes, four for each place an exception can come from ---- */

/*
 * From the kernel.  Its stacks are 32 KiB, the upper half of a slot of 64: bit 15 of SP is clear
 * only below one.  There is no free register to test with, so SP and x0 are added up and taken apart
 * again.
 */
.macro kernel_vector label, check
	.balign 128
	sub sp, sp, #TF_SIZE
.if \check
	add sp, sp, x0
	sub x0, sp, x0
	tbz x0, #15, 1f
	sub x0, sp, x0
	sub sp, sp, x0
.endif
	stp x0, x1, [sp, #TF_X]
	b \label
.if \check
1:	msr tpidrro_el0, x0 /* where SP was; user mode reads 0 there, so a64_overflow clears it */
	sub x0, sp, x0
	b overflow
.endif
.endm

/*
 * From user mode: SP is the top of the thread's stack.  The second half of the slot is for those who come
 * by the trampoline, which keeps x30 in TPIDRRO_EL0; user mode reads 0 there.
 */
.macro user_vector label
	.balign 128
	sub sp, sp, #TF_SIZE
	stp x0, x1, [sp, #TF_X]
	b \label
	.balign 64
	mrs x30, tpidrro_el0
	msr tpidrro_el0, xzr
	sub sp, sp, #TF_SIZE
	stp x0, x1, [sp, #TF_X]
	b \label
.endm

/* What cannot come: on an SP that nobody set up, or from AArch32. */
.macro bad_vector number
	.balign 128
	mrs x0, tpidr_el1
	ldr x0, [x0, #CPU_OVERFLOW_SP]
	mov sp, x0
	sub sp, sp, #TF_SIZE
	stp x0, x1, [sp, #TF_X]
	mov x1, #\number
	b bad_entry
.endm

.macro vectors name, check
	.balign 2048
	.globl \name
	.hidden \name
	.type \name, %function
\name:
	bad_vector 0
	bad_vector 1
	bad_vector 2
	bad_vector 3
	kernel_vector kernel_sync, \check
	kernel_vector kernel_irq, \check
	bad_vector 6
	kernel_vector kernel_error, \check
	user_vector user_sync
	user_vector user_irq
	bad_vector 10
	user_vector user_error
	bad_vector 12
	bad_vector 13
	bad_vector 14
	bad_vector 15
	.balign 128
	.size \name, . - \name
.endm

	vectors a64_vectors, 1
	/* With harden=-stack-guard stacks touch each other, and the bit says nothing. */
	vectors a64_vectors_unchecked, 0

/* ---- Entries ---- */

FUNC(user_sync)
	save_registers
	finish_user_frame
	mrs x11, esr_el1
	lsr x12, x11, #ESR_EC_SHIFT
	cmp x12, #EC_SVC64
	b.ne 1f
	stp x0, x8, [sp, #TF_ORIG_X0] /* and .syscall: the number */
	msr daifclr, #2
	mov x0, sp
	bl syscall_dispatch
	b user_return
1:	save_cause
	mov x0, sp
	bl a64_trap
	b user_return
END(user_sync)

FUNC(user_irq)
	save_registers
	finish_user_frame
	save_cause
	mov x0, sp
	bl a64_irq
	b user_return
END(user_irq)

FUNC(user_error)
	save_registers
	finish_user_frame
	save_cause
	mov x0, sp
	mov x1, #11
	bl a64_bad_vector
END(user_error)

/* The way out to user mode with the trap frame on top of the stack. */
.Lwork:
	msr daifclr, #2
	mov x0, sp
	bl user_return_work
FUNC(user_return)
	msr daifset, #2
	mrs x1, sp_el0
	ldr w0, [x1, #THREAD_WORK]
	cbnz w0, .Lwork
	ldp x10, x11, [sp, #TF_SP]
	ldr x12, [sp, #TF_PC + 8]
	mrs x13, tpidr_el1
	ldr x14, [x13, #CPU_USER_VECTORS]
	msr sp_el0, x10
	msr elr_el1, x11
	msr spsr_el1, x12
	cbnz x14, 1f
	restore_registers
	exception_return
1:	msr vbar_el1, x14
	restore_registers
	msr far_el1, x30 /* of no use to anyone any more, and out of user mode's reach */
	mov x30, #TRAMPOLINE
	jump_register x30
END(user_return)

/* void a64_enter_user(struct trapframe *tf): x0 is the frame at the top of the kernel stack. */
FUNC(a64_enter_user)
	mov sp, x0
	mov x29, xzr
	b user_return
END(a64_enter_user)

.macro kernel_return
	ldp x10, x11, [sp, #TF_PC]
	msr elr_el1, x10
	msr spsr_el1, x11
	restore_registers
	exception_return
.endm

FUNC(kernel_sync)
	save_registers
	finish_kernel_frame
	save_cause
	mov x0, sp
	bl a64_trap
	kernel_return
END(kernel_sync)

FUNC(kernel_irq)
	save_registers
	finish_kernel_frame
	save_cause
	mov x0, sp
	bl a64_irq
	kernel_return
END(kernel_irq)

FUNC(kernel_error)
	save_registers
	finish_kernel_frame
	save_cause
	mov x0, sp
	mov x1, #7
	bl a64_bad_vector
END(kernel_error)

FUNC(bad_entry)
	save_registers
	finish_kernel_frame
	save_cause
	mov x0, sp
	bl a64_bad_vector
END(bad_entry)

/*
 * The kernel stack is full, or SP is wild.  x0 is what it was, TPIDRRO_EL0 where the frame would
 * have begun.  The thread does not come back, so nothing but the report needs its registers.
 */
FUNC(overflow)
	msr tpidr_el0, x1
	mrs x1, tpidr_el1
	ldr x1, [x1, #CPU_OVERFLOW_SP]
	mov sp, x1
	mrs x1, tpidr_el0
	sub sp, sp, #TF_SIZE
	stp x0, x1, [sp, #TF_X]
	save_registers
	finish_kernel_frame
	mrs x0, tpidrro_el0
	msr tpidrro_el0, xzr
	add x0, x0, #TF_SIZE
	str x0, [sp, #TF_SP]
	save_cause
	mov x0, sp
	bl a64_overflow
	brk #0
END(overflow)

/* ---- Threads ---- */

/*
 * struct thread *a64_switch_stack(struct thread *prev, struct thread *next): saves what the C ABI
 * says a call preserves, changes stacks, returns prev on the other side.
 */
FUNC(a64_switch_stack)
	stp x29, x30, [sp, #-96]!
	stp x19, x20, [sp, #16]
	stp x21, x22, [sp, #32]
	stp x23, x24, [sp, #48]
	stp x25, x26, [sp, #64]
	stp x27, x28, [sp, #80]
	mov x9, sp
	str x9, [x0, #THREAD_SP]
	ldr x9, [x1, #THREAD_SP]
	mov sp, x9
	msr sp_el0, x1
	ldp x19, x20, [sp, #16]
	ldp x21, x22, [sp, #32]
	ldp x23, x24, [sp, #48]
	ldp x25, x26, [sp, #64]
	ldp x27, x28, [sp, #80]
	ldp x29, x30, [sp], #96
	return
END(a64_switch_stack)

/* First instructions of a new thread: x0 = the thread before, x19 = fn, x20 = arg. */
FUNC(a64_thread_start)
	bl sched_thread_begin
	mov x0, x20
	call_register x19
	bl sched_exit
	brk #0
END(a64_thread_start)

/* void a64_run_on_stack(void *top, void (*fn)(void *), void *arg): leaves the present stack for good. */
FUNC(a64_run_on_stack)
	mov sp, x0
	mov x29, xzr
	mov x0, x2
	call_register x1
	brk #0
END(a64_run_on_stack)

/* ---- Floating point and vectors (struct a64_fpu) ---- */

	.arch_extension fp
	.arch_extension simd

.macro each_pair op
	\op q0, q1, [x1]
	\op q2, q3, [x1, #32]
	\op q4, q5, [x1, #64]
	\op q6, q7, [x1, #96]
	\op q8, q9, [x1, #128]
	\op q10, q11, [x1, #160]
	\op q12, q13, [x1, #192]
	\op q14, q15, [x1, #224]
	\op q16, q17, [x1, #256]
	\op q18, q19, [x1, #288]
	\op q20, q21, [x1, #320]
	\op q22, q23, [x1, #352]
	\op q24, q25, [x1, #384]
	\op q26, q27, [x1, #416]
	\op q28, q29, [x1, #448]
	\op q30, q31, [x1, #480]
.endm

/* void a64_fpu_save(struct a64_fpu *area) */
FUNC(a64_fpu_save)
	add x1, x0, #FPU_V
	each_pair stp
	mrs x2, fpsr
	mrs x3, fpcr
	stp w2, w3, [x0]
	return
END(a64_fpu_save)

/* void a64_fpu_load(const struct a64_fpu *area) */
FUNC(a64_fpu_load)
	add x1, x0, #FPU_V
	each_pair ldp
	ldp w2, w3, [x0]
	msr fpsr, x2
	msr fpcr, x3
	return
END(a64_fpu_load)

	.section .note.GNU-stack, "", @progbits
