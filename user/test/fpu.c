/*
 * Vector registers belong to one process: they are clean after exec, copied by fork, kept across
 * switches,
 * signals and calls, and never another's. AVX's upper halves are tried where the CPU has them.
 */
#include "user/test/test.h"
#include <cpuid.h>

#define VECTORS 16

static bool avx;

/* Fills all vector registers, spins (with calls and yields between), and reads them back. */
static void
load(const uint8_t *v)
{
	if (avx)
		__asm__ volatile("vmovdqu (%0), %%ymm0\n\tvmovdqu 32(%0), %%ymm1\n\t"
			"vmovdqu 64(%0), %%ymm2\n\t"
				 "vmovdqu 96(%0), %%ymm3\n\tvmovdqu 128(%0), %%ymm4\n\t"
				 "vmovdqu 160(%0), %%ymm5\n\t"
				 "vmovdqu 192(%0), %%ymm6\n\tvmovdqu 224(%0), %%ymm7\n\t"
				 "vmovdqu 256(%0), %%ymm8\n\t"
				 "vmovdqu 288(%0), %%ymm9\n\tvmovdqu 320(%0), %%ymm10\n\t"
				 "vmovdqu 352(%0), %%ymm11\n\t"
				 "vmovdqu 384(%0), %%ymm12\n\tvmovdqu 416(%0), %%ymm13\n\t"
				 "vmovdqu 448(%0), %%ymm14\n\t"
				 "vmovdqu 480(%0), %%ymm15" :: "r"(v) : "memory");
	else
		__asm__ volatile("movdqu (%0), %%xmm0\n\tmovdqu 32(%0), %%xmm1\n\t"
			"movdqu 64(%0), %%xmm2\n\t"
				 "movdqu 96(%0), %%xmm3\n\tmovdqu 128(%0), %%xmm4\n\t"
				 "movdqu 160(%0), %%xmm5\n\t"
				 "movdqu 192(%0), %%xmm6\n\tmovdqu 224(%0), %%xmm7\n\t"
				 "movdqu 256(%0), %%xmm8\n\t"
				 "movdqu 288(%0), %%xmm9\n\tmovdqu 320(%0), %%xmm10\n\t"
				 "movdqu 352(%0), %%xmm11\n\t"
				 "movdqu 384(%0), %%xmm12\n\tmovdqu 416(%0), %%xmm13\n\t"
				 "movdqu 448(%0), %%xmm14\n\t"
				 "movdqu 480(%0), %%xmm15" :: "r"(v) : "memory");
}

static void
store(uint8_t *v)
{
	if (avx)
		__asm__ volatile("vmovdqu %%ymm0, (%0)\n\tvmovdqu %%ymm1, 32(%0)\n\t"
			"vmovdqu %%ymm2, 64(%0)\n\t"
				 "vmovdqu %%ymm3, 96(%0)\n\tvmovdqu %%ymm4, 128(%0)\n\t"
				 "vmovdqu %%ymm5, 160(%0)\n\t"
				 "vmovdqu %%ymm6, 192(%0)\n\tvmovdqu %%ymm7, 224(%0)\n\t"
				 "vmovdqu %%ymm8, 256(%0)\n\t"
				 "vmovdqu %%ymm9, 288(%0)\n\tvmovdqu %%ymm10, 320(%0)\n\t"
				 "vmovdqu %%ymm11, 352(%0)\n\t"
				 "vmovdqu %%ymm12, 384(%0)\n\tvmovdqu %%ymm13, 416(%0)\n\t"
				 "vmovdqu %%ymm14, 448(%0)\n\t"
				 "vmovdqu %%ymm15, 480(%0)" :: "r"(v) : "memory");
	else
		__asm__ volatile("movdqu %%xmm0, (%0)\n\tmovdqu %%xmm1, 32(%0)\n\t"
			"movdqu %%xmm2, 64(%0)\n\t"
				 "movdqu %%xmm3, 96(%0)\n\tmovdqu %%xmm4, 128(%0)\n\t"
				 "movdqu %%xmm5, 160(%0)\n\t"
				 "movdqu %%xmm6, 192(%0)\n\tmovdqu %%xmm7, 224(%0)\n\t"
				 "movdqu %%xmm8, 256(%0)\n\t"
				 "movdqu %%xmm9, 288(%0)\n\tmovdqu %%xmm10, 320(%0)\n\t"
				 "movdqu %%xmm11, 352(%0)\n\t"
				 "movdqu %%xmm12, 384(%0)\n\tmovdqu %%xmm13, 416(%0)\n\t"
				 "movdqu %%xmm14, 448(%0)\n\t"
				 "movdqu %%xmm15, 480(%0)" :: "r"(v) : "memory");
}

/* A system call that touches no vector register on its way, as libc's might. */
static long
call(long number, long a, long b)
{
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(number), "D"(a), "S"(b), "d"(0L) : "rcx", "r11",
		"memory");
	return r;
}

static void
pattern(uint8_t *v, unsigned id)
{
	for (unsigned i = 0; i < 32 * VECTORS; i++)
		v[i] = !avx && i % 32 >= 16 ? 0 : (uint8_t)(id * 37 + i * 11 + (i >> 5));
}

static void
find_avx(void)
{
	unsigned a, b, c, d, lo, hi;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX))
		return;
	__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	avx = (lo & 6) == 6;
}

static volatile sig_atomic_t ticks;

static void
on_tick(int sig)
{
	static uint8_t other[32 * VECTORS];

	(void)sig;
	ticks++;
	memset(other, (int)ticks, sizeof(other));
	load(other);
}

static void
four_processes_never_mix(void)
{
	pid_t p[4];

	find_avx();
	for (unsigned k = 0; k < 4; k++) {
		p[k] = t_fork();
		if (p[k] == 0) {
			static uint8_t mine[32 * VECTORS], seen[32 * VECTORS];
			long end = t_now() + 400;

			for (unsigned n = 0; t_now() < end; n++) {
				pattern(mine, k * 50 + n);
				memset(seen, 0, sizeof(seen));
				load(mine);
				for (int i = 0; i < 20; i++)
					call(SYS_sched_yield, 0, 0);
				for (volatile int i = 0; i < 20000; i++)
					continue;
				store(seen);
				check(memcmp(mine, seen, sizeof(mine)) == 0);
			}
			_exit(0);
		}
	}
	for (int k = 0; k < 4; k++)
		exits(p[k], 0);
}

static void
handlers_do_not_disturb(void)
{
	struct { long is, iu, vs, vu; } it = { 0, 2000, 0, 2000 };
	static uint8_t mine[32 * VECTORS], seen[32 * VECTORS];

	find_avx();
	signal(SIGALRM, on_tick);
	ok(syscall(SYS_setitimer, 0, &it, NULL));
	for (unsigned n = 0; ticks < 60; n++) {
		pattern(mine, n);
		load(mine);
		for (int i = 0; i < 50; i++)
			call(SYS_getppid, 0, 0);
		store(seen);
		check(memcmp(mine, seen, sizeof(mine)) == 0);
	}
}

static void
fork_copies_live_registers(void)
{
	static uint8_t mine[32 * VECTORS], seen[32 * VECTORS];

	find_avx();
	for (unsigned n = 0; n < 20; n++) {
		pattern(mine, n);
		load(mine);
		long p = call(SYS_clone, SIGCHLD, 0);
		store(seen);
		if (p == 0)
			_exit(memcmp(mine, seen, sizeof(mine)) != 0);
		check(memcmp(mine, seen, sizeof(mine)) == 0);
		exits((pid_t)p, 0);
	}
}

static void
exec_starts_clean(void)
{
	static uint8_t mine[32 * VECTORS];
	static char *argv[] = { "fpu", "--clean", NULL };

	find_avx();
	for (int n = 0; n < 5; n++) {
		pid_t p = t_fork();

		if (p == 0) {
			uint32_t mxcsr = 0x9fc0;
			unsigned short cw = 0x77f;
			extern char **environ;

			memset(mine, 0xaa, sizeof(mine));
			__asm__ volatile("ldmxcsr %0\n\tfldcw %1\n\tfldpi" :: "m"(mxcsr), "m"(cw));
			load(mine);
			long r;
			__asm__ volatile("syscall" : "=a"(r)
					 : "a"(SYS_execve), "D"("/proc/self/exe"), "S"(argv),
						"d"(environ)
					 : "rcx", "r11", "memory");
			_exit(126);
		}
		exits(p, 0);
	}
}

/* What libc leaves when main runs cannot hold 0xaa in every byte, nor odd control words. */
static int
clean(void)
{
	static uint8_t seen[32 * VECTORS];
	uint32_t mxcsr;
	unsigned short cw, sw;
	int leaked = 0;

	find_avx();
	store(seen);
	__asm__ volatile("stmxcsr %0\n\tfnstcw %1\n\tfnstsw %2" : "=m"(mxcsr), "=m"(cw), "=m"(sw));
	for (unsigned i = 0; i < VECTORS; i++) {
		if (memcmp(seen + 32 * i, "\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa", 8) == 0 ||
		    memcmp(seen + 32 * i + 24, "\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa", 8) == 0)
			leaked++;
	}
	return leaked != 0 || (mxcsr & 0xffc0) != 0x1f80 || cw != 0x37f || (sw & 0x3800) != 0;
}

static const struct test tests[] = {
	TEST(four_processes_never_mix),
	TEST(handlers_do_not_disturb),
	TEST(fork_copies_live_registers),
	TEST(exec_starts_clean),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--clean") == 0)
		return clean();
	return t_main(argc, argv, tests);
}
