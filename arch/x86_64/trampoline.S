/*
 * Start-up of the other processors.  SIPI enters x86_trampoline's copy at TRAMPOLINE_CODE in real
 * mode; it goes straight to long mode (SDM 3A 9.8.5) on the bring-up tables, which map this page
 * R-X and the page of parameters RW- at their physical addresses.  NX is on before paging is.
 */
#include "asm.h"

#define TRAMPOLINE_CODE 0x8000
#define PARAM_ROOT	0x9000 /* struct trampoline_params, smp.c */
#define PARAM_STACK	0x9008
#define PARAM_ENTRY	0x9010
#define PARAM_CPU	0x9018

	.section .rodata.trampoline, "a"
	.globl x86_trampoline, x86_trampoline_end
	.hidden x86_trampoline, x86_trampoline_end
	.code16
	.balign 16
x86_trampoline:
	cli
	cld
	xor %ax, %ax
	mov %ax, %ds
	mov $0x20, %eax /* CR4.PAE */
	mov %eax, %cr4
	mov PARAM_ROOT, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx /* EFER */
	rdmsr
	or $0x900, %eax /* LME, NXE */
	wrmsr
	lgdtl (gdt_ptr - x86_trampoline + TRAMPOLINE_CODE)
	mov $0x80010021, %eax /* CR0: PG, WP, NE, PE */
	mov %eax, %cr0
	ljmpl $0x08, $(long_mode - x86_trampoline + TRAMPOLINE_CODE)

	.code64
long_mode:
	xor %eax, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	mov PARAM_STACK, %rsp
	mov PARAM_CPU, %rdi
	xor %ebp, %ebp
	mov PARAM_ENTRY, %rax
	call *%rax /* no thunk here, nor anyone yet to train a predictor */
	ud2

	.balign 8
gdt:
	.quad 0
	.quad 0x00af9b000000ffff /* 64-bit code, ring 0; accessed: the CPU must not write here */
gdt_ptr:
	.word 15
	.long gdt - x86_trampoline + TRAMPOLINE_CODE
x86_trampoline_end:
	.section .note.GNU-stack, "", @progbits
