/*
 * Time: the generic timer's virtual counter as the clock and its comparator for events (ARM D11); a
 * PL031 (Arm DDI 0224) for the date.
 */
#include "kernel/mm/page.h"
#include "kernel/proc/time.h"
#include "cpu.h"

#define CTL_ENABLE 1
#define AHEAD_MAX  (3600ul * NSEC_PER_SEC)

static uint64_t count_base ro_after_init;
static uint64_t ns_mult ro_after_init;	 /* ns per count, times 2^32 */
static uint64_t count_mult ro_after_init; /* counts per ns, times 2^32 */

static uint64_t
scale(uint64_t v, uint64_t mult)
{
	return (uint64_t)(((unsigned __int128)v * mult) >> 32);
}

uint64_t
arch_clock_ns(void)
{
	a64_isb(); /* or the counter may be read before what the program did earlier */
	return scale(arch_cycles() - count_base, ns_mult);
}

void
arch_user_clock(uint64_t *base, uint64_t *mult)
{
	*base = count_base;
	*mult = ns_mult;
}

void
a64_timer_init(void)
{
	uint64_t hz = READ_SYSREG(cntfrq_el0);

	ns_mult = (NSEC_PER_SEC << 32) / hz;
	count_mult = (hz << 32) / NSEC_PER_SEC;
	count_base = arch_cycles();
}

void
a64_timer_cpu_init(void)
{
	WRITE_SYSREG(cntv_ctl_el0, 0);
	a64_gic_enable(firmware_info.timer_irq);
}

/* It is one-shot: the line, which is a level, goes down. */
void
a64_timer_ack(void)
{
	WRITE_SYSREG(cntv_ctl_el0, 0);
}

void
arch_timer_set(uint64_t ns)
{
	if (ns == UINT64_MAX) {
		WRITE_SYSREG(cntv_ctl_el0, 0);
	} else {
		/*
		 * At most an hour ahead: at 1 GHz the last of the deadlines would be past the counter's 64 bits,
		 * and so in the past.  An early interrupt only sets it again.  Else rounded up, lest it be early.
		 */
		ns = MIN(ns, arch_clock_ns() + AHEAD_MAX);
		WRITE_SYSREG(cntv_cval_el0, count_base + scale(ns, count_mult) + 1);
		WRITE_SYSREG(cntv_ctl_el0, CTL_ENABLE);
	}
	a64_isb();
}

uint64_t
arch_rtc_seconds(void)
{
	const volatile uint32_t *rtc = phys_to_virt(firmware_info.rtc.base);

	return firmware_info.rtc.size ? rtc[0] : 0;
}
