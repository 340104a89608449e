/*
 * Time: the TSC as the clock, the local APIC's timer in one-shot mode for events, both calibrated
 * against the PIT's channel 2 (Intel 8254) at start-up; the battery-backed clock for the date.
 */
#include "kernel/lib/print.h"
#include "kernel/proc/time.h"
#include "cpu.h"

#define PIT_HZ	       1193182ul
#define PIT_COMMAND    0x43
#define PIT_CHANNEL2   0x42
#define PIT_GATE       0x61
#define CALIBRATION_MS 4
#define LVT_MASKED     BIT(16)

static uint64_t tsc_base ro_after_init;
static uint64_t tsc_mult ro_after_init;	  /* ns per cycle, times 2^32 */
static uint64_t lapic_mult ro_after_init; /* timer ticks per ns, times 2^32 */

static uint64_t
scale(uint64_t v, uint64_t mult)
{
	return (uint64_t)(((unsigned __int128)v * mult) >> 32);
}

uint64_t
arch_clock_ns(void)
{
	return scale(arch_cycles() - tsc_base, tsc_mult);
}

void
arch_user_clock(uint64_t *base, uint64_t *mult)
{
	*base = tsc_base;
	*mult = tsc_mult;
}

void
x86_delay(uint64_t us)
{
	uint64_t end = arch_clock_ns() + us * NSEC_PER_USEC;

	while (arch_clock_ns() < end)
		arch_relax();
}

struct sample {
	uint64_t cycles;
	uint32_t lapic;
	uint32_t pit; /* counts down */
};

/*
 * One look at the three clocks.  A host that is busy stops this CPU between two reads, for longer than
 * the whole calibration: of several looks the quickest counts.
 */
static struct sample
look(void)
{
	struct sample best = {0};
	uint64_t quickest = UINT64_MAX;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t before = arch_cycles(), took;
		uint32_t ticks = x86_lapic_read(LAPIC_TIMER_CURRENT), low;

		x86_out8(PIT_COMMAND, 0x80); /* hold the count of channel 2 until it is read */
		low = x86_in8(PIT_CHANNEL2);
		low |= (uint32_t)x86_in8(PIT_CHANNEL2) << 8;
		took = arch_cycles() - before;
		if (took < quickest) {
			quickest = took;
			best = (struct sample){before, ticks, low};
		}
	}
	return best;
}

void
x86_timer_calibrate(void)
{
	struct sample a, b;
	uint64_t ns;

	x86_lapic_write(LAPIC_TIMER_DIVIDE, 0xb); /* by 1 */
	x86_lapic_write(LAPIC_TIMER_LVT, LVT_MASKED | VEC_TIMER);
	x86_out8(PIT_GATE, (x86_in8(PIT_GATE) & ~0x02) | 0x01); /* speaker off, gate on */
	do {
		x86_lapic_write(LAPIC_TIMER_INITIAL, UINT32_MAX);
		x86_out8(PIT_COMMAND, 0xb0); /* channel 2, both bytes, mode 0: the output rises at 0 */
		x86_out8(PIT_CHANNEL2, 0xff);
		x86_out8(PIT_CHANNEL2, 0xff);
		a = look();
		do
			b = look();
		while (a.pit - b.pit < PIT_HZ * CALIBRATION_MS / 1000 &&
		       !(x86_in8(PIT_GATE) & 0x20));
	} while (x86_in8(PIT_GATE) & 0x20); /* it was that long: the count has begun anew */
	x86_lapic_write(LAPIC_TIMER_INITIAL, 0);
	ns = (a.pit - b.pit) * NSEC_PER_SEC / PIT_HZ;
	/* All fit 64 bits when shifted: the PIT's 16 bits last 55 ms. */
	tsc_mult = (ns << 32) / (b.cycles - a.cycles);
	lapic_mult = ((uint64_t)(a.lapic - b.lapic) << 32) / ns;
	tsc_base = arch_cycles();
}

void
x86_timer_cpu_init(void)
{
	x86_lapic_write(LAPIC_TIMER_DIVIDE, 0xb);
	x86_lapic_write(LAPIC_TIMER_LVT, VEC_TIMER);
}

void
arch_timer_set(uint64_t ns)
{
	uint64_t now = arch_clock_ns(), ticks;

	if (ns == UINT64_MAX) {
		x86_lapic_write(LAPIC_TIMER_INITIAL, 0);
		return;
	}
	/* At most a second ahead: the counter has 32 bits. An early interrupt only sets it again. */
	ticks = ns > now ? scale(MIN(ns - now, NSEC_PER_SEC), lapic_mult) : 1;
	x86_lapic_write(LAPIC_TIMER_INITIAL, (uint32_t)MIN(MAX(ticks, 1ul), (uint64_t)UINT32_MAX));
}

/* ---- The battery-backed clock (Motorola MC146818) ---- */

static uint8_t
cmos(uint8_t reg)
{
	x86_out8(0x70, reg | 0x80);
	return x86_in8(0x71);
}

static unsigned
from_bcd(unsigned v, bool bcd)
{
	return bcd ? (v >> 4) * 10 + (v & 15) : v;
}

uint64_t
arch_rtc_seconds(void)
{
	unsigned sec, min, hour, day, month, year, again;
	bool bcd = !(cmos(0x0b) & 4), pm;
	int64_t y, era, days;

	for (unsigned i = 0; i < 100000 && (cmos(0x0a) & 0x80); i++)
		arch_relax(); /* an update is under way */
	do {
		sec = cmos(0);
		min = cmos(2);
		hour = cmos(4);
		day = cmos(7);
		month = cmos(8);
		year = cmos(9);
		again = cmos(0);
	} while (sec != again);
	pm = !(cmos(0x0b) & 2) && (hour & 0x80);
	hour = from_bcd(hour & 0x7f, bcd);
	if (!(cmos(0x0b) & 2))
		hour = hour % 12 + (pm ? 12 : 0);
	sec = from_bcd(sec, bcd);
	min = from_bcd(min, bcd);
	day = from_bcd(day, bcd);
	month = from_bcd(month, bcd);
	year = from_bcd(year, bcd) + 2000;
	if (month < 1 || month > 12 || day < 1 || day > 31)
		return 0;

	/* Days since 1970 of a Gregorian date, with years that begin in March. */
	y = (int64_t)year - (month <= 2);
	era = y / 400;
	days = era * 146097 + (y - era * 400) * 365 + (y - era * 400) / 4 - (y - era * 400) / 100 +
	       (153 * (int64_t)(month + (month > 2 ? -3 : 9)) + 2) / 5 + (int64_t)day - 1 - 719468;
	return (uint64_t)(days * 86400 + hour * 3600 + min * 60 + sec);
}
