/* The starter's code: it works, and everything lies where it was linked.  Sections as cut names them. */

/* ==== kernel/harden/kaslr.c ==== */

/*
 * kaslr
 *
 * Threat:    Everybody has the kernel's image, and with it the address of each of its functions: whoever
 *            bends one pointer of the kernel's knows where to aim it.
 * Property:  Image, direct map and kernel stacks lie elsewhere at each start, each drawn for itself, and
 *            nothing is left where it was linked.
 * Mechanism: Yours.
 * Limit:     Yours: what is one leaked pointer worth, and how many guesses does a part take?
 * Check:     make grade; user/attack/kaslr.c.
 */
#include "kernel/harden/kaslr.h"

#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"

/*
 * To do: three parts, and no two know of one another.  What is the lowest place that each may have, and what
 * the highest, if the whole part has to fit?  Called once, at physical addresses, before there are tables for
 * any of them; with harden=-kaslr it is not called at all.
 */
void
kaslr_choose(struct layout *l unused)
{
}

/* To do: addr is not mapped, and the kernel has used it.  Did somebody expect the kernel there? */
bool
kaslr_miss(uint64_t addr unused)
{
	return false;
}

/* To do: what can be seen in the kernel's own tables, and may be told to everybody?  See other rows' probes. */
static enum harden_state
probe(char *how, size_t size)
{
	snprintf(how, size, "everything lies where it was linked");
	return HARDEN_OFF;
}

const struct mitigation kaslr_row = {
	"kaslr", "the kernel's addresses are drawn anew at each start", probe};

/* ==== arch/x86_64/mmu.c ==== */

/*
 * The image: text R-X, the rest RW- (rodata too: it is not relocated yet).
 *
 * To do: this maps it where it was linked, in one table of 1 GiB.  start.S jumps to where layout_choose has put
 * it, without a word if nothing is there.  Which tables does cpu.h have for the image, and where may it lie?
 */
static void
early_map_image(void)
{
	struct boot_range image = arch_kernel_image();
	uint64_t *top = boot_tables[BOOT_PDPT_IMAGE], *table = boot_tables[BOOT_PD_IMAGE];

	boot_tables[BOOT_PML4][ENTRIES - 1] = boot_link(BOOT_PDPT_IMAGE);
	top[INDEX(ARCH_IMAGE_LINK, 3)] = boot_link(BOOT_PD_IMAGE);
	for (uint64_t done = 0; done < image.size; done += LEVEL_SIZE(2))
		table[INDEX(ARCH_IMAGE_LINK + done, 2)] =
			(image.base.v + done) | PTE_P | PTE_PS | (done == 0 ? 0 : PTE_W | PTE_NX);
}

/*
 * Physical memory below 4 GiB: the tables of the low half once more, and nothing executable.
 *
 * To do: the same question.  phys_to_virt already asks direct_map_base.
 */
static void
early_map_direct(void)
{
	uint64_t *table = boot_tables[BOOT_PDPT_DIRECT];

	boot_tables[BOOT_PML4][INDEX(ARCH_DIRECT_MAP_LINK, 4)] = boot_link(BOOT_PDPT_DIRECT);
	for (unsigned i = 0; i < 4; i++)
		table[INDEX(ARCH_DIRECT_MAP_LINK, 3) + i] = boot_link(BOOT_PD_LOW + i) | PTE_NX;
}

/* ==== arch/aarch64/mmu.c ==== */

/*
 * The image, by the tables of 2 MiB that start.S has filled for the low half.
 *
 * To do: this maps it where it was linked, in one table of 1 GiB.  start.S jumps to where layout_choose has put
 * it, and faults for ever if nothing is there.  Which tables does sysreg.h have for it, and where may it lie?
 */
void
a64_early_map_image(void)
{
	uint64_t *top = boot_tables[BOOT_PUD_HIGH], *table = boot_tables[BOOT_PMD_HIGH];

	for (unsigned i = 0; i < IMAGE_TABLES; i++)
		table[INDEX(ARCH_IMAGE_LINK, 2) + i] = link_to(PADDR(a64_image_phys(boot_tables[BOOT_PTES + i])));
	top[INDEX(ARCH_IMAGE_LINK, 3)] = link_to(PADDR(a64_image_phys(table)));
	boot_tables[BOOT_ROOT_HIGH][INDEX(ARCH_IMAGE_LINK, 4)] = link_to(PADDR(a64_image_phys(top)));
	a64_dsb(ishst);
	a64_isb();
}
