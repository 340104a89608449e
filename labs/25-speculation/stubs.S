/* The starter's assembly: it works, and leaves every guess to the processor.  Sections as cut names them. */

/* ==== arch/x86_64/asm.h ==== */

/* To do: a processor may run straight on past a branch that always leaves.  What should it find there? */
.macro return
	ret
.endm

/* To do: where this goes, the processor guesses from where such branches went before. */
.macro call_register reg
	call *%\reg
.endm

/* To do: the same. */
.macro jump_register reg
	jmp *%\reg
.endm

/* To do: a return of which nobody can guess where it goes.  What answers the guess is what the last calls left. */
.macro return_unforetold
	ret
.endm

/*
 * Through a pointer of struct cpu.
 *
 * To do: no register is free here.  `thunk` is a return_unforetold: where does that go?
 */
.macro jump_through pointer, thunk
	jmp *%gs:\pointer
.endm

/* ==== arch/x86_64/entry.S ==== */

/*
 * Compiled code calls this, or jumps here, instead of branching through a register.
 *
 * To do: go where the register says, by an instruction whose guess you have chosen.
 */
.macro thunk reg
FUNC(__x86_indirect_thunk_\reg)
	jmp *%\reg
END(__x86_indirect_thunk_\reg)
.endm

/* First instructions of a new thread: RAX = the thread before, R12 = fn, R13 = arg.  To do: compilers do not see it. */
FUNC(x86_thread_start)
	mov %rax, %rdi
	call sched_thread_begin
	mov %r13, %rdi
	call *%r12
	call sched_exit
	ud2
END(x86_thread_start)

/* void x86_run_on_stack(void *top, void (*fn)(void *), void *arg): leaves the present stack for good.  To do. */
FUNC(x86_run_on_stack)
	mov %rdi, %rsp
	mov %rdx, %rdi
	xor %ebp, %ebp
	call *%rsi
	ud2
END(x86_run_on_stack)

/* ==== arch/x86_64/memory.S ==== */

/* void *memcpy(void *dst, const void *src, size_t n).  To do: what is there behind its last instruction? */
FUNC(memcpy)
	mov %rdi, %rax
	mov %rdx, %rcx
	shr $3, %rcx
	rep movsq
	mov %edx, %ecx
	and $7, %ecx
	rep movsb
	ret
END(memcpy)

/* void *memset(void *dst, int c, size_t n).  To do. */
FUNC(memset)
	mov %rdi, %r8
	mov $0x0101010101010101, %rax
	movzbl %sil, %esi
	imul %rsi, %rax
	mov %rdx, %rcx
	shr $3, %rcx
	rep stosq
	mov %edx, %ecx
	and $7, %ecx
	rep stosb
	mov %r8, %rax
	ret
END(memset)
