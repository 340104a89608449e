/*
 * Many address spaces at the same addresses, each with words of its own: numbers of the TLB run out while
 * they take turns.  Fails if one ever reads another's.
 */
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN 6
#define PAGES	 4
#define TURNS	 40

static volatile uint64_t *words;

/* 1 if not every page has its own word. */
static int
look(uint64_t own)
{
	for (int p = 0; p < PAGES; p++) {
		if (words[512 * p] != own + (uint64_t)p)
			return 1;
	}
	return 0;
}

/* Its own word in every page, looked at again after the others have run. */
static int
child(uint64_t own)
{
	for (int p = 0; p < PAGES; p++)
		words[512 * p] = own + (uint64_t)p;
	for (int turn = 0; turn < TURNS; turn++) {
		sched_yield();
		if (look(own))
			return 1;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 20, status;

	words = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (words == MAP_FAILED)
		return 1;
	words[0] = UINT64_MAX;
	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < CHILDREN; i++) {
			pid_t pid = fork();

			if (pid < 0)
				return 1;
			if (pid == 0)
				_exit(child((uint64_t)(round * CHILDREN + i) << 8));
		}
		for (int i = 0; i < CHILDREN; i++) {
			if (wait(&status) < 0 || status != 0) {
				printf("spaces: a process read what it had not written\n");
				return 1;
			}
		}
		if (words[0] != UINT64_MAX) {
			printf("spaces: the first process lost its word\n");
			return 1;
		}
	}
	printf("spaces: %d rounds, each read what it wrote\n", rounds);
	return 0;
}
