/*
 * A free leak.  On x86_64 SIDT and SGDT store the addresses of the kernel's descriptor tables, and by
 * default the processor lets anybody execute them; on aarch64 it is up to the kernel which registers
 * user mode reads.
 */
#include "user/attack/attack.h"

#include <stdio.h>

#if defined(__x86_64__)
struct descriptor_table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

struct descriptor_table attack_idt, attack_gdt;

static void
run(void)
{
	uint16_t selector;

	step("legal: the program reads a segment register");
	__asm__ volatile("mov %%cs, %0" : "=r"(selector));

	step("illegal: it reads where the kernel keeps its tables");
	__asm__ volatile(".globl attack_sidt\n"
			 "attack_sidt: sidt %0" : "=m"(attack_idt));
	__asm__ volatile("sgdt %0" : "=m"(attack_gdt));
	printf("  interrupt descriptors at %#lx, segments at %#lx\n", attack_idt.base,
	       attack_gdt.base);
}
#elif defined(__aarch64__)
uint64_t attack_daif, attack_physical;

static void
run(void)
{
	uint64_t virtual;

	step("legal: the program reads the virtual counter");
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(virtual));

	step("illegal: it reads the interrupt mask and the physical counter");
	__asm__ volatile(".globl attack_sidt\n"
			 "attack_sidt: mrs %0, daif" : "=r"(attack_daif));
	__asm__ volatile("mrs %0, cntpct_el0" : "=r"(attack_physical));
	printf("  mask %#lx, the host's counter is %ld ahead of ours\n", attack_daif,
	       (long)(attack_physical - virtual));
}
#endif

ATTACK(umip) = {
	.name = "umip",
	.what = "system registers leak to user mode",
	.needs_off_x86_64 = "umip",
	.needs_off_aarch64 = "umip",
	.run = run,
};
