/*
 * MODEL, no bug: plays a processor with the flaw of CVE-2017-5754 (Meltdown), which no emulator here has.
 *
 * Such a processor reads ahead of its own permission check: whatever the tables that are active in user
 * mode translate can be had, supervisor pages too.  So this walks those very tables (arch_user_view) and
 * leaves the check out; what they do not translate, it cannot read.
 */
#include "arch/arch.h"
#include "kernel/dev/vuln.h"
#include "kernel/dev/vuln_calls.h"
#include "kernel/errno.h"
#include "kernel/lib/random.h"
#include "kernel/mm/page.h"
#include "kernel/mm/uaccess.h"

static uint64_t vuln_secret; /* what no program is ever told */

static long
meltdown(uaddr_t arg)
{
	struct vuln_word w;
	paddr_t pa;
	bool there;
	irqstate_t s;

	if (get_user(&w, arg))
		return -EFAULT;
	if (!w.address) {
		while (!vuln_secret)
			vuln_secret = random_u64();
		w.address = (uint64_t)&vuln_secret;
		return put_user(arg, &w);
	}
	if (!IS_ALIGNED(w.address, sizeof(w.value)))
		return -EINVAL;
	s = arch_irq_save(); /* the tables are this CPU's */
	there = arch_user_view(w.address, &pa);
	if (there)
		w.value = *(volatile uint64_t *)phys_to_virt(pa);
	arch_irq_restore(s);
	return there ? put_user(arg, &w) : -EFAULT;
}

long
vuln_meltdown_ioctl(unsigned cmd, uaddr_t arg)
{
	return cmd == VULN_MELTDOWN ? meltdown(arg) : -ENOTTY;
}
