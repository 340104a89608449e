/*
 * The firmware's tables (ACPI 6.4, chapter 5): processors, interrupt controllers, power control; and what a boot
 * loader said.  Read once at start-up; every length is checked against the table that holds it.
 */
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/page.h"
#include "cpu.h"

struct acpi_info acpi_info ro_after_init;

struct sdt {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
} packed;

/* How long the machine may take to go off. */
#define POWEROFF_US 2000000

/* The early tables map physical memory below 4 GiB. */
#define MAPPED_LIMIT (4ul << 30)

static const void *
firmware(uint64_t pa)
{
	return (const void *)(direct_map_base + pa);
}

static bool
checksum_ok(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	while (n--)
		sum += *b++;
	return sum == 0;
}

static const struct sdt *
table_at(uint64_t pa)
{
	const struct sdt *t;

	if (pa == 0 || pa > MAPPED_LIMIT - sizeof(*t))
		return NULL;
	t = firmware(pa);
	if (t->length < sizeof(*t) || t->length > MAPPED_LIMIT - pa || !checksum_ok(t, t->length))
		return NULL;
	return t;
}

static uint64_t
find_rsdp(void)
{
	for (uint64_t pa = 0xe0000; pa < 0x100000; pa += 16) {
		if (memcmp(firmware(pa), "RSD PTR ", 8) == 0 && checksum_ok(firmware(pa), 20))
			return pa;
	}
	return 0;
}

/* Multiple APIC description table (5.2.12) */
static void
parse_madt(const struct sdt *t)
{
	const uint8_t *b = (const uint8_t *)t, *end = b + t->length;

	if (t->length < 44)
		return;
	memcpy(&acpi_info.lapic, b + 36, 4);
	for (b += 44; b + 2 <= end && b[1] >= 2 && b + b[1] <= end; b += b[1]) {
		if (b[0] == 0 && b[1] >= 8 && (b[4] & 1)) { /* local APIC, enabled */
			if (acpi_info.ncpus < MAX_CPUS)
				acpi_info.lapic_ids[acpi_info.ncpus] = b[3];
			acpi_info.ncpus++;
		} else if (b[0] == 1 && b[1] >= 12 && acpi_info.ioapic == 0) {
			memcpy(&acpi_info.ioapic, b + 4, 4);
			memcpy(&acpi_info.ioapic_gsi_base, b + 8, 4);
		} else if (b[0] == 2 && b[1] >= 10 && b[3] == 4) { /* override of ISA IRQ 4 */
			memcpy(&acpi_info.serial_gsi, b + 4, 4);
			memcpy(&acpi_info.serial_flags, b + 8, 2);
		}
	}
}

/* SLP_TYPa for S5: the first element of the package \_S5 in the DSDT's byte code (7.4.2). */
static void
parse_s5(const struct sdt *dsdt)
{
	const uint8_t *b = (const uint8_t *)dsdt + sizeof(*dsdt);
	const uint8_t *end = (const uint8_t *)dsdt + dsdt->length;

	for (; b + 8 <= end; b++) {
		if (memcmp(b, "_S5_\x12", 5) != 0)
			continue;
		b += 5;
		b += (b[0] >> 6) + 2; /* package length, element count */
		if (b < end && *b == 0x0a) /* BytePrefix */
			b++;
		if (b < end)
			acpi_info.sleep_type = *b;
		return;
	}
}

/* Fixed description table (5.2.9) */
static void
parse_fadt(const struct sdt *t)
{
	const uint8_t *b = (const uint8_t *)t;
	const struct sdt *dsdt;
	uint32_t dsdt_pa, pm1a;

	if (t->length < 68)
		return;
	memcpy(&dsdt_pa, b + 40, 4);
	memcpy(&pm1a, b + 64, 4);
	acpi_info.pm1a_control = (uint16_t)pm1a;
	if (t->length >= 129 && b[116] == 1) { /* RESET_REG in I/O space */
		memcpy(&acpi_info.reset_port, b + 120, 2);
		acpi_info.reset_value = b[128];
	}
	dsdt = table_at(dsdt_pa);
	if (dsdt)
		parse_s5(dsdt);
}

void
acpi_init(uint64_t rsdp)
{
	const uint8_t *root = firmware(rsdp ? rsdp : find_rsdp());
	const struct sdt *rsdt;
	uint32_t rsdt_pa;
	uint64_t apic_id = x86_cpuid(1, 0).b >> 24;

	acpi_info.lapic = 0xfee00000;
	acpi_info.serial_gsi = 4;
	if (root == firmware(0) || memcmp(root, "RSD PTR ", 8) != 0) {
		kprintf("acpi: no tables; one CPU\n");
		rsdt = NULL;
	} else {
		memcpy(&rsdt_pa, root + 16, 4);
		rsdt = table_at(rsdt_pa);
	}
	for (size_t i = sizeof(*rsdt); rsdt && i + 4 <= rsdt->length; i += 4) {
		const struct sdt *t;
		uint32_t pa;

		memcpy(&pa, (const uint8_t *)rsdt + i, 4);
		t = table_at(pa);
		if (t && memcmp(t->signature, "APIC", 4) == 0)
			parse_madt(t);
		else if (t && memcmp(t->signature, "FACP", 4) == 0)
			parse_fadt(t);
	}
	if (acpi_info.ncpus > MAX_CPUS) {
		kprintf("acpi: %u CPUs, of which %u are used\n", acpi_info.ncpus, MAX_CPUS);
		acpi_info.ncpus = MAX_CPUS;
	}
	if (acpi_info.ncpus == 0)
		acpi_info.lapic_ids[acpi_info.ncpus++] = (uint32_t)apic_id;
	/* CPU number 0 is the one that runs now. */
	for (unsigned i = 0; i < acpi_info.ncpus; i++) {
		if (acpi_info.lapic_ids[i] == apic_id) {
			acpi_info.lapic_ids[i] = acpi_info.lapic_ids[0];
			acpi_info.lapic_ids[0] = (uint32_t)apic_id;
		}
	}
}

noreturn void
arch_poweroff(void)
{
	if (acpi_info.pm1a_control) {
		x86_out16(acpi_info.pm1a_control, (uint16_t)(acpi_info.sleep_type << 10 | 1u << 13));
		x86_delay(POWEROFF_US);
	}
	kalert("power: this machine does not switch itself off\n");
	arch_halt();
}

noreturn void
arch_reboot(void)
{
	if (acpi_info.reset_port)
		x86_out8(acpi_info.reset_port, acpi_info.reset_value);
	x86_out8(0x64, 0xfe); /* the keyboard controller's reset line */
	arch_halt();
}

/* ---- What a Multiboot2 boot loader (GRUB) said: Multiboot2 Specification 2.0, 3.6 --------------------- */

/* A header, then tags of 8-byte alignment, each with its type and size; an end tag is the last. */
enum {
	TAG_END = 0,
	TAG_CMDLINE = 1,
	TAG_MODULE = 3,
	TAG_MEMORY_MAP = 6,
	TAG_RSDP_1 = 14, /* ACPI 1.0's, a copy */
	TAG_RSDP_2 = 15,
};

struct loader_info {
	uint32_t total_size, reserved;
};

struct tag {
	uint32_t type, size; /* of the tag, this header included */
};

struct module_tag {
	struct tag tag;
	uint32_t start, end;
};

struct memory_map_tag {
	struct tag tag;
	uint32_t entry_size, entry_version;
};

struct memory_range {
	uint64_t base, size;
	uint32_t type, reserved; /* type 1: RAM */
};

/* The tag after t (NULL: the first), or NULL: there is none, or it does not lie in the information. */
static const struct tag *
next_tag(const struct loader_info *info, const struct tag *t)
{
	uint64_t at = t ? (uint64_t)t - (uint64_t)info + ALIGN_UP((uint64_t)t->size, 8) : sizeof(*info);
	const struct tag *next = (const void *)((const char *)info + at);

	if (at + sizeof(*next) > info->total_size || next->type == TAG_END)
		return NULL;
	if (next->size < sizeof(*next) || next->size > info->total_size - at)
		return NULL;
	return next;
}

/* The first tag of a type that is at least size bytes long, or NULL. */
static const void *
find_tag(uint64_t info, uint32_t type, size_t size)
{
	const struct loader_info *start = phys_to_virt(PADDR(info));

	for (const struct tag *t = next_tag(start, NULL); t; t = next_tag(start, t)) {
		if (t->type == type && t->size >= size)
			return t;
	}
	return NULL;
}

void
multiboot_cmdline(uint64_t info, char *out, size_t size)
{
	const struct tag *t = find_tag(info, TAG_CMDLINE, sizeof(*t));

	if (t)
		strlcpy(out, (const char *)(t + 1), MIN(size, (size_t)t->size - sizeof(*t) + 1));
}

void
multiboot_take_down(uint64_t info)
{
	const struct memory_map_tag *map = find_tag(info, TAG_MEMORY_MAP, sizeof(*map));
	const struct module_tag *module = find_tag(info, TAG_MODULE, sizeof(*module));

	if (!map || map->entry_size < sizeof(struct memory_range))
		panic("boot: the loader gave no memory map");
	for (uint32_t at = sizeof(*map); map->entry_size <= map->tag.size - at; at += map->entry_size) {
		const struct memory_range *r = (const void *)((const char *)map + at);

		if (r->type == 1)
			x86_add_ram(r->base, r->size);
	}
	if (module && module->end > module->start)
		boot_info.initrd = (struct boot_range){PADDR(module->start), module->end - module->start};
}

uint64_t
multiboot_rsdp(uint64_t info)
{
	const struct tag *t = find_tag(info, TAG_RSDP_1, sizeof(*t) + 20);

	if (!t)
		t = find_tag(info, TAG_RSDP_2, sizeof(*t) + 20);
	return t ? virt_to_phys(t + 1).v : 0;
}
