/*
 * A workload to look at from outside: processes that each keep a pattern of their own in all vector
 * registers, while they make system calls, fork, exec, take signals, and are moved among the CPUs. It ends
 * after as many rounds as its argument says; with status 1 if a pattern was lost.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fpu.h"
#include "machine.h"
#include "user/cpu.h"

#define PROCESSES 5
#define SIZE	  (32 * VECTORS)

/* Whoever watches compares the registers with it wherever the program is in hold_spin. */
uint8_t hold_pattern[SIZE];
static uint8_t seen[SIZE];

/* Every 8 bytes name the process and where they belong; no other process has any of them. */
static void
make_pattern(void)
{
	uint64_t tag = 0xf100000000000000 | (uint64_t)getpid() << 32;

	for (unsigned i = 0; i < SIZE / 8; i++) {
		uint64_t word = !t_wide_vectors() && i % 4 >= 2 ? 0 : tag | i;

		memcpy(hold_pattern + 8 * i, &word, 8);
	}
}

/* A while of user mode that touches no vector register. */
__attribute__((noinline)) void hold_spin(long turns);

void
hold_spin(long turns)
{
	while (turns-- > 0)
		__asm__ volatile("" ::: "memory");
}

static void
on_alarm(int signo)
{
	static uint8_t other[SIZE];

	(void)signo;
	memset(other, 0, sizeof(other));
	load(other);
}

static void
must(bool right)
{
	if (!right)
		_exit(1);
}

/* System calls, time and signals must leave the registers alone; so must being the child of a fork. */
static bool
held(void)
{
	for (int i = 0; i < 8; i++) {
		hold_spin(500);
		t_call(SYS_sched_yield, 0, 0);
		hold_spin(500);
	}
	store(seen);
	return memcmp(seen, hold_pattern, SIZE) == 0;
}

static void
fork_holding(void)
{
	int status;
	long pid;

	load(hold_pattern);
	pid = t_call(SYS_clone, SIGCHLD, 0);
	hold_spin(100); /* in both, with the same pattern */
	if (pid == 0)
		_exit(!held());
	must(pid > 0 && waitpid((pid_t)pid, &status, 0) == pid && status == 0);
}

/* A program that begins has none of it: seen from outside, at its first instruction. */
static void
exec_holding(void)
{
	static char self[256]; /* by its name, which is the program's */
	char *argv[] = { self, "0", NULL };
	int status;
	pid_t pid;

	must(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	pid = fork();
	if (pid == 0) {
		load(hold_pattern);
		t_call3(SYS_execve, (long)self, (long)argv, (long)environ);
		_exit(1);
	}
	must(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* Two workers share a CPU, so that each yields to the other; and each round is another CPU's. */
static void
move(long step)
{
	must(pin((int)(step % sysconf(_SC_NPROCESSORS_ONLN))) == 0);
}

static void
work(int worker, long rounds)
{
	struct itimerval often = { { 0, 3000 }, { 0, 3000 } };

	make_pattern();
	must(signal(SIGALRM, on_alarm) != SIG_ERR && setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (long i = 0; i < rounds; i++) {
		move(worker / 2 + i);
		load(hold_pattern);
		must(held());
		if (i % 4 == 0)
			fork_holding();
		if (i % 4 == 2)
			exec_holding();
	}
	_exit(0);
}

int
main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 40;
	int status, failed = 0;

	for (int i = 0; i < PROCESSES && rounds > 0; i++) {
		if (fork() == 0)
			work(i, rounds);
	}
	while (wait(&status) > 0)
		failed += status != 0;
	return failed != 0;
}
