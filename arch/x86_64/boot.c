/*
 * Start-up of the boot processor in C: relocates the image, takes down what the boot loader said
 * (Xen's PVH ABI, xen/include/public/arch-x86/hvm/start_info.h), and enters kernel_main.
 */
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "x86.h"

struct boot_info boot_info ro_after_init;
struct cpu cpus[MAX_CPUS];

#define PVH_MAGIC 0x336ec578

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

/* The linker left only relative relocations; slide is what the image is moved by. */
static void
relocate(uint64_t slide)
{
	extern const struct elf_rela __rela_start[], __rela_end[];

	for (const struct elf_rela *r = __rela_start; r < __rela_end; r++) {
		if ((uint32_t)r->info != R_X86_64_RELATIVE)
			arch_halt();
		*(uint64_t *)(r->offset + slide) = r->addend + slide;
	}
}

static void
add_ram(uint64_t base, uint64_t size)
{
	uint64_t start = ALIGN_UP(base, PAGE_SIZE), end = ALIGN_DOWN(base + size, PAGE_SIZE);
	unsigned i;

	if (start >= end || boot_info.nram == ARRAY_LEN(boot_info.ram))
		return;
	for (i = boot_info.nram++; i > 0 && boot_info.ram[i - 1].base.v > start; i--)
		boot_info.ram[i] = boot_info.ram[i - 1];
	boot_info.ram[i] = (struct boot_range){PADDR(start), end - start};
}

static void
take_down_start_info(const struct pvh_start_info *si)
{
	const struct pvh_memmap *map = (void *)(DIRECT_MAP_BASE + si->memmap);
	const struct pvh_module *modules = (void *)(DIRECT_MAP_BASE + si->modules);

	if (si->cmdline)
		strlcpy(boot_info.cmdline, (void *)(DIRECT_MAP_BASE + si->cmdline),
			sizeof(boot_info.cmdline));
	if (si->version < 1)
		panic("boot: the loader gave no memory map");
	for (uint32_t i = 0; i < si->nmemmap; i++) {
		if (map[i].type == 1)
			add_ram(map[i].base, map[i].size);
	}
	if (si->nmodules)
		boot_info.initrd = (struct boot_range){PADDR(modules[0].base), modules[0].size};
}

noreturn void
x86_boot(uint64_t start_info)
{
	const struct pvh_start_info *si = (void *)(DIRECT_MAP_BASE + start_info);

	relocate(0);
	x86_percpu_init(&cpus[0]);
	x86_serial_init();
	x86_idt_init();
	x86_cpu_init(&cpus[0]);
	if (si->magic != PVH_MAGIC)
		panic("boot: not started by a PVH boot loader");
	take_down_start_info(si);
	acpi_init(si->rsdp);
	x86_prepare_trampoline();
	kernel_main();
}

struct boot_range
arch_kernel_image(void)
{
	uint64_t base = KERNEL_LOAD_BASE;

	return (struct boot_range){PADDR(base), (uint64_t)(__data_end - __image_start)};
}
