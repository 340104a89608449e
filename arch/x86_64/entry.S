/*
 * Every way into the kernel and out of it: system calls, traps, interrupts, the switch between
 * threads.  Each entry builds a struct trapframe; on each way out to user mode interrupts are off
 * from the last look at thread.work to the iretq or sysretq.
 */
#include "asm.h"
#include "offsets.h"
#include "sysreg.h"

#define SEL_KERNEL_DATA 0x10
#define SEL_USER_DATA	0x1b
#define SEL_USER_CODE	0x23
#define TRAP_SYSCALL	0x100
#define VEC_NMI		2
#define VEC_DF		8

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
 * ---- The trampoline ----
 *
 * All that user mode's tables have of the kernel's code (row kpti), at addresses of its own: each CPU
 * has these pages once more, with its struct entry_data right behind them (kpti.c).  So the code must
 * run wherever it lies, reaches entry_data relative to itself or to a stack in there, and goes on to the
 * kernel through pointers of struct cpu, which the kernel's tables alone map.
 *
 * Of the pair of roots the kernel's is the lower one: clearing bit 12 of CR3 leads to it.
 */

#define USER_ROOT_BIT 12
#define DATA(member) (__entry_text_end + member)(%rip)

/*
 * Through a pointer of struct cpu, without asking a predictor (kernel/harden/retpoline.c): what is pushed
 * is where `thunk` returns to.
 */
.macro jump_through pointer, thunk
#if RETPOLINE
	push %gs:\pointer
	jmp \thunk
#else
	jmp *%gs:\pointer
#endif
	int3
.endm

.macro jump_to_kernel pointer
	jump_through \pointer, __x86_entry_return_thunk
.endm

/* The trampoline's own, for there is no other in user mode's tables. */
FUNC(__x86_entry_return_thunk)
	call 2f
1:	pause
	lfence
	jmp 1b
	int3
2:	lea 8(%rsp), %rsp
	ret
	int3
END(__x86_entry_return_thunk)

/* From user mode's root to the kernel's, if it is user mode's that is loaded; so with its PCID (asid.c). */
.macro load_kernel_root scratch
	mov %cr3, \scratch
	btr $USER_ROOT_BIT, \scratch
	jnc 8f
	btr $PCID_USER_BIT, \scratch
	or DATA(ENTRY_KEEP_TLB), \scratch
	mov \scratch, %cr3
8:
.endm

/* To the root for user mode: the kernel's own, if kpti is off. */
.macro load_user_root scratch
	mov %gs:CPU_USER_ROOT, \scratch
	bt $USER_ROOT_BIT, \scratch
	jnc 8f
	mov \scratch, %cr3
8:
.endm

/*
 * SYSCALL: RCX = user RIP, R11 = user RFLAGS, still on the user's stack.  SFMASK has cleared what
 * SYSCALL_CLEARS names (cpu.c), IF among them.
 */
FUNC(x86_syscall_entry)
	swapgs
	mov %rsp, DATA(ENTRY_USER_SP)
	load_kernel_root %rsp
	mov %gs:CPU_KERNEL_SP, %rsp
	push $SEL_USER_DATA
	push DATA(ENTRY_USER_SP)
	jump_to_kernel CPU_SYSCALL
END(x86_syscall_entry)

/* RSP = what is left of a system call's frame: from .vector on.  All other registers are the user's. */
FUNC(x86_exit_sysret)
	mov 5 * 8(%rsp), %rsp
	mov %rsp, DATA(ENTRY_USER_SP)
	load_user_root %rsp
	mov DATA(ENTRY_USER_SP), %rsp
	swapgs
	sysretq
END(x86_exit_sysret)

/* The frame for IRETQ is at the top of the entry stack.  All other registers are the user's. */
FUNC(x86_exit_iret)
	lea DATA(ENTRY_IRET_FRAME), %rsp
	push %rax
	load_user_root %rax
	pop %rax
	swapgs
	iretq
END(x86_exit_iret)

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
.if (vector == 1) || (vector == 2) || (vector == 8) || (vector == 18)
	jmp paranoid_entry
.else
	jmp trap_entry
.endif
vector = vector + 1
.endr
	.balign 16
END(x86_vectors)

/* Exceptions and interrupts: of user mode on the entry stack, of the kernel on the thread's. */
FUNC(trap_entry)
	testb $3, 3 * 8(%rsp) /* CS */
	jz 1f
	swapgs
	push %rax
	load_kernel_root %rax
	lfence /* no speculation with the user's GS */
	jump_to_kernel CPU_TRAP_FROM_USER
1:	lfence
	jump_to_kernel CPU_TRAP_FROM_KERNEL
END(trap_entry)

/* What paranoid_entry leaves below the frame that the stub pushed. */
#define PARANOID_SWAPPED 0  /* 1: GS was the user's */
#define PARANOID_CR3	 8
#define PARANOID_RDX	 16
#define PARANOID_RCX	 24
#define PARANOID_RAX	 32
#define PARANOID_VECTOR	 40
#define PARANOID_CS	 64
#define PARANOID_RFLAGS	 72

/*
 * #DB, NMI, #DF, #MC: on a short stack of their own in entry_data, for they may hit anywhere: with either
 * root, before the swapgs of an entry, after that of an exit.  GS is the kernel's if its base is in the
 * upper half.
 */
FUNC(paranoid_entry)
	push %rax
	push %rcx
	push %rdx
	mov %cr3, %rax
	push %rax
	load_kernel_root %rax
	push $0
	mov $MSR_GS_BASE, %ecx
	rdmsr
	test %edx, %edx
	js 1f
	swapgs
	incb (%rsp)
1:	lfence
	jump_to_kernel CPU_PARANOID
END(paranoid_entry)

/* RSP = what paranoid_entry left; all registers are those of the interrupted code. */
FUNC(x86_exit_paranoid)
	testb $1, PARANOID_SWAPPED(%rsp)
	jz 1f
	swapgs
1:	mov PARANOID_CR3(%rsp), %rax
	bt $USER_ROOT_BIT, %rax
	jnc 2f
	mov %rax, %cr3
2:	add $PARANOID_RAX, %rsp
	pop %rax
	add $16, %rsp
	iretq
END(x86_exit_paranoid)

/* ---- The kernel proper ---- */

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

/* RSP = the entry stack: RAX, then the frame.  It moves to the thread's. */
FUNC(x86_trap_from_user)
	kernel_flags
	mov %rsp, %rax
	mov %gs:CPU_KERNEL_SP, %rsp
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
 * RSP = what paranoid_entry left.  It moves to a stack with room: this CPU's emergency stack of the same
 * number; but a #DB or #MC of user mode may send a signal or sleep, and goes on on the thread's.
 */
FUNC(x86_paranoid)
	kernel_flags
	mov %rsp, %rax
	testb $3, PARANOID_CS(%rax)
	jz 1f
	cmpq $VEC_NMI, PARANOID_VECTOR(%rax)
	je 1f
	mov %gs:CPU_KERNEL_SP, %rsp
	jmp 2f
1:	mov %eax, %ecx
	and $(PAGE_SIZE - 1), %ecx
	shr $ENTRY_SHORT_SHIFT, %ecx
	mov %gs:(CPU_EMERGENCY_SP - 8 * ENTRY_SHORT_FIRST)(, %rcx, 8), %rsp
2:	push_frame PARANOID_VECTOR
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
	call 2f
1:	pause
	lfence
	jmp 1b
	int3
2:	lea 8(%rsp), %rsp
	ret
	int3
END(__x86_return_thunk)
	.section .note.GNU-stack, "", @progbits
