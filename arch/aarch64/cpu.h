/* aarch64's private vocabulary: what the files of this folder provide to each other. */
#pragma once

#include "arch/arch.h"
#include "kernel/types.h"
#include "sysreg.h"

/* Sections, by kernel.lds; page-aligned. */
extern char __image_start[], __text_start[], __text_boot_end[], __text_end[], __rodata_start[];
extern char __rodata_end[], __ro_after_init_start[], __ro_after_init_end[], __vdso_start[];
extern char __vdso_end[], __data_start[], __data_end[];

/*
 * pin.S: writes SCTLR_EL1, but for what is pinned (row pin): bits of `mask` stay as in `value`, which is the
 * whole register as start-up left it; WXN may go while an exempt program runs.  After a write that would have changed
 * some, and was undone, harden.c is told which.
 */
struct a64_pin {
	uint64_t value, mask;
};
extern struct a64_pin a64_sctlr_pin;
void a64_write_sctlr(uint64_t v);
void a64_sctlr_undone(uint64_t bits);

/* A field of four bits of an ID register. */
#define ID_FIELD(reg, shift) (READ_SYSREG(reg) >> (shift) & 15)

/*
 * start.S, boot.c: the first C, at physical addresses; the way from there to the kernel's own, which lie
 * `offset` further; and what runs there.
 */
noreturn void a64_boot(uint64_t dtb, uint64_t image);
noreturn void boot_leave_physical(uint64_t offset);
noreturn void a64_boot_placed(void);
/* Physical address of something in the image. */
uint64_t a64_image_phys(const void *p);

/* firmware.c: what the device tree says. */
#define MAX_GIC_REGIONS 4
struct firmware_info {
	unsigned ncpus;
	uint64_t mpidr[MAX_CPUS]; /* number 0 is the boot processor */
	bool psci, psci_smc;
	unsigned gic_version;		     /* 2 or 3; 0: none */
	struct boot_range gicd;		     /* distributor */
	struct boot_range gicc;		     /* version 2: CPU interface */
	struct boot_range gicr[MAX_GIC_REGIONS]; /* version 3: redistributors */
	struct boot_range uart, rtc;	     /* size 0: none */
	uint32_t uart_irq, timer_irq;	     /* interrupt numbers; 0: none */
};
extern struct firmware_info firmware_info;
/* Reads the tree at that address, which is mapped; fills boot_info and firmware_info.  False: it is damaged. */
must_use bool firmware_init(const void *dtb, size_t mapped);

/* cpu.c */
void a64_percpu_init(struct cpu *c);
/* Stands for the boot context until the first idle thread runs. */
extern struct thread a64_boot_thread;
/* Control registers of the running CPU, as harden= wants them. */
void a64_cpu_init(struct cpu *c);

/* mmu.c */
/*
 * Maps [pa, pa + size) at its place in the direct map, by 2 MiB blocks, in the first tables: where it lies,
 * as long as the layout is not chosen.
 */
void a64_early_map(uint64_t pa, uint64_t size, unsigned prot);
/* Maps the image in the first tables where kernel/mm/layout.h says. */
void a64_early_map_image(void);
/* Tables on which secondary_start turns translation on: its page alone, where it lies. */
paddr_t a64_bringup_begin(void);
void a64_bringup_end(void);
/* True if no page that user mode can reach through this CPU's tables is executable by the kernel. */
bool a64_user_pages_pxn(void);

/* The root that TTBR1 has in user mode (row kpti). */
static inline paddr_t
a64_user_mode_root(void)
{
	return PADDR(kernel_pt.root.v | TTBR1_USER_ROOT);
}

/* asid.c: address-space identifiers, which tell to whom the TLB's entries belong. */
/* Finds out how many there are.  Before the first is handed out. */
void asid_init(void);
/*
 * Gives pt a valid identifier, its own for as long as the generation lasts, and notes that this CPU
 * runs under it.  Its even number, for TTBR1; the one above is for user mode.  Interrupts are off.
 */
uint64_t asid_activate(struct arch_pt *pt);
/* The even number of pt's identifier; 0 if it never had one. */
uint64_t asid_number(const struct arch_pt *pt);

/* Makes TTBR0 walk user (0: nothing) and the kernel half go by asid, whatever both were. */
void a64_set_tables(paddr_t user, uint64_t asid);

/* trap.c */
void a64_trap(struct trapframe *tf);
void a64_irq(struct trapframe *tf);
noreturn void a64_overflow(struct trapframe *tf);
noreturn void a64_bad_vector(struct trapframe *tf, uint64_t vector);
void a64_cpu_stacks(struct cpu *c);

/* irq.c: the interrupt controller (GIC) */
#define SGI_RESCHEDULE 0
#define SGI_CALL       1
#define SGI_STOP       2
#define IRQ_SPURIOUS   1020 /* and up */
void a64_gic_init(void);
void a64_gic_cpu_init(void);
/* The interrupt that is due, or IRQ_SPURIOUS and up; end it with the same value. */
uint32_t a64_gic_begin(void);
void a64_gic_end(uint32_t irq);
void a64_gic_enable(uint32_t irq);
/* Software interrupt sgi on another CPU; what was written before is visible to its handler. */
void a64_ipi(unsigned cpu, unsigned sgi);

/* smp.c */
uint64_t a64_cpus_online(void);
noreturn void a64_secondary(struct cpu *c);
/* For secondary_start: physical addresses of both roots; from where the image lies to where it runs. */
struct a64_bringup {
	uint64_t low_root, high_root, offset;
};
extern struct a64_bringup a64_bringup;
/* PSCI (Arm DEN 0022): 0 or a negative error. */
int64_t a64_psci(uint64_t function, uint64_t a, uint64_t b, uint64_t c);

/* timer.c */
void a64_timer_init(void);
void a64_timer_cpu_init(void);
void a64_timer_ack(void);

/* serial.c */
void a64_serial_init(void);
void a64_serial_enable_interrupt(void);
void a64_serial_interrupt(void);

/* harden.c: 1 if PAN is there and wanted; uaccess.S looks at it. */
extern uint8_t a64_pan;
/* True if there are performance counters, which have registers of their own. */
bool a64_has_pmu(void);

/* entry.S, trampoline.S, start.S */
extern char a64_vectors[], a64_vectors_unchecked[], a64_trampoline[], secondary_start[], boot_stack_top[];
extern uint64_t boot_tables[BOOT_TABLES][512];
noreturn void a64_run_on_stack(void *top, void (*fn)(void *arg), void *arg);
