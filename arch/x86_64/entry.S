/*
 * The kernel's part of every way in and out, behind the trampoline (trampoline.S): system calls, traps,
 * interrupts, the switch between threads.  Each entry builds a struct trapframe; on each way out to user
 * mode interrupts are off from the last look at thread.work to the iretq or sysretq.
 */
#include "asm.h"
#include "offsets.h"
#include "sysreg.h"

#define SEL_USER_CODE 0x23
#define TRAP_SYSCALL  0x100
#define VEC_NMI	      2
#define VEC_DF	      8

.macro push_registers
	push %rdi
	push %rsi
	push %rdx
	push %rcx
	push %rax
	push %r8
	push %r9
	push %r10
	push %r11
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
.endm

.macro pop_registers
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rax
	pop %rcx
	pop %rdx
	pop %rsi
	pop %rdi
.endm

	.text

/* The frame's SS and RSP are on the thread's stack. */
FUNC(x86_syscall)
	push %r11
	push $SEL_USER_CODE
	push %rcx
	push %rax	   /* .error: the number */
	push $TRAP_SYSCALL /* .vector */
	push_registers
	xor %ebp, %ebp /* a backtrace ends here */
	sti
	mov %rsp, %rdi
	call syscall_dispatch
	cli
	mov %gs:CPU_THREAD, %rax
	cmpl $0, THREAD_WORK(%rax)
	jne .Lwork
	/* SYSRET only if it restores exactly this frame, to a canonical address (SDM 2B SYSRET). */
	mov TF_RCX(%rsp), %rcx
	cmp TF_RIP(%rsp), %rcx
	jne .Lcheck_ip
	mov TF_R11(%rsp), %r11
	cmp TF_RFLAGS(%rsp), %r11
	jne .Lcheck_ip
	test $0x10100, %r11d /* RF, TF */
	jnz .Lcheck_ip
	shr $47, %rcx
	jnz .Lbad_ip
	pop_registers
	jump_through CPU_EXIT_SYSRET, __x86_return_thunk
END(x86_syscall)

/* Pushes the registers that the processor and the stub left `at` bytes above RAX: SS to .vector. */
.macro push_frame at
	pushq \at + 6 * 8(%rax)
	pushq \at + 5 * 8(%rax)
	pushq \at + 4 * 8(%rax)
	pushq \at + 3 * 8(%rax)
	pushq \at + 2 * 8(%rax)
	pushq \at + 1 * 8(%rax)
	pushq \at(%rax)
.endm

/* RAX = the entry stack: the user's RAX, then the frame. */
FUNC(x86_trap_from_user)
	kernel_flags
	push_frame 8
	push %rdi
	push %rsi
	push %rdx
	push %rcx
	pushq (%rax)
	push %r8
	push %r9
	push %r10
	push %r11
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	xor %ebp, %ebp
	mov %rsp, %rdi
	call x86_trap
	jmp .Luser_return
END(x86_trap_from_user)

/* On the stack that was in use. */
FUNC(x86_trap_from_kernel)
	kernel_flags
	push_registers
	mov %rsp, %rdi
	call x86_trap
	pop_registers
	add $16, %rsp
	iretq
END(x86_trap_from_kernel)

/*
 * RAX = what paranoid_entry left.  A #DB or #MC of user mode may send a signal or sleep: it moves from the
 * emergency stack to the thread's.
 */
FUNC(x86_paranoid)
	kernel_flags
	testb $3, PARANOID_CS(%rax)
	jz 1f
	cmpq $VEC_NMI, PARANOID_VECTOR(%rax)
	je 1f
	mov %gs:CPU_KERNEL_SP, %rsp
1:	push_frame PARANOID_VECTOR
	push %rdi
	push %rsi
	pushq PARANOID_RDX(%rax)
	pushq PARANOID_RCX(%rax)
	pushq PARANOID_RAX(%rax)
	push %r8
	push %r9
	push %r10
	push %r11
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rax, %rbx
	mov %rsp, %rdi
	testb $3, TF_CS(%rsp)
	jz 3f
	cmpq $VEC_NMI, TF_VECTOR(%rsp)
	je 3f
	xor %ebp, %ebp
	call x86_trap
	jmp .Luser_return
3:	cmpq $VEC_DF, TF_VECTOR(%rsp)
	je double_fault_entry
	call x86_paranoid_trap
	mov TF_RFLAGS(%rsp), %rax
	mov %rax, PARANOID_RFLAGS(%rbx)
	mov %rbx, TF_ERROR(%rsp)
	pop_registers
	mov 8(%rsp), %rsp
	jump_through CPU_EXIT_PARANOID, __x86_return_thunk
END(x86_paranoid)

/*
 * #DF, from x86_paranoid: on the emergency stack, for the thread's own is full, RDI = RSP = the frame.  An
 * abort, so there is no way back (SDM 3A 6.15).
 */
FUNC(double_fault_entry)
	call x86_double_fault
	ud2
END(double_fault_entry)

/* The way out to user mode with the trap frame on top of the stack, by iretq. */
FUNC(x86_user_return)
.Lwork:
	sti
	mov %rsp, %rdi
	call user_return_work
.Luser_return:
	cli
	mov %gs:CPU_THREAD, %rax
	cmpl $0, THREAD_WORK(%rax)
	jne .Lwork
.Lcheck_ip:
	/* iretq to a non-canonical address would fault in the kernel: it becomes a signal here. */
	mov TF_RIP(%rsp), %rcx
	shr $47, %rcx
	jnz .Lbad_ip
	/* What iretq pops goes to the entry stack: the thread's is not there in user mode's tables. */
	mov %rsp, %rax
	mov %gs:CPU_ENTRY_SP, %rsp
	push_frame TF_VECTOR
	mov %rax, %rsp
	pop_registers
	jump_through CPU_EXIT_IRET, __x86_return_thunk
.Lbad_ip:
	sti
	mov %rsp, %rdi
	call x86_bad_user_ip
	jmp .Luser_return
END(x86_user_return)

/* void x86_enter_user(struct trapframe *tf): rdi is the frame at the top of the kernel stack. */
FUNC(x86_enter_user)
	mov %rdi, %rsp
	xor %ebp, %ebp
	jmp .Luser_return
END(x86_enter_user)

/*
 * struct thread *x86_switch_stack(struct thread *prev, struct thread *next): saves what the C ABI
 * says a call preserves, changes stacks, returns prev on the other side.
 */
FUNC(x86_switch_stack)
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, THREAD_SP(%rdi)
	mov THREAD_SP(%rsi), %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	mov %rdi, %rax
	return
END(x86_switch_stack)

/* First instructions of a new thread: RAX = the thread before, R12 = fn, R13 = arg. */
FUNC(x86_thread_start)
	mov %rax, %rdi
	call sched_thread_begin
	mov %r13, %rdi
	call_register r12
	call sched_exit
	ud2
END(x86_thread_start)

/* void x86_run_on_stack(void *top, void (*fn)(void *), void *arg): leaves the present stack for good. */
FUNC(x86_run_on_stack)
	mov %rdi, %rsp
	mov %rdx, %rdi
	xor %ebp, %ebp
	call_register rsi
	ud2
END(x86_run_on_stack)

/* ---- Branches through a register -------------------------------------------------------------------- */

/*
 * The processor would ask a predictor that an attacker has trained (Spectre variant 2).  Compiled code and this
 * file come here instead (Makefile, SPECULATION_*); see kernel/harden/retpoline.c.
 */
	.section .text.thunk, "ax"

/*
 * The return below is predicted to go where the call above would have: to 1, and nowhere from there.  In
 * truth it goes to the register.  Intel, "Retpoline: A Branch Target Injection Mitigation".
 */
.macro thunk reg
FUNC(__x86_indirect_thunk_\reg)
	call 2f
1:	pause
	lfence
	jmp 1b
	int3
2:	mov %\reg, (%rsp)
	ret
	int3
END(__x86_indirect_thunk_\reg)
.endm

	.globl x86_thunks, x86_thunks_end
	.hidden x86_thunks, x86_thunks_end
	.balign 16
x86_thunks:
	.irp reg, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	thunk \reg
	.endr
x86_thunks_end:

/*
 * With RETURN_THUNKS=1 every return: a return that found the return predictor empty would ask the other
 * one.  This one never does.
 */
FUNC(__x86_return_thunk)
	return_unforetold
END(__x86_return_thunk)
	.section .note.GNU-stack, "", @progbits
