/*
 * Processes to look at: one that is free to open files, and others that have given it up, by a filter
 * or by a mask: themselves, a child, a thread, another program, on each CPU in turn.  All of them try;
 * their names say who they are.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/cpu.h"

#define ROUNDS 8
#define PR_SET_SYSCALL_MASK 0x52414d51

/* Whoever watches finds processes of every kind here. */
__attribute__((noinline)) void confined_round(void);

void
confined_round(void)
{
	__asm__ volatile("");
}

static int cpus; /* asked for once: the C library opens files to know it */
static char number[16];

static void
must(int ok)
{
	if (!ok)
		_exit(1);
}

static void
on_cpu(int n)
{
	must(pin(n % cpus) == 0);
}

static void
try_to_open(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		on_cpu(i);
		syscall(SYS_close, (int)syscall(SYS_openat, AT_FDCWD, "/etc/hostname", O_RDONLY));
	}
}

static void *
thread(void *arg)
{
	try_to_open();
	return arg;
}

static void
wait_for(pid_t pid)
{
	must(waitpid(pid, NULL, 0) == pid);
}

static void
confine(uint32_t action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* By a filter that answers with an error: it lives on, and so do those that inherit it. */
static void
filtered(void)
{
	pthread_t t;
	pid_t pid;

	must(prctl(PR_SET_NAME, "confined") == 0);
	confine(SECCOMP_RET_ERRNO | 1);
	confine(SECCOMP_RET_LOG);	/* the first one still counts */
	try_to_open();
	must(pthread_create(&t, NULL, thread, NULL) == 0 && pthread_join(t, NULL) == 0);
	pid = fork();
	if (pid == 0) {
		try_to_open();
		confined_round();
		_exit(0);
	}
	wait_for(pid);
	execl("/tmp/confined", "confined", number, (char *)NULL);
	_exit(1);
}

static pthread_barrier_t set;

/* It was there before the mask, on another CPU. */
static void *
masked_thread(void *arg)
{
	on_cpu(1);
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&set);
	syscall(SYS_openat, AT_FDCWD, "/etc/hostname", O_RDONLY);
	return arg;
}

/* By a mask, which kills: one try each. */
static void
masked(int in_thread)
{
	uint64_t mask[8];
	pthread_t t;

	memset(mask, 0xff, sizeof(mask));
	mask[SYS_openat / 64] &= ~(1ul << SYS_openat % 64);
	must(prctl(PR_SET_NAME, "confined") == 0 && pthread_barrier_init(&set, NULL, 2) == 0);
	must(pthread_create(&t, NULL, masked_thread, NULL) == 0);
	pthread_barrier_wait(&set);
	prctl(PR_SET_SYSCALL_MASK, mask, sizeof(mask), 0, 0);
	if (!in_thread && fork() == 0) {
		execl("/tmp/confined", "confined", number, (char *)NULL);
		_exit(1);
	}
	if (!in_thread)
		wait(NULL);
	else
		pthread_barrier_wait(&set);
	if (in_thread)
		must(pthread_join(t, NULL) == 0);
	syscall(SYS_openat, AT_FDCWD, "/etc/hostname", O_RDONLY);
}

static pid_t
child(void (*fn)(int), int arg)
{
	pid_t pid = fork();

	if (pid == 0) {
		fn(arg);
		_exit(0);
	}
	return pid;
}

static void
run_filtered(int arg)
{
	(void)arg;
	filtered();
}

static void
run_free(int arg)
{
	(void)arg;
	must(prctl(PR_SET_NAME, "free") == 0);
	try_to_open();
}

int
main(int argc, char **argv)
{
	if (argc > 1) {
		cpus = atoi(argv[1]);
		try_to_open();
		return 0;
	}
	cpus = (int)sysconf(_SC_NPROCESSORS_CONF);
	snprintf(number, sizeof(number), "%d", cpus);
	unlink("/tmp/confined");
	must(symlink("/bin/test-confined", "/tmp/confined") == 0);
	wait_for(child(run_free, 0));
	wait_for(child(run_filtered, 0));
	wait_for(child(masked, 0));
	wait_for(child(masked, 1));
	wait_for(child(run_free, 0));
	return 0;
}
