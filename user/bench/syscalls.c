/* Rows about single system calls: entry and exit, files by descriptor and by name, select. */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/bench/bench.h"

#define FILE_NAME "/etc/passwd"
#define SELECT_FDS 100

/* getppid has nothing to do but to enter and to leave the kernel, and libc cannot remember it. */
static uint64_t
run_null(unsigned int n)
{
	uint64_t start = now();

	while (n--)
		syscall(SYS_getppid);
	return now() - start;
}

/* A filter that refuses one call and asks for its number, as a worker's does. */
static void
confine(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "seccomp");
}

/* In a child, for what is given up is not had back. */
static uint64_t
run_null_filtered(unsigned int n)
{
	uint64_t took;
	int ends[2];
	pid_t child;

	check(pipe(ends) == 0, "pipe");
	child = fork();
	check(child >= 0, "fork");
	if (child == 0) {
		confine();
		took = run_null(n);
		_exit(write(ends[1], &took, sizeof(took)) != sizeof(took));
	}
	close(ends[1]); /* a child that ends without an answer is the end of the file */
	check(read(ends[0], &took, sizeof(took)) == sizeof(took), "a confined child's answer");
	waitpid(child, NULL, 0);
	close(ends[0]);
	return took;
}

static uint64_t
run_read(unsigned int n)
{
	int fd = open("/dev/zero", O_RDONLY);
	uint64_t start;
	char byte;

	check(fd >= 0, "/dev/zero");
	start = now();
	while (n--)
		check(read(fd, &byte, 1) == 1, "read");
	start = now() - start;
	close(fd);
	return start;
}

static uint64_t
run_write(unsigned int n)
{
	int fd = open("/dev/null", O_WRONLY);
	uint64_t start;

	check(fd >= 0, "/dev/null");
	start = now();
	while (n--)
		check(write(fd, "", 1) == 1, "write");
	start = now() - start;
	close(fd);
	return start;
}

static uint64_t
run_stat(unsigned int n)
{
	uint64_t start = now();
	struct stat st;

	while (n--)
		check(stat(FILE_NAME, &st) == 0, "stat");
	return now() - start;
}

static uint64_t
run_fstat(unsigned int n)
{
	int fd = open(FILE_NAME, O_RDONLY);
	uint64_t start;
	struct stat st;

	check(fd >= 0, FILE_NAME);
	start = now();
	while (n--)
		check(fstat(fd, &st) == 0, "fstat");
	start = now() - start;
	close(fd);
	return start;
}

static uint64_t
run_open(unsigned int n)
{
	uint64_t start = now();

	while (n--) {
		int fd = open(FILE_NAME, O_RDONLY);

		check(fd >= 0, "open");
		close(fd);
	}
	return now() - start;
}

/* Polls the empty ends of SELECT_FDS pipes: all are looked at, none is ready. */
static uint64_t
run_select(unsigned int n)
{
	struct timeval zero;
	int fds[SELECT_FDS];
	int ends[2];
	int last = 0;
	uint64_t start;
	fd_set set, all;

	check(pipe(ends) == 0, "pipe");
	FD_ZERO(&all);
	for (int i = 0; i < SELECT_FDS; i++) {
		fds[i] = dup(ends[0]);
		check(fds[i] >= 0, "dup");
		FD_SET(fds[i], &all);
		last = fds[i];
	}
	start = now();
	while (n--) {
		set = all;
		zero = (struct timeval){ 0 };
		check(select(last + 1, &set, NULL, NULL, &zero) == 0, "select");
	}
	start = now() - start;
	for (int i = 0; i < SELECT_FDS; i++)
		close(fds[i]);
	close(ends[0]);
	close(ends[1]);
	return start;
}

const struct row syscall_rows[] = {
	{ "null", run_null, 20000, "getppid: into the kernel and back" },
	{ "null-filtered", run_null_filtered, 20000, "getppid under a filter of four instructions" },
	{ "read", run_read, 20000, "read 1 byte of /dev/zero" },
	{ "write", run_write, 20000, "write 1 byte to /dev/null" },
	{ "stat", run_stat, 5000, "stat of " FILE_NAME },
	{ "fstat", run_fstat, 5000, "fstat of an open file" },
	{ "open+close", run_open, 5000, "open and close " FILE_NAME },
	{ "select-100", run_select, 2000, "select on 100 empty pipes" },
	{ 0 },
};
