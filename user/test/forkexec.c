/*
 * test-forkexec [-f] N: forks and executes itself (-f: forks alone) N times, and prints the memory in use
 * before and after, in KiB:
 * `forkexec: N before=A after=B`. A few rounds go first, so that what is allocated once is there.
 */
#include "user/test/test.h"
#include <sys/sysinfo.h>

static unsigned long
used(void)
{
	struct sysinfo si;

	sysinfo(&si);
	return (si.totalram - si.freeram) * si.mem_unit / 1024;
}

static bool forks_alone;

static int
rounds(long n)
{
	char *argv[] = { "forkexec", "--child", NULL };

	for (long i = 0; i < n; i++) {
		pid_t p = fork();

		if (p == 0 && forks_alone)
			_exit(7);
		if (p == 0) {
			execv("/proc/self/exe", argv);
			_exit(126);
		}
		if (p < 0 || t_wait(p) != 7)
			return -1;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	unsigned long before;
	long n;

	if (argc > 1 && strcmp(argv[1], "--child") == 0)
		return 7;
	forks_alone = argc > 2 && strcmp(argv[1], "-f") == 0;
	n = argc > 1 ? atol(argv[argc - 1]) : 100;
	if (rounds(20) < 0) {
		printf("not ok forkexec: warm-up\n");
		return 1;
	}
	before = used();
	if (rounds(n) < 0) {
		printf("not ok forkexec: a child failed\n");
		return 1;
	}
	printf("forkexec: %ld before=%lu after=%lu\n", n, before, used());
	return 0;
}
