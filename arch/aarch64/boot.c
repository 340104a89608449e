/*
 * Start-up of the boot processor in C: has the device tree read, moves the image, and enters kernel_main.
 *
 * a64_boot runs at physical addresses: what it calls must leave no pointer behind.
 */
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/page.h"
#include "cpu.h"

struct boot_info boot_info ro_after_init;
struct cpu cpus[MAX_CPUS];

#define DTB_MAX (2ul << 20) /* booting.rst: it may not be larger, nor misaligned by less than 8 */

static uint64_t image_base ro_after_init;

struct elf_rela {
	uint64_t offset, info, addend;
};
#define R_AARCH64_RELATIVE 1027

#define hidden __attribute__((visibility("hidden")))

/*
 * The linker left only relative relocations.  The image lies at its link address plus `here`; its pointers
 * become those of an image at the link address plus `slide`.
 */
static no_canary void
relocate(uint64_t here, uint64_t slide)
{
	/* Hidden: without an entry in the table of addresses, which is not relocated yet. */
	extern hidden const struct elf_rela __rela_start[], __rela_end[];

	for (const struct elf_rela *r = __rela_start; r < __rela_end; r++) {
		if ((uint32_t)r->info != R_AARCH64_RELATIVE)
			arch_halt();
		*(uint64_t *)(r->offset + here) = r->addend + slide;
	}
}

uint64_t
a64_image_phys(const void *p)
{
	return image_base + (uint64_t)((const char *)p - __image_start);
}

no_canary noreturn void
a64_boot(uint64_t dtb, uint64_t image)
{
	uint64_t here = image - ARCH_IMAGE_LINK, slide;
	bool whole;

	relocate(here, here);
	image_base = image;
	a64_percpu_init(&cpus[0]);
	a64_early_map(dtb, DTB_MAX, PROT_READ);
	whole = firmware_init(phys_to_virt(PADDR(dtb)), DTB_MAX);
	a64_serial_init();
	if (!whole)
		panic("boot: the device tree is damaged");
	if (boot_info.nram == 0)
		panic("boot: the device tree names no memory");
	layout_choose();
	a64_early_map_image();
	slide = image_slide;
	relocate(here, slide); /* from here on pointers in the image are not to be followed */
	boot_leave_physical(slide - here);
}

no_canary noreturn void
a64_boot_placed(void)
{
	uint64_t image = image_base;

	memset(&cpus[0], 0, sizeof(cpus[0])); /* its pointers are physical addresses */
	a64_percpu_init(&cpus[0]);
	a64_serial_init();
	/* Where early frames come from: the rest waits for the final tables. */
	for (unsigned i = 0; i < boot_info.nram; i++) {
		struct boot_range *r = &boot_info.ram[i];

		if (image >= r->base.v && image - r->base.v < r->size)
			a64_early_map(r->base.v, MIN(r->size, 1ul << 30), PROT_READ | PROT_WRITE);
	}
	kernel_main();
}

struct boot_range
arch_kernel_image(void)
{
	return (struct boot_range){PADDR(image_base), (uint64_t)(__data_end - __image_start)};
}
