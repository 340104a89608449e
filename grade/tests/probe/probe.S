/*
 * A guest of one page, to test the harness with and not the kernel: enters long mode through PVH,
 * says so on the console, then counts, faults and obeys one-letter commands.
 *
 *   f  takes a page fault at 0x40000000 (present bit clear), is told so by its handler, goes on
 *   n  jumps to a page that is not executable
 *   t  triple-faults
 *   q  leaves through isa-debug-exit (port 0xf4)
 *
 * Tables: 0..2 MiB identity, executable, read-only in the second half MiB; 2..4 MiB not executable;
 * 1 GiB is a hole; the high half mirrors the low at 0xffffffff80000000.
 */

	.section .note.pvh, "a"
	.align	4
	.long	4, 4, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	start

	.macro say text
	jmp	2f
1:	.ascii	"\text"
2:	lea	1b(%rip), %rsi
	mov	$(2b - 1b), %ecx
	mov	$0x3f8, %edx
	rep outsb
	.endm

	.code32
	.text
	.globl	start
start:
	movl	$(pdpt_low + 7), pml4
	movl	$(pdpt_high + 3), pml4 + 511 * 8
	movl	$(pd + 7), pdpt_low
	movl	$(pd + 3), pdpt_high + 510 * 8
	movl	$(pt + 7), pd
	movl	$(0x200000 + 0x83), pd + 8	/* writable, kernel only */
	movl	$0x80000000, pd + 12		/* ... not executable */
	mov	$pt, %edi
	mov	$0x1003, %eax			/* page 0 is not mapped */
	mov	$511, %ecx
0:	add	$8, %edi
	mov	%eax, (%edi)
	add	$0x1000, %eax
	loop	0b
	andl	$~2, pt + 8 * 0x180		/* one read-only page at 0x180000 */
	mov	$pml4, %eax
	mov	%eax, %cr3
	mov	$0x20, %eax			/* CR4.PAE */
	mov	%eax, %cr4
	mov	$0xc0000080, %ecx		/* EFER: LME, NXE */
	rdmsr
	or	$0x900, %eax
	wrmsr
	mov	$0x80010001, %eax		/* CR0: PG, WP, PE */
	mov	%eax, %cr0
	lgdt	gdt_pointer
	ljmp	$8, $long_mode

	.code64
long_mode:
	mov	$stack_end, %rsp
	lea	handler(%rip), %rax
	mov	$14 * 16 + idt, %edi
	mov	%ax, (%rdi)
	movw	$8, 2(%rdi)
	movw	$0x8e00, 4(%rdi)
	shr	$16, %rax
	mov	%ax, 6(%rdi)
	lidt	idt_pointer
	say	"probe: up\r\n"

	.globl	tick
	mov	$1000, %r12d
0:	call	tick
	dec	%r12d
	jnz	0b
	say	"probe: counted\r\n"

command:
	mov	$0x3fd, %edx
	in	%dx, %al
	test	$1, %al
	jz	command
	mov	$0x3f8, %edx
	in	%dx, %al
	cmp	$'f', %al
	je	fault
	cmp	$'n', %al
	je	no_execute
	cmp	$'t', %al
	je	triple
	cmp	$'q', %al
	jne	command
	xor	%eax, %eax
	mov	$0xf4, %edx
	out	%al, %dx
	jmp	command

	.globl	tick
tick:	incq	count
	rdrand	%rax
	mov	%rax, random
	ret

	.globl	fault
fault:	lea	command(%rip), %r15
	movl	$1, 0x40000000
	jmp	command

no_execute:
	lea	command(%rip), %r15
	mov	$0x300000, %eax
	jmp	*%rax

triple:
	lidt	no_idt
	ud2

/* A page fault: says so and goes where r15 points. */
	.globl	handler
handler:
	mov	$stack_end, %rsp
	say	"probe: page fault\r\n"
	jmp	*%r15

	.data
	.align	8
gdt:	.quad	0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.quad	gdt
idt_pointer:
	.word	16 * 16 - 1
	.quad	idt
no_idt:	.word	0
	.quad	0
	.globl	count, random
count:	.quad	0
random:	.quad	0

	.bss
	.align	4096
	.globl	pml4
pml4:	.skip	4096
pdpt_low: .skip	4096
pdpt_high: .skip 4096
pd:	.skip	4096
pt:	.skip	4096
idt:	.skip	4096
	.skip	4096
stack_end:
	.section .note.GNU-stack, "", @progbits
