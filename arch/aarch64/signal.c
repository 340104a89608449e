/*
 * Signal frames: what a handler finds on its stack, and the way back (Linux's struct rt_sigframe of
 * arm64, as debuggers and C libraries know it).  From the stack pointer upwards: siginfo, ucontext with
 * the general registers and a list of records for the others, and a frame record that unwinders follow.
 */
#include "arch/arch.h"
#include "kernel/errno.h"
#include "kernel/lib/string.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/signal.h"
#include "kernel/proc/thread.h"

/* What a user may change in PSTATE. */
#define PSTATE_USER (PSTATE_NZCV | PSTATE_BTYPE | PSTATE_SSBS | PSTATE_DIT)
_Static_assert(PSTATE_USER == 0xf1001c00, "the upper half of SPSR_EL1 is nobody's");

#define RECORD_SPACE 4096u /* for records, whatever they take */
#define FPSIMD_MAGIC 0x46508001u
#define ESR_MAGIC    0x45535201u

struct record {
	uint32_t magic, size; /* both 0: the last */
};

struct fpsimd_record {
	struct record head;
	struct a64_fpu fpu; /* fpsr, fpcr, the vector registers */
};

struct esr_record {
	struct record head;
	uint64_t esr;
};

struct sigcontext {
	uint64_t fault_address, regs[31], sp, pc, pstate;
	uint64_t pad; /* records are aligned to 16 bytes */
};

struct ucontext {
	uint64_t flags, link;
	struct sigstack stack;
	uint64_t sigmask, unused_[15]; /* room for 1024 signals */
	uint64_t pad;
	struct sigcontext mcontext;
};

/* The part that is written: the rest of RECORD_SPACE is left as it is. */
struct sigframe {
	struct siginfo info;
	struct ucontext uc;
	struct fpsimd_record fpsimd;
	struct esr_record esr;
	struct record end;
	uint64_t pad;
};

struct frame_record {
	uint64_t fp, lr;
};

#define RECORDS	   offsetof(struct sigframe, fpsimd)
#define FRAME_SIZE (RECORDS + RECORD_SPACE)

_Static_assert(offsetof(struct ucontext, mcontext) == 176 && RECORDS == 128 + 176 + 288 &&
		       sizeof(struct fpsimd_record) == 528,
	       "the signal frame is part of the ABI");

uint64_t
arch_signal_frame_size(void)
{
	return FRAME_SIZE + sizeof(struct frame_record) + 16;
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
	bool bounded = on_altstack || signal_altstack_state(tf->sp) == SS_ONSTACK;
	uint64_t sp = on_altstack ? alt->sp + alt->size : tf->sp;
	uint64_t record_at = ALIGN_DOWN(sp, 16ul) - sizeof(struct frame_record);
	struct frame_record record = {tf->x[29], tf->x[30]};
	struct sigframe frame;

	sp = record_at - FRAME_SIZE;
	/* An alternate stack that is too small must not spill into what lies below it. */
	if ((bounded && sp < alt->sp) ||
	    !user_range_ok(UADDR(sp), FRAME_SIZE + sizeof(struct frame_record)))
		return -EFAULT;

	memset(&frame.uc, 0, sizeof(frame.uc));
	frame.info = *info;
	frame.uc.stack = *alt;
	frame.uc.sigmask = mask;
	frame.uc.mcontext.fault_address = t->arch.fault_addr;
	memcpy(frame.uc.mcontext.regs, tf->x, sizeof(tf->x));
	frame.uc.mcontext.sp = tf->sp;
	frame.uc.mcontext.pc = tf->pc;
	frame.uc.mcontext.pstate = tf->pstate;
	frame.fpsimd.head = (struct record){FPSIMD_MAGIC, sizeof(frame.fpsimd)};
	a64_fpu_save(&frame.fpsimd.fpu);
	frame.esr.head = (struct record){ESR_MAGIC, sizeof(frame.esr)};
	frame.esr.esr = t->arch.fault_esr;
	frame.end = (struct record){0, 0};
	frame.pad = 0;
	if (frame_to_user(UADDR(sp), &frame) < 0 || put_user(UADDR(record_at), &record) < 0)
		return -EFAULT;

	tf->x[0] = (uint64_t)info->signo;
	tf->x[1] = sp + offsetof(struct sigframe, info);
	tf->x[2] = sp + offsetof(struct sigframe, uc);
	tf->x[29] = record_at;
	tf->x[30] = act->flags & SA_RESTORER ? act->restorer : t->vm->sigreturn;
	tf->sp = sp;
	tf->pc = act->handler;
	tf->pstate &= ~(PSTATE_BTYPE | PSTATE_SS);
	return 0;
}

/* Finds the vector registers among the records.  0 or -EFAULT. */
static int
fpu_from_user(struct a64_fpu *fpu, uint64_t at)
{
	for (uint64_t offset = 0; offset <= RECORD_SPACE - sizeof(struct fpsimd_record);) {
		struct record head;

		if (get_user(&head, UADDR(at + offset)) < 0)
			return -EFAULT;
		if (head.magic == FPSIMD_MAGIC) {
			if (head.size != sizeof(struct fpsimd_record))
				return -EFAULT;
			return get_user(fpu, UADDR(at + offset + sizeof(head)));
		}
		if (head.size < sizeof(head) || head.size % 16 || head.size > RECORD_SPACE)
			return -EFAULT;
		offset += head.size;
	}
	return -EFAULT;
}

int
arch_sigreturn(struct trapframe *tf)
{
	struct thread *t = current;
	struct ucontext uc;
	struct a64_fpu fpu;
	irqstate_t s;

	if ((tf->sp & 15) || get_user(&uc, UADDR(tf->sp + offsetof(struct sigframe, uc))) < 0 ||
	    fpu_from_user(&fpu, tf->sp + RECORDS) < 0)
		return -EFAULT;
	/* A switch between the two would save the old registers over the new ones. */
	s = arch_irq_save();
	t->arch.fpu = fpu;
	a64_fpu_load(&t->arch.fpu);
	arch_irq_restore(s);

	memcpy(tf->x, uc.mcontext.regs, sizeof(tf->x));
	tf->sp = uc.mcontext.sp;
	tf->pc = uc.mcontext.pc;
	tf->pstate = PSTATE_EL0 | (uc.mcontext.pstate & PSTATE_USER);
	tf_forget_syscall(tf); /* the restored result is not one of this call */
	t->restart_fn = NULL;
	signal_set_mask(uc.sigmask);
	/* As Linux: what does not fit (it is in use, or never was one) is left alone. */
	(void)!signal_set_altstack(&uc.stack, tf->sp);
	return 0;
}
