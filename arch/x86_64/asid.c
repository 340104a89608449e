/*
 * Process-context identifiers (SDM 3A 4.10.1), where the processor has them and can forget one at a time.
 *
 * Each CPU uses two, whatever address space it runs: one for the kernel's root, one for user mode's, so
 * that with row kpti the way in and out keeps the TLB (and a third while it writes a table: ro_pgtable.c).
 * A switch to another address space forgets both.  Without them each write of CR3 forgets all translations
 * that are not global.
 */
#include "kernel/harden/harden.h"
#include "kernel/mm/page.h"
#include "cpu.h"

#define PCID_USER (PCID_KERNEL | BIT(PCID_USER_BIT))

/* INVPCID's types (SDM 2A INVPCID) */
enum { ONE_ADDRESS, ONE_PCID };

static void
invpcid(uint64_t type, uint64_t pcid, uint64_t va)
{
	struct {
		uint64_t pcid, va;
	} what = {pcid, va};

	__asm__ volatile("invpcid %1, %0" : : "r"(type), "m"(what) : "memory");
}

bool
arch_asid_supported(void)
{
	return x86_cpuid(1, 0).c & BIT(17) && x86_cpuid(0, 0).a >= 7 && x86_cpuid(7, 0).b & BIT(10);
}

/* CR4.PCIDE may be set only while CR3 has PCID 0 (SDM 3A 4.10.1). */
void
arch_asid_enable(void)
{
	struct cpu *c = this_cpu();
	irqstate_t s = arch_irq_save();

	x86_write_cr4(x86_read_cr4() | CR4_PCIDE);
	x86_entry_data_of(c)->keep_tlb = CR3_KEEP_TLB;
	x86_pcid_activate(c->pt->root.v, c->user_root);
	arch_irq_restore(s);
}

static bool
numbered(void)
{
	return x86_entry_data_of(this_cpu())->keep_tlb;
}

void
x86_pcid_activate(uint64_t kernel, uint64_t user)
{
	struct cpu *c = this_cpu();

	c->user_root = user;
	if (!numbered()) {
		x86_write_cr3(kernel);
		return;
	}
	c->user_root |= PCID_USER | CR3_KEEP_TLB;
	/* harden=-asid: the textbook bug, numbers that come again with their old translations. */
	if (!harden_wanted(HARDEN_ASID)) {
		x86_write_cr3(kernel | PCID_KERNEL | CR3_KEEP_TLB);
		return;
	}
	x86_write_cr3(kernel | PCID_KERNEL);
	invpcid(ONE_PCID, PCID_USER, 0);
}

void
x86_pcid_forget_page(uint64_t va)
{
	x86_invlpg(va);
	if (numbered())
		invpcid(ONE_ADDRESS, PCID_USER, va);
}

void
x86_pcid_forget_all(void)
{
	x86_write_cr3(x86_read_cr3());
	if (numbered())
		invpcid(ONE_PCID, PCID_USER, 0);
}

/* The two that there are come again at every switch. */
void
arch_asid_use_up(void)
{
	arch_pt_activate(&kernel_pt);
}
