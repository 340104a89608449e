/*
 * What a Multiboot2 boot loader (GRUB) said: Multiboot2 Specification 2.0, 3.6 "Boot information format".
 * A header, then tags of 8-byte alignment, each with its type and size; an end tag is the last.
 */
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/page.h"
#include "x86.h"

enum {
	TAG_END = 0,
	TAG_CMDLINE = 1,
	TAG_MODULE = 3,
	TAG_MEMORY_MAP = 6,
	TAG_RSDP_1 = 14, /* ACPI 1.0's, a copy */
	TAG_RSDP_2 = 15,
};

struct info {
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
next_tag(const struct info *info, const struct tag *t)
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
	const struct info *start = phys_to_virt(PADDR(info));

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
