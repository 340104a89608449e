/*
 * A load to look at from outside: pages so far from one another that each needs a page table of its own, more
 * tables than the kernel set aside at start-up.  It is in sparse_full when they are all there; then the memory
 * goes, and comes once more.  Ends with status 1 if a page is not what was written to it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define COVERED (2ul << 20) /* by one table */
#define ROUNDS	2

void sparse_full(void);

__attribute__((noinline)) void
sparse_full(void)
{
	__asm__ volatile("");
}

int
main(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 10) : 1200;

	for (int round = 0; round < ROUNDS; round++) {
		char *m = mmap(NULL, n * COVERED, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (m == MAP_FAILED)
			return 2;
		for (uint64_t i = 0; i < n; i++) {
			volatile uint64_t *word = (volatile uint64_t *)(m + i * COVERED);

			if (*word != 0)
				return 1;
			*word = i + 1;
		}
		for (uint64_t i = 0; i < n; i++) {
			if (*(volatile uint64_t *)(m + i * COVERED) != i + 1)
				return 1;
		}
		sparse_full();
		munmap(m, n * COVERED);
	}
	return 0;
}
