/*
 * A workload to look at: `test-exempt N`. A program that is exempt from W^X and one that is not share a processor;
 * in each of N rounds the first runs code that it has just written, and both give way. Exits with 0 if all ran.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/cpu.h"

#define PR_RAMPART_ALLOW_WX 0x52414d50 /* kernel/sys/prctl.c; Linux has no need of it */
#define PAGE		    4096

/* Whoever watches counts rounds here: of the exempt program, and of the other. */
__attribute__((noinline)) void exempt_round(void);
__attribute__((noinline)) void strict_round(void);

void
exempt_round(void)
{
	__asm__ volatile("");
}

void
strict_round(void)
{
	__asm__ volatile("");
}

/* Writes a function that returns n, and calls it. */
static int
call_written(void *page, uint16_t n)
{
	int (*fn)(void);
#if defined(__aarch64__)
	uint32_t code[] = { 0x52800000 | (uint32_t)n << 5, 0xd65f03c0 }; /* mov w0, #n; ret */
#else
	uint8_t code[] = { 0xb8, n & 0xff, n >> 8, 0, 0, 0xc3 }; /* mov $n, %eax; ret */
#endif

	memcpy(page, code, sizeof(code));
	__builtin___clear_cache(page, (char *)page + sizeof(code));
	memcpy(&fn, &page, sizeof(fn));
	return fn();
}

static int
run_exempt(int rounds)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return 1;
	for (int i = 0; i < rounds; i++) {
		if (call_written(page, (uint16_t)i) != (uint16_t)i)
			return 1;
		exempt_round();
		sched_yield();
	}
	return 0;
}

int
main(int argc, char **argv)
{
	char *exempt[] = { argv[0], argc > 1 ? argv[1] : "1", "exempt", NULL };
	int rounds = atoi(exempt[1]), status;

	if (argc > 2)
		return run_exempt(rounds);
	if (pin(0) != 0)
		return 1;
	if (fork() == 0) {
		prctl(PR_RAMPART_ALLOW_WX, 1, 0, 0, 0);
		execv("/proc/self/exe", exempt);
		_exit(1);
	}
	for (int i = 0; i < rounds; i++) {
		strict_round();
		sched_yield();
	}
	return wait(&status) < 0 || status != 0;
}
