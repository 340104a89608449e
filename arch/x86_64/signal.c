/*
 * Signal frames: what a handler finds on its stack, and the way back (Linux's struct rt_sigframe,
 * as debuggers and C libraries know it).
 */
#include "arch/arch.h"
#include "kernel/errno.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/signal.h"
#include "kernel/proc/thread.h"

#define RED_ZONE 128 /* bytes below the stack pointer that belong to the function: psABI 3.2.2 */

/* What a user may change in RFLAGS; never IOPL, NT, IF or VM. */
#define RFLAGS_USER                                                                                \
	(RFLAGS_AC | RFLAGS_OF | RFLAGS_DF | RFLAGS_TF | RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF |       \
	 RFLAGS_PF | RFLAGS_CF | RFLAGS_RF)

struct sigcontext {
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2;
	uint64_t fpstate; /* user address of the FPU image, or 0 */
	uint64_t reserved[8];
};

#define UC_FP_XSTATE	     1 /* the image is an XSAVE one */
#define UC_SIGCONTEXT_SS     2
#define UC_STRICT_RESTORE_SS 4

struct ucontext {
	uint64_t flags, link;
	struct sigstack stack;
	struct sigcontext mcontext;
	uint64_t sigmask;
};

struct sigframe {
	uint64_t pretcode; /* where the handler returns to: the C library's sigreturn call */
	struct ucontext uc;
	struct siginfo info;
};
_Static_assert(sizeof(struct sigcontext) == 256 && sizeof(struct ucontext) == 304,
	       "the signal frame is part of the ABI");

/* In the bytes of the FXSAVE area that are left to software (SDM 1 10.5.1): what follows it. */
#define FP_XSTATE_MAGIC1 0x46505853u
#define FP_XSTATE_MAGIC2 0x46505845u /* the four bytes behind the image */
#define FP_SW_RESERVED	 464
#define FXSAVE_SIZE	 512
#define XSTATE_BV	 512 /* offset of the XSAVE header's bitmap of parts present */

struct fp_sw_reserved {
	uint32_t magic1, extended_size;
	uint64_t xfeatures;
	uint32_t xstate_size, padding[7];
};

/* Bytes of the image in a signal frame, the second magic number included. */
static size_t
fpu_frame_size(void)
{
	return x86_fpu_mask ? x86_fpu_size + sizeof(uint32_t) : FXSAVE_SIZE;
}

uint64_t
arch_signal_frame_size(void)
{
	/* What alignment and the red zone may take comes on top. */
	return sizeof(struct sigframe) + fpu_frame_size() + 64 + 16 + RED_ZONE;
}

/* Writes the live FPU state to at.  0 or -EFAULT. */
static int
fpu_to_user(struct thread *t, uaddr_t at)
{
	struct fp_sw_reserved sw = {
		.magic1 = FP_XSTATE_MAGIC1,
		.extended_size = (uint32_t)fpu_frame_size(),
		.xfeatures = x86_fpu_mask,
		.xstate_size = x86_fpu_size,
	};
	uint32_t magic2 = FP_XSTATE_MAGIC2;
	char *image = t->arch.fpu;
	irqstate_t s = arch_irq_save();

	x86_fpu_save(t);
	if (x86_fpu_mask) {
		uint64_t bv;

		/* The legacy part is there in full, whatever the processor left out as unused. */
		memcpy(&bv, image + XSTATE_BV, sizeof(bv));
		bv |= 3;
		memcpy(image + XSTATE_BV, &bv, sizeof(bv));
	} else {
		sw = (struct fp_sw_reserved){0};
	}
	memcpy(image + FP_SW_RESERVED, &sw, sizeof(sw));
	arch_irq_restore(s);
	/* A switch in a page fault below would save the very same registers again. */
	if (copy_to_user(at, image, x86_fpu_mask ? x86_fpu_size : FXSAVE_SIZE) < 0)
		return -EFAULT;
	return x86_fpu_mask ? put_user(uaddr_add(at, x86_fpu_size), &magic2) : 0;
}

/* Reads and checks the image at `at` into image (x86_fpu_size bytes).  0 or -EFAULT. */
static int
fpu_from_user(void *image, uaddr_t at)
{
	struct fp_sw_reserved sw;
	uint64_t bv = 3;
	uint32_t magic2;

	if (copy_from_user(image, at, FXSAVE_SIZE) < 0)
		return -EFAULT;
	memcpy(&sw, (char *)image + FP_SW_RESERVED, sizeof(sw));
	if (!x86_fpu_mask)
		return x86_fpu_image_ok(image, FXSAVE_SIZE) ? 0 : -EFAULT;
	if (sw.magic1 == FP_XSTATE_MAGIC1 && sw.xstate_size == x86_fpu_size &&
	    !get_user(&magic2, uaddr_add(at, x86_fpu_size)) && magic2 == FP_XSTATE_MAGIC2) {
		if (copy_from_user((char *)image + FXSAVE_SIZE, uaddr_add(at, FXSAVE_SIZE),
				   x86_fpu_size - FXSAVE_SIZE) < 0)
			return -EFAULT;
	} else {
		/* Only the legacy part is meant; the rest goes to its initial state. */
		memset((char *)image + FXSAVE_SIZE, 0, x86_fpu_size - FXSAVE_SIZE);
		memcpy((char *)image + XSTATE_BV, &bv, sizeof(bv));
	}
	return x86_fpu_image_ok(image, x86_fpu_size) ? 0 : -EFAULT;
}

/* Writes the frame to at, which is the user's: a page that is not there yet is no error.  0 or -EFAULT. */
static int
frame_to_user(uaddr_t at, const struct sigframe *frame)
{
	return put_user(at, frame);
}

int
arch_signal_frame(struct trapframe *tf, const struct sigaction *act, const struct siginfo *info,
		  uint64_t mask, bool on_altstack)
{
	struct thread *t = current;
	const struct sigstack *alt = &t->sig.altstack;
	bool bounded = on_altstack || signal_altstack_state(tf->rsp) == SS_ONSTACK;
	uint64_t sp = on_altstack ? alt->sp + alt->size : tf->rsp - RED_ZONE;
	struct sigframe frame;
	uint64_t fpu;

	if (!(act->flags & SA_RESTORER))
		return -EFAULT;
	fpu = ALIGN_DOWN(sp - fpu_frame_size(), 64ul);
	/* At the handler's first instruction sp + 8 is a multiple of 16, as after a call. */
	sp = ALIGN_DOWN(fpu - sizeof(frame), 16ul) - 8;
	/* An alternate stack that is too small must not spill into what lies below it. */
	if (bounded && sp < alt->sp)
		return -EFAULT;
	if (!user_range_ok(UADDR(sp), sizeof(frame)) ||
	    !user_range_ok(UADDR(fpu), fpu_frame_size()) || fpu_to_user(t, UADDR(fpu)) < 0)
		return -EFAULT;

	frame = (struct sigframe){
		.pretcode = act->restorer,
		.uc = {
			.flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS |
				 (x86_fpu_mask ? UC_FP_XSTATE : 0),
			.stack = *alt,
			.mcontext = {
				.r8 = tf->r8, .r9 = tf->r9, .r10 = tf->r10, .r11 = tf->r11,
				.r12 = tf->r12, .r13 = tf->r13, .r14 = tf->r14, .r15 = tf->r15,
				.rdi = tf->rdi, .rsi = tf->rsi, .rbp = tf->rbp, .rbx = tf->rbx,
				.rdx = tf->rdx, .rax = tf->rax, .rcx = tf->rcx, .rsp = tf->rsp,
				.rip = tf->rip, .rflags = tf->rflags,
				.cs = SEL_USER_CODE, .ss = SEL_USER_DATA,
				.err = t->arch.fault_error, .trapno = t->arch.fault_vector,
				.oldmask = mask, .cr2 = t->arch.fault_addr,
				.fpstate = fpu,
			},
			.sigmask = mask,
		},
		.info = *info,
	};
	if (frame_to_user(UADDR(sp), &frame) < 0)
		return -EFAULT;
	/* The handler starts with clean FPU registers. */
	if (arch_thread_fpu_init(t) < 0)
		return -EFAULT;
	tf->rdi = (uint64_t)info->signo;
	tf->rsi = sp + offsetof(struct sigframe, info);
	tf->rdx = sp + offsetof(struct sigframe, uc);
	tf->rax = 0; /* no vector registers hold arguments, should the handler be variadic */
	tf->rsp = sp;
	tf->rip = act->handler;
	tf->rflags &= ~(RFLAGS_DF | RFLAGS_RF | RFLAGS_TF);
	tf->cs = SEL_USER_CODE;
	tf->ss = SEL_USER_DATA;
	/* IRET to an address that no user can have would fault in the kernel. */
	return act->handler < USER_END ? 0 : -EFAULT;
}

/* Loads the FPU state of the frame, or the initial state if it has none. */
static int
restore_fpu(struct thread *t, uint64_t at)
{
	irqstate_t s;
	void *image;
	int err;

	if (!at)
		return arch_thread_fpu_init(t);
	image = kmalloc(x86_fpu_size);
	if (!image)
		return -EFAULT;
	err = fpu_from_user(image, UADDR(at));
	if (!err) {
		/* A switch between the two would save the old registers over the new ones. */
		s = arch_irq_save();
		memcpy(t->arch.fpu, image, x86_fpu_size);
		x86_fpu_restore(t);
		arch_irq_restore(s);
	}
	kfree(image);
	return err;
}

int
arch_sigreturn(struct trapframe *tf)
{
	struct thread *t = current;
	struct ucontext uc;
	const struct sigcontext *sc = &uc.mcontext;

	/* The handler's return has popped pretcode. */
	if (get_user(&uc, UADDR(tf->rsp - 8 + offsetof(struct sigframe, uc))) < 0)
		return -EFAULT;
	if (sc->rip >= USER_END || restore_fpu(t, sc->fpstate) < 0)
		return -EFAULT;

	tf->r8 = sc->r8;
	tf->r9 = sc->r9;
	tf->r10 = sc->r10;
	tf->r11 = sc->r11;
	tf->r12 = sc->r12;
	tf->r13 = sc->r13;
	tf->r14 = sc->r14;
	tf->r15 = sc->r15;
	tf->rdi = sc->rdi;
	tf->rsi = sc->rsi;
	tf->rbp = sc->rbp;
	tf->rbx = sc->rbx;
	tf->rdx = sc->rdx;
	tf->rax = sc->rax;
	tf->rcx = sc->rcx;
	tf->rsp = sc->rsp;
	tf->rip = sc->rip;
	tf->rflags = (tf->rflags & ~RFLAGS_USER) | (sc->rflags & RFLAGS_USER);
	tf->cs = SEL_USER_CODE;
	tf->ss = SEL_USER_DATA;
	tf_forget_syscall(tf); /* the restored result is not one of this call */
	t->restart_fn = NULL;
	signal_set_mask(uc.sigmask);
	/* As Linux: what does not fit (it is in use, or never was one) is left alone. */
	(void)!signal_set_altstack(&uc.stack, tf->rsp);
	return 0;
}
