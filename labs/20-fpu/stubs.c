/* The starter's code: it works as long as nobody minds what is in the registers when a system call returns.  Sections as
 * cut names them. */

/* ==== kernel/harden/fpu.c ==== */

/*
 * fpu
 *
 * Threat:    Keys and passwords pass through vector registers (AES instructions, memcpy).  A kernel that takes
 *            a short cut at a switch lets the next process read them: LazyFP, CVE-2018-3665, is one.
 * Property:  What a program finds in vector and floating-point registers and their control words is its own:
 *            clean after exec, its parent's after fork, what it left there otherwise.
 * Mechanism: Yours.  This kernel takes a system call for a function call, after which the ABI promises nothing of
 *            vector registers; so only threads that were interrupted get theirs back.
 * Limit:     Yours: what of all this does your kernel still leave where somebody may find it?
 * Check:     make grade; user/attack/fpu.c.
 */

/* ==== kernel/harden/fpu.h ==== */

/*
 * arch_switch asks whether next gets its registers now.
 *
 * To do: who, apart from those who were interrupted?  With harden=-fpu (fpu_wanted is false) it stays as it is here.
 */
static always_inline bool
fpu_must_load(const struct thread *next)
{
	return fpu_preempted(next);
}

/* ==== arch/x86_64/cpu.c ==== */

/*
 * Makes a clean state in memory.
 *
 * To do: t may be the thread that runs, and is about to become another program, or to enter a signal handler.  What
 * is in the registers then?
 */
int
arch_thread_fpu_init(struct thread *t)
{
	uint8_t *area;
	uint32_t mxcsr = MXCSR_DEFAULT;
	uint16_t fcw = FCW_DEFAULT;
	int err = fpu_alloc(t);

	if (err)
		return err;
	area = t->arch.fpu;
	memset(area, 0, x86_fpu_size);
	memcpy(area, &fcw, sizeof(fcw));
	memcpy(area + 24, &mxcsr, sizeof(mxcsr));
	return 0;
}

/*
 * prev, which may have user registers, stops running.
 *
 * To do: from here on others use the registers, perhaps on another CPU it will want them back.  Whose must be kept, and
 * is now the time?
 */
static always_inline void
fpu_leave(struct thread *prev)
{
	if (prev->arch.fpu && prev->state != THREAD_DEAD && fpu_preempted(prev))
		fpu_save(prev->arch.fpu);
}

/* To do: arch.h says whose registers the child begins with.  Where are they now? */
int
arch_thread_fork(struct thread *child, const struct trapframe *tf)
{
	struct trapframe *frame = arch_user_frame(child);
	int err = fpu_alloc(child);

	if (err)
		return err;
	child->arch.fs_base = current->arch.fs_base;
	child->arch.gs_base = current->arch.gs_base;
	arch_thread_init(child, forked_thread, NULL);
	*frame = *tf;
	frame->rax = 0;
	return 0;
}

/* ==== arch/aarch64/cpu.c ==== */

/*
 * prev, which has user registers, stops running.
 *
 * To do: from here on others use the registers, perhaps on another CPU it will want them back.  Whose must be kept, and
 * is now the time?
 */
static always_inline void
fpu_leave(struct thread *prev)
{
	if (fpu_preempted(prev))
		a64_fpu_save(&prev->arch.fpu);
}

/*
 * Makes a clean state in memory.
 *
 * To do: t may be the thread that runs, and is about to become another program.  What is in the registers then?
 */
int
arch_thread_fpu_init(struct thread *t)
{
	t->arch.fpu = (struct a64_fpu){0};
	t->arch.user = true;
	return 0;
}

/* To do: arch.h says whose registers the child begins with.  Where are they now? */
int
arch_thread_fork(struct thread *child, const struct trapframe *tf)
{
	struct trapframe *frame = arch_user_frame(child);

	child->arch.tls = READ_SYSREG(tpidr_el0);
	child->arch.user = true;
	arch_thread_init(child, forked_thread, NULL);
	*frame = *tf;
	frame->x[0] = 0;
	return 0;
}
