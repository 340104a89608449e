/*
 * Time: the TSC as the clock, the local APIC's timer in one-shot mode for events, both calibrated
 * against the PIT's channel 2 (Intel 8254) at start-up; the battery-backed clock for the date.
 */
#include "kernel/lib/print.h"
#include "kernel/proc/time.h"
#include "x86.h"

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
x86_delay(uint64_t us)
{
	uint64_t end = arch_clock_ns() + us * NSEC_PER_USEC;

	while (arch_clock_ns() < end)
		arch_relax();
}

/* One run of the PIT; returns TSC cycles and timer ticks that passed in CALIBRATION_MS. */
static void
calibrate_once(uint64_t *cycles, uint64_t *ticks)
{
	uint64_t count = PIT_HZ * CALIBRATION_MS / 1000, start, lapic_start;

	x86_out8(PIT_GATE, (x86_in8(PIT_GATE) & ~0x02) | 0x01); /* speaker off, gate on */
	x86_out8(PIT_COMMAND, 0xb0);	/* channel 2, both bytes, mode 0 */
	x86_out8(PIT_CHANNEL2, (uint8_t)count);
	x86_lapic_write(LAPIC_TIMER_INITIAL, UINT32_MAX);
	x86_out8(PIT_CHANNEL2, (uint8_t)(count >> 8)); /* counting starts */
	start = arch_cycles();
	lapic_start = x86_lapic_read(LAPIC_TIMER_CURRENT);
	while (!(x86_in8(PIT_GATE) & 0x20))
		;
	*cycles = arch_cycles() - start;
	*ticks = lapic_start - x86_lapic_read(LAPIC_TIMER_CURRENT);
	x86_lapic_write(LAPIC_TIMER_INITIAL, 0);
}

void
x86_timer_calibrate(void)
{
	/* All fit 64 bits when shifted: the calibration takes a few million ns. */
	uint64_t cycles = UINT64_MAX, ticks = UINT64_MAX, ns = CALIBRATION_MS * NSEC_PER_MSEC;

	x86_lapic_write(LAPIC_TIMER_DIVIDE, 0xb); /* by 1 */
	x86_lapic_write(LAPIC_TIMER_LVT, LVT_MASKED | VEC_TIMER);
	/* A host that is busy makes a run too long, never too short: the shortest is the best. */
	for (unsigned i = 0; i < 2; i++) {
		uint64_t c, t;

		calibrate_once(&c, &t);
		cycles = MIN(cycles, c);
		ticks = MIN(ticks, t);
	}
	tsc_mult = (ns << 32) / cycles;
	lapic_mult = (ticks << 32) / ns;
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
