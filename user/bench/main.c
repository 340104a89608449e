/*
 * /bin/bench: the cost of the kernel's operations as a program sees them, row by row in the manner
 * of lmbench. Each row prints `bench NAME NANOSECONDS`, the time of one operation: the least of
 * some repetitions, after a warm-up. Under QEMU's -icount a nanosecond is one guest instruction.
 *
 * An ordinary Linux program: grade/bench.py runs the same file on Rampart and on Debian's kernel.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "user/bench/bench.h"

#define REPETITIONS 3

static const struct row *const groups[] = {
	syscall_rows, signal_rows, process_rows, memory_rows,
};
#define GROUPS (sizeof(groups) / sizeof(groups[0]))

uint64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void
check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
measure(const struct row *row, unsigned int scale)
{
	unsigned int times = row->times * scale;
	uint64_t best = UINT64_MAX;

	row->run(row->times / 10 + 1);
	for (int i = 0; i < REPETITIONS; i++) {
		uint64_t took = row->run(times);

		if (took < best)
			best = took;
	}
	printf("bench %s %.1f\n", row->name, (double)best / times);
	fflush(stdout);
}

static bool
wanted(const char *name, char *const names[])
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

int
main(int argc, char *argv[])
{
	unsigned int scale = 1;
	bool list = false, any = false;
	int option;

	while ((option = getopt(argc, argv, "ls:")) != -1) {
		switch (option) {
		case 'l':
			list = true;
			break;
		case 's':
			scale = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		default:
			scale = 0;
		}
	}
	if (scale == 0) {
		fprintf(stderr, "usage: bench [-l] [-s SCALE] [ROW...]\n");
		return 2;
	}
	for (size_t i = 0; i < GROUPS; i++) {
		for (const struct row *row = groups[i]; row->name; row++) {
			if (!wanted(row->name, argv + optind))
				continue;
			any = true;
			if (list)
				printf("%-16s %s\n", row->name, row->what);
			else
				measure(row, scale);
		}
	}
	if (!any) {
		fprintf(stderr, "bench: no such row (bench -l lists them)\n");
		return 2;
	}
	return 0;
}
