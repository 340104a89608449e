/*
 * Every way into the kernel and out of it: system calls, traps, interrupts, the switch between
 * threads.  Each entry builds a struct trapframe; on each way out to user mode interrupts are off
 * from the last look at thread.work to the iretq or sysretq.
 */
#include "asm.h"
#include "offsets.h"

#define SEL_KERNEL_DATA 0x10
#define SEL_USER_DATA	0x1b
#define SEL_USER_CODE	0x23
#define TRAP_SYSCALL	0x100
#define MSR_GS_BASE	0xc0000101
#define VEC_NMI		2

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

	.section .text.entry, "ax"

/*
 * SYSCALL: RCX = user RIP, R11 = user RFLAGS, still on the user's stack.  SFMASK has cleared IF, TF,
 * DF, NT and AC.
 */
FUNC(x86_syscall_entry)
	swapgs
	mov %rsp, %gs:CPU_USER_SP
	mov %gs:CPU_KERNEL_SP, %rsp
	push $SEL_USER_DATA
	push %gs:CPU_USER_SP
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
	mov 5 * 8(%rsp), %rsp /* past vector, error, rip, cs, rflags: the user's */
	swapgs
	sysretq
END(x86_syscall_entry)

/* Every vector's stub is 16 bytes long; those without an error code push 0. */
	.balign 16
	.globl x86_vectors
	.hidden x86_vectors
	.type x86_vectors, @function
x86_vectors:
vector = 0
.rept 256
	.balign 16
.if !((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21))
	push $0
.endif
	push $vector
.if vector == 8
	jmp double_fault_entry
.elseif (vector == 1) || (vector == 2) || (vector == 18)
	jmp paranoid_entry
.else
	jmp trap_entry
.endif
vector = vector + 1
.endr
	.balign 16
END(x86_vectors)

/* Exceptions and interrupts on the thread's own kernel stack. */
FUNC(trap_entry)
	cld
	push_registers
	close_user_window /* a user may have set AC before the trap */
	testb $3, TF_CS(%rsp)
	jz .Lfrom_kernel
	swapgs
	lfence /* no speculation with the user's GS */
	xor %ebp, %ebp
	mov %rsp, %rdi
	call x86_trap
	jmp .Luser_return
.Lfrom_kernel:
	lfence
	mov %rsp, %rdi
	call x86_trap
	pop_registers
	add $16, %rsp
	iretq
END(trap_entry)

/*
 * #DB, NMI, #MC: on a stack of their own, for they may hit anywhere: before the swapgs of an entry,
 * after that of an exit.  GS is the kernel's if its base is in the upper half.
 */
FUNC(paranoid_entry)
	cld
	push_registers
	close_user_window
	mov $MSR_GS_BASE, %ecx
	rdmsr
	xor %ebx, %ebx
	test %edx, %edx
	js 1f
	swapgs
	inc %ebx /* to undo at the end */
1:	lfence
	/* A #DB or #MC of user mode may send a signal or sleep: go on on the thread's stack. */
	testb $3, TF_CS(%rsp)
	jz 2f
	cmpq $VEC_NMI, TF_VECTOR(%rsp)
	je 2f
	mov %rsp, %rsi
	mov %gs:CPU_KERNEL_SP, %rdi
	sub $TF_SIZE, %rdi
	mov %rdi, %rsp
	mov $(TF_SIZE / 8), %ecx
	rep movsq
	xor %ebp, %ebp
	mov %rsp, %rdi
	call x86_trap
	jmp .Luser_return
2:	mov %rsp, %rdi
	call x86_paranoid_trap
	test %ebx, %ebx
	jz 3f
	swapgs
3:	pop_registers
	add $16, %rsp
	iretq
END(paranoid_entry)

/*
 * #DF: on the emergency stack, for the thread's own is full.  An abort, so there is no way back (SDM
 * 3A 6.15), and no register to restore; whose GS is loaded is as uncertain as above.
 */
FUNC(double_fault_entry)
	cld
	push_registers
	close_user_window
	mov $MSR_GS_BASE, %ecx
	rdmsr
	test %edx, %edx
	js 1f
	swapgs
1:	lfence
	mov %rsp, %rdi
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
	pop_registers
	add $16, %rsp
	swapgs
	iretq
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
	.section .note.GNU-stack, "", @progbits
