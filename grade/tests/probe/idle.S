/*
 * A guest that has a timer which never comes (for a tickless kernel, that is an idle CPU's) and tells its clock at one
 * address for ever: x0 at `tell` is CNTVCT_EL0. aarch64, a flat program at its entry, at EL1 or above.
 */
	.globl start, tell
start:
	mov	x0, #0x7fffffffffffffff
	msr	cntv_cval_el0, x0
	mov	x0, #1			/* ENABLE, not masked */
	msr	cntv_ctl_el0, x0
1:	isb
	mrs	x0, cntvct_el0
tell:	nop
	b	1b
