/*
 * A workload to look at: data of which the entries are written again and again, by fork, by the writes after it, by
 * mprotect and by mremap. None of it is ever to be executed.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (4 * 4096ul)
#define RW   (PROT_READ | PROT_WRITE)

/* Whoever watches looks here. */
__attribute__((noinline)) void rights_changed(void);

void
rights_changed(void)
{
	__asm__ volatile("");
}

static void
must(int ok)
{
	if (!ok)
		_exit(1);
}

static void
write_to(volatile char *m)
{
	for (unsigned long i = 0; i < SIZE; i += 4096)
		m[i]++;
	rights_changed();
}

static void
protect(char *m, int prot)
{
	must(mprotect(m, SIZE, prot) == 0);
	rights_changed();
}

int
main(void)
{
	char *m = mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *to;
	int status;
	pid_t pid;

	must(m != MAP_FAILED);
	write_to(m);
	pid = fork();
	if (pid == 0) {
		rights_changed();
		write_to(m);
		_exit(0);
	}
	must(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	write_to(m);
	protect(m, PROT_READ);
	protect(m, RW);
	protect(m, PROT_NONE);
	protect(m, RW);
	to = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(to != MAP_FAILED && mremap(m, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	rights_changed();
	write_to(to);
	return 0;
}
