/*
 * The program behind the checks: a thread on one CPU touches a page without end, while one on the other takes it
 * away.
 *
 *	lab-shootdown gates CASE,CASE...
 *
 * A case is who takes, what, whether the toucher writes, whether it sleeps meanwhile, how many pages there are, and
 * which it touches: "0mwa40.2" is CPU 0, munmap, a writer, awake, 0x40 pages, the third.  The grader stops the one who
 * takes before the act, and after it, with the toucher still where it was; then it has that one CPU go on alone, up to
 * its next access and one instruction further.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "user/lab/program.h"

#define PAGE	4096
#define ENOUGH	4    /* rounds of the toucher: its TLB knows the page */
#define TURNS	1000 /* that a CPU gives away until the other one sleeps */
#define MANY	200  /* pages, */
#define GROWTHS 5    /* and how often they are touched, for a TLB with room: see grow() */
#define BOTH	40   /* rounds of CPUs that take at once */

enum { AT_GATES = 1, AT_ACT, AT_DONE };
enum { R_PAGE };				/* at AT_ACT: which is touched */

/* ---- The toucher ---- */

/* VALUE is the register in which the grader looks for what was read. */
#if defined(__x86_64__)
#define VALUE	"rdi"
#define LOAD	"movzbl (%1), %k0"
#define STORE	"movb %b0, (%1)"
#else
#define VALUE	"x0"
#define LOAD	"ldrb %w0, [%1]"
#define STORE	"strb %w0, [%1]"
#endif

static char *volatile touched;
static volatile int writes; /* or reads */
static atomic_int going, rounds, over;
static int wake[2]; /* a pipe: what the toucher sleeps on */
static sigjmp_buf fallen;

/* The grader knows the two instructions by their labels. */
__attribute__((noipa)) static void
touch(volatile char *p, int write)
{
	register long value __asm__(VALUE) = 't';

	if (write)
		__asm__ volatile("at_write: " STORE : : "r"(value), "r"(p) : "memory");
	else
		__asm__ volatile("at_read: " LOAD : "=r"(value) : "r"(p) : "memory");
}

static void
fall(int signo)
{
	(void)signo;
	siglongjmp(fallen, 1);
}

/*
 * QEMU's model of a TLB grows where many entries are in use when it forgets all.  While it is small, aarch64's
 * forgets all where it is told to forget one page, and a kernel that forgets the wrong one is not seen.  A page fault
 * has it forget all: the kernel writes tables through tables of its own.
 */
static void
grow(void)
{
	static char many[MANY * PAGE];
	char *fresh = mmap(NULL, GROWTHS * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(fresh != MAP_FAILED);
	for (int i = 0; i < MANY; i++)
		many[i * PAGE] = 'm';
	for (int round = 0; round < GROWTHS; round++) {
		for (int i = 0; i < MANY; i++)
			(void)((volatile char *)many)[i * PAGE];
		((volatile char *)fresh)[round * PAGE] = 'f';
	}
}

struct way {
	int cpu, sleeps;
};

static void *
toucher(void *arg)
{
	const struct way *way = arg;
	char c;

	must(pin(way->cpu) == 0);
	grow();
	if (sigsetjmp(fallen, 1) == 0) {
		while (atomic_load(&going)) {
			touch(touched, writes);
			if (atomic_fetch_add(&rounds, 1) + 1 == ENOUGH && way->sleeps)
				must(read(wake[0], &c, 1) == 1);
			relax();
		}
	}
	atomic_store(&over, 1);
	return NULL;
}

/* ---- Who takes ---- */

static char *
fresh(size_t pages)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	for (size_t i = 0; i < pages; i++)
		p[i * PAGE] = 'f';
	return p;
}

/* Takes the pages away; where there is something left of them. */
static char *
take(char what, char *p, size_t n)
{
	char *to;

	switch (what) {
	case 'm':
		must(munmap(p, n) == 0);
		return NULL;
	case 'n':
		must(mprotect(p, n, PROT_NONE) == 0);
		return p;
	case 'r':
		must(mprotect(p, n, PROT_READ) == 0);
		return p;
	case 'v':
		to = mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(to != MAP_FAILED && mremap(p, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
		return to;
	case 'd':
		must(madvise(p, n, MADV_DONTNEED) == 0);
		return p;
	default:
		_exit(98);
	}
}

static void
one_case(int cpu, char what, int write_, int sleeps, size_t pages, size_t which)
{
	struct way way = {.cpu = !cpu, .sleeps = sleeps};
	pthread_t thread;
	char *p, *left;
	int before;

	must(pin(cpu) == 0);
	p = fresh(pages);
	touched = p + which * PAGE;
	writes = write_;
	atomic_store(&rounds, 0);
	atomic_store(&over, 0);
	atomic_store(&going, 1);
	must(pthread_create(&thread, NULL, toucher, &way) == 0);
	while (atomic_load(&rounds) < ENOUGH)
		give_way();
	for (int i = 0; sleeps && i < TURNS; i++)
		relax();
	results[R_PAGE] = (long)touched;
	checkpoint(AT_ACT);
	before = atomic_load(&rounds);
	left = take(what, p, pages * PAGE);
	if (sleeps) {
		must(write(wake[1], "", 1) == 1);
		while (atomic_load(&rounds) == before && !atomic_load(&over))
			relax();
	}
	checkpoint(AT_DONE);
	atomic_store(&going, 0);
	must(pthread_join(thread, NULL) == 0);
	if (left != NULL)
		must(munmap(left, pages * PAGE) == 0);
}

/* ---- What must go on working ---- */

static void *
shoot(void *arg)
{
	must(pin((int)(long)arg) == 0);
	for (int i = 0; i < BOTH; i++)
		must(munmap(fresh(2), 2 * PAGE) == 0);
	return NULL;
}

/* Threads and processes on both CPUs, all of which take. */
static void
both(void)
{
	pthread_t threads[2];
	pid_t child = fork();

	for (long i = 0; i < 2; i++)
		must(pthread_create(&threads[i], NULL, shoot, (void *)i) == 0);
	for (int i = 0; i < 2; i++)
		must(pthread_join(threads[i], NULL) == 0);
	if (child == 0)
		_exit(0);
	must(status_of(child) == 0);
}

static void
gates(void)
{
	both();
	run_ordinary_programs();
	checkpoint(AT_GATES);
}

int
main(int argc, char **argv)
{
	char *dot;

	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "1") == 0)
		gates();
	must(pipe(wake) == 0);
	signal(SIGSEGV, fall);
	for (char *s = strtok(argv[2], ","); s != NULL && *s != '-'; s = strtok(NULL, ",")) {
		size_t pages = strtoul(s + 4, &dot, 16);

		one_case(s[0] - '0', s[1], s[2] == 'w', s[3] == 's', pages, strtoul(dot + 1, NULL, 16));
	}
	return 0;
}
