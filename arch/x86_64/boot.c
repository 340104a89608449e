/*
 * Start-up of the boot processor in C: takes down what the boot loader said (Xen's PVH ABI,
 * xen/include/public/arch-x86/hvm/start_info.h, or Multiboot2), moves the image, and enters kernel_main.
 *
 * x86_boot runs at physical addresses: what it calls must leave no pointer behind.
 */
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/page.h"
#include "cpu.h"

struct boot_info boot_info ro_after_init;
struct cpu cpus[MAX_CPUS];

#define PVH_MAGIC 0x336ec578
#define MULTIBOOT_MAGIC 0x36d76289 /* Multiboot2 3.5: in EAX */

struct pvh_start_info {
	uint32_t magic, version, flags, nmodules;
	uint64_t modules, cmdline, rsdp;
	uint64_t memmap; /* version 1 on */
	uint32_t nmemmap, reserved;
};

struct pvh_module {
	uint64_t base, size, cmdline, reserved;
};

struct pvh_memmap {
	uint64_t base, size;
	uint32_t type, reserved; /* type 1: RAM */
};

struct elf_rela {
	uint64_t offset, info, addend;
};
#define R_X86_64_RELATIVE 8

/*
 * The linker left only relative relocations.  The image lies at its link address plus `here`; its pointers
 * become those of an image at the link address plus `slide`.
 */
static no_canary void
relocate(uint64_t here, uint64_t slide)
{
	extern const struct elf_rela __rela_start[], __rela_end[];

	for (const struct elf_rela *r = __rela_start; r < __rela_end; r++) {
		if ((uint32_t)r->info != R_X86_64_RELATIVE)
			arch_halt();
		*(uint64_t *)(r->offset + here) = r->addend + slide;
	}
}

void
x86_add_ram(uint64_t base, uint64_t size)
{
	uint64_t start = ALIGN_UP(base, PAGE_SIZE), end = ALIGN_DOWN(base + size, PAGE_SIZE);
	unsigned i;

	if (start >= end || boot_info.nram == ARRAY_LEN(boot_info.ram))
		return;
	for (i = boot_info.nram++; i > 0 && boot_info.ram[i - 1].base.v > start; i--)
		boot_info.ram[i] = boot_info.ram[i - 1];
	boot_info.ram[i] = (struct boot_range){PADDR(start), end - start};
}

/* The loader's information is a Multiboot2 loader's, and not a PVH one's. */
static bool
by_multiboot(void)
{
	return boot_magic == MULTIBOOT_MAGIC;
}

/* The command line, before anything else. */
static void
take_down_cmdline(uint64_t info)
{
	const struct pvh_start_info *si = phys_to_virt(PADDR(info));

	if (by_multiboot())
		multiboot_cmdline(info, boot_info.cmdline, sizeof(boot_info.cmdline));
	else if (si->magic != PVH_MAGIC)
		panic("boot: started neither by a PVH nor by a Multiboot2 loader");
	else if (si->cmdline)
		strlcpy(boot_info.cmdline, phys_to_virt(PADDR(si->cmdline)),
			sizeof(boot_info.cmdline));
}

static void
take_down_start_info(const struct pvh_start_info *si)
{
	const struct pvh_memmap *map = phys_to_virt(PADDR(si->memmap));
	const struct pvh_module *modules = phys_to_virt(PADDR(si->modules));

	if (si->version < 1)
		panic("boot: the loader gave no memory map");
	for (uint32_t i = 0; i < si->nmemmap; i++) {
		if (map[i].type == 1)
			x86_add_ram(map[i].base, map[i].size);
	}
	if (si->nmodules)
		boot_info.initrd = (struct boot_range){PADDR(modules[0].base), modules[0].size};
}

no_canary noreturn void
x86_boot(uint64_t start_info)
{
	uint64_t here = KERNEL_LOAD_BASE - ARCH_IMAGE_LINK, slide;

	relocate(here, here);
	x86_percpu_init(&cpus[0]);
	x86_serial_init();
	take_down_cmdline(start_info);
	layout_choose();
	x86_early_map();
	slide = image_slide;
	relocate(here, slide); /* from here on pointers in the image are not to be followed */
	boot_leave_physical(slide - here, start_info);
}

no_canary noreturn void
x86_boot_placed(uint64_t start_info)
{
	const struct pvh_start_info *si = phys_to_virt(PADDR(start_info));

	memset(&cpus[0], 0, sizeof(cpus[0])); /* its pointers are physical addresses */
	x86_percpu_init(&cpus[0]);
	x86_idt_init((uint64_t)x86_vectors);
	x86_cpu_init(&cpus[0]);
	x86_early_unmap();
	if (by_multiboot())
		multiboot_take_down(start_info);
	else
		take_down_start_info(si);
	acpi_init(by_multiboot() ? multiboot_rsdp(start_info) : si->rsdp);
	x86_prepare_trampoline();
	kernel_main();
}

struct boot_range
arch_kernel_image(void)
{
	uint64_t base = KERNEL_LOAD_BASE;

	return (struct boot_range){PADDR(base), (uint64_t)(__data_end - __image_start)};
}
