/* x86_64's private vocabulary: instructions, and what the files of this folder provide to each other. */
#pragma once

#include "arch/arch.h"
#include "kernel/types.h"
#include "sysreg.h"

/* Exceptions (SDM 3A 6.3.1) */
#define VEC_DE	  0
#define VEC_DB	  1
#define VEC_NMI	  2
#define VEC_BP	  3
#define VEC_OF	  4
#define VEC_BR	  5
#define VEC_UD	  6
#define VEC_NM	  7
#define VEC_DF	  8
#define VEC_TS	  10
#define VEC_NP	  11
#define VEC_SS	  12
#define VEC_GP	  13
#define VEC_PF	  14
#define VEC_MF	  16
#define VEC_AC	  17
#define VEC_MC	  18
#define VEC_XM	  19
/* Interrupts: our choice */
#define VEC_SERIAL     0x24
#define VEC_TIMER      0xef
#define VEC_RESCHEDULE 0xf0
#define VEC_IPI	       0xf1
#define VEC_SPURIOUS   0xff

/* Page-fault error code (SDM 3A 4.7) */
#define PF_PRESENT BIT(0)
#define PF_WRITE   BIT(1)
#define PF_USER	   BIT(2)
#define PF_RSVD	   BIT(3)
#define PF_FETCH   BIT(4)

struct cpuid {
	uint32_t a, b, c, d;
};

static inline struct cpuid
x86_cpuid(uint32_t leaf, uint32_t sub)
{
	struct cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
	return r;
}

static inline uint64_t
x86_rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

static inline void
x86_wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

#define X86_READ_CONTROL_REGISTER(n)                                                               \
	static inline uint64_t x86_read_cr##n(void)                                                \
	{                                                                                          \
		uint64_t v;                                                                        \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(v));                                  \
		return v;                                                                          \
	}
X86_READ_CONTROL_REGISTER(0)
X86_READ_CONTROL_REGISTER(2)
X86_READ_CONTROL_REGISTER(3)
X86_READ_CONTROL_REGISTER(4)

static inline void
x86_write_cr3(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}

/*
 * pin.S: writes a register, but for what is pinned (row pin): bits of `mask` stay as in `value`, which is the whole
 * register as start-up left it.  After a write that would have changed some, and was undone, harden.c is told which.
 */
struct x86_pin {
	uint64_t value, mask;
};
extern struct x86_pin x86_cr0_pin, x86_cr4_pin;
void x86_write_cr0(uint64_t v);
void x86_write_cr4(uint64_t v);
void x86_cr0_undone(uint64_t bits);
void x86_cr4_undone(uint64_t bits);

static inline void
x86_invlpg(uint64_t va)
{
	__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

static inline uint8_t
x86_in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void
x86_out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void
x86_out16(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

/* Sections, by kernel.lds; page-aligned. */
extern char __image_start[], __text_start[], __text_boot_end[], __text_end[];
extern char __rodata_start[], __rodata_end[];
extern char __ro_after_init_start[], __ro_after_init_end[], __vdso_start[], __vdso_end[];
extern char __data_start[], __data_end[];

/* firmware.c: what the firmware's tables say. */
struct acpi_info {
	uint32_t lapic_ids[MAX_CPUS];
	unsigned ncpus;
	uint64_t lapic, ioapic;	  /* physical addresses */
	uint32_t ioapic_gsi_base;
	uint32_t serial_gsi;	  /* interrupt input of ISA IRQ 4 */
	uint16_t serial_flags;	  /* MPS INTI flags of it */
	uint16_t pm1a_control;	  /* port; 0: none */
	uint16_t sleep_type;	  /* SLP_TYPa of S5 */
	uint16_t reset_port;	  /* 0: none */
	uint8_t reset_value;
};
extern struct acpi_info acpi_info;
/* Reads the tables through the direct map; rsdp 0: searches the BIOS area. */
void acpi_init(uint64_t rsdp);

/*
 * start.S, boot.c: the first C, at physical addresses; the way from there to the kernel's own, which lie
 * `offset` further; and what runs there.
 */
noreturn void x86_boot(uint64_t start_info);
/* Takes down usable memory; ranges of less than a frame, or beyond what there is room for, are left out. */
void x86_add_ram(uint64_t base, uint64_t size);
extern uint32_t boot_magic;
/* firmware.c: info is the physical address of a Multiboot2 loader's information. */
void multiboot_cmdline(uint64_t info, char *out, size_t size);
void multiboot_take_down(uint64_t info);
/* The physical address of its copy of the RSDP; 0: it has none. */
uint64_t multiboot_rsdp(uint64_t info);
noreturn void boot_leave_physical(uint64_t offset, uint64_t start_info);
noreturn void x86_boot_placed(uint64_t start_info);

/*
 * The first tables.  start.S fills the low ones, with physical memory below 4 GiB where it lies;
 * x86_early_map the others (mmu.c), as kernel/mm/layout.h says; x86_early_unmap empties the low half.
 */
enum boot_table {
	BOOT_PML4,
	BOOT_PDPT_LOW,
	BOOT_PD_LOW, /* four, of 1 GiB each */
	BOOT_PDPT_DIRECT = BOOT_PD_LOW + 4, /* two */
	BOOT_PDPT_IMAGE = BOOT_PDPT_DIRECT + 2,
	BOOT_PD_IMAGE, /* two: the last 2 GiB */
	BOOT_TABLES = BOOT_PD_IMAGE + 2,
};
extern uint64_t boot_tables[BOOT_TABLES][512];
void x86_early_map(void);
void x86_early_unmap(void);

/* cpu.c: GDT, TSS, system call MSRs, FPU of the running CPU. */
void x86_cpu_init(struct cpu *c);
void x86_percpu_init(struct cpu *c);
void x86_fpu_cpu_init(void);
void x86_fpu_cache_init(void);

/* trap.c: the gates lead to the trampoline's copy at `vectors`; the table as the processor is told. */
void x86_idt_init(uint64_t vectors);
void x86_idt_load(uint64_t table);
extern const struct gate *const x86_idt;
void x86_trap(struct trapframe *tf);
void x86_paranoid_trap(struct trapframe *tf);
noreturn void x86_double_fault(struct trapframe *tf);
/* Gives c its emergency stacks. */
void x86_cpu_stacks(struct cpu *c);

/* irq.c: local APIC and I/O APIC */
void x86_lapic_init(void);
void x86_lapic_eoi(void);
void x86_ioapic_init(void);
void x86_ipi(uint32_t apic_id, uint32_t icr_low);
#define ICR_FIXED   (0u << 8)
#define ICR_NMI	    (4u << 8)
#define ICR_INIT    (5u << 8)
#define ICR_STARTUP (6u << 8)
#define ICR_ASSERT  (1u << 14)
uint32_t x86_lapic_read(uint32_t reg);
void x86_lapic_write(uint32_t reg, uint32_t v);
#define LAPIC_TIMER_LVT	    0x320
#define LAPIC_TIMER_INITIAL 0x380
#define LAPIC_TIMER_CURRENT 0x390
#define LAPIC_TIMER_DIVIDE  0x3e0

/* smp.c */
extern uint32_t x86_stopping; /* a panic stops all CPUs: an NMI halts */
/* Mask of the CPUs that answer requests. */
uint64_t x86_cpus_online(void);
/* Copies the bring-up code to its page, before the final tables make that page read-only. */
void x86_prepare_trampoline(void);
#define TRAMPOLINE_CODE 0x8000ul /* physical, below 1 MiB, one page R-X */
#define TRAMPOLINE_DATA 0x9000ul /* its parameters, one page RW- */

/* timer.c */
void x86_timer_calibrate(void);
void x86_timer_cpu_init(void);
/* Waits us microseconds; works once the timer is calibrated. */
void x86_delay(uint64_t us);

/* serial.c */
void x86_serial_init(void);
void x86_serial_enable_interrupt(void);
void x86_serial_interrupt(void);

/*
 * mmu.c: the tables on which the other processors turn on paging: the kernel half, the trampoline's
 * page R-X and its parameters' RW- at their physical addresses.  Gone when all are up.
 */
paddr_t x86_bringup_begin(void);
void x86_bringup_end(void);

/*
 * kpti.c, mmu.c: the entry area, mapped in both roots of every address space at addresses that are the
 * same at each start: the IDT, R--; then for each CPU the trampoline's text, R-X, and its entry_data, RW-.
 */
#define ENTRY_AREA_BASE	  0xfffffe0000000000ul
#define ENTRY_AREA_STRIDE 0x10000ul
extern struct entry_data x86_entry_data[MAX_CPUS];
extern char __entry_text_start[], __entry_text_end[];
/* Where the processor finds them; until the final tables are there, in the image. */
uint64_t x86_entry_idt(void);
uint64_t x86_entry_text(const struct cpu *c, const char *code);
struct entry_data *x86_entry_data_of(const struct cpu *c);
/*
 * asid.c: loads CR3 with a kernel root, and says what it is to be in user mode; forgets translations of the
 * address space that runs.  On this CPU, interrupts off.
 */
void x86_pcid_activate(uint64_t kernel, uint64_t user);
void x86_pcid_forget_page(uint64_t va);
void x86_pcid_forget_all(void);
/* Sets c's pointers into and out of the trampoline. */
void x86_entry_init(struct cpu *c);
/* The final tables map it, from x86_entry_area(0) on. */
void x86_entry_area_ready(void);
uint64_t x86_entry_area(unsigned cpu);
/* mmu.c: calls fn for every mapping of the kernel half of a root. */
void x86_walk_kernel_half(paddr_t root,
			  void (*fn)(void *arg, uint64_t va, uint64_t size, paddr_t pa, unsigned prot),
			  void *arg);

/*
 * What the trampoline leaves on a short stack for x86_paranoid, where an exception comes on one, and takes
 * from there to go back.
 */
struct paranoid_frame {
	uint64_t swapped; /* 1: GS was the user's */
	uint64_t cr3;	  /* as it was found */
	uint64_t rdx, rcx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* trampoline.S, entry.S */
extern char x86_syscall_entry[], x86_vectors[], x86_exit_sysret[], x86_exit_iret[], x86_exit_paranoid[];
extern char x86_syscall[], x86_trap_from_user[], x86_trap_from_kernel[], x86_paranoid[];
/* A user frame's RIP is not canonical: the process gets SIGSEGV. */
void x86_bad_user_ip(struct trapframe *tf);
/* Leaves the present stack for good and runs fn(arg), which does not return, from top downwards. */
noreturn void x86_run_on_stack(void *top, void (*fn)(void *arg), void *arg);
/* 1 if stac and clac exist and SMAP is on: decided once. */
extern uint8_t x86_smap;
