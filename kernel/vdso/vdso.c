/*
 * The vDSO: a small shared object that the kernel lends to every program (vdso(7)), so that asking for
 * the time is a call and no system call.  User-mode code, and a link of its own: it has no data, and
 * nothing in it needs relocation.  kernel/proc/vdso.c maps it, [vvar] right below.
 */
#include "kernel/vdso/data.h"

/* vdso_cycles, vdso_syscall; VDSO(name): the name that this architecture's programs look for. */
#include "vdso.h"

#define NSEC_PER_SEC 1000000000u
#define EXPORT __attribute__((visibility("default")))

extern const struct vdso_data vdso_data __attribute__((visibility("hidden"))); /* vdso.lds */

struct timespec {
	int64_t sec, nsec;
};

struct timeval {
	int64_t sec, usec;
};

int VDSO(clock_gettime)(int id, struct timespec *ts) EXPORT;
int VDSO(clock_getres)(int id, struct timespec *ts) EXPORT;
int VDSO(gettimeofday)(struct timeval *tv, void *tz) EXPORT;

static uint64_t
monotonic(void)
{
	uint64_t cycles = vdso_cycles() - vdso_data.count_base;

	return (uint64_t)(((unsigned __int128)cycles * vdso_data.ns_mult) >> 32);
}

static uint64_t
realtime(void)
{
	return monotonic() + __atomic_load_n(&vdso_data.realtime_offset, __ATOMIC_RELAXED);
}

/* Of the clocks that kernel/proc/clock.c knows, those that need no process: by number, a bit each. */
#define REALTIME_CLOCKS	 (1u << 0 | 1u << 5 | 1u << 11)
#define MONOTONIC_CLOCKS (1u << 1 | 1u << 4 | 1u << 6 | 1u << 7)

int
VDSO(clock_gettime)(int id, struct timespec *ts)
{
	unsigned clock = (unsigned)id < 32 ? 1u << id : 0;
	uint64_t ns;

	if (clock & REALTIME_CLOCKS)
		ns = realtime();
	else if (clock & MONOTONIC_CLOCKS)
		ns = monotonic();
	else
		return (int)vdso_syscall(SYS_clock_gettime, id, (long)ts);
	ts->sec = (int64_t)(ns / NSEC_PER_SEC);
	ts->nsec = (int64_t)(ns % NSEC_PER_SEC);
	return 0;
}

int
VDSO(clock_getres)(int id, struct timespec *ts)
{
	if ((unsigned)id >= 32 || !(1u << id & (REALTIME_CLOCKS | MONOTONIC_CLOCKS)))
		return (int)vdso_syscall(SYS_clock_getres, id, (long)ts);
	if (ts)
		*ts = (struct timespec){0, 1};
	return 0;
}

int
VDSO(gettimeofday)(struct timeval *tv, void *tz)
{
	uint64_t ns;

	if (tz) /* which only the kernel keeps */
		return (int)vdso_syscall(SYS_gettimeofday, (long)tv, (long)tz);
	ns = realtime();
	if (tv)
		*tv = (struct timeval){(int64_t)(ns / NSEC_PER_SEC), ns % NSEC_PER_SEC / 1000};
	return 0;
}

#if VDSO_HAS_TIME_AND_GETCPU
int64_t VDSO(time)(int64_t *out) EXPORT;
int VDSO(getcpu)(unsigned *cpu, unsigned *node, void *unused) EXPORT;

int64_t
VDSO(time)(int64_t *out)
{
	int64_t now = (int64_t)(realtime() / NSEC_PER_SEC);

	if (out)
		*out = now;
	return now;
}

int
VDSO(getcpu)(unsigned *cpu, unsigned *node, void *unused __attribute__((unused)))
{
	if (cpu)
		*cpu = vdso_cpu();
	if (node)
		*node = 0;
	return 0;
}
#endif
