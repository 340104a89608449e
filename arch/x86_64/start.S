/*
 * Start-up.  For the boot processor, PVH (Xen's x86/HVM direct boot ABI) enters boot_entry in 32-bit
 * protected mode without paging, EBX = physical address of hvm_start_info; GRUB (Multiboot2) enters
 * multiboot_entry likewise, with its own information and a magic number in EAX.  C begins at physical
 * addresses, which is where the image lies, and moves itself to those of kernel/mm/layout.h.  The first
 * tables, of 2 MiB pages, already keep W^X: text R-X, everything else non-executable, and text has no
 * writable alias.
 */
#include "asm.h"
#include "offsets.h"
#include "sysreg.h"

#define LOAD_BASE 0x200000 /* kernel.lds: where .text.boot is loaded */

#define TRAMPOLINE_CODE 0x8000
#define PARAM_ROOT	0x9000 /* struct trampoline_params, smp.c */
#define PARAM_STACK	0x9008
#define PARAM_ENTRY	0x9010
#define PARAM_CPU	0x9018

#define MULTIBOOT_HEADER_MAGIC 0xe85250d6

#define PTE_P  0x01
#define PTE_W  0x02
#define PTE_PS 0x80
#define NX_HI  0x80000000 /* bit 63, in the upper half of an entry */

	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 8, 18 /* name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad LOAD_BASE

	.section .text.boot, "ax"
	.code32
FUNC(boot_entry)
	jmp .Lboot
/* Where a Multiboot2 loader looks: in the file's first 32 KiB (Multiboot2 3.1). */
	.balign 8
multiboot_header:
	.long MULTIBOOT_HEADER_MAGIC, 0, .Lheader_end - multiboot_header
	.long -(MULTIBOOT_HEADER_MAGIC + .Lheader_end - multiboot_header)
	.short 3, 0 /* the entry's address */
	.long 12, LOAD_BASE + multiboot_entry - boot_entry, 0
	.short 0, 0 /* the end */
	.long 8
.Lheader_end:
multiboot_entry:
	mov $LOAD_BASE, %ebp
	mov %eax, (boot_magic - boot_entry)(%ebp)
.Lboot:
	cld
	cli
	mov $LOAD_BASE, %ebp /* everything is addressed relative to boot_entry: no relocations */
	mov %ebx, %esi	     /* the loader's information, until x86_boot */

	/* Without NX there is no W^X: refuse to start. */
	mov $0x80000000, %eax
	cpuid
	cmp $0x80000001, %eax
	jb no_nx
	mov $0x80000001, %eax
	cpuid
	bt $20, %edx
	jnc no_nx

	/*
	 * EDI: the table pages, in .bss (zero).  Physical memory below 4 GiB at its physical addresses,
	 * RW-; the page of text R-X.  x86_early_map makes the rest, once it is known where.
	 */
	lea (boot_tables - boot_entry)(%ebp), %edi
	lea (8 * BOOT_PDPT_LOW * 512 + PTE_P + PTE_W)(%edi), %eax
	mov %eax, (%edi)
	lea (8 * BOOT_PD_LOW * 512 + PTE_P + PTE_W)(%edi), %eax
	xor %ecx, %ecx
1:	mov %eax, (8 * BOOT_PDPT_LOW * 512)(%edi, %ecx, 8)
	add $0x1000, %eax
	inc %ecx
	cmp $4, %ecx
	jb 1b
	xor %ecx, %ecx
	mov $(PTE_P + PTE_W + PTE_PS), %eax
1:	mov %eax, (8 * BOOT_PD_LOW * 512)(%edi, %ecx, 8)
	movl $NX_HI, (8 * BOOT_PD_LOW * 512 + 4)(%edi, %ecx, 8)
	add $0x200000, %eax
	inc %ecx
	cmp $2048, %ecx
	jb 1b
	lea (PTE_P + PTE_PS)(%ebp), %eax
	mov %eax, (8 * BOOT_PD_LOW * 512 + 8)(%edi)
	movl $0, (8 * BOOT_PD_LOW * 512 + 12)(%edi)

	/* Long mode (SDM 3A 9.8.5), with NX before any table is used. */
	mov $CR4_PAE, %eax
	mov %eax, %cr4
	mov %edi, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $(EFER_LME + EFER_NXE), %eax
	wrmsr
	mov $(CR0_PG + CR0_WP + CR0_NE + CR0_PE), %eax
	mov %eax, %cr0

	lgdt (boot_gdt_ptr - boot_entry)(%ebp)
	ljmp $0x08, $(LOAD_BASE + boot_long - boot_entry)

no_nx:
	lea (no_nx_text - boot_entry)(%ebp), %esi
	mov $0x3f8, %dx
1:	lodsb
	test %al, %al
	jz 2f
	out %al, %dx
	jmp 1b
2:	hlt
	jmp 2b
no_nx_text:
	.asciz "rampart: this CPU has no NX bit; refusing to start without W^X\r\n"

	.balign 8
boot_gdt:
	.quad 0
	.quad 0x00af9b000000ffff /* 64-bit code, ring 0; accessed: the CPU must not write here */
boot_gdt_ptr:
	.word 15
	.long LOAD_BASE + boot_gdt - boot_entry

	.code64
boot_long:
	xor %eax, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	lea boot_stack_top(%rip), %rsp
	lea cpus(%rip), %rax /* where C looks for its canary: 0 until there are random numbers */
	mov %rax, %rdx
	shr $32, %rdx
	mov $MSR_GS_BASE, %ecx
	wrmsr
	xor %ebp, %ebp
	mov %esi, %edi
	call x86_boot
	ud2
END(boot_entry)

/*
 * RDI = what lies between physical addresses and the kernel's own, RSI = argument: goes on in
 * x86_boot_placed, there.
 */
FUNC(boot_leave_physical)
	lea 1f(%rip), %rax
	add %rdi, %rax
	jump_register rax
1:	lea boot_stack_top(%rip), %rsp
	xor %ebp, %ebp
	mov %rsi, %rdi
	call x86_boot_placed
	ud2
END(boot_leave_physical)

	.data
	.balign 4
	.globl boot_magic
	.hidden boot_magic
boot_magic: /* what a Multiboot2 loader left in EAX */
	.long 0

	.bss
	.balign 4096
	.globl boot_tables
	.hidden boot_tables
boot_tables:
	.skip 4096 * BOOT_TABLES
	/* Left for good, and unused, once the first idle thread runs on its own guarded stack. */
boot_stack:
	.skip 16384
boot_stack_top:

/* ---- The other processors ---------------------------------------------------------------------------- */

/*
 * SIPI enters x86_trampoline's copy at TRAMPOLINE_CODE in real mode; it goes straight to long mode
 * (SDM 3A 9.8.5) on the bring-up tables, which map this page R-X and the page of parameters RW- at their
 * physical addresses.  NX is on before paging is.
 */
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
	mov $CR4_PAE, %eax
	mov %eax, %cr4
	mov PARAM_ROOT, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $(EFER_LME + EFER_NXE), %eax
	wrmsr
	lgdtl (trampoline_gdt_ptr - x86_trampoline + TRAMPOLINE_CODE)
	mov $(CR0_PG + CR0_WP + CR0_NE + CR0_PE), %eax
	mov %eax, %cr0
	ljmpl $0x08, $(trampoline_long - x86_trampoline + TRAMPOLINE_CODE)

	.code64
trampoline_long:
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
trampoline_gdt:
	.quad 0
	.quad 0x00af9b000000ffff /* 64-bit code, ring 0; accessed: the CPU must not write here */
trampoline_gdt_ptr:
	.word 15
	.long trampoline_gdt - x86_trampoline + TRAMPOLINE_CODE
x86_trampoline_end:
	.section .note.GNU-stack, "", @progbits
