/*
 * Vector registers belong to one process: they are clean after exec, copied by fork, kept across
 * switches,
 * signals and calls, and never another's. AVX's upper halves are tried where the CPU has them.
 */
#include "user/test/test.h"
#include "machine.h"
#include "fpu.h"

static void
pattern(uint8_t *v, unsigned id)
{
	for (unsigned i = 0; i < 32 * VECTORS; i++)
		v[i] = !t_wide_vectors() && i % 32 >= 16 ? 0 : (uint8_t)(id * 37 + i * 11 + (i >> 5));
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
					t_call(SYS_sched_yield, 0, 0);
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

	signal(SIGALRM, on_tick);
	ok(syscall(SYS_setitimer, 0, &it, NULL));
	for (unsigned n = 0; ticks < 60; n++) {
		pattern(mine, n);
		load(mine);
		for (int i = 0; i < 50; i++)
			t_call(SYS_getppid, 0, 0);
		store(seen);
		check(memcmp(mine, seen, sizeof(mine)) == 0);
	}
}

static void
fork_copies_live_registers(void)
{
	static uint8_t mine[32 * VECTORS], seen[32 * VECTORS];

	for (unsigned n = 0; n < 20; n++) {
		pattern(mine, n);
		load(mine);
		long p = t_call(SYS_clone, SIGCHLD, 0);
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

	for (int n = 0; n < 5; n++) {
		pid_t p = t_fork();

		if (p == 0) {
			extern char **environ;

			memset(mine, 0xaa, sizeof(mine));
			t_odd_control();
			load(mine);
			t_call3(SYS_execve, (long)"/proc/self/exe", (long)argv, (long)environ);
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
	int leaked = 0;

	store(seen);
	for (unsigned i = 0; i < VECTORS; i++) {
		if (memcmp(seen + 32 * i, "\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa", 8) == 0 ||
		    memcmp(seen + 32 * i + 24, "\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa", 8) == 0)
			leaked++;
	}
	return leaked != 0 || !t_control_is_clean();
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
