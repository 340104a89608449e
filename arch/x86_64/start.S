/*
 * Start-up of the boot processor.  PVH (Xen's x86/HVM direct boot ABI) enters boot_entry in 32-bit
 * protected mode without paging, EBX = physical address of hvm_start_info.  The first tables, of
 * 2 MiB pages, already keep W^X: text R-X, everything else non-executable, and text has no writable
 * alias.
 */
#include "asm.h"

#define LOAD_BASE     0x200000 /* kernel.lds: where .text.boot is loaded */
#define KERNEL_OFFSET 0xffffffff80000000

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
	cld
	cli
	mov $LOAD_BASE, %ebp /* everything is addressed relative to boot_entry: no relocations */
	mov %ebx, %esi	     /* start_info, until x86_boot */

	/* Without NX there is no W^X: refuse to start. */
	mov $0x80000000, %eax
	cpuid
	cmp $0x80000001, %eax
	jb no_nx
	mov $0x80000001, %eax
	cpuid
	bt $20, %edx
	jnc no_nx

	/* EDI: the table pages, in .bss (zero). */
	lea (boot_tables - boot_entry)(%ebp), %edi
#define PML4	  0x0000
#define PDPT_LOW  0x1000
#define PDPT_DIR  0x2000
#define PDPT_HIGH 0x3000
#define PD_LOW	  0x4000
#define PD_HIGH	  0x5000
#define PD_DIR	  0x6000 /* four pages: 4 GiB */

.macro link table, index, to
	lea \to + PTE_P + PTE_W(%edi), %eax
	mov %eax, (\table + 8 * \index)(%edi)
.endm
	link PML4, 0, PDPT_LOW
	link PML4, 273, PDPT_DIR  /* 0xffff888000000000 */
	link PML4, 511, PDPT_HIGH /* 0xffffff8000000000 */
	link PDPT_LOW, 0, PD_LOW
	link PDPT_HIGH, 510, PD_HIGH /* 0xffffffff80000000 */
	link PDPT_DIR, 0, PD_DIR
	link PDPT_DIR, 1, (PD_DIR + 0x1000)
	link PDPT_DIR, 2, (PD_DIR + 0x2000)
	link PDPT_DIR, 3, (PD_DIR + 0x3000)

	/* Text, and its identity alias for the jump below: R-X. */
	lea (PTE_P + PTE_PS)(%ebp), %eax
	mov %eax, (PD_LOW + 8)(%edi)
	mov %eax, (PD_HIGH + 8)(%edi)

	/* The rest of the image, behind text: RW- (rodata too, until it is relocated). */
	mov $1, %ecx
1:	add $0x200000, %eax
	inc %ecx
	mov %eax, PD_HIGH(%edi, %ecx, 8)
	orl $PTE_W, PD_HIGH(%edi, %ecx, 8)
	movl $NX_HI, (PD_HIGH + 4)(%edi, %ecx, 8)
	cmp $15, %ecx
	jb 1b

	/* Physical memory below 4 GiB: RW-, but text's page R--. */
	xor %ecx, %ecx
	mov $(PTE_P + PTE_W + PTE_PS), %eax
1:	mov %eax, PD_DIR(%edi, %ecx, 8)
	movl $NX_HI, (PD_DIR + 4)(%edi, %ecx, 8)
	add $0x200000, %eax
	inc %ecx
	cmp $2048, %ecx
	jb 1b
	andl $~PTE_W, (PD_DIR + 8)(%edi)

	/* Long mode (SDM 3A 9.8.5), with NX before any table is used. */
	mov $0x20, %eax /* CR4.PAE */
	mov %eax, %cr4
	mov %edi, %cr3
	mov $0xc0000080, %ecx /* EFER */
	rdmsr
	or $0x900, %eax /* LME, NXE */
	wrmsr
	mov $0x80010021, %eax /* CR0: PG, WP, NE, PE */
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
	.quad 0x00af9a000000ffff /* 64-bit code, ring 0 */
boot_gdt_ptr:
	.word 15
	.long LOAD_BASE + boot_gdt - boot_entry

	.code64
boot_long:
	/* From the identity alias to the address the kernel is linked for. */
	lea 1f(%rip), %rax
	movabs $KERNEL_OFFSET, %rcx
	add %rcx, %rax
	jmp *%rax
1:	xor %eax, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	lea boot_stack_top(%rip), %rsp
	xor %ebp, %ebp
	mov %esi, %edi
	call x86_boot
	ud2
END(boot_entry)

	.bss
	.balign 4096
boot_tables:
	.skip 0xa000
	/* Left for good, and unused, once the first idle thread runs on its own guarded stack. */
boot_stack:
	.skip 16384
boot_stack_top:
