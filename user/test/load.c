/*
 * A workload to look at: forks, programs, threads, signals, mappings, and user mode with the
 * alignment-check flag set. It goes on until it is killed, or for as many rounds as its argument says.
 */
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

#define THREADS 3

static volatile sig_atomic_t signals;

/* Whoever watches counts rounds here. */
__attribute__((noinline)) void load_round(void);

void
load_round(void)
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

static void *
thread(void *arg)
{
	for (;;) {
		memory();
		syscall(SYS_getppid);
		sched_yield();
	}
	return arg;
}

/* A system call and a page fault with the alignment-check flag set. */
static void
with_flags(void)
{
	char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(m != MAP_FAILED);
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
	pthread_t threads[THREADS];

	if (argc > 1 && strcmp(argv[1], "exit") == 0)
		return 0;
	must(signal(SIGUSR1, on_signal) != SIG_ERR);
	for (int i = 0; i < THREADS; i++)
		must(pthread_create(&threads[i], NULL, thread, NULL) == 0);
	for (long i = 0; rounds < 0 || i < rounds; i++) {
		raise(SIGUSR1);
		memory();
		with_flags();
		child("/proc/self/exe");
		load_round();
	}
	return signals == rounds ? 0 : 1;
}
