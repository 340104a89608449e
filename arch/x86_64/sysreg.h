/* Control and model-specific registers, for C and assembly.  "SDM" is the Intel Software Developer's Manual. */
#pragma once

#ifdef __ASSEMBLER__
#define SBIT(n) (1 << (n))
#else
#define SBIT(n) (1ul << (n))
#endif

/* Control registers (SDM 3A 2.5) */
#define CR0_PE SBIT(0)
#define CR0_MP SBIT(1)
#define CR0_EM SBIT(2)
#define CR0_TS SBIT(3)
#define CR0_NE SBIT(5)
#define CR0_WP SBIT(16)
#define CR0_PG SBIT(31)

#define CR4_PAE	       SBIT(5)
#define CR4_PGE	       SBIT(7)
#define CR4_OSFXSR     SBIT(9)
#define CR4_OSXMMEXCPT SBIT(10)
#define CR4_UMIP       SBIT(11)
#define CR4_FSGSBASE   SBIT(16)
#define CR4_PCIDE      SBIT(17)
#define CR4_OSXSAVE    SBIT(18)
#define CR4_SMEP       SBIT(20)
#define CR4_SMAP       SBIT(21)

/* Model-specific registers (SDM 4) */
#define MSR_APIC_BASE	   0x1b
#define MSR_SPEC_CTRL	   0x48 /* SDM 4 2.1, table 2-2 */
#define SPEC_CTRL_IBRS	   SBIT(0)
#define SPEC_CTRL_STIBP	   SBIT(1)
#define MSR_PRED_CMD	   0x49
#define PRED_CMD_IBPB	   SBIT(0)
#define MSR_ARCH_CAPABILITIES 0x10a
#define ARCH_CAP_IBRS_ALL  SBIT(1)
#define MSR_EFER	   0xc0000080
#define MSR_STAR	   0xc0000081
#define MSR_LSTAR	   0xc0000082
#define MSR_CSTAR	   0xc0000083
#define MSR_SFMASK	   0xc0000084
#define MSR_FS_BASE	   0xc0000100
#define MSR_GS_BASE	   0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102

#define EFER_SCE SBIT(0)
#define EFER_LME SBIT(8)
#define EFER_NXE SBIT(11)
