/*
 * The trampoline: the first instructions of every way into the kernel, and the last ones of every way out.
 *
 * It is all that user mode's tables have of the kernel's code (row kpti), at addresses of its own: each CPU
 * has these pages once more, with its struct entry_data right behind them (kpti.c).  So the code must
 * run wherever it lies, reaches entry_data relative to itself or to a stack in there, and goes on to the
 * kernel (entry.S) through pointers of struct cpu, which the kernel's tables alone map.
 *
 * Of the pair of roots the kernel's is the lower one: clearing bit 12 of CR3 leads to it.
 */
#include "asm.h"
#include "offsets.h"
#include "sysreg.h"

#define SEL_USER_DATA 0x1b
#define USER_ROOT_BIT 12
#define DATA(member)  (__entry_text_end + member)(%rip)

	.section .text.entry, "ax"

/* On a stack that user mode's tables do not have: what it pushes stays there, and tells where the kernel is. */
.macro jump_to_kernel pointer
	jump_through \pointer, __x86_entry_return_thunk
.endm

/* The trampoline's own, for there is no other in user mode's tables. */
FUNC(__x86_entry_return_thunk)
	return_unforetold
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
	mov %rsp, %rax
	mov %gs:CPU_KERNEL_SP, %rsp
	jump_to_kernel CPU_TRAP_FROM_USER
1:	lfence
	jump_to_kernel CPU_TRAP_FROM_KERNEL
END(trap_entry)

/*
 * #DB, NMI, #DF, #MC: on a short stack of their own in entry_data, for they may hit anywhere: with either
 * root, before the swapgs of an entry, after that of an exit.  GS is the kernel's if its base is in the
 * upper half.  What it leaves there is a struct paranoid_frame; it goes on on a stack with room, this CPU's
 * emergency stack of the same number.
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
1:	mov PARANOID_CR3(%rsp), %rax
	bt $USER_ROOT_BIT, %rax
	jnc 2f
	mov %rax, %cr3
2:	add $PARANOID_RAX, %rsp
	pop %rax
	add $16, %rsp
	iretq
END(x86_exit_paranoid)
	.section .note.GNU-stack, "", @progbits
