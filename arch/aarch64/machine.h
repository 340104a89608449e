/*
 * aarch64: the types of the machine contract (arch/arch.h) and the functions worth inlining.
 */
#pragma once

#include "kernel/types.h"
#include "sysreg.h"

/* ---- Constants ------------------------------------------------------------------------------- */

#define ARCH_MINSIGSTKSZ 5120 /* the least that sigaltstack takes */

/*
 * Where everything was linked to be; kernel/mm/layout.h says where it is.  The direct map and the stack
 * area may move up by REGION_PLACES GiB; physical memory beyond DIRECT_MAP_MAX is left alone.
 */
#define ARCH_IMAGE_LINK	      0xffffffff80200000ul
#define ARCH_DIRECT_MAP_LINK  0xffff888000000000ul
#define ARCH_KSTACK_AREA_LINK 0xffffc90000000000ul
#define ARCH_REGION_PLACES    16384
#define DIRECT_MAP_MAX	      (48ul << 40)
#define KSTACK_AREA_SIZE      (1ul << 39)

#define USER_END (1ul << 48) /* as Linux: programs may have the last page, too */

#define ARCH_ELF_MACHINE	 183 /* EM_AARCH64 */
#define ARCH_PLATFORM		 "aarch64"
#define ARCH_AUDIT		 0xc00000b7u /* AUDIT_ARCH_AARCH64 */
#define ARCH_UNAME_MACHINE	 "aarch64"
#define ARCH_HAS_LEGACY_SYSCALLS 0
#define ARCH_MAP_32BIT		 0u /* no such flag */
#define ARCH_CONSOLE_MAJOR	 204
#define ARCH_CONSOLE_MINOR	 64
#define ARCH_PIE_BASE		 0xaaaaaaaaa000ul /* two thirds of the user half, as Linux */
#define ARCH_ELF_ALIGN		 65536ul /* what linkers align segments to */

/* open flags whose values differ between architectures */
#define ARCH_O_DIRECTORY 00040000u
#define ARCH_O_NOFOLLOW	 00100000u
#define ARCH_O_DIRECT	 00200000u
#define ARCH_O_LARGEFILE 00400000u

/* System registers: the name, which may be a macro, is part of the instruction. */
#define SYSREG_NAME(name) #name
#define READ_SYSREG(name)                                                                          \
	({                                                                                         \
		uint64_t sysreg_value;                                                             \
		__asm__ volatile("mrs %0, " SYSREG_NAME(name) : "=r"(sysreg_value));               \
		sysreg_value;                                                                      \
	})
#define WRITE_SYSREG(name, v)                                                                      \
	__asm__ volatile("msr " SYSREG_NAME(name) ", %x0" : : "rZ"((uint64_t)(v)) : "memory")

/*
 * Barriers.  This machine may make its accesses visible in another order than the program's (ARM
 * B2.3): each use says what it orders.  Locks and atomic operations carry their own.
 */
#define a64_dsb(domain) __asm__ volatile("dsb " #domain : : : "memory")
#define a64_dmb(domain) __asm__ volatile("dmb " #domain : : : "memory")
#define a64_isb()	__asm__ volatile("isb" : : : "memory")

/* ---- Trap frames ----------------------------------------------------------------------------- */

/* Registers of the interrupted code, as entry.S stores them. */
struct trapframe {
	uint64_t x[31];
	uint64_t sp, pc, pstate;
	uint64_t orig_x0; /* a system call's first argument, which its result overwrites */
	uint64_t syscall; /* its number, or NOT_SYSCALL */
	uint64_t esr, far; /* of an exception: its cause, and the address if it has one */
};

#define NOT_SYSCALL UINT64_MAX

static inline bool
tf_from_user(const struct trapframe *tf)
{
	return (tf->pstate & PSTATE_MODE) == PSTATE_EL0;
}

static inline uint64_t
tf_ip(const struct trapframe *tf)
{
	return tf->pc;
}

static inline uint64_t
tf_sp(const struct trapframe *tf)
{
	return tf->sp;
}

static inline void
tf_set_ip(struct trapframe *tf, uint64_t ip)
{
	tf->pc = ip;
}

static inline uint64_t
tf_syscall(const struct trapframe *tf)
{
	return tf->syscall;
}

static inline void
tf_set_syscall(struct trapframe *tf, uint64_t nr)
{
	tf->syscall = nr;
}

/* The same in a frame that is on its way in. */
static inline uint64_t
tf_entry_syscall(const struct trapframe *tf)
{
	return tf->syscall;
}

static inline uint64_t
tf_arg(const struct trapframe *tf, unsigned n)
{
	return n ? tf->x[n] : tf->orig_x0;
}

static inline long
tf_result(const struct trapframe *tf)
{
	return (long)tf->x[0];
}

static inline void
tf_set_result(struct trapframe *tf, long v)
{
	tf->x[0] = (uint64_t)v;
}

static inline void
tf_restart_syscall(struct trapframe *tf, uint64_t nr)
{
	tf->x[0] = tf->orig_x0;
	tf->x[8] = nr;
	tf->pc -= 4;
}

static inline void
tf_forget_syscall(struct trapframe *tf)
{
	tf->syscall = NOT_SYSCALL;
}

/* clone(2)'s arguments: their order differs between architectures. */
struct clone_registers {
	uint64_t flags, stack, parent_tid, child_tid, tls;
};

static inline struct clone_registers
tf_clone_args(const struct trapframe *tf)
{
	return (struct clone_registers){tf->orig_x0, tf->x[1], tf->x[2], tf->x[4], tf->x[3]};
}

static inline void
tf_set_sp(struct trapframe *tf, uint64_t sp)
{
	tf->sp = sp;
}

/* ---- Threads --------------------------------------------------------------------------------- */

/* Floating-point and vector registers, as a64_fpu_save writes them and signal frames hold them. */
struct a64_fpu {
	uint32_t fpsr, fpcr;
	uint64_t v[64];
};

struct arch_thread {
	uint64_t sp;	   /* saved kernel stack pointer while it does not run */
	uint64_t tls;	   /* TPIDR_EL0, saved while it does not run */
	uint64_t fault_addr, fault_esr; /* last user fault, for the signal frame */
	bool user;	   /* it has user registers: fpu and tls are switched */
	struct a64_fpu fpu; /* saved while it does not run */
};

void a64_fpu_save(struct a64_fpu *area);
void a64_fpu_load(const struct a64_fpu *area);

/* ---- Per-CPU data ---------------------------------------------------------------------------- */

/* TPIDR_EL1 points at the running CPU's, SP_EL0 (in the kernel) at its thread. */
struct cpu {
	struct thread *thread; /* the one that runs */
	uint64_t vectors;      /* VBAR_EL1 in the kernel ... */
	uint64_t user_vectors; /* ... and in user mode, if that has another (row kpti); else 0 */
	uint64_t kernel_sp;    /* first stack of a processor that starts */
	uint64_t overflow_sp;  /* top of the stack that an overflow of another is reported on */
	uint32_t number;
	uint32_t irq_depth; /* interrupt handlers that are running */
	uint32_t table_windows; /* 1: the window's tables are loaded (ro_pgtable.c) */
	uint64_t mpidr;	    /* its affinity: the fields of MPIDR_EL1 that name it */
	struct arch_pt *pt; /* active address space */
	uint64_t gic;	    /* GICv2: its bit in target lists; v3: address of its redistributor */
	bool wxn_off;	    /* it runs a program that is exempt from W^X */
} aligned(64);

extern struct cpu cpus[MAX_CPUS];

typedef uint64_t irqstate_t;

static always_inline struct cpu *
this_cpu(void)
{
	return (struct cpu *)READ_SYSREG(tpidr_el1);
}

/* Constant while a thread runs: the compiler may keep it. */
static always_inline struct thread *
arch_current(void)
{
	struct thread *t;

	__asm__("mrs %0, sp_el0" : "=r"(t));
	return t;
}

/* SP_EL0 is the thread, in which compiled code finds the canary (Makefile; cpu.c asserts where). */
static always_inline uint64_t
arch_canary(void)
{
	uint64_t thread, v;

	__asm__ volatile("mrs %0, sp_el0" : "=r"(thread));
	__asm__ volatile("ldr %0, [%1, %2]" : "=r"(v) : "r"(thread), "i"(CANARY_OFFSET));
	return v;
}

#define arch_canary_load(t) ((void)(t)) /* it is read there */

static always_inline unsigned
arch_cpu_number(void)
{
	return READ_ONCE(this_cpu()->number);
}

static always_inline irqstate_t
arch_irq_save(void)
{
	irqstate_t s;

	__asm__ volatile("mrs %0, daif\n\tmsr daifset, #2" : "=r"(s) : : "memory");
	return s;
}

static always_inline void
arch_irq_restore(irqstate_t s)
{
	WRITE_SYSREG(daif, s);
}

static always_inline void
arch_irq_enable(void)
{
	__asm__ volatile("msr daifclr, #2" : : : "memory");
}

static always_inline void
arch_irq_disable(void)
{
	__asm__ volatile("msr daifset, #2" : : : "memory");
}

static always_inline bool
arch_irqs_enabled(void)
{
	return !(READ_SYSREG(daif) & PSTATE_I);
}

/* WFI wakes on a pending interrupt though it is masked, so none is lost in between. */
static inline void
arch_wait_for_interrupt(void)
{
	__asm__ volatile("dsb sy\n\twfi\n\tmsr daifclr, #2" : : : "memory");
}

static always_inline void
arch_relax(void)
{
	__asm__ volatile("yield" : : : "memory");
}

static always_inline uint64_t
arch_cycles(void)
{
	return READ_SYSREG(cntvct_el0);
}

/* True in an interrupt handler. */
static inline bool
arch_in_interrupt(void)
{
	return this_cpu()->irq_depth != 0;
}

/* The caller's frame pointer; [fp] is the frame above, [fp + 8] the return address. */
static always_inline uint64_t
arch_frame_pointer(void)
{
	return (uint64_t)__builtin_frame_address(0);
}

/* Frame pointer of the code that tf interrupted. */
static inline uint64_t
tf_frame_pointer(const struct trapframe *tf)
{
	return tf->x[29];
}

/* ---- Translation tables ---------------------------------------------------------------------- */

struct arch_pt {
	paddr_t root;
	uint64_t asid; /* [mmu.c's asid lock to change] generation and number; 0: none yet */
	uint64_t cpus; /* atomic: CPUs on which it was active under this ASID */
};

typedef struct {
	uint64_t v;
} pte_t;

/*
 * All ones if index < limit, else 0, without a branch that could be mispredicted; CSDB keeps later
 * instructions from using a predicted mask (ARM C6.2.81).
 */
static always_inline uint64_t
arch_index_mask(uint64_t index, uint64_t limit)
{
	uint64_t mask;

	__asm__ volatile("cmp %1, %2\n\tsbc %0, xzr, xzr\n\thint #20"
			 : "=r"(mask)
			 : "r"(index), "r"(limit)
			 : "cc");
	return mask;
}

/* epoll's event as this ABI lays it out: packed on x86_64, aligned here. */
struct arch_epoll_event {
	uint32_t events;
	uint64_t data;
};

/* What the manuals call the guards of arch.h's hardening section. */
#define ARCH_NAME_EXEC_GUARD	"PXN"
#define ARCH_NAME_ACCESS_GUARD	"PSTATE.PAN"
#define ARCH_NAME_INFO_GUARD	"EL0 traps"
#define ARCH_NAME_NO_EXECUTE	"UXN"
#define ARCH_NAME_BRANCH_GUARD	"FEAT_CSV2"
#define ARCH_NAME_SIBLING_GUARD "control of its siblings' predictions"
#define ARCH_NAME_PREDICTOR_BARRIER "predictor barrier"
#define ARCH_NAME_WRITE_PROTECT "AP[2]"
#define ARCH_NAME_PINNED	"SCTLR_EL1"
#define ARCH_NAME_KERNEL_HIDDEN "the trampoline's TTBR1"
