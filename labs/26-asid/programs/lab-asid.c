/*
 * The program behind the checks: more address spaces than a machine with numbers of 8 bits has numbers for.
 *
 *	lab-asid gates
 *	lab-asid reuse CPU		a process that reads its page, and on the same CPU, each right behind it, many others
 *	lab-asid turns CPU SPACES	a process with a thread on each CPU, and SPACES others that run on CPU, on the other one,
 *					and sleep; then twice as many on CPU alone, which come and go
 *	lab-asid keep CPU SPACES	a process that is called, then SPACES others, then it is called again
 *	lab-asid new WHO CPU FD		one of those: it runs where it is, then on CPU, tells FD, and sleeps
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h), and what each CPU has loaded.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>

#include "user/lab/program.h"

#define PAGE	 4096
#define SPACES	 300	     /* of `reuse`: with pairs of numbers of 8 bits each comes twice */
#define AT_EASE	 300	     /* rounds that a thread spends in user mode before it asks who else would run */
#define CALLS	 3	     /* of `keep`, before the others come */
#define OWN_TURN 8	     /* so often whoever starts the others says that it runs, too */
#define TABLES	 1800ul	     /* more than 150 processes have */
#define REACH	 (2ul << 20) /* of one */
#define NOT_MINE 4	     /* how a process ends that reads what it has not written */

enum { AT_GATES = 1, AT_TURN, AT_TAKE, AT_TAKEN, AT_CALLED, AT_END };
enum { R_WHO };		   /* at AT_TURN: 0 makes the others, 1 has two threads, then come the others */
enum { R_PAGE };	   /* at AT_TAKE: which page goes */
enum { R_STRANGE, R_ODD }; /* at AT_END, of `reuse`: who read another's, who did not come to its end */

static int here, there;
static char *self;

/* The kernel's call alone, with nothing of the library's behind it, and no stack. */
static inline __attribute__((always_inline)) long
call3(long number, long a, long b, long c)
{
	register long x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = 0, x4 __asm__("x4") = 0, x8 __asm__("x8") = number;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x8) : "memory");
	return x0;
}

static void
tell(int fd)
{
	must(write(fd, "", 1) == 1);
}

static void
hear(int fd)
{
	char c;

	must(read(fd, &c, 1) == 1);
}

/* ---- reuse: what a CPU does with what it has ---- */

/* At one address in every process, for all are forks of one. */
static uint8_t secret[PAGE] __attribute__((aligned(PAGE)));

/* From the loop on it touches that page and no other, not even a stack. */
static __attribute__((noinline, noreturn)) void
reader(int ready)
{
	must(getrandom(secret, 8, 0) == 8);
	secret[0] |= 1; /* not 0, as everybody else's is */
	tell(ready);
	for (;;) {
		(void)*(volatile uint8_t *)secret;
		call3(SYS_sched_yield, 0, 0, 0);
	}
}

/* An address space that runs right behind the reader.  How it ended. */
static __attribute__((noinline)) long
behind(void)
{
	long child = call3(SYS_clone, SIGCHLD, 0, 0);

	if (child == 0) {
		call3(SYS_sched_yield, 0, 0, 0);
		call3(SYS_exit_group, *(volatile uint64_t *)secret == 0 ? 0 : NOT_MINE, 0, 0);
	}
	return status_of((pid_t)child);
}

static void
reuse(void)
{
	long strange = 0, odd = 0;
	int ready[2];
	pid_t pid;

	must(pipe(ready) == 0);
	pid = fork();
	if (pid == 0)
		reader(ready[1]);
	hear(ready[0]);
	for (int i = 0; i < SPACES; i++) {
		long status = behind();

		strange += status == NOT_MINE;
		odd += status != NOT_MINE && status != 0;
	}
	kill(pid, SIGKILL);
	results[R_STRANGE] = strange;
	results[R_ODD] = odd;
	checkpoint(AT_END);
}

/* ---- turns: who runs where, and under which number ---- */

static volatile char *page;
static volatile int touching, resting, over;

/* The thread that is on the other CPU all along. */
static void *
elsewhere(void *arg)
{
	(void)arg;
	must(pin(there) == 0);
	*page = 'e';
	checkpoint(AT_TURN);
	touching = 1;
	while (!over) {
		for (int i = 0; i < AT_EASE; i++) {
			if (touching)
				(void)*page;
			else
				resting = 1;
			relax();
		}
		sched_yield();
	}
	return NULL;
}

/* A process on both CPUs.  When it is told to, it takes a page away that both have used. */
static void
on_both(int ready, int go)
{
	pthread_t thread;

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(page != MAP_FAILED && pthread_create(&thread, NULL, elsewhere, NULL) == 0);
	while (!touching) /* it begins on this CPU */
		give_way();
	*page = 'h';
	checkpoint(AT_TURN);
	tell(ready);
	hear(go);
	touching = 0;
	while (!resting)
		relax();
	results[R_PAGE] = (long)page;
	checkpoint(AT_TAKE);
	must(munmap((void *)page, PAGE) == 0);
	checkpoint(AT_TAKEN);
	over = 1;
	must(pthread_join(thread, NULL) == 0);
	_exit(0);
}

/*
 * Runs here, then on the other CPU, and sleeps.  A program of its own: nobody's tables are copied, and so nothing has to
 * be forgotten for it.
 */
static void
start(int who, int to, int ready)
{
	char args[3][12];
	char *argv[] = {self, "new", args[0], args[1], args[2], NULL};

	snprintf(args[0], sizeof(args[0]), "%d", who);
	snprintf(args[1], sizeof(args[1]), "%d", to);
	snprintf(args[2], sizeof(args[2]), "%d", ready);
	if (vfork() == 0) {
		execv(self, argv);
		_exit(98);
	}
}

static void
new(int who, int to, int ready)
{
	results[R_WHO] = who;
	checkpoint(AT_TURN);
	if (to != here) {
		must(pin(to) == 0);
		checkpoint(AT_TURN);
	}
	tell(ready);
	for (;;)
		pause();
}

/*
 * Has the kernel set memory aside for as many tables as will be needed: whenever it does, all CPUs forget everything.  A
 * process needs them that ends.
 */
static void
room_for_tables(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		char *p = mmap(NULL, TABLES * REACH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			       -1, 0);

		must(p != MAP_FAILED);
		for (size_t i = 0; i < TABLES; i++)
			p[i * REACH] = 1;
		_exit(0);
	}
	must(status_of(pid) == 0);
}

static void
turns(int spaces)
{
	int ready[2], go[2];
	pid_t both;

	room_for_tables();
	must(pipe(ready) == 0 && pipe(go) == 0);
	results[R_WHO] = 1;
	both = fork();
	if (both == 0)
		on_both(ready[1], go[0]);
	results[R_WHO] = 0;
	hear(ready[0]);
	for (int i = 0; i < spaces; i++) {
		start(2 + i, there, ready[1]);
		if (i % OWN_TURN == 0)
			checkpoint(AT_TURN);
		hear(ready[0]);
	}
	/* Twice: what happened the first time must not be forgotten by the second. */
	for (int i = 0; i < 2 * spaces; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		must(status_of(pid) == 0);
	}
	tell(go[1]);
	must(status_of(both) == 0);
	checkpoint(AT_END);
}

/* ---- keep: what a process finds when it comes back ---- */

static void
called(int call, int done)
{
	for (;;) {
		hear(call);
		checkpoint(AT_CALLED);
		tell(done);
	}
}

static void
keep(int spaces)
{
	int call[2], done[2];

	room_for_tables();
	must(pipe(call) == 0 && pipe(done) == 0);
	if (fork() == 0)
		called(call[0], done[1]);
	for (int i = 0; i < CALLS; i++) {
		tell(call[1]);
		hear(done[0]);
	}
	for (int i = 0; i < spaces; i++) {
		start(2 + i, here, done[1]);
		hear(done[0]);
	}
	tell(call[1]);
	hear(done[0]);
	checkpoint(AT_END);
}

int
main(int argc, char **argv)
{
	self = argv[0];
	if (argc < 2)
		return 2;
	if (strcmp(argv[1], "gates") == 0) {
		run_ordinary_programs();
		checkpoint(AT_GATES);
		return 0;
	}
	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "new") == 0 && argc > 4) {
		here = sched_getcpu();
		new(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
	}
	here = atoi(argv[2]);
	there = !here;
	must(pin(here) == 0);
	if (strcmp(argv[1], "reuse") == 0)
		reuse();
	else if (strcmp(argv[1], "turns") == 0 && argc > 3)
		turns(atoi(argv[3]));
	else if (strcmp(argv[1], "keep") == 0 && argc > 3)
		keep(atoi(argv[3]));
	return 0;
}
