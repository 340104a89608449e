/*
 * Two programs on one CPU take turns, by a pipe each way: test-turns USER USER TIMES, as these users.
 * It judges nothing; grade/tests/test_bochs.py looks at what the kernel does in between.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/cpu.h"

static void
must(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

/* A breakpoint here meets each turn of each program. */
__attribute__((noinline)) void turns_turn(void);

void
turns_turn(void)
{
	__asm__ volatile("");
}

static void
play(uid_t user, int in, int out, int times)
{
	char ball = 0;

	must(setresuid(user, user, user) == 0, "setresuid");
	while (times--) {
		must(read(in, &ball, 1) == 1, "read");
		turns_turn();
		must(write(out, &ball, 1) == 1, "write");
	}
}

int
main(int argc, char *argv[])
{
	int there[2], back[2], times, status;
	pid_t pid;

	if (argc != 4) {
		fprintf(stderr, "usage: test-turns USER USER TIMES\n");
		return 2;
	}
	times = atoi(argv[3]);
	must(pin(0) == 0, "sched_setaffinity");
	must(pipe(there) == 0 && pipe(back) == 0, "pipe");
	must((pid = fork()) >= 0, "fork");
	if (pid == 0) {
		play((uid_t)atoi(argv[2]), there[0], back[1], times);
		return 0;
	}
	must(write(back[1], "", 1) == 1, "write");
	play((uid_t)atoi(argv[1]), back[0], there[1], times);
	must(waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
	return 0;
}
