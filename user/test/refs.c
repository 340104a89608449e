/*
 * test-refs CPU ROUNDS: a file, its name and a page of memory get a reference more and lose it again, step by
 * step, on one CPU. Whoever watches sets the counters in between.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/cpu.h"

/* The file's descriptor and the page. */
volatile int refs_fd;
char *volatile refs_page;

/* Whoever watches stops here, and finds the number of the step in the first argument's register. */
__attribute__((noinline)) void refs_step(int step);

void
refs_step(int step)
{
	__asm__ volatile("" : : "r"(step));
}

static void
must(int ok)
{
	if (!ok)
		_exit(1);
}

/* The steps: open; one reference of the file more, and less; one of its name more, and less; closed. */
static void
file_steps(void)
{
	int more;

	refs_fd = open("/tmp/refs", O_RDWR | O_CREAT, 0600);
	must(refs_fd >= 0);
	refs_step(0);
	must((more = dup(refs_fd)) >= 0);
	refs_step(1);
	must(close(more) == 0);
	refs_step(2);
	must((more = open("/tmp/refs", O_RDONLY)) >= 0);
	refs_step(3);
	must(close(more) == 0);
	refs_step(4);
	must(close(refs_fd) == 0);
	refs_step(5);
}

/* There; a child had it, too, and is gone; unmapped. */
static void
page_steps(void)
{
	pid_t child;

	refs_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(refs_page != MAP_FAILED);
	*refs_page = 1;
	refs_step(6);
	child = fork();
	must(child >= 0);
	if (child == 0)
		_exit(0);
	must(waitpid(child, NULL, 0) == child);
	refs_step(7);
	must(munmap(refs_page, 4096) == 0);
	refs_step(8);
}

int
main(int argc, char **argv)
{
	long rounds = argc > 2 ? atol(argv[2]) : 1;

	must(pin(argc > 1 ? atoi(argv[1]) : 0) == 0);
	for (long i = 0; i < rounds; i++) {
		file_steps();
		page_steps();
	}
	return 0;
}
