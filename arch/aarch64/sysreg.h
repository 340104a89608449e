/* Bits of system registers, for C and assembly.  "ARM" is the Arm Architecture Reference Manual, DDI 0487. */
#pragma once

#ifdef __ASSEMBLER__
#define SBIT(n) (1 << (n))
#else
#define SBIT(n) (1ul << (n))
#endif

/* SCTLR_EL1 (ARM D17.2.118) */
#define SCTLR_M	    SBIT(0)  /* translation */
#define SCTLR_C	    SBIT(2)  /* data caches */
#define SCTLR_SA    SBIT(3)  /* SP alignment is checked at EL1 ... */
#define SCTLR_SA0   SBIT(4)  /* ... and at EL0 */
#define SCTLR_SED   SBIT(8)
#define SCTLR_UMA   SBIT(9)  /* EL0 may read and write PSTATE.DAIF */
#define SCTLR_EOS   SBIT(11) /* exception return is a context synchronisation event */
#define SCTLR_I	    SBIT(12) /* instruction caches */
#define SCTLR_DZE   SBIT(14) /* EL0 may use DC ZVA ... */
#define SCTLR_UCT   SBIT(15) /* ... read CTR_EL0 ... */
#define SCTLR_NTWI  SBIT(16) /* ... use WFI ... */
#define SCTLR_NTWE  SBIT(18) /* ... and WFE */
#define SCTLR_WXN_SHIFT 19
#define SCTLR_WXN   SBIT(SCTLR_WXN_SHIFT) /* writable is not executable */
#define SCTLR_TSCXT SBIT(20)
#define SCTLR_EIS   SBIT(22)
#define SCTLR_SPAN  SBIT(23) /* 0: PSTATE.PAN is set on each exception to EL1 */
#define SCTLR_UCI   SBIT(26) /* EL0 may clean data and invalidate instruction caches by address */
#define SCTLR_NTLSMD SBIT(28)
#define SCTLR_LSMAOE SBIT(29)

/*
 * As each CPU turns translation on.  What user mode may do is what Linux lets it; SPAN is cleared when
 * PAN is wanted, WXN set when wx is.
 */
#define SCTLR_RES1 (SCTLR_LSMAOE | SCTLR_NTLSMD | SCTLR_SPAN | SCTLR_EIS | SCTLR_TSCXT | SCTLR_EOS)
#define SCTLR_INIT                                                                                 \
	(SCTLR_RES1 | SCTLR_M | SCTLR_C | SCTLR_SA | SCTLR_SA0 | SCTLR_SED | SCTLR_I | SCTLR_DZE | \
	 SCTLR_UCT | SCTLR_NTWI | SCTLR_NTWE | SCTLR_UCI)

#define MDSCR_TDCC SBIT(12) /* EL0 may not use the debug communications channel (ARM D17.3, MDSCR_EL1) */

/* ARM D17.5: a name that older assemblers do not know */
#define AMUSERENR_EL0 S3_3_C13_C2_3

/* TCR_EL1 (ARM D17.2.131): both halves 48 bits, 4 KiB granule, walks cacheable, inner shareable */
#define TCR_HALF(shift) (16 << (shift) | 1 << ((shift) + 8) | 1 << ((shift) + 10) | 3 << ((shift) + 12))
#define TCR_TG1_4K  SBIT(31)
#define TCR_A1	    SBIT(22) /* the ASID is that of TTBR1 */
#define TCR_IPS_SHIFT 32
#define TCR_AS	    SBIT(36) /* 16-bit ASIDs */
#define TCR_TBI0    SBIT(37) /* the top byte of user addresses is ignored, as on Linux */
#define TCR_E0PD1   SBIT(56) /* EL0 cannot even walk the kernel half */

/*
 * Row kpti.  Bits that TTBR1 has in user mode, beside those of the kernel: the root in the page after the
 * kernel's, and the odd one of an address space's two ASIDs.  TRAMPOLINE is where the one page of that
 * root is, however far the image was moved; its vectors fill the second half.
 */
#define TTBR1_USER_ROOT	   SBIT(12)
#define TTBR1_USER_ASID	   SBIT(48)
#define TTBR_ASID_SHIFT	   48
#define TRAMPOLINE	   0xffffff0000000000
#define TRAMPOLINE_VECTORS (TRAMPOLINE + 0x800)

/* MAIR_EL1: attribute 0 is ordinary memory, 1 is device memory (nGnRE) */
#define MAIR_VALUE 0x04ff
#define ATTR_NORMAL 0
#define ATTR_DEVICE 1

/* Translation table entries (ARM D8.3) */
#define PTE_VALID  SBIT(0)
#define PTE_TABLE  SBIT(1) /* not a block: a table, or at level 3 a page */
#define PTE_DEVICE SBIT(2) /* attribute 1 */
#define PTE_USER   SBIT(6) /* AP[1] */
#define PTE_RO	   SBIT(7) /* AP[2] */
#define PTE_SH	   (3 << 8)
#define PTE_AF	   SBIT(10)
#define PTE_NG	   SBIT(11) /* of one ASID */
#define PTE_PXN	   SBIT(53)
#define PTE_UXN	   SBIT(54)
#define PTE_HIDDEN SBIT(55) /* software: a frame without any access (PROT_NONE); VALID is clear */
#define PTE_FRAME  0x0000fffffffff000

/* PSTATE, as in SPSR_EL1 (ARM C5.2.18) */
#define PSTATE_EL0   0
#define PSTATE_MODE  0x1f
#define PSTATE_EL1H  5 /* EL1 on its own stack pointer */
#define PSTATE_F     SBIT(6)
#define PSTATE_I     SBIT(7)
#define PSTATE_A     SBIT(8)
#define PSTATE_D     SBIT(9)
#define PSTATE_BTYPE (3 << 10)
#define PSTATE_SSBS  SBIT(12)
#define PSTATE_IL    SBIT(20)
#define PSTATE_SS    SBIT(21)
#define PSTATE_PAN   SBIT(22)
#define PSTATE_DIT   SBIT(24)
#define PSTATE_NZCV  (SBIT(28) * 0xf)

/* ESR_EL1 (ARM D17.2.37) */
#define ESR_EC_SHIFT  26
#define EC_UNKNOWN    0x00
#define EC_WFX	      0x01
#define EC_FP	      0x07
#define EC_ILLEGAL    0x0e
#define EC_SVC64      0x15
#define EC_SYSREG     0x18
#define EC_SVE	      0x19
#define EC_FETCH_USER 0x20
#define EC_FETCH      0x21
#define EC_PC_ALIGN   0x22
#define EC_DATA_USER  0x24
#define EC_DATA	      0x25
#define EC_SP_ALIGN   0x26
#define EC_FP_TRAP    0x2c
#define EC_SERROR     0x2f
#define EC_BREAK_USER 0x30
#define EC_STEP_USER  0x32
#define EC_WATCH_USER 0x34
#define EC_BRK	      0x3c
#define ESR_WNR	      SBIT(6) /* a write ... */
#define ESR_CM	      SBIT(8) /* ... unless it was cache maintenance */
#define ESR_FSC	      0x3f

#define IMAGE_TABLES 2 /* of 2 MiB each: what the image may take */

/*
 * The first tables, pages of boot_tables.  start.S fills the low ones, with the image where it lies;
 * a64_early_map_image and a64_early_map (mmu.c) the others.
 */
#define BOOT_ROOT_HIGH 0
#define BOOT_PUD_HIGH  1 /* the last 512 GiB ... */
#define BOOT_PMD_HIGH  2 /* ... and two: the last 2 GiB */
#define BOOT_ROOT_LOW  4
#define BOOT_PUD_LOW   5
#define BOOT_PMD_LOW   6 /* two */
#define BOOT_PTES      8 /* IMAGE_TABLES of them: the image, for both halves */
#define BOOT_TABLES    (BOOT_PTES + IMAGE_TABLES)

/*
 * The first tables have an ASID that the final ones do not begin with: whether an entry is global may
 * differ between them, and a TLB must never hold both (ARM D8.13.1).
 */
#define BOOT_ASID 1

/* Of the window on the page tables (ro_pgtable.c), once the first tables are forgotten. */
#define WINDOW_ASID 1
