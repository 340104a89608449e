/*
 * Walking into the neighbour.  Kernel stacks lie side by side; a call chain deep enough leaves its
 * own and writes over the next one, where a process that sleeps has its return addresses.
 */
#include "user/attack/attack.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * More sleepers than the kernel has used stacks to give out again: the last ones get fresh stacks,
 * one above the other, and the attacker the one above them.
 */
#define SLEEPERS 96
/* Levels of recursion of 1 KiB and a little: 32 are a stack, 36 reach into the next. */
#define SHALLOW 4
#define DEEP	36

static pid_t
start_sleeper(int fd)
{
	pid_t child = fork();
	char byte;

	if (child == 0) {
		/* The kernel sleeps here on this process's behalf: the pipe stays empty. */
		if (read(fd, &byte, 1) < 0)
			_exit(1);
		_exit(0);
	}
	if (child < 0)
		give_up("fork");
	return child;
}

/* Until then it uses its stack itself, and what is written there may be seen too early. */
static void
wait_until_asleep(pid_t child)
{
	char path[32], state = 'R';

	snprintf(path, sizeof(path), "/proc/%d/stat", child);
	while (state != 'S') {
		FILE *f = fopen(path, "r");

		if (!f || fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			give_up(path);
		fclose(f);
		sched_yield();
	}
}

static void
run(void)
{
	struct vuln_recursion recursion = { SHALLOW, MAGIC };
	pid_t sleepers[SLEEPERS], attacker;
	int fds[2], status;

	step("legal: the kernel calls itself a few times");
	vuln(VULN_RECURSE, &recursion);

	if (pipe(fds) != 0)
		give_up("pipe");
	for (int i = 0; i < SLEEPERS; i++)
		sleepers[i] = start_sleeper(fds[0]);
	for (int i = 0; i < SLEEPERS; i++)
		wait_until_asleep(sleepers[i]);
	step("illegal: the kernel calls itself more often than its stack allows");
	attacker = fork();
	if (attacker == 0) {
		recursion.depth = DEEP;
		vuln(VULN_RECURSE, &recursion);
		_exit(0);
	}
	if (attacker < 0 || waitpid(attacker, &status, 0) != attacker)
		give_up("waitpid");
	if (!WIFSIGNALED(status))
		return; /* the sleepers must sleep on: their stacks are no more */
	for (int i = 0; i < SLEEPERS; i++)
		kill(sleepers[i], SIGKILL);
	while (wait(NULL) > 0)
		;
	raise(WTERMSIG(status));
}

ATTACK(stack_guard) = {
	.name = "stack-guard",
	.what = "deep recursion in the kernel overwrites a neighbour's stack",
	.needs_off_x86_64 = "stack-guard",
	.needs_off_aarch64 = "stack-guard",
	.run = run,
};
