/*
 * What the programs behind a lab's checks share.  They print nothing that counts: the grader stops them in
 * checkpoint() and reads `results`, of the process that stands there.
 */
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/cpu.h"

#define RESULTS 16

volatile long results[RESULTS];

/* Out of line, with its argument in a register, whatever the compiler knows of it. */
__attribute__((noipa)) void
checkpoint(long which)
{
	__asm__ volatile("" : : "r"(which) : "memory");
}

/* Ends a program in which something went wrong that no kernel is judged by. */
static inline void
must(int good)
{
	if (!good)
		_exit(99);
}

/* How a child ended: its exit code, 1000 and the signal, or -1. */
static inline long
status_of(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Runs a program without a voice. */
static inline long
run(char *const argv[])
{
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		dup2(null, 2);
		execv(argv[0], argv);
		_exit(127);
	}
	return status_of(pid);
}

/* Pipes, files, signals. */
static inline long
run_shell(void)
{
	char *shell[] = {"/bin/busybox", "sh", "-c",
			 "x=$(printf 'c\\na\\nb\\n' | sort | tr a-z A-Z | tr -d '\\n'); [ $x = ABC ] &&"
			 "mkdir /tmp/d && echo hi >/tmp/d/f && cat /tmp/d/f | grep -q hi && rm -r /tmp/d &&"
			 "(sleep 100 & kill $!; wait $!; [ $? = 143 ]) && [ -z \"$(ls /tmp)\" ]", NULL};

	return run(shell);
}

/* The results from here on are the program's own. */
enum { R_OWN = 3 };

/* What no lab's kernel may refuse; the results before R_OWN are how a shell's script, forks and threads ended. */
static inline void
run_ordinary_programs(void)
{
	char *forks[] = {"/bin/test-fork_cow", NULL};
	char *threads[] = {"/bin/test-threads", NULL};

	results[0] = run_shell();
	results[1] = run(forks);
	results[2] = run(threads);
}
