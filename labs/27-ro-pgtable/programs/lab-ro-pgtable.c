/*
 * The program behind the checks: processes on both CPUs that change their page tables all the time; and one that needs more
 * tables than there are, while a bug of the kernel's writes where the grader says.
 *
 *	lab-ro-pgtable gates		what must go on working
 *	lab-ro-pgtable work SHOWN	on each CPU a process works without end; if SHOWN is 1, it says what comes next
 *	lab-ro-pgtable grow CPU PAGES	so many pages, each in need of a table, are touched on that CPU, and as many more on
 *					the other one, where the bug writes
 *
 * The grader stops it in checkpoint() and touched(), and reads `results` (user/lab/program.h).
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kernel/dev/vuln.h"
#include "user/lab/program.h"

#define PAGE	4096ul
#define COVERED (2ul << 20) /* by one table */
#define RW	(PROT_READ | PROT_WRITE)

enum { AT_GATES = 1, AT_NEXT, AT_READY, AT_FULL };
enum { R_NEXT };		     /* at AT_NEXT: a letter of KINDS */
enum { R_WORD };		     /* at AT_READY: where the writer reads what to write */

#define KINDS "tpuf"

static char *
room(size_t size)
{
	char *p = mmap(NULL, size, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	must(p != MAP_FAILED);
	return p;
}

static void
gates(void)
{
	run_ordinary_programs();
	checkpoint(AT_GATES);
}

/* ---- Work ---- */

static void
act(char kind, volatile char *page)
{
	pid_t pid;

	switch (kind) {
	case 't': /* an entry appears */
		*page = 1;
		break;
	case 'p': /* and changes, */
		must(mprotect((void *)page, PAGE, PROT_READ) == 0);
		break;
	case 'u': /* and goes */
		must(munmap((void *)page, PAGE) == 0);
		break;
	case 'f': /* and an address space comes and goes */
		pid = fork();
		if (pid == 0)
			_exit(0);
		must(status_of(pid) == 0);
		break;
	}
}

static void
work(int cpu, int shown)
{
	must(pin(cpu) == 0);
	for (;;) {
		char *page = room(PAGE);

		for (const char *kind = KINDS; *kind != 0; kind++) {
			results[R_NEXT] = *kind;
			if (shown)
				checkpoint(AT_NEXT);
			act(*kind, page);
			relax();
		}
	}
}

/* ---- Growth ---- */

static struct vuln_word word;

/* The grader changes the address. */
static void
writer(int fd, volatile int *begun)
{
	for (;;) {
		word.value++;
		must(ioctl(fd, VULN_WRITE, &word) == 0);
		*begun = 1;
		relax();
	}
}

__attribute__((noipa)) void
touched(void)
{
	__asm__ volatile("");
}

static void
spread(long pages)
{
	char *p = room((size_t)pages * COVERED);

	for (long i = 0; i < pages; i++) {
		p[(size_t)i * COVERED] = 1;
		touched();
		relax();
	}
	checkpoint(AT_FULL);
}

static void
grow(int cpu, long pages)
{
	volatile int *begun = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = open("/dev/vuln", O_RDWR);
	struct vuln_places places;

	must(begun != MAP_FAILED && fd >= 0 && ioctl(fd, VULN_PLACES, &places) == 0);
	word.address = places.scratch;
	must(pin(!cpu) == 0);
	if (fork() == 0)
		writer(fd, begun);
	must(pin(cpu) == 0);
	while (!*begun)
		give_way();
	results[R_WORD] = (long)&word;
	checkpoint(AT_READY);
	spread(pages);
	must(pin(!cpu) == 0);
	spread(pages);
}

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "gates") == 0) {
		gates();
	} else if (argc == 3 && strcmp(argv[1], "work") == 0) {
		int shown = atoi(argv[2]), cpu = fork() == 0;

		work(cpu, shown);
	} else if (argc == 4 && strcmp(argv[1], "grow") == 0) {
		grow(atoi(argv[2]), atol(argv[3]));
	}
	return 0;
}
