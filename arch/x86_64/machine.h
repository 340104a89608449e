/*
 * x86_64: the types of the machine contract (arch/arch.h) and the functions worth inlining.
 */
#pragma once

#include "kernel/types.h"

/* ---- Constants ------------------------------------------------------------------------------- */

#define ARCH_MINSIGSTKSZ 2048 /* the least that sigaltstack takes */

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
#define KERNEL_LOAD_BASE      0x200000ul /* physical; kernel.lds */

/* Below the last canonical page: a system call there would return to a non-canonical address. */
#define USER_END 0x00007ffffffff000ul

#define ARCH_ELF_MACHINE	 62 /* EM_X86_64 */
#define ARCH_PLATFORM		 "x86_64"
#define ARCH_AUDIT		 0xc000003eu /* AUDIT_ARCH_X86_64 */
#define ARCH_UNAME_MACHINE	 "x86_64"
#define ARCH_HAS_LEGACY_SYSCALLS 1
#define ARCH_MAP_32BIT		 0x40u /* of mmap: below 2 GiB */
#define ARCH_CONSOLE_MAJOR	 4
#define ARCH_CONSOLE_MINOR	 64
#define ARCH_PIE_BASE		 0x555555554000ul /* two thirds of the user half, as Linux */
#define ARCH_ELF_ALIGN		 4096ul /* what linkers align segments to */

/* open flags whose values differ between architectures */
#define ARCH_O_DIRECT	 00040000u
#define ARCH_O_LARGEFILE 00100000u
#define ARCH_O_DIRECTORY 00200000u
#define ARCH_O_NOFOLLOW	 00400000u

/* GDT selectors; the order is what SYSCALL and SYSRET demand (SDM 3A 5.8.8). */
#define SEL_KERNEL_CODE 0x08
#define SEL_KERNEL_DATA 0x10
#define SEL_USER_DATA	0x1b
#define SEL_USER_CODE	0x23
#define SEL_TSS		0x28
#define SEL_USER_CPU	0x3b /* its limit is the CPU's number: vdso.h */

/* RFLAGS (SDM 1 3.4.3) */
#define RFLAGS_FIXED BIT(1)
#define RFLAGS_CF    BIT(0)
#define RFLAGS_PF    BIT(2)
#define RFLAGS_AF    BIT(4)
#define RFLAGS_ZF    BIT(6)
#define RFLAGS_SF    BIT(7)
#define RFLAGS_TF    BIT(8)
#define RFLAGS_IF    BIT(9)
#define RFLAGS_DF    BIT(10)
#define RFLAGS_OF    BIT(11)
#define RFLAGS_IOPL  (BIT(12) | BIT(13))
#define RFLAGS_NT    BIT(14)
#define RFLAGS_RF    BIT(16)
#define RFLAGS_AC    BIT(18)
#define RFLAGS_ID    BIT(21)

/* ---- Trap frames ----------------------------------------------------------------------------- */

/* Registers of the interrupted code, as entry.S pushes them. */
struct trapframe {
	uint64_t r15, r14, r13, r12, rbp, rbx;
	uint64_t r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
	uint64_t vector; /* exception or interrupt number, or TRAP_SYSCALL */
	uint64_t error;	 /* error code; of a system call: its number */
	uint64_t rip, cs, rflags, rsp, ss;
};

#define TRAP_SYSCALL   0x100 /* the frame is that of a system call */
#define TRAP_FORGOTTEN 0x101 /* it was one, and must not restart any more */

static inline bool
tf_from_user(const struct trapframe *tf)
{
	return (tf->cs & 3) == 3;
}

static inline uint64_t
tf_ip(const struct trapframe *tf)
{
	return tf->rip;
}

static inline uint64_t
tf_sp(const struct trapframe *tf)
{
	return tf->rsp;
}

static inline void
tf_set_ip(struct trapframe *tf, uint64_t ip)
{
	tf->rip = ip;
}

static inline uint64_t
tf_syscall(const struct trapframe *tf)
{
	return tf->vector == TRAP_SYSCALL ? tf->error : UINT64_MAX;
}

static inline void
tf_set_syscall(struct trapframe *tf, uint64_t nr)
{
	tf->vector = TRAP_SYSCALL;
	tf->error = nr;
}

/* The same in a frame that is on its way in. */
static inline uint64_t
tf_entry_syscall(const struct trapframe *tf)
{
	return tf->error;
}

static inline uint64_t
tf_arg(const struct trapframe *tf, unsigned n)
{
	switch (n) {
	case 0:
		return tf->rdi;
	case 1:
		return tf->rsi;
	case 2:
		return tf->rdx;
	case 3:
		return tf->r10;
	case 4:
		return tf->r8;
	default:
		return tf->r9;
	}
}

static inline long
tf_result(const struct trapframe *tf)
{
	return (long)tf->rax;
}

static inline void
tf_set_result(struct trapframe *tf, long v)
{
	tf->rax = (uint64_t)v;
}

/* Both forms of the system call instruction are two bytes long. */
static inline void
tf_restart_syscall(struct trapframe *tf, uint64_t nr)
{
	tf->rax = nr;
	tf->rip -= 2;
}

static inline void
tf_forget_syscall(struct trapframe *tf)
{
	if (tf->vector == TRAP_SYSCALL)
		tf->vector = TRAP_FORGOTTEN;
}

/* clone(2)'s arguments: their order differs between architectures. */
struct clone_registers {
	uint64_t flags, stack, parent_tid, child_tid, tls;
};

static inline struct clone_registers
tf_clone_args(const struct trapframe *tf)
{
	return (struct clone_registers){tf->rdi, tf->rsi, tf->rdx, tf->r10, tf->r8};
}

static inline void
tf_set_sp(struct trapframe *tf, uint64_t sp)
{
	tf->rsp = sp;
}

/* ---- Threads --------------------------------------------------------------------------------- */

struct arch_thread {
	uint64_t sp;	  /* saved kernel stack pointer while it does not run */
	uint64_t fs_base; /* TLS, saved while it does not run */
	uint64_t gs_base; /* the user's, saved while it does not run */
	void *fpu;	  /* 64-byte-aligned XSAVE area of x86_fpu_size bytes, or NULL */
	uint64_t fault_addr, fault_vector, fault_error; /* last user fault, for sigcontext */
};

extern uint32_t x86_fpu_size;	 /* bytes of the XSAVE area (CPUID 0xd) or 512 */
extern uint64_t x86_fpu_mask;	 /* XCR0; 0: no XSAVE, FXSAVE is used */
/* Saves the live FPU registers to t's area (t is current) / loads them from it. */
void x86_fpu_save(struct thread *t);
void x86_fpu_restore(struct thread *t);
/* Checks a whole XSAVE image that came from a user; false: it would fault on loading. */
bool x86_fpu_image_ok(const void *image, size_t size);

/* ---- Per-CPU data ---------------------------------------------------------------------------- */

/* Task state segment (SDM 3A 7.7). */
struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7]; /* ist[0] is IST1 */
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t iomap_base;
} packed;

/* Interrupt stack table: which stack an exception that cannot trust its own gets. */
#define IST_DF	  1
#define IST_NMI	  2
#define IST_MC	  3
#define IST_DB	  4
#define IST_COUNT 4

#define ENTRY_SHORT_STACK 256u /* bytes, a power of two */

/* CR3 beside the root: the number of the translations; and that a load forgets none (SDM 3A 4.10.4.1). */
#define PCID_KERNEL   1ul
#define PCID_WINDOW   2ul
#define PCID_USER_BIT 11
#define CR3_KEEP_TLB  BIT(63)
#define CR3_ROOT      0x000ffffffffff000ul

/*
 * The page that the processor needs at every way in, and so the only data of a CPU that user mode's tables
 * map: nothing of the kernel's is kept here.
 */
struct entry_data {
	struct tss tss;
	uint64_t gdt[8];
	uint64_t user_sp; /* scratch of the ways in and out */
	uint64_t keep_tlb; /* CR3_KEEP_TLB, where this CPU numbers translations (asid.c), else 0 */
	uint8_t short_stacks[IST_COUNT][ENTRY_SHORT_STACK] aligned(ENTRY_SHORT_STACK); /* of each IST */
	uint8_t stack[4096 - ENTRY_SHORT_STACK * (IST_COUNT + 1)]; /* the entry stack */
} aligned(4096);

struct cpu {
	struct cpu *self;	/* at %gs:0 */
	struct thread *thread; /* at %gs:8: the one that runs */
	uint64_t canary;	/* at %gs:16 (Makefile): its canary, for compiled code */
	uint64_t kernel_sp;	/* top of the current thread's kernel stack: where system calls start */
	uint64_t user_root;	/* CR3 in user mode: with row kpti the upper one of the pair */
	uint32_t number;
	uint32_t apic_id;
	struct arch_pt *pt; /* active address space */
	uint32_t irq_depth; /* interrupt handlers that are running */
	uint32_t table_windows; /* 1: the window's root is loaded (ro_pgtable.c) */
	uint64_t nmis;
	uint64_t emergency_sp[IST_COUNT]; /* tops of the stacks for what comes on IST 1 to IST_COUNT */
	/* Where the trampoline goes on in entry.S, and where the kernel enters it to leave (kpti.c). */
	uint64_t syscall, trap_from_user, trap_from_kernel, paranoid;
	uint64_t exit_sysret, exit_iret, exit_paranoid;
	uint64_t entry_sp; /* top of the entry stack */
} aligned(64);

extern struct cpu cpus[MAX_CPUS];

typedef uint64_t irqstate_t;

static always_inline struct cpu *
this_cpu(void)
{
	struct cpu *c;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(c));
	return c;
}

/* Constant while a thread runs: the compiler may keep it. */
static always_inline struct thread *
arch_current(void)
{
	struct thread *t;

	__asm__("mov %%gs:8, %0" : "=r"(t));
	return t;
}

_Static_assert(offsetof(struct cpu, canary) == CANARY_OFFSET, "what the compiler was told");

static always_inline uint64_t
arch_canary(void)
{
	uint64_t v;

	__asm__ volatile("mov %%gs:%c1, %0" : "=r"(v) : "i"(CANARY_OFFSET));
	return v;
}

/* Needs struct thread, which is not there yet. */
#define arch_canary_load(t) ((void)(this_cpu()->canary = (t)->canary))

static always_inline unsigned
arch_cpu_number(void)
{
	unsigned n;

	__asm__ volatile("mov %%gs:%c1, %0" : "=r"(n) : "i"(offsetof(struct cpu, number)));
	return n;
}

static always_inline irqstate_t
arch_irq_save(void)
{
	irqstate_t s;

	__asm__ volatile("pushfq; popq %0; cli" : "=r"(s) : : "memory");
	return s;
}

static always_inline void
arch_irq_restore(irqstate_t s)
{
	if (s & RFLAGS_IF)
		__asm__ volatile("sti" : : : "memory");
}

static always_inline void
arch_irq_enable(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static always_inline void
arch_irq_disable(void)
{
	__asm__ volatile("cli" : : : "memory");
}

static always_inline bool
arch_irqs_enabled(void)
{
	uint64_t s;

	__asm__ volatile("pushfq; popq %0" : "=r"(s));
	return s & RFLAGS_IF;
}

/* STI holds interrupts off for one more instruction, so none is lost before HLT. */
static inline void
arch_wait_for_interrupt(void)
{
	__asm__ volatile("sti; hlt" : : : "memory");
}

static always_inline void
arch_relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

static always_inline uint64_t
arch_cycles(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
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
	return tf->rbp;
}

/* ---- Translation tables ---------------------------------------------------------------------- */

struct arch_pt {
	paddr_t root;
	uint64_t cpus; /* atomic: CPUs on which it is active */
};

typedef struct {
	uint64_t v;
} pte_t;

/* All ones if index < limit, else 0, without a branch that could be mispredicted. */
static always_inline uint64_t
arch_index_mask(uint64_t index, uint64_t limit)
{
	uint64_t mask;

	__asm__ volatile("cmp %2, %1; sbb %0, %0" : "=r"(mask) : "r"(index), "r"(limit) : "cc");
	return mask;
}

/* epoll's event as this ABI lays it out: packed here, aligned on other 64-bit machines. */
struct arch_epoll_event {
	uint32_t events;
	uint64_t data;
} packed;

/* What the manuals call the guards of arch.h's hardening section. */
#define ARCH_NAME_EXEC_GUARD	"CR4.SMEP"
#define ARCH_NAME_ACCESS_GUARD	"CR4.SMAP"
#define ARCH_NAME_INFO_GUARD	"CR4.UMIP"
#define ARCH_NAME_NO_EXECUTE	"EFER.NXE"
#define ARCH_NAME_BRANCH_GUARD	"enhanced SPEC_CTRL.IBRS"
#define ARCH_NAME_SIBLING_GUARD "SPEC_CTRL.STIBP"
#define ARCH_NAME_PREDICTOR_BARRIER "PRED_CMD.IBPB"
#define ARCH_NAME_WRITE_PROTECT "CR0.WP"
#define ARCH_NAME_PINNED	"CR0 and CR4"
#define ARCH_NAME_KERNEL_HIDDEN "the user half of a CR3 pair"
