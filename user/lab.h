/*
 * What the programs behind labs' checks have in common.  The grader stops them in checkpoint() and reads their
 * `results`; nothing that they print counts.
 */
#pragma once

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* A busybox script with pipes, files and signals: what a kernel that refuses everything cannot do. */
#define LAB_SHELL                                                                                                      \
	"x=$(printf 'c\\na\\nb\\n' | sort | tr a-z A-Z | tr -d '\\n'); [ $x = ABC ] &&"                                \
	"mkdir /tmp/d && echo hi >/tmp/d/f && cat /tmp/d/f | grep -q hi && rm -r /tmp/d &&"                            \
	"(sleep 100 & kill $!; wait $!; [ $? = 143 ])"

__attribute__((noipa)) static void
checkpoint(long which)
{
	__asm__ volatile("" : : "r"(which) : "memory");
}

/* To one CPU, with what is forked from here on. */
static inline void
pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* The exit status of a child; 1000 and the signal, if one ended it. */
static inline long
status_of(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The same of a program that is run and not heard. */
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
