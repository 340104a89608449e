/* What signals.c tests of x86_64: causes of faults, frames, registers across a handler. */
#pragma once

static void
faults_name_cause_and_address(void)
{
	extern char at_div[], at_ud[], at_int3[], after_int3[];

	/* idiv by zero */
	must_fault(__asm__ volatile("xorl %%ecx, %%ecx\n\tmovl $1, %%eax\n\tcltd\n\t"
		".globl at_div\nat_div: idivl %%ecx"
				    ::: "eax", "ecx", "edx"), SIGFPE, FPE_INTDIV, at_div);
	must_fault(__asm__ volatile(".globl at_ud\nat_ud: ud2"), SIGILL, ILL_ILLOPN, at_ud);
	must_fault(__asm__ volatile(".globl at_int3\nat_int3: int3\n\t"
		".globl after_int3\nafter_int3: nop"),
		   SIGTRAP, SI_KERNEL, 0);
	must_fault(t_peek((void *)0x4141414141414141), SIGSEGV, SI_KERNEL, 0);
	must_fault(__asm__ volatile("hlt"), SIGSEGV, SI_KERNEL, 0);
	must_fault(__asm__ volatile("cli"), SIGSEGV, SI_KERNEL, 0);
	must_fault(__asm__ volatile("int $0x21"), SIGSEGV, SI_KERNEL, 0);
	must_fault(__asm__ volatile("mov %%cr0, %%rax" ::: "rax"), SIGSEGV, SI_KERNEL, 0);
	must_fault(__asm__ volatile("inb $0x64, %%al" ::: "rax"), SIGSEGV, SI_KERNEL, 0);
	must_fault(__asm__ volatile("movl $0x10, %%ecx\n\trdmsr" ::: "rax", "rcx", "rdx"), SIGSEGV,
		SI_KERNEL, 0);
	must_fault(t_peek((void *)16), SIGSEGV, SEGV_MAPERR, 16);
	must_fault(t_poke((void *)(uintptr_t)&handle, 1), SIGSEGV, SEGV_ACCERR, &handle);
	must_fault(((void (*)(void))0x100)(), SIGSEGV, SEGV_MAPERR, 0x100);
	(void)at_int3, (void)after_int3;
}

/* What a frame says of any read and any write in the kernel's half: that a page is there. */
#define KERNEL_READ_ERROR  5
#define KERNEL_WRITE_ERROR 7
#define KERNEL_WAYS_IN	   0xfffffe0000000000, 16 * PAGE, 64

static volatile unsigned long frame_rip, frame_trapno, frame_error, frame_cr2, frame_oldmask;

static void
on_frame(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig, (void)info;
	frame_rip = (unsigned long)uc->uc_mcontext.gregs[REG_RIP];
	frame_trapno = (unsigned long)uc->uc_mcontext.gregs[REG_TRAPNO];
	frame_error = (unsigned long)uc->uc_mcontext.gregs[REG_ERR];
	frame_cr2 = (unsigned long)uc->uc_mcontext.gregs[REG_CR2];
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
		__asm__ volatile(".globl at_store\nat_store: movb $1, 0x123" ::: "memory");
	check_eq(frame_rip, (unsigned long)at_store);
	check_eq(frame_trapno, 14);
	check_eq(frame_error, 6);		/* A user's write to what is not there. */
	check_eq(frame_cr2, 0x123);
	check_eq(frame_oldmask, 1UL << (SIGUSR2 - 1));
}

static void
on_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	hits++;
	last = *info;
	uc->uc_mcontext.gregs[REG_EFL] &= ~0x100L;
}

static void
trap_flag_steps_one_instruction(void)
{
	handle(SIGTRAP, on_step, 0);
	__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\t"
		"nop\n\tnop\n\t"
			 "lea 128(%%rsp), %%rsp" ::: "memory", "cc");
	check_eq(hits, 1);
	check_eq(last.si_code, TRAP_TRACE);
}

/* A signal that waited for the end of a handler finds the state that its sigreturn has made. */
static volatile unsigned long flags_after;

static void
on_upper_half(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)info;
	if (sig == SIGUSR2) {
		flags_after = (unsigned long)uc->uc_mcontext.gregs[REG_EFL];
		return;
	}
	uc->uc_mcontext.gregs[REG_EFL] |= (long)(0xffffffffUL << 32 | 1UL << 6); /* ZF is the program's to set */
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
	check_eq(flags_after >> 6 & 1, 1);
	check_eq(flags_after >> 32, 0);
}

/* - Registers across a handler ----------------------------------------------------------------- */

static uint8_t xmm_seen[16][16];
static volatile unsigned cw_seen;

static void
on_clobber(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uint32_t fp = 0x1f80;
	unsigned short cw = 0x27f;

	(void)sig, (void)info;
	hits++;
	memcpy(xmm_seen, uc->uc_mcontext.fpregs->_xmm, sizeof(xmm_seen));
	cw_seen = uc->uc_mcontext.fpregs->cwd;
	/* The handler's word counts. */
	uc->uc_mcontext.fpregs->_xmm[7].element[0] = 0x12345678;
	__asm__ volatile("pxor %%xmm0, %%xmm0\n\tpcmpeqd %%xmm1, %%xmm1\n\tpxor %%xmm7, %%xmm7\n\t"
			 "pxor %%xmm15, %%xmm15\n\tldmxcsr %0\n\tfldcw %1" :: "m"(fp), "m"(cw)
			 : "xmm0", "xmm1", "xmm7", "xmm15");
}

static void
vector_registers_survive_and_stand_in_the_frame(void)
{
	static uint8_t in[16][16], out[16][16];
	unsigned short cw = 0x77f, cw_after;
	uint32_t mxcsr = 0x9fc0, mxcsr_after;
	long result;

	handle(SIGUSR1, on_clobber, 0);
	for (int i = 0; i < 16; i++) {
		for (int k = 0; k < 16; k++)
			in[i][k] = (uint8_t)(i * 16 + k);
	}
	register uint8_t *from __asm__("r12") = in[0];
	register uint8_t *to __asm__("r13") = out[0];
	__asm__ volatile(
		"fldcw %[cw]\n\tldmxcsr %[mx]\n\t"
		"movdqu 0(%[f]), %%xmm0\n\tmovdqu 16(%[f]), %%xmm1\n\tmovdqu 32(%[f]), %%xmm2\n\t"
		"movdqu 48(%[f]), %%xmm3\n\tmovdqu 64(%[f]), %%xmm4\n\tmovdqu 80(%[f]), %%xmm5\n\t"
		"movdqu 96(%[f]), %%xmm6\n\tmovdqu 112(%[f]), %%xmm7\n\t"
		"movdqu 128(%[f]), %%xmm8\n\t"
		"movdqu 144(%[f]), %%xmm9\n\tmovdqu 160(%[f]), %%xmm10\n\t"
		"movdqu 176(%[f]), %%xmm11\n\t"
		"movdqu 192(%[f]), %%xmm12\n\tmovdqu 208(%[f]), %%xmm13\n\t"
		"movdqu 224(%[f]), %%xmm14\n\t"
		"movdqu 240(%[f]), %%xmm15\n\t"
		"syscall\n\t"
		"movdqu %%xmm0, 0(%[t])\n\tmovdqu %%xmm1, 16(%[t])\n\tmovdqu %%xmm2, 32(%[t])\n\t"
		"movdqu %%xmm3, 48(%[t])\n\tmovdqu %%xmm4, 64(%[t])\n\tmovdqu %%xmm5, 80(%[t])\n\t"
		"movdqu %%xmm6, 96(%[t])\n\tmovdqu %%xmm7, 112(%[t])\n\t"
		"movdqu %%xmm8, 128(%[t])\n\t"
		"movdqu %%xmm9, 144(%[t])\n\tmovdqu %%xmm10, 160(%[t])\n\t"
		"movdqu %%xmm11, 176(%[t])\n\t"
		"movdqu %%xmm12, 192(%[t])\n\tmovdqu %%xmm13, 208(%[t])\n\t"
		"movdqu %%xmm14, 224(%[t])\n\t"
		"movdqu %%xmm15, 240(%[t])\n\t"
		"fnstcw %[cwa]\n\tstmxcsr %[mxa]"
		: "=a"(result), [cwa] "=m"(cw_after), [mxa] "=m"(mxcsr_after)
		: "a"(SYS_tkill), "D"(gettid()), "S"(SIGUSR1), [f] "r"(from), [t] "r"(to),
			[cw] "m"(cw), [mx] "m"(mxcsr)
		: "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
			"xmm7", "xmm8",
		  "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	__asm__ volatile("fninit");
	check_eq(result, 0);
	check_eq(hits, 1);
	check(memcmp(xmm_seen, in, sizeof(in)) == 0);
	check_eq(cw_seen, cw);
	memcpy(in[7], &(uint32_t){ 0x12345678 }, 4);
	check(memcmp(out, in, sizeof(in)) == 0);
	check_eq(cw_after, cw);
	check_eq(mxcsr_after, mxcsr);
}

static void
handlers_start_with_clean_flags_and_aligned_stack(void)
{
	/*
	 * Direction flag set in the program: the handler must not see it (the ABI says it is
	 * clear).
	 */
	handle(SIGUSR1, on_info, 0);
	unsigned long flags;
	long result;

	__asm__ volatile("std\n\tsyscall\n\tpushfq\n\tpopq %0\n\tcld" : "=r"(flags), "=a"(result)
			 : "a"(SYS_tkill), "D"(gettid()), "S"(SIGUSR1) : "rcx", "r11", "memory",
				"cc");
	check_eq(hits, 1);
	check_eq(flags >> 10 & 1, 1);
}

static void
general_registers_survive(void)
{
	unsigned long bad;

	handle(SIGALRM, on_clobber, 0);
	alarm_ms(40);
	/* Spin with known values in every register until the signal has come. */
	__asm__ volatile(
		"pushq %%rbp\n\tpushq %%rbx\n\t"
		"movq $0x1111, %%rbp\n\tmovq $0x2222, %%rbx\n\tmovq $0x3333, %%r8\n\t"
		"movq $0x4444, %%r9\n\t"
		"movq $0x5555, %%r10\n\tmovq $0x6666, %%r11\n\tmovq $0x7777, %%r12\n\t"
		"movq $0x8888, %%r13\n\t"
		"movq $0x9999, %%r14\n\tmovq $0xaaaa, %%r15\n\tmovq $0xbbbb, %%rcx\n\t"
		"movq $0xcccc, %%rdx\n\t"
		"1: cmpl $0, (%%rsi)\n\tje 1b\n\t"
		"xorl %%eax, %%eax\n\t"
		"subq $0x1111, %%rbp\n\torq %%rbp, %%rax\n\tsubq $0x2222, %%rbx\n\t"
		"orq %%rbx, %%rax\n\t"
		"subq $0x3333, %%r8\n\torq %%r8, %%rax\n\tsubq $0x4444, %%r9\n\torq %%r9, %%rax\n\t"
		"subq $0x5555, %%r10\n\torq %%r10, %%rax\n\tsubq $0x6666, %%r11\n\t"
		"orq %%r11, %%rax\n\t"
		"subq $0x7777, %%r12\n\torq %%r12, %%rax\n\tsubq $0x8888, %%r13\n\t"
		"orq %%r13, %%rax\n\t"
		"subq $0x9999, %%r14\n\torq %%r14, %%rax\n\tsubq $0xaaaa, %%r15\n\t"
		"orq %%r15, %%rax\n\t"
		"subq $0xbbbb, %%rcx\n\torq %%rcx, %%rax\n\tsubq $0xcccc, %%rdx\n\t"
		"orq %%rdx, %%rax\n\t"
		"popq %%rbx\n\tpopq %%rbp"
		: "=a"(bad) : "S"(&hits)
		: "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
			"cc");
	check_eq(bad, 0);
}

/* - Hostile sigreturn -------------------------------------------------------------------------- */

static volatile int attack;

static void
on_hostile(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *r = uc->uc_mcontext.gregs;
	uint16_t *seg = (uint16_t *)&r[REG_CSGSFS];	/* cs, gs, fs, ss */

	(void)sig, (void)info;
	switch (attack) {
	case 0: seg[0] = 0x10; break;
	case 1: seg[0] = 0x08; break;
	case 2: seg[3] = 0x18; break;
	case 3: seg[0] = 0; break;
	case 4: seg[3] = 0; break;
	case 5: seg[0] = 0xffff; break;
	case 6: r[REG_EFL] |= 0x3000; break;		/* IOPL 3 */
	case 7: r[REG_EFL] &= ~0x200L; break;		/* interrupts off */
	case 8: r[REG_EFL] |= 0x20000; break;		/* VM */
	case 9: r[REG_EFL] |= 0x4000; break;		/* NT */
	case 10: r[REG_RIP] = (greg_t)0xffffffff80200000; break;
	case 11: r[REG_RIP] = (greg_t)0x0000800000000000; break;
	case 12: r[REG_RIP] = (greg_t)0x4141414141414141; break;
	case 13: r[REG_RSP] = (greg_t)0xffff888000000000; break;
	case 14: r[REG_RSP] = (greg_t)0x8000000000000000; break;
	case 15: uc->uc_mcontext.fpregs = (void *)0xffff888000000000; break;
	case 16: uc->uc_mcontext.fpregs = (void *)0x0000800000000000; break;
	case 17: uc->uc_mcontext.fpregs = (void *)((char *)uc->uc_mcontext.fpregs + 3); break;
	case 18: uc->uc_mcontext.fpregs->mxcsr = 0xffffffff; break;
	/* the xsave header's cousin */
	case 19: memset((char *)uc->uc_mcontext.fpregs + 464, 0xff, 48); break;
	/* xstate_bv, xcomp_bv */
	case 20: memset((char *)uc->uc_mcontext.fpregs + 512, 0xff, 64); break;
	case 21: uc->uc_mcontext.fpregs = (void *)1; break;
	case 22: r[REG_EFL] = -1 & ~0x100L; break;
	case 23: uc->uc_flags = ~0UL; break;
	}
}

static void
sigreturn_trusts_nothing(void)
{
	for (int a = 0; a < 24; a++) {
		pid_t p = t_fork();
		int how;

		if (p == 0) {
			unsigned long flags, cs, ss;

			attack = a;
			alarm(5);
			handle(SIGUSR1, on_hostile, 0);
			raise(SIGUSR1);
			__asm__ volatile("pushfq\n\tpopq %0\n\tmov %%cs, %1\n\tmov %%ss, %2"
					 : "=r"(flags), "=r"(cs), "=r"(ss));
			if ((cs & 3) != 3 || (ss & 3) != 3 || (flags & 0x3000) != 0 ||
				!(flags & 0x200) ||
			    (flags & 0x20000) != 0)
				_exit(9);
			__asm__ volatile("cld\n\tpushq $2\n\tpopfq" ::: "cc");
			_exit(0);
		}
		how = t_wait(p);
		if (how != 0 && how != 1000 + SIGSEGV && how != 1000 + SIGBUS)
			t_fail(__FILE__, __LINE__, "attack %d ends with %d", a, how);
		/* These must not be survived with the asked state, and these must not kill. */
		if (a >= 10 && a <= 12)
			check_eq(how, 1000 + SIGSEGV);
		if (a == 6 || a == 7)
			check_eq(how, 0);
	}
	/* A frame that is not there at all. */
	pid_t p = t_fork();
	if (p == 0) {
		__asm__ volatile("movq $0x7000, %%rsp\n\tmovl $15, %%eax\n\tsyscall" ::: "rax",
			"rcx", "r11", "memory");
		_exit(0);
	}
	dies(p, SIGSEGV);
	p = t_fork();
	if (p == 0) {
		__asm__ volatile("movq $0xffffffff80200000, %%rsp\n\tmovl $15, %%eax\n\tsyscall"
				 ::: "rax", "rcx", "r11", "memory");
		_exit(0);
	}
	dies(p, SIGSEGV);
}
