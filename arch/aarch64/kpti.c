/*
 * Row kpti on this processor: what user mode's tables have of the kernel.  mmu.c makes them, trampoline.S
 * goes to and from them; here they are read back.
 */
#include "arch/tables.h"
#include "cpu.h"

bool
arch_kernel_hidden_supported(void)
{
	return true;
}

/* From its next exit on. */
void
arch_kernel_hidden_enable(void)
{
	this_cpu()->user_vectors = TRAMPOLINE_VECTORS;
}

/* What TTBR1_EL1 becomes on this CPU's way out to user mode. */
static uint64_t
user_ttbr1(void)
{
	uint64_t v = READ_SYSREG(ttbr1_el1);

	return this_cpu()->user_vectors ? v | TTBR1_USER_ROOT | TTBR1_USER_ASID : v;
}

/* Leaves of a table that are not `allowed` and have one of the wanted bits clear. */
static unsigned
count_without(const uint64_t *table, unsigned level, uint64_t bits, uint64_t allowed)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ENTRIES; i++) {
		uint64_t e = READ_ONCE(table[i]);

		if (!entry_valid(e))
			continue;
		if (level > 1 && entry_is_table(e))
			n += count_without(table_at(e), level - 1, bits, allowed);
		else if ((e & PTE_FRAME) != allowed)
			n += (e & bits) != bits;
	}
	return n;
}

static bool
translate(uint64_t root, uint64_t va, uint64_t *entry, uint64_t *pa)
{
	const uint64_t *table = table_at(root);

	for (unsigned level = 4;; level--) {
		uint64_t e = READ_ONCE(table[INDEX(va, level)]);
		uint64_t inside = va & (LEVEL_SIZE(level) - 1);

		if (!entry_valid(e))
			return false;
		if (level == 1 || !entry_is_table(e)) {
			*entry = e;
			*pa = (e & PTE_FRAME) + inside;
			return true;
		}
		table = table_at(e);
	}
}

/*
 * User mode's root leads to the trampoline, which it cannot change, and nowhere else; and every other page
 * of the kernel is of its ASID, so that user mode does not find it in the TLB.
 */
bool
arch_kernel_hidden_active(void)
{
	uint64_t ttbr1 = user_ttbr1(), trampoline = a64_image_phys(a64_trampoline), entry, pa;

	return this_cpu()->user_vectors == TRAMPOLINE_VECTORS && (ttbr1 & TTBR1_USER_ASID) &&
	       translate(ttbr1, TRAMPOLINE, &entry, &pa) && pa == trampoline && (entry & PTE_RO) &&
	       count_without(table_at(ttbr1), 4, UINT64_MAX, trampoline) == 0 &&
	       count_without(table_at(kernel_pt.root.v), 4, PTE_NG, trampoline) == 0;
}

bool
arch_user_view(uint64_t va, paddr_t *pa)
{
	uint64_t root = va >> 63 ? user_ttbr1() : READ_SYSREG(ttbr0_el1), entry;

	/* TCR_EL1: both halves have 48 bits, and the top byte of a user address is not looked at. */
	va = va >> 63 ? va : va & ~(0xfful << 56);
	if (va + BIT(48) >= BIT(49))
		return false;
	return translate(root, va, &entry, &pa->v);
}
