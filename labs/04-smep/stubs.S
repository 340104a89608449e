/* ==== arch/x86_64/pin.S ==== */

/*
 * Writing CR0 and CR4.
 *
 * To do: whoever has the kernel's program counter comes here with a value of his choice, and not always by way of
 * a call.  What is pinned (x86_cr0_pin, x86_cr4_pin) must be as it was when he goes on.
 */
#include "asm.h"
#include "offsets.h"

	.text
/* RDI = the register's new value. */
FUNC(x86_write_cr0)
	mov %rdi, %cr0
	return
END(x86_write_cr0)

FUNC(x86_write_cr4)
	mov %rdi, %cr4
	return
END(x86_write_cr4)
	.section .note.GNU-stack, "", @progbits

/* ==== arch/aarch64/pin.S ==== */

/*
 * x0 = the register's new value.
 *
 * To do: whoever has the kernel's program counter comes here with a value of his choice, and not always by way of
 * a call.  What is pinned (a64_sctlr_pin) must be as it was when he goes on, but for WXN while this CPU runs an
 * exempt program (CPU_WXN_OFF).
 */
FUNC(a64_write_sctlr)
	msr sctlr_el1, x0
	isb
	return
END(a64_write_sctlr)
