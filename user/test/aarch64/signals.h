/* What signals.c tests of aarch64: causes of faults, frames, registers across a handler. */
#pragma once

#include <asm/sigcontext.h>

static void
faults_name_cause_and_address(void)
{
	extern char at_udf[], at_brk[], at_mrs[], at_msr[];
	char *m = t_map(PAGE, PROT_READ | PROT_WRITE);

	must_fault(__asm__ volatile(".globl at_udf\nat_udf: udf #0"), SIGILL, ILL_ILLOPC, at_udf);
	must_fault(__asm__ volatile(".globl at_brk\nat_brk: brk #7"), SIGTRAP, TRAP_BRKPT, at_brk);
	/* Registers of the kernel */
	must_fault(__asm__ volatile(".globl at_mrs\nat_mrs: mrs x0, ttbr0_el1" ::: "x0"), SIGILL,
		   ILL_ILLOPC, at_mrs);
	must_fault(__asm__ volatile(".globl at_msr\nat_msr: msr daifset, #2"), SIGILL, ILL_ILLOPC,
		   at_msr);
	must_fault(t_peek((void *)0x0041414141414141), SIGSEGV, SEGV_MAPERR, 0x0041414141414141);
	must_fault(t_peek((void *)16), SIGSEGV, SEGV_MAPERR, 16);
	must_fault(t_poke((void *)(uintptr_t)&handle, 1), SIGSEGV, SEGV_ACCERR, &handle);
	must_fault(((void (*)(void))0x100)(), SIGSEGV, SEGV_MAPERR, 0x100);
	must_fault(((void (*)(void))((uintptr_t)&handle + 2))(), SIGBUS, BUS_ADRALN,
		   (uintptr_t)&handle + 2);
	must_fault(__asm__ volatile("ldxr w1, [%0]" ::"r"(m + 1) : "x1"), SIGBUS, BUS_ADRALN, m + 1);
	/* The top byte is no part of an address. */
	m[5] = 'x';
	check_eq(t_peek((void *)((uintptr_t)(m + 5) | 0x5aUL << 56)), 'x');
	(void)at_udf, (void)at_brk, (void)at_mrs, (void)at_msr;
}

/* What a frame says of any read and any write in the kernel's half: that level 0 of the tables has nothing there. */
#define KERNEL_READ_ERROR  0x92000004
#define KERNEL_WRITE_ERROR 0x92000044
#define KERNEL_WAYS_IN	   0xffffff0000000000, PAGE, 64

static volatile unsigned long frame_pc, frame_error, frame_address, frame_oldmask;

/* The record of that kind in the frame, or NULL. */
static struct _aarch64_ctx *
find_record(ucontext_t *uc, uint32_t magic)
{
	char *p = (char *)uc->uc_mcontext.__reserved;

	for (;;) {
		struct _aarch64_ctx *r = (void *)p;

		if (r->magic == magic)
			return r;
		if (r->magic == 0 || r->size == 0)
			return NULL;
		p += r->size;
	}
}

static void
on_frame(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	struct esr_context *esr = (void *)find_record(uc, ESR_MAGIC);

	(void)sig, (void)info;
	frame_pc = uc->uc_mcontext.pc;
	frame_error = esr ? esr->esr : 0;
	frame_address = uc->uc_mcontext.fault_address;
	frame_oldmask = uc->uc_sigmask.__val[0];
	siglongjmp(t_jump, 1);
}

static void
frame_holds_cause_and_address(void)
{
	extern char at_store[];

	handle(SIGSEGV, on_frame, SA_NODEFER);
	block(SIGUSR2);
	if (sigsetjmp(t_jump, 1) == 0)
		__asm__ volatile("mov x0, #0x123\n\t.globl at_store\nat_store: strb wzr, [x0]" ::
					 : "x0", "memory");
	check_eq(frame_pc, (unsigned long)at_store);
	check_eq(frame_error >> 26, 0x24); /* A data abort of user mode, */
	check_eq(frame_error >> 6 & 1, 1); /* by a write, */
	check_eq(frame_error & 0x3c, 4);	 /* to what is not there. */
	check_eq(frame_address, 0x123);
	check_eq(frame_oldmask, 1UL << (SIGUSR2 - 1));
}

/* There is no flag that user mode could set to be stepped: writes of the bit in a frame are ignored. */
static void
on_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig, (void)info;
	hits++;
	if (hits == 1)
		uc->uc_mcontext.pstate |= 1UL << 21;
}

static void
trap_flag_steps_one_instruction(void)
{
	handle(SIGTRAP, on_step, 0);
	handle(SIGUSR1, on_step, 0);
	raise(SIGUSR1);
	__asm__ volatile("nop\n\tnop");
	check_eq(hits, 1);
}

/* A signal that waited for the end of a handler finds the state that its sigreturn has made. */
static volatile unsigned long pstate_after;

static void
on_upper_half(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)info;
	if (sig == SIGUSR2) {
		pstate_after = uc->uc_mcontext.pstate;
		return;
	}
	uc->uc_mcontext.pstate |= 0xffffffffUL << 32 | 1UL << 30; /* Z is the program's to set */
	raise(SIGUSR2);
}

static void
upper_half_of_the_state_is_not_the_programs(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO };

	sa.sa_sigaction = on_upper_half;
	sigaddset(&sa.sa_mask, SIGUSR2);
	ok(sigaction(SIGUSR1, &sa, NULL));
	ok(sigaction(SIGUSR2, &sa, NULL));
	raise(SIGUSR1);
	check_eq(pstate_after >> 30 & 1, 1);
	check_eq(pstate_after >> 32, 0);
}

/* - Registers across a handler ----------------------------------------------------------------- */

static uint8_t v_seen[32][16];
static volatile unsigned fpcr_seen;

static void
on_clobber(int sig, siginfo_t *info, void *context)
{
	struct fpsimd_context *fp = (void *)find_record(context, FPSIMD_MAGIC);

	(void)sig, (void)info;
	hits++;
	if (!fp)
		return;
	memcpy(v_seen, fp->vregs, sizeof(v_seen));
	fpcr_seen = fp->fpcr;
	/* The handler's word counts. */
	memcpy(&fp->vregs[7], &(uint32_t){0x12345678}, 4);
	__asm__ volatile("movi v0.16b, #0\n\tmovi v1.16b, #255\n\tmovi v7.16b, #1\n\t"
			 "movi v15.16b, #2\n\tmovi v31.16b, #3\n\tmsr fpcr, xzr" ::
				 : "v0", "v1", "v7", "v15", "v31");
}

#define EACH_PAIR(op, at)                                                                          \
	op " q0, q1, [" at "]\n\t" op " q2, q3, [" at ", #32]\n\t" op " q4, q5, [" at ", #64]\n\t" \
	op " q6, q7, [" at ", #96]\n\t" op " q8, q9, [" at ", #128]\n\t"                           \
	op " q10, q11, [" at ", #160]\n\t" op " q12, q13, [" at ", #192]\n\t"                      \
	op " q14, q15, [" at ", #224]\n\t" op " q16, q17, [" at ", #256]\n\t"                      \
	op " q18, q19, [" at ", #288]\n\t" op " q20, q21, [" at ", #320]\n\t"                      \
	op " q22, q23, [" at ", #352]\n\t" op " q24, q25, [" at ", #384]\n\t"                      \
	op " q26, q27, [" at ", #416]\n\t" op " q28, q29, [" at ", #448]\n\t"                      \
	op " q30, q31, [" at ", #480]\n\t"

static void
vector_registers_survive_and_stand_in_the_frame(void)
{
	static uint8_t in[32][16], out[32][16];
	unsigned long fpcr = 0xc00000, fpcr_after;
	register long x0 __asm__("x0") = gettid();
	register long x1 __asm__("x1") = SIGUSR1;
	register long x8 __asm__("x8") = SYS_tkill;

	handle(SIGUSR1, on_clobber, 0);
	for (int i = 0; i < 32; i++) {
		for (int k = 0; k < 16; k++)
			in[i][k] = (uint8_t)(i * 8 + k);
	}
	x0 = gettid();
	x1 = SIGUSR1;
	x8 = SYS_tkill;
	__asm__ volatile("msr fpcr, %[cw]\n\t" EACH_PAIR("ldp", "%[f]") "svc #0\n\t"
			 EACH_PAIR("stp", "%[t]") "mrs %[after], fpcr\n\tmsr fpcr, xzr"
			 : "+r"(x0), [after] "=&r"(fpcr_after)
			 : "r"(x1), "r"(x8), [f] "r"(in), [t] "r"(out), [cw] "r"(fpcr)
			 : "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9",
			   "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19",
			   "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29",
			   "v30", "v31");
	check_eq(x0, 0);
	check_eq(hits, 1);
	check(memcmp(v_seen, in, sizeof(in)) == 0);
	check_eq(fpcr_seen, fpcr);
	memcpy(in[7], &(uint32_t){0x12345678}, 4);
	check(memcmp(out, in, sizeof(in)) == 0);
	check_eq(fpcr_after, fpcr);
}

static volatile unsigned long handler_sp, handler_lr, handler_fp;

static void
on_entry(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	unsigned long *record = __builtin_frame_address(0);

	(void)sig, (void)info;
	/* Our own record, then the frame's, which names what was interrupted. */
	handler_fp = record[0];
	handler_lr = record[1];
	check_eq(((unsigned long *)handler_fp)[0], uc->uc_mcontext.regs[29]);
	check_eq(((unsigned long *)handler_fp)[1], uc->uc_mcontext.regs[30]);
	__asm__ volatile("mov %0, sp" : "=r"(handler_sp));
	hits++;
}

static void
handlers_start_with_clean_flags_and_aligned_stack(void)
{
	const uint32_t *code;

	handle(SIGUSR1, on_entry, 0);
	raise(SIGUSR1);
	check_eq(hits, 1);
	check_eq(handler_sp % 16, 0);
	/* What unwinders know a signal frame by: mov x8, #139; svc #0 */
	code = (const uint32_t *)handler_lr;
	check(code[0] == 0xd2801168 && code[1] == 0xd4000001);
	must_fault(t_poke((void *)handler_lr, 0), SIGSEGV, SEGV_ACCERR, handler_lr);
}

static void
general_registers_survive(void)
{
	static unsigned long out[32];

	handle(SIGALRM, on_clobber, 0);
	alarm_ms(30);
	/* x9 to x28 but x18, x19: counted on while the handler comes. */
	__asm__ volatile("mov x9, #9\n\tmov x10, #10\n\tmov x11, #11\n\tmov x12, #12\n\t"
			 "mov x13, #13\n\tmov x14, #14\n\tmov x15, #15\n\tmov x16, #16\n\t"
			 "mov x17, #17\n\tmov x20, #20\n\tmov x21, #21\n\tmov x22, #22\n\t"
			 "mov x23, #23\n\tmov x24, #24\n\tmov x25, #25\n\tmov x26, #26\n\t"
			 "mov x27, #27\n\tmov x28, #28\n\tcmp x9, x10\n"
			 "1:\tldr w2, [%0]\n\tcbz w2, 1b\n\t"
			 "cset x3, lo\n\tstr x3, [%1, #8]\n\t" /* the flags of the comparison */
			 "stp x9, x10, [%1, #72]\n\tstp x11, x12, [%1, #88]\n\t"
			 "stp x13, x14, [%1, #104]\n\tstp x15, x16, [%1, #120]\n\t"
			 "str x17, [%1, #136]\n\tstp x20, x21, [%1, #160]\n\t"
			 "stp x22, x23, [%1, #176]\n\tstp x24, x25, [%1, #192]\n\t"
			 "stp x26, x27, [%1, #208]\n\tstr x28, [%1, #224]" ::"r"(&hits),
			 "r"(out)
			 : "x2", "x3", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
			   "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "memory",
			   "cc");
	check_eq(out[1], 1);
	for (unsigned long i = 9; i <= 28; i++)
		check(out[i] == i || i == 18 || i == 19);
}

/* - Hostile sigreturn -------------------------------------------------------------------------- */

static volatile int attack;

static void
on_hostile(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	struct fpsimd_context *fp = (void *)find_record(uc, FPSIMD_MAGIC);

	(void)sig, (void)info;
	switch (attack) {
	case 0: uc->uc_mcontext.pstate |= 5; break;	       /* EL1 */
	case 1: uc->uc_mcontext.pstate |= 4; break;	       /* EL1, SP of EL0 */
	case 2: uc->uc_mcontext.pstate |= 0x10; break;	       /* 32 bits */
	case 3: uc->uc_mcontext.pstate |= 0x3c0; break;	       /* interrupts off */
	case 4: uc->uc_mcontext.pstate |= 1UL << 20; break;    /* illegal state */
	case 5: uc->uc_mcontext.pstate = ~0UL; break;
	case 6: uc->uc_mcontext.pstate |= 1UL << 22; break;    /* PAN */
	case 7: uc->uc_mcontext.pc = 0xffffffff80200000; break;
	case 8: uc->uc_mcontext.pc = 0x4141414141414141; break;
	case 9: uc->uc_mcontext.pc |= 2; break;
	case 10: uc->uc_mcontext.sp = 0xffff888000000000; break;
	case 11: uc->uc_mcontext.sp |= 1; break;
	case 12: fp->head.size = 16; break;
	case 13: fp->head.magic = 0; break;
	case 14: fp->head.size = 0; fp->head.magic = 0x12345678; break;
	case 15: fp->head.size = ~0U; fp->head.magic = 0x12345678; break;
	case 16: fp->fpcr = ~0U; fp->fpsr = ~0U; break;
	case 17: uc->uc_flags = ~0UL; break;
	}
}

static void
sigreturn_trusts_nothing(void)
{
	for (int a = 0; a < 18; a++) {
		pid_t p = t_fork();
		int how;

		if (p == 0) {
			attack = a;
			alarm(5);
			handle(SIGUSR1, on_hostile, 0);
			raise(SIGUSR1);
			_exit(0);
		}
		how = t_wait(p);
		if (how != 0 && how != 1000 + SIGSEGV && how != 1000 + SIGBUS &&
		    !(a == 11 && how == 1000 + SIGABRT)) /* QEMU lets a crooked SP pass */
			t_fail(__FILE__, __LINE__, "attack %d ends with %d", a, how);
		/* These must not be survived, and these must not kill. */
		if (a == 7 || a == 8)
			check_eq(how, 1000 + SIGSEGV);
		if (a == 12 || a == 14 || a == 15)
			check_eq(how, 1000 + SIGSEGV);
		if (a == 17)
			check_eq(how, 0);
	}
	/* A frame that is not there at all. */
	static const long nowhere[] = {0x7000, (long)0xffffffff80200000, 8};
	for (unsigned i = 0; i < 3; i++) {
		pid_t p = t_fork();

		if (p == 0) {
			t_call_on_stack(nowhere[i], SYS_rt_sigreturn, 0, 0);
			_exit(0);
		}
		dies(p, SIGSEGV);
	}
}
