/* ==== arch/x86_64/trampoline.S ==== */
/*
 * The trampoline: the first instructions of every way into the kernel, and the last ones of every way out.
 *
 * To do: it enters the kernel on whatever root was loaded, and leaves on that, too.  While user mode runs, the root must
 * lead to nothing of the kernel but these pages and what the processor itself needs.
 *
 * They are mapped at addresses of their own: each CPU has them once more, with its struct entry_data right behind them
 * (kpti.c).  So the code must run wherever it lies, reaches entry_data relative to itself or to a stack in there, and
 * goes on to the kernel (entry.S) through pointers of struct cpu.
 */
#include "asm.h"
#include "offsets.h"
#include "sysreg.h"

#define SEL_USER_DATA 0x1b
#define DATA(member)  (__entry_text_end + member)(%rip)

	.section .text.entry, "ax"

/* On a stack that user mode's tables are not to have: what it pushes stays there, and tells where the kernel is. */
.macro jump_to_kernel pointer
	jump_through \pointer, __x86_entry_return_thunk
.endm

/* The trampoline's own, so that it needs none elsewhere. */
FUNC(__x86_entry_return_thunk)
	return_unforetold
END(__x86_entry_return_thunk)

/*
 * SYSCALL: RCX = user RIP, R11 = user RFLAGS, still on the user's stack.  SFMASK has cleared what
 * SYSCALL_CLEARS names (cpu.c), IF among them.
 *
 * To do: no register is free, and no stack is the kernel's yet.
 */
FUNC(x86_syscall_entry)
	swapgs
	mov %rsp, DATA(ENTRY_USER_SP)
	mov %gs:CPU_KERNEL_SP, %rsp
	push $SEL_USER_DATA
	push DATA(ENTRY_USER_SP)
	jump_to_kernel CPU_SYSCALL
END(x86_syscall_entry)

/*
 * RSP = what is left of a system call's frame: from .vector on.  All other registers are the user's.
 *
 * To do: CPU_USER_ROOT is what CR3 must be.  Which instruction is the last one that may still read a kernel address?
 */
FUNC(x86_exit_sysret)
	mov 5 * 8(%rsp), %rsp
	swapgs
	sysretq
END(x86_exit_sysret)

/* The frame for IRETQ is at the top of the entry stack.  All other registers are the user's.  To do: the same. */
FUNC(x86_exit_iret)
	lea DATA(ENTRY_IRET_FRAME), %rsp
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
	lfence /* no speculation with the user's GS */
	mov %rsp, %rax
	mov %gs:CPU_KERNEL_SP, %rsp
	jump_to_kernel CPU_TRAP_FROM_USER
1:	lfence
	jump_to_kernel CPU_TRAP_FROM_KERNEL
END(trap_entry)

/*
 * #DB, NMI, #DF, #MC: on a short stack of their own in entry_data, for they may hit anywhere: before the swapgs
 * of an entry, after that of an exit.  GS is the kernel's if its base is in the upper half.  What it leaves there is
 * a struct paranoid_frame; it goes on on a stack with room, this CPU's emergency stack of the same number.
 *
 * To do: with which root may they hit?
 */
FUNC(paranoid_entry)
	push %rax
	push %rcx
	push %rdx
	push $0 /* .cr3: nobody asks yet */
	push $0
	mov $MSR_GS_BASE, %ecx
	rdmsr
	test %edx, %edx
	js 1f
	swapgs
	incb (%rsp)
1:	lfence
	mov %rsp, %rax
	mov %eax, %ecx
	and $(PAGE_SIZE - 1), %ecx
	shr $ENTRY_SHORT_SHIFT, %ecx
	mov %gs:(CPU_EMERGENCY_SP - 8 * ENTRY_SHORT_FIRST)(, %rcx, 8), %rsp
	jump_to_kernel CPU_PARANOID
END(paranoid_entry)

/* RSP = what paranoid_entry left; all registers are those of the interrupted code. */
FUNC(x86_exit_paranoid)
	testb $1, PARANOID_SWAPPED(%rsp)
	jz 1f
	swapgs
1:	add $PARANOID_RAX, %rsp
	pop %rax
	add $16, %rsp
	iretq
END(x86_exit_paranoid)
	.section .note.GNU-stack, "", @progbits

/* ==== arch/aarch64/trampoline.S ==== */
/*
 * The trampoline: the one page of the kernel that user mode's tables are to have.
 *
 * To do: so far nobody comes here.  When CPU_USER_VECTORS is set, user_return (entry.S) sets VBAR_EL1 to that, puts
 * x30 into FAR_EL1, and jumps to TRAMPOLINE, the first instruction of this page, with all other registers the
 * user's: go to user mode's root, and on.  The second half are the vectors, 16 of 128 bytes, for what comes from
 * there: they find no stack, no free register, and nothing of the kernel mapped; a vector of entry.S has a second half,
 * too, for those who come by here and kept x30 in TPIDRRO_EL0.
 */
#include "asm.h"
#include "offsets.h"
#include "sysreg.h"

	.section .text.trampoline, "ax"
	.balign 4096
	.globl a64_trampoline
	.hidden a64_trampoline
	.type a64_trampoline, %function
a64_trampoline:
	brk #0
	.balign 4096
	.size a64_trampoline, . - a64_trampoline
	.section .note.GNU-stack, "", @progbits
