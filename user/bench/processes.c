/* Rows about processes: pipes between two, the switch alone, and making and ending one. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/bench/bench.h"

#define HELLO "/bin/bench-hello"

/* Hands a byte back for each that comes, until the other end closes. */
static void __attribute__((noreturn))
echo(int in, int out)
{
	char byte;

	while (read(in, &byte, 1) == 1)
		if (write(out, &byte, 1) != 1)
			_exit(1);
	_exit(0);
}

/* A byte to another process through one pipe and back through a second. */
static uint64_t
run_pipe(unsigned int n)
{
	int there[2], back[2];
	uint64_t start;
	char byte = 0;
	pid_t pid;

	check(pipe(there) == 0 && pipe(back) == 0, "pipe");
	pid = fork();
	check(pid >= 0, "fork");
	if (pid == 0) {
		close(there[1]);
		close(back[0]);
		echo(there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
	start = now();
	while (n--)
		check(write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1, "round trip");
	start = now() - start;
	close(there[1]);
	close(back[0]);
	waitpid(pid, NULL, 0);
	return start;
}

/* A byte through a pipe within one process: what a hop costs when nobody is switched to. */
static uint64_t
pipe_alone(unsigned int n)
{
	uint64_t start;
	int ends[2];
	char byte = 0;

	check(pipe(ends) == 0, "pipe");
	start = now();
	while (n--)
		check(write(ends[1], &byte, 1) == 1 && read(ends[0], &byte, 1) == 1, "one pipe");
	start = now() - start;
	close(ends[0]);
	close(ends[1]);
	return start;
}

/*
 * One switch: half a round trip between two processes without the two system calls of that half
 * (lmbench's lat_ctx with two processes of size 0). Only on one CPU does it mean that.
 */
static uint64_t
run_switch(unsigned int n)
{
	uint64_t hops = run_pipe(n) / 2, calls = pipe_alone(n);

	return hops > calls ? hops - calls : 0;
}

static void
end_of(pid_t pid)
{
	int status;

	check(pid > 0, "fork");
	check(waitpid(pid, &status, 0) == pid, "wait");
	check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child failed");
}

static uint64_t
run_fork(unsigned int n)
{
	uint64_t start = now();

	while (n--) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		end_of(pid);
	}
	return now() - start;
}

static uint64_t
run_program(unsigned int n, const char *path, char *const argv[])
{
	static char *const environment[] = { "PATH=/bin", NULL };
	uint64_t start = now();

	while (n--) {
		pid_t pid = fork();

		if (pid == 0) {
			execve(path, argv, environment);
			_exit(127);
		}
		end_of(pid);
	}
	return now() - start;
}

static uint64_t
run_exec(unsigned int n)
{
	static char *const argv[] = { HELLO, NULL };

	return run_program(n, HELLO, argv);
}

static uint64_t
run_shell(unsigned int n)
{
	/* The colon keeps the shell from becoming the program: it forks, as a script does. */
	static char *const argv[] = { "sh", "-c", HELLO "; :", NULL };

	return run_program(n, "/bin/sh", argv);
}

const struct row process_rows[] = {
	{ "pipe", run_pipe, 2000, "a byte to another process and back" },
	{ "context-switch", run_switch, 2000, "half of that without its system calls" },
	{ "fork+exit", run_fork, 200, "fork, exit, wait" },
	{ "fork+exec", run_exec, 100, "fork, execve of a static program, exit, wait" },
	{ "fork+sh", run_shell, 50, "fork, sh -c that runs the same program" },
	{ 0 },
};
