/*
 * The program behind the checks: it tries each way to memory below the limit, and stands still for the grader to look.
 *
 *	lab-null-guard CPU PAGE USER LIMIT	PAGE: a page number below LIMIT, another; USER: a user id
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h).
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/lab/program.h"

#define PAGE	  4096ul
#define RW	  (PROT_READ | PROT_WRITE)
#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)
#define SELF	  "/proc/self/exe" /* its name is drawn */
#define HINT	  0x300000ul

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

enum { AT_GATES = 1, AT_MMAP, AT_HINT, AT_MREMAP, AT_GROW, AT_EXEC, AT_END, AS_ROOT = 10 };
enum { R_SHELL, R_FORK, R_MAPS, R_MAPS_ROOT };

static uintptr_t limit;	/* the lowest address that may be mapped */
static uintptr_t drawn; /* an address below */
static unsigned user;
static const char *const low_programs[] = {"/tmp/low-file", "/tmp/low-bss"};

/* What is tried in a child of its own, as root or not. */
static long
in_child(void (*act)(void), unsigned as)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (setuid(as))
			_exit(99);
		act();
		_exit(0);
	}
	return status_of(pid);
}

static void *
map(uintptr_t at, size_t size, int prot, int flags, int fd)
{
	return mmap((void *)at, size, prot, flags, fd, 0);
}

/* errno of the call that gave p, or 0. */
static long
error_of(const void *p)
{
	return p == MAP_FAILED ? errno : 0;
}

static sigjmp_buf faulted;

static void
on_fault(int signo)
{
	siglongjmp(faulted, signo);
}

/* Writes a byte there: whether that was possible. */
static int
touch(uintptr_t at)
{
	signal(SIGSEGV, on_fault);
	if (sigsetjmp(faulted, 1))
		return 0;
	*(volatile char *)at = 1;
	return 1;
}

/* ---- What must go on working ---- */

static void
need(int step, int good)
{
	if (!good)
		_exit(step);
}

static void
maps(void)
{
	char *p, *q;

	need(1, map(limit, 2 * PAGE, RW, ANONYMOUS | MAP_FIXED, -1) == (void *)limit && touch(limit));
	p = map(0, PAGE, RW, ANONYMOUS, -1);
	need(2, p != MAP_FAILED);
	*p = 'x';
	q = mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(limit + 2 * PAGE));
	need(3, q == (void *)(limit + 2 * PAGE) && *q == 'x');
	need(4, munmap((void *)0, limit + 4 * PAGE) == 0 && !touch(limit));
	need(5, map(HINT, PAGE, RW, ANONYMOUS, -1) == (void *)HINT);
	need(6, map(limit, PAGE, RW, ANONYMOUS, -1) == (void *)limit && munmap((void *)limit, PAGE) == 0);
	need(7, map(limit + 4 * PAGE, PAGE, RW, ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1) != MAP_FAILED);
	for (uintptr_t va = limit + 3 * PAGE; va >= limit; va -= PAGE)
		need(8, touch(va));
	p = sbrk(16 * PAGE);
	need(9, p != (void *)-1 && touch((uintptr_t)p + 15 * PAGE));
	p = map(0, 2 * PAGE, RW, ANONYMOUS, -1);
	need(10, p != MAP_FAILED && (p = mremap(p, 2 * PAGE, 64 * PAGE, MREMAP_MAYMOVE)) != MAP_FAILED);
	need(11, touch((uintptr_t)p + 63 * PAGE) && munmap(p, 64 * PAGE) == 0);
}

static void
gates(void)
{
	results[R_SHELL] = run_shell();
	results[R_FORK] = run_forks();
	results[R_MAPS] = in_child(maps, user);
	results[R_MAPS_ROOT] = in_child(maps, 0);
	checkpoint(AT_GATES);
}

/* ---- The ways: each stands at its checkpoint with what it got ---- */

static long
base(void)
{
	return getuid() == 0 ? AS_ROOT : 0;
}

static void
try_mmap(void)
{
	int fd = open(SELF, O_RDONLY);

	results[0] = error_of(map(drawn, PAGE, RW, ANONYMOUS | MAP_FIXED, -1));
	results[1] = error_of(map(0, PAGE, RW, ANONYMOUS | MAP_FIXED, -1));
	results[2] = error_of(map(limit - PAGE, 2 * PAGE, PROT_READ, ANONYMOUS | MAP_FIXED, -1));
	results[3] = error_of(map(drawn, PAGE, PROT_NONE, ANONYMOUS | MAP_FIXED_NOREPLACE, -1));
	results[4] = error_of(map(drawn, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1));
	results[5] = error_of(map(0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED | MAP_POPULATE, fd));
	results[6] = error_of(map(drawn, PAGE, RW, ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1));
	checkpoint(base() + AT_MMAP);
}

static void
try_hint(void)
{
	char *page = map(0, PAGE, RW, ANONYMOUS, -1), *p;

	results[0] = (long)map(drawn, PAGE, RW, ANONYMOUS | MAP_POPULATE, -1);
	results[1] = (long)map(1, PAGE, RW, ANONYMOUS | MAP_POPULATE, -1);
	results[2] = (long)map(limit - PAGE, 2 * PAGE, RW, ANONYMOUS | MAP_POPULATE, -1);
	p = mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, (void *)drawn);
	results[3] = (long)p;
	checkpoint(base() + AT_HINT);
}

static void
try_mremap(void)
{
	static const char text[] = "still here";
	char *p = map(0, 2 * PAGE, RW, ANONYMOUS, -1), *q = map(0, PAGE, RW, ANONYMOUS, -1);
	const int fixed = MREMAP_MAYMOVE | MREMAP_FIXED;

	memcpy(p, text, sizeof(text));
	memcpy(q, text, sizeof(text));
	results[0] = error_of(mremap(p, 2 * PAGE, PAGE, fixed, (void *)(limit - PAGE)));
	results[1] = error_of(mremap(q, PAGE, PAGE, fixed, (void *)drawn));
	results[2] = error_of(mremap(q, PAGE, PAGE, fixed | MREMAP_DONTUNMAP, (void *)0));
	results[3] = touch((uintptr_t)p) && touch((uintptr_t)p + PAGE) && touch((uintptr_t)q) && !memcmp(p + 1, text + 1, sizeof(text) - 1) &&
		     !memcmp(q + 1, text + 1, sizeof(text) - 1);
	checkpoint(base() + AT_MREMAP);
}

static void
try_growing(void)
{
	uintptr_t lowest = limit + 2 * PAGE;
	int ends[2];

	if (map(lowest, PAGE, RW, ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1) == MAP_FAILED || pipe(ends) ||
	    write(ends[1], "!", 1) != 1)
		_exit(98);
	results[0] = read(ends[0], (void *)drawn, 1) < 0 ? errno : 0;
	results[1] = touch(drawn);
	while (lowest > 0 && touch(lowest - PAGE))
		lowest -= PAGE;
	results[2] = (long)lowest;
	checkpoint(base() + AT_GROW);
}

/* A copy of this program with one segment more, at the drawn address: of the file, or of zeros. */
static void
make_low_program(const char *path, int of_file)
{
	int from = open(SELF, O_RDONLY), to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	Elf64_Ehdr *header;
	Elf64_Phdr *first;
	struct stat st;

	if (from < 0 || to < 0 || fstat(from, &st))
		_exit(97);
	header = mmap(NULL, st.st_size, RW, MAP_PRIVATE, from, 0);
	if (header == MAP_FAILED)
		_exit(97);
	/* Segments stand in ascending order; the last entry (GNU_RELRO) may go. */
	first = (Elf64_Phdr *)((char *)header + header->e_phoff);
	memmove(first + 1, first, (header->e_phnum - 1) * sizeof(*first));
	*first = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R, .p_vaddr = drawn, .p_paddr = drawn,
			      .p_filesz = of_file ? PAGE : 0, .p_memsz = PAGE, .p_align = PAGE};
	if (write(to, header, st.st_size) != st.st_size)
		_exit(97);
	munmap(header, st.st_size);
	close(from);
	close(to);
}

static void
try_exec(unsigned as)
{
	pid_t pids[2];

	for (int i = 0; i < 2; i++) {
		int up[2];
		char byte;

		if (pipe(up))
			_exit(96);
		pids[i] = fork();
		if (pids[i] == 0) {
			dup2(up[1], 1);
			if (setuid(as) == 0)
				execl(low_programs[i], "low", NULL);
			_exit(126);
		}
		close(up[1]);
		results[i] = read(up[0], &byte, 1) == 1; /* it has begun, and lives */
		close(up[0]);
	}
	checkpoint((as ? 0 : AS_ROOT) + AT_EXEC);
	for (int i = 0; i < 2; i++) {
		kill(pids[i], SIGKILL);
		status_of(pids[i]);
	}
}

int
main(int argc, char **argv)
{
	if (strcmp(argv[0], "low") == 0) {
		if (write(1, "!", 1) == 1)
			pause();
		return 0;
	}
	if (argc != 5)
		return 2;
	pin(atoi(argv[1]));
	drawn = strtoul(argv[2], NULL, 10) * PAGE;
	user = strtoul(argv[3], NULL, 10);
	limit = strtoul(argv[4], NULL, 10) * PAGE;
	gates();
	for (int i = 0; i < 2; i++)
		make_low_program(low_programs[i], i == 0);
	for (int i = 0; i < 2; i++) {
		unsigned as = i == 0 ? user : 0;

		in_child(try_mmap, as);
		in_child(try_hint, as);
		in_child(try_mremap, as);
		in_child(try_growing, as);
		try_exec(as);
	}
	checkpoint(AT_END);
	return 0;
}
