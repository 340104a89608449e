/*
 * A workload to look at: forks, programs, threads, signals, mappings (among them of pages that nobody
 * may have), and user mode with the alignment-check flag set. It goes on until it is killed, or for as
 * many rounds as its argument says.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/cpu.h"

#define THREADS 3

static volatile sig_atomic_t signals;
static pthread_barrier_t next_round;

/* Whoever watches counts rounds here. */
__attribute__((noinline)) void load_round(void);

void
load_round(void)
{
	__asm__ volatile("");
}

/* And here the workload comes to each CPU in turn, once a round. */
__attribute__((noinline)) void load_moved(void);

void
load_moved(void)
{
	__asm__ volatile("");
}

static void
on_signal(int signo)
{
	(void)signo;
	signals++;
}

static void
must(int ok)
{
	if (!ok)
		_exit(1);
}

/* Touches fresh memory and gives it back. */
static void
memory(void)
{
	const size_t size = 16 * 4096;
	char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(m != MAP_FAILED);
	for (size_t i = 0; i < size; i += 4096)
		m[i] = 1;
	must(munmap(m, size) == 0);
}

/* Asks for pages where null pointers lead, and would keep them. */
static void
low_pages(void)
{
	for (uintptr_t at = 0; at < 0x10000; at += 0xf000) {
		volatile char *m = mmap((void *)at, 4096, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

		if (m != MAP_FAILED)
			*m = 1;
	}
}

/* One piece of work a round: threads that never slept would keep the CPUs from one another. */
static void *
thread(void *arg)
{
	for (;;) {
		pthread_barrier_wait(&next_round);
		memory();
		syscall(SYS_getppid);
		sched_yield();
	}
	return arg;
}

/* A system call and a page fault with the alignment-check flag set, on a CPU of one's choice. */
static void
with_flags(int cpu)
{
	char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(m != MAP_FAILED);
	must(pin(cpu) == 0);
	load_moved();
#if defined(__x86_64__)
	{
		long nr = SYS_getppid;

		__asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq\n\t"
				 "syscall\n\t"
				 "movb $1, (%1)\n\t"
				 "pushfq; andl $~0x40000, (%%rsp); popfq"
				 : "+a"(nr)
				 : "r"(m)
				 : "rcx", "r11", "memory", "cc");
	}
#endif
	must(munmap(m, 4096) == 0);
}

static void
child(const char *self)
{
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (pid == 0) {
		execl(self, self, "exit", (char *)NULL);
		_exit(1);
	}
	must(waitpid(pid, &status, 0) == pid && status == 0);
}

int
main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : -1;
	int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t threads[THREADS];

	if (argc > 1 && strcmp(argv[1], "exit") == 0)
		return 0;
	low_pages();
	must(signal(SIGUSR1, on_signal) != SIG_ERR);
	must(pthread_barrier_init(&next_round, NULL, THREADS + 1) == 0);
	for (int i = 0; i < THREADS; i++)
		must(pthread_create(&threads[i], NULL, thread, NULL) == 0);
	for (long i = 0; rounds < 0 || i < rounds; i++) {
		pthread_barrier_wait(&next_round);
		raise(SIGUSR1);
		memory();
		for (int cpu = 0; cpu < cpus; cpu++)
			with_flags(cpu);
		child("/proc/self/exe");
		load_round();
	}
	return signals == rounds ? 0 : 1;
}
