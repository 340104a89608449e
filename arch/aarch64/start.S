/*
 * Start-up of every processor.  The boot loader enters boot_entry as Linux's Documentation/arch/arm64/
 * booting.rst says: translation off, x0 = physical address of the device tree, at EL2 or EL1, the
 * image on a 2 MiB boundary anywhere.  PSCI enters the others at secondary_start with x0 as CPU_ON was
 * told.  Both go down to EL1 and turn translation on.  The boot processor's C begins at physical addresses,
 * and moves itself to those of kernel/mm/layout.h; the first tables already keep W^X: text R-X, everything
 * else non-executable.
 */
#include "asm.h"
#include "offsets.h"
#include "sysreg.h"

	.arch armv8.5-a
	.section .text.boot, "ax"

/* Linux's image header: 64 bytes, of which the first is the code to enter. */
FUNC(boot_entry)
	b start
	.long 0
	.quad 0		   /* load offset from a 2 MiB boundary */
	.long __image_size /* what is cleared included */
	.long 0
	.quad 0xa /* little-endian, 4 KiB pages, anywhere in memory */
	.quad 0, 0, 0
	.ascii "ARM\x64"
	.long 0

#define TEXT_BITS (PTE_VALID | PTE_TABLE | PTE_RO | PTE_SH | PTE_AF | PTE_NG | PTE_UXN)
#define DATA_BITS (PTE_VALID | PTE_TABLE | PTE_SH | PTE_AF | PTE_NG | PTE_UXN | PTE_PXN)

start:
	mov x19, x0 /* the device tree */
	bl to_el1
	adrp x20, __image_start /* where the image lies */

	/*
	 * .bss is ours to clear.  Caches are off: lines that the loader left behind must go first, or
	 * they would hide what is written here once caches are on.
	 */
	adrp x0, __bss_start
	adrp x1, __bss_end
	mrs x2, ctr_el0
	ubfx x2, x2, #16, #4 /* log2 of words in the smallest data cache line */
	mov x3, #4
	lsl x2, x3, x2
	mov x3, x0
1:	dc ivac, x3
	add x3, x3, x2
	cmp x3, x1
	b.lo 1b
	dsb sy
1:	stp xzr, xzr, [x0], #16
	stp xzr, xzr, [x0], #16
	stp xzr, xzr, [x0], #16
	stp xzr, xzr, [x0], #16
	cmp x0, x1
	b.lo 1b

	adrp x21, boot_tables
	add x5, x21, #(BOOT_PTES << 12)
	mov x0, x5
	mov x1, x20
	adrp x2, __text_end
	ldr x3, =TEXT_BITS
1:	orr x4, x1, x3
	str x4, [x0], #8
	add x1, x1, #0x1000
	cmp x1, x2
	b.lo 1b
	adrp x2, __data_end
	ldr x3, =DATA_BITS
1:	orr x4, x1, x3
	str x4, [x0], #8
	add x1, x1, #0x1000
	cmp x1, x2
	b.lo 1b

	/* The image where it lies: IMAGE_TABLES entries of the level above, which may straddle two tables. */
	add x1, x21, #(BOOT_PMD_LOW << 12)
	orr x0, x1, #3
	ubfx x2, x20, #30, #9
	add x3, x21, #(BOOT_PUD_LOW << 12)
	add x3, x3, x2, lsl #3
	str x0, [x3]
	add x0, x0, #0x1000
	cmp x2, #511
	b.eq 1f
	str x0, [x3, #8]
1:	add x3, x21, #(BOOT_PUD_LOW << 12)
	orr x0, x3, #3
	ubfx x2, x20, #39, #9
	add x3, x21, #(BOOT_ROOT_LOW << 12)
	str x0, [x3, x2, lsl #3]
	ubfx x2, x20, #21, #9
	add x1, x1, x2, lsl #3
	orr x0, x5, #3
	mov x2, #IMAGE_TABLES
1:	str x0, [x1], #8
	add x0, x0, #0x1000
	subs x2, x2, #1
	b.ne 1b

	add x0, x21, #(BOOT_ROOT_LOW << 12)
	add x1, x21, #(BOOT_ROOT_HIGH << 12)
	orr x1, x1, #(BOOT_ASID << TTBR_ASID_SHIFT)
	bl cpu_setup
	msr sctlr_el1, x0
	isb
	adrp x0, boot_stack_top
	mov sp, x0
	mov x29, xzr
	mov x30, xzr
	mov x0, x19
	mov x1, x20
	adrp x2, a64_boot_thread /* where C looks for its canary: 0 until there are random numbers */
	add x2, x2, :lo12:a64_boot_thread
	msr sp_el0, x2
	bl a64_boot
	b .
END(boot_entry)

/*
 * x0 = what lies between physical addresses and the kernel's own: goes on in a64_boot_placed, there.
 */
FUNC(boot_leave_physical)
	adr x1, 1f
	add x1, x1, x0
	jump_register x1
1:	adrp x0, boot_stack_top
	mov sp, x0
	mov x29, xzr
	mov x30, xzr
	bl a64_boot_placed
	b .
END(boot_leave_physical)

/*
 * To EL1 with interrupts masked.  From EL2: it traps nothing (but vector extensions that the kernel
 * does not save), the virtual counter is the physical one, and EL2 is left for good.
 */
to_el1:
	msr daifset, #15
	mrs x2, CurrentEL
	cmp x2, #(2 << 2)
	b.ne 9f
	mov x2, #(1 << 31)		       /* HCR_EL2.RW: EL1 is AArch64 */
	orr x2, x2, #((1 << 40) | (1 << 41)) /* pointer authentication does not trap */
	msr hcr_el2, x2
	mov x2, #3 /* counter and timer do not trap */
	msr cnthctl_el2, x2
	msr cntvoff_el2, xzr
	mrs x2, midr_el1
	msr vpidr_el2, x2
	mrs x2, mpidr_el1
	msr vmpidr_el2, x2
	mov x2, #0x33ff
	msr cptr_el2, x2
	msr hstr_el2, xzr
	msr vttbr_el2, xzr
	mrs x2, id_aa64dfr0_el1
	ubfx x2, x2, #8, #4 /* PMUVer: 0 and 15 are none */
	add x2, x2, #1
	tst x2, #14
	b.eq 1f
	mrs x2, pmcr_el0
	ubfx x2, x2, #11, #5
	msr mdcr_el2, x2 /* all event counters are EL1's */
1:	mrs x2, id_aa64pfr0_el1
	ubfx x2, x2, #24, #4
	cbz x2, 2f
	mrs x2, S3_4_C12_C9_5 /* ICC_SRE_EL2: EL1 may use the interrupt controller's registers */
	mov x3, #9
	orr x2, x2, x3
	msr S3_4_C12_C9_5, x2
	isb
	msr S3_4_C12_C11_0, xzr /* ICH_HCR_EL2: no virtual interrupts */
2:	ldr x2, =SCTLR_RES1
	msr sctlr_el1, x2
	mov x2, #(PSTATE_D | PSTATE_A | PSTATE_I | PSTATE_F | 5) /* EL1, its own stack pointer */
	msr spsr_el2, x2
	msr elr_el2, x30
	eret
	speculation_ends
9:	return

/*
 * x0, x1 = TTBR0 and TTBR1, with the ASID in the latter: sets everything that translation needs; returns in x0
 * what SCTLR_EL1 must become.  Translation is off.
 */
cpu_setup:
	msr ttbr0_el1, x0
	msr ttbr1_el1, x1
	ldr x0, =MAIR_VALUE
	msr mair_el1, x0
	ldr x0, =(TCR_HALF(0) | TCR_HALF(16) | TCR_TG1_4K | TCR_TBI0 | TCR_A1)
	mrs x1, id_aa64mmfr0_el1
	and x2, x1, #15 /* physical address size; beyond 48 bits other entry formats begin */
	mov x3, #5
	cmp x2, x3
	csel x2, x2, x3, lo
	orr x0, x0, x2, lsl #TCR_IPS_SHIFT
	ubfx x2, x1, #4, #4
	cmp x2, #2
	b.ne 1f
	orr x0, x0, #TCR_AS
1:	mrs x1, id_aa64mmfr2_el1
	ubfx x1, x1, #60, #4
	cbz x1, 2f
	orr x0, x0, #TCR_E0PD1
2:	msr tcr_el1, x0
	mov x0, #(3 << 20) /* CPACR_EL1: floating point and SIMD for both levels; SVE and SME trap */
	msr cpacr_el1, x0
	mov x0, #MDSCR_TDCC
	msr mdscr_el1, x0
	mrs x1, id_aa64pfr0_el1
	ubfx x1, x1, #44, #4 /* activity monitors, which user mode does not read */
	cbz x1, 3f
	msr AMUSERENR_EL0, xzr
3:
	dsb sy /* the tables, written past the caches, before any walk */
	tlbi vmalle1
	ic iallu
	dsb nsh
	isb
	ldr x0, =SCTLR_INIT
	return

/* x0 = virtual address of this processor's struct cpu.  a64_bringup is read with caches off. */
FUNC(secondary_start)
	mov x19, x0
	bl to_el1
	adrp x2, a64_bringup
	add x2, x2, :lo12:a64_bringup
	ldp x0, x1, [x2]
	bl cpu_setup
	adrp x2, a64_bringup
	add x2, x2, :lo12:a64_bringup
	ldr x3, [x2, #16]
	adr x2, 1f
	add x2, x2, x3
	msr sctlr_el1, x0
	isb
	jump_register x2
1:	ldr x0, [x19, #CPU_KERNEL_SP]
	mov sp, x0
	mov x29, xzr
	mov x30, xzr
	mov x0, x19
	bl a64_secondary
	b .
END(secondary_start)
	.ltorg

	.bss
	.globl boot_tables, boot_stack_top
	.hidden boot_tables, boot_stack_top
	/*
	 * As every kernel stack: 32 KiB, the upper half of a slot of 64 (entry.S tests the bit, kernel.lds that it is
	 * so).  Left for good, and unused, once the first idle thread runs on its own guarded stack.
	 */
	.balign 65536
	.skip 65536
boot_stack_top:
boot_tables:
	.skip 4096 * BOOT_TABLES
	.section .note.GNU-stack, "", @progbits
