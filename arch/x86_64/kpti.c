/*
 * Row kpti on this processor: user mode has a root of its own, which the first instructions of every way
 * in leave and the last ones of every way out load (trampoline.S).  Its kernel half is the entry area: what the
 * processor itself needs to come in.  Its addresses are constants, so that neither SIDT and SGDT nor a look
 * at it tells where the kernel is (row kaslr).
 */
#include "arch/pte.h"
#include "kernel/harden/harden.h"
#include "kernel/mm/page.h"
#include "cpu.h"

struct entry_data x86_entry_data[MAX_CPUS];

/* The top of the entry stack is the end of the page. */
_Static_assert(sizeof(struct entry_data) == PAGE_SIZE, "one page");

static bool area_mapped ro_after_init;

void
x86_entry_area_ready(void)
{
	area_mapped = true;
}

static uint64_t
text_size(void)
{
	return (uint64_t)(__entry_text_end - __entry_text_start);
}

uint64_t
x86_entry_area(unsigned cpu)
{
	return ENTRY_AREA_BASE + (cpu + 1ul) * ENTRY_AREA_STRIDE;
}

uint64_t
x86_entry_idt(void)
{
	return area_mapped ? ENTRY_AREA_BASE : (uint64_t)x86_idt;
}

uint64_t
x86_entry_text(const struct cpu *c, const char *code)
{
	if (!area_mapped)
		return (uint64_t)code;
	return x86_entry_area(c->number) + (uint64_t)(code - __entry_text_start);
}

struct entry_data *
x86_entry_data_of(const struct cpu *c)
{
	if (!area_mapped)
		return &x86_entry_data[c->number];
	return (struct entry_data *)(x86_entry_area(c->number) + text_size());
}

no_canary void
x86_entry_init(struct cpu *c)
{
	c->syscall = (uint64_t)x86_syscall;
	c->trap_from_user = (uint64_t)x86_trap_from_user;
	c->trap_from_kernel = (uint64_t)x86_trap_from_kernel;
	c->paranoid = (uint64_t)x86_paranoid;
	c->exit_sysret = x86_entry_text(c, x86_exit_sysret);
	c->exit_iret = x86_entry_text(c, x86_exit_iret);
	c->exit_paranoid = x86_entry_text(c, x86_exit_paranoid);
	c->entry_sp = (uint64_t)(x86_entry_data_of(c) + 1);
}

/* ---- The row ---- */

bool
arch_kernel_hidden_supported(void)
{
	return true;
}

/* Nothing to set: the tables were built so, and arch_pt_activate says which root user mode gets. */
void
arch_kernel_hidden_enable(void)
{
}

/* True if the tables lead from va, in the entry area, to what belongs there. */
static bool
belongs(uint64_t va, paddr_t pa)
{
	pte_t e = arch_pt_get(&kernel_pt, va);

	return va - ENTRY_AREA_BASE < (MAX_CPUS + 1) * ENTRY_AREA_STRIDE && pte_paddr(e).v == pa.v;
}

static void
count_foreign(void *arg, uint64_t va, uint64_t size, paddr_t pa, unsigned prot)
{
	unsigned *foreign = arg;

	if (size != PAGE_SIZE || (prot & PROT_USER) || !belongs(va, pa))
		(*foreign)++;
}

/* Walks the kernel half of the root that this CPU loads on its way to user mode. */
bool
arch_kernel_hidden_active(void)
{
	unsigned foreign = 0;

	x86_walk_kernel_half(PADDR(this_cpu()->user_root & CR3_ROOT), count_foreign, &foreign);
	return foreign == 0;
}

bool
arch_user_view(uint64_t va, paddr_t *pa)
{
	struct arch_pt view = {.root = PADDR(this_cpu()->user_root & CR3_ROOT)};
	pte_t e = arch_pt_get(&view, va);

	if (!pte_present(e))
		return false;
	*pa = PADDR(pte_paddr(e).v + va % PAGE_SIZE);
	return true;
}
