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

/* Forks and threads: of their tests, those that do not take seconds. */
static inline long
run_forks(void)
{
	char *forks[] = {"/bin/test-fork_cow", "child_writes_stay_with_the_child", "parent_writes_stay_with_the_parent",
			 "shared_anonymous_memory_is_one", "shared_file_memory_is_one_and_private_is_not",
			 "many_siblings_share_one_page", "kernel_writes_copy_too", "protections_are_inherited_and_separate",
			 "read_only_stays_read_only_in_threads_that_fork", NULL};

	return run(forks);
}

static inline long
run_threads(void)
{
	char *threads[] = {"/bin/test-threads", "create_join_and_a_contended_mutex", "thread_local_storage_is_local",
			   "condition_variables", "exit_from_any_thread_ends_all", "a_fault_in_one_thread_ends_all",
			   "exec_from_a_thread_takes_the_process", "fork_from_a_thread", "signals_reach_the_thread_meant",
			   "futex_bitset_requeue_and_wake_op", "mapping_from_many_threads", NULL};

	return run(threads);
}

/* The results from here on are the program's own. */
enum { R_OWN = 3 };

/* What no lab's kernel may refuse; the results before R_OWN are how a shell's script, forks and threads ended. */
static inline void
run_ordinary_programs(void)
{
	results[0] = run_shell();
	results[1] = run_forks();
	results[2] = run_threads();
}
