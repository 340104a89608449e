/* Row kpti on this processor: user mode has the kernel's tables still. */
#include "kernel/mm/page.h"
#include "x86.h"

bool
arch_kernel_hidden_supported(void)
{
	return false;
}

void
arch_kernel_hidden_enable(void)
{
}

bool
arch_kernel_hidden_active(void)
{
	paddr_t pa;

	return !arch_user_view((uint64_t)arch_kernel_hidden_active, &pa);
}

bool
arch_user_view(uint64_t va, paddr_t *pa)
{
	struct arch_pt *pt = this_cpu()->pt;
	pte_t e = arch_pt_get(va >> 63 || !pt ? &kernel_pt : pt, va);

	if (!pte_present(e))
		return false;
	*pa = PADDR(pte_paddr(e).v + va % PAGE_SIZE);
	return true;
}
