/*
 * The program behind the checks: processes that stand in user mode on both CPUs while the grader reads through their live
 * tables, and that come back from the kernel in every way there is.
 *
 *	lab-kpti tables GATES CPUS ADDRESS...	gates, if wanted; a process for each letter of CPUS, which maps memory at its
 *					ADDRESS later
 *	lab-kpti returns KINDS			on each CPU each way back to user mode, in the order of the letters
 *	lab-kpti ways CPU			system calls and faults without end, on that CPU; faults of the kernel's own, too
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h).
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "user/lab/program.h"

#define PAGE 4096ul
#define RW   (PROT_READ | PROT_WRITE)

enum { AT_GATES = 1, AT_LOOK, AT_ALL, AT_FAR, AT_OTHER, AT_RETURN, AT_CALL, AT_FAULT, AT_COPY, AT_END };
enum { R_HANDLED = R_OWN };
enum { R_WHO, R_FAR };
#define PROCESSES 8

static char *self;

/* The kernel's call alone, with nothing of the library's behind it. */
static inline long
call(long number, long a, long b, long c)
{
#if defined(__x86_64__)
	long result = number;

	__asm__ volatile("xor %%r10d, %%r10d\n\txor %%r8d, %%r8d\n\tsyscall"
			 : "+a"(result) : "D"(a), "S"(b), "d"(c) : "rcx", "r8", "r10", "r11", "memory");
	return result;
#else
	register long x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = 0, x4 __asm__("x4") = 0, x8 __asm__("x8") = number;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x8) : "memory");
	return x0;
#endif
}

static void *
memory_at(uint64_t address)
{
	int fixed = address ? MAP_FIXED_NOREPLACE : 0;
	void *p = mmap((void *)address, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);

	if (p == MAP_FAILED)
		_exit(3);
	return p;
}

/* ---- Gates ---- */

static volatile int handled;

static void
count(int number)
{
	handled += number == SIGUSR1;
}

static void
gates(void)
{
	signal(SIGUSR1, count);
	for (int i = 0; i < 4; i++) {
		pin(i & 1);
		raise(SIGUSR1);
	}
	results[R_HANDLED] = handled;
	run_ordinary_programs();
	checkpoint(AT_GATES);
}

/* ---- Processes, and memory that they map later ---- */

static volatile uint64_t *volatile far;
static volatile int watching;

/* A thread that stays in user mode, and needs what another maps. */
static void *
watch(void *arg)
{
	pin(*(int *)arg);
	watching = 1;
	while (!far)
		relax();
	if (*far != (uint64_t)far)
		_exit(4);
	checkpoint(AT_OTHER);
	return NULL;
}

static void
map_far(int cpu, uint64_t address)
{
	int other = !cpu;
	uint64_t *page;
	pthread_t thread;

	if (pthread_create(&thread, NULL, watch, &other))
		_exit(3);
	while (!watching) /* it has to leave this CPU first, and the other must get a turn */
		give_way();
	page = memory_at(address);
	*page = (uint64_t)page;
	results[R_FAR] = (long)page;
	checkpoint(AT_FAR);
	far = page;
	if (pthread_join(thread, NULL))
		_exit(3);
}

static void
process(int who, int cpu, uint64_t address, int ready, int go)
{
	char letter[2] = {(char)('0' + who), 0};
	char c;

	pin(cpu);
	results[R_WHO] = who;
	checkpoint(AT_LOOK);
	if (write(ready, "", 1) != 1 || read(go, &c, 1) != 1)
		_exit(3);
	map_far(cpu, address);
	execl(self, self, "again", letter, NULL);
	_exit(3);
}

static void
tables(const char *cpus, char **addresses)
{
	int n = (int)strlen(cpus), ready[2], go[PROCESSES][2];
	pid_t pids[PROCESSES];
	char c;

	if (n > PROCESSES || pipe(ready))
		_exit(3);
	for (int i = 0; i < n; i++) {
		if (pipe(go[i]))
			_exit(3);
		pids[i] = fork();
		if (pids[i] == 0)
			process(i, cpus[i] - '0', strtoul(addresses[i], NULL, 16), ready[1], go[i][0]);
		if (pids[i] < 0 || read(ready[0], &c, 1) != 1)
			_exit(3);
	}
	checkpoint(AT_ALL);
	for (int i = 0; i < n; i++) {
		if (write(go[i][1], "", 1) != 1 || status_of(pids[i]))
			_exit(4);
	}
	checkpoint(AT_END);
}

/* ---- Ways back ---- */

static volatile int in_handler;

static void
on_signal(int number)
{
	(void)number;
	if (in_handler)
		checkpoint(AT_RETURN);
}

/* Where the grader finds it after an interrupt. */
__attribute__((noipa)) void
spin(void)
{
	for (volatile int i = 0; i < 50; i++)
		;
}

static void
trap(void)
{
#if defined(__x86_64__)
	/* A trap after the instruction: one of those that have a stack of their own. */
	__asm__ volatile("sub $128, %%rsp\n\tpushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\tnop\n\tadd $128, %%rsp" : : : "memory", "cc");
#else
	__asm__ volatile("brk #0");
#endif
}

static void
on_trap(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
#if defined(__x86_64__)
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~0x100;
#else
	((ucontext_t *)context)->uc_mcontext.pc += 4;
#endif
	checkpoint(AT_RETURN);
}

static void
come_back(char kind)
{
	struct itimerval soon = {.it_interval = {.tv_usec = 300}, .it_value = {.tv_usec = 300}}, never = {0};
	struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
	volatile char *page;
	pid_t pid;

	switch (kind) {
	case 'c': /* a system call */
		call(SYS_getppid, 0, 0, 0);
		checkpoint(AT_RETURN);
		break;
	case 'p': /* a page fault */
		page = memory_at(0);
		*page = 1;
		checkpoint(AT_RETURN);
		munmap((void *)page, PAGE);
		break;
	case 's': /* into a handler */
		in_handler = 1;
		raise(SIGUSR1);
		in_handler = 0;
		break;
	case 'r': /* and out of it */
		call(SYS_tgkill, getpid(), gettid(), SIGUSR1);
		checkpoint(AT_RETURN);
		break;
	case 'f': /* a child's first */
		pid = (pid_t)call(SYS_clone, SIGCHLD, 0, 0);
		if (pid == 0) {
			checkpoint(AT_RETURN);
			call(SYS_exit_group, 0, 0, 0);
		}
		if (status_of(pid))
			_exit(4);
		break;
	case 'x': /* a program's first */
		pid = fork();
		if (pid == 0) {
			execl(self, self, "again", "0", NULL);
			_exit(3);
		}
		if (status_of(pid))
			_exit(4);
		break;
	case 't': /* an exception on a stack of its own */
		sigaction(SIGTRAP, &action, NULL);
		trap();
		break;
	case 'i': /* an interrupt */
		signal(SIGALRM, SIG_IGN);
		setitimer(ITIMER_REAL, &soon, NULL);
		for (int i = 0; i < 20000; i++)
			spin();
		setitimer(ITIMER_REAL, &never, NULL);
		checkpoint(AT_RETURN);
		break;
	}
}

/* ---- Ways in and out ---- */

static void
ways(int cpu)
{
	int zero = open("/dev/zero", O_RDONLY);

	pin(cpu);
	for (;;) {
		volatile char *page = memory_at(0);

		checkpoint(AT_CALL);
		call(SYS_getppid, 0, 0, 0);
		checkpoint(AT_FAULT);
		*page = 1;
		munmap((void *)page, PAGE);
		page = memory_at(0);
		checkpoint(AT_COPY);
		if (read(zero, (void *)page, 1) != 1)
			_exit(3);
		munmap((void *)page, PAGE);
	}
}

int
main(int argc, char **argv)
{
	self = argv[0];
	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "again") == 0) {
		results[R_WHO] = argv[2][0] - '0';
		checkpoint(AT_LOOK);
		return 0;
	}
	if (strcmp(argv[1], "tables") == 0 && argc > 4) {
		if (argv[2][0] == '1')
			gates();
		tables(argv[3], argv + 4);
		return 0;
	}
	if (strcmp(argv[1], "ways") == 0)
		ways(atoi(argv[2]));
	signal(SIGUSR1, on_signal);
	for (int cpu = 0; cpu < 2; cpu++) {
		pin(cpu);
		for (const char *kind = argv[2]; *kind; kind++)
			come_back(*kind);
	}
	checkpoint(AT_END);
	return 0;
}
