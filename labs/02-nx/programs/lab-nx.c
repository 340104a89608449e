/*
 * The program behind the checks: it has pages of every kind, changes them in every way, and stands still for the grader to
 * look at their entries; or it jumps into them.
 *
 *	lab-nx tables CPU NUMBER	the number draws how many pages, and which of them are touched
 *	lab-nx jumps PLACE CPU ...	a process each, which jumps to that place on that CPU
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h) and `pages`, of the process that stands.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "user/lab/program.h"

#define PAGE	 4096ul
#define RW	 (PROT_READ | PROT_WRITE)
#define RX	 (PROT_READ | PROT_EXEC)
#define PRIVATE	 (MAP_PRIVATE | MAP_ANONYMOUS)
#define SHARED	 (MAP_SHARED | MAP_ANONYMOUS)
#define DATA	 "/tmp/data"
#define CODE	 "/tmp/code"
#define FILE_MAX 24ul /* pages of the file */
#define MOVED	 ((char *)0x500000000)

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

enum { AT_GATES = 1, AT_DATA, AT_FILES, AT_SEGMENTS, AT_CHILD, AT_CHILD_WROTE, AT_PARENT, AT_PARENT_WROTE, AT_CHANGED,
       AT_MOVED, AT_READY, AT_JUMP, AT_OVER, AT_END };
enum { R_SHELL, R_FORK, R_CODE, R_STATUS, R_PAGES };

/* What the grader is to find at an address. */
enum { DATA_THERE, CODE_THERE, NO_CODE };
struct page {
	uint64_t at, size, what;
};
volatile struct page pages[64];

/* More than a page each, so that some of it is theirs alone. */
static volatile char zeroed[3 * PAGE], initialised[3 * PAGE] = {1};
static int data, code; /* files */
static int cpu;
static uint64_t state; /* of draw() */

static void
need(int good)
{
	if (!good)
		_exit(3);
}

static unsigned
draw(unsigned n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % n;
}

static void
note(const volatile void *at, size_t size, int what)
{
	pages[results[R_PAGES]++] = (struct page){(uint64_t)at & -PAGE, size, (uint64_t)what};
}

/* The grader looks at what was noted. */
static void
show(int which)
{
	checkpoint(which);
	results[R_PAGES] = 0;
}

static char *
map(size_t n, int prot, int flags, int fd)
{
	char *p = mmap(NULL, n * PAGE, prot, flags, fd, 0);

	need(p != MAP_FAILED);
	return p;
}

static void
load(const volatile char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)p[i * PAGE];
}

static void
store(volatile char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i * PAGE]++;
}

/* Some of its pages are read first, all are written. */
static char *
some(int prot, int flags, int fd, size_t *n)
{
	char *p = map(*n = 2 + draw(6), prot, flags, fd);

	load(p, draw((unsigned)*n + 1));
	store(p, *n);
	return p;
}

/* ---- What must go on working ---- */

__attribute__((noipa)) void
payload(void)
{
	__asm__ volatile("");
}

/* Goes on at payload(), and returns. */
static void
write_code(char *to)
{
	uint64_t target = (uint64_t)payload;

#if defined(__aarch64__)
	memcpy(to, "\x50\x00\x00\x58\x00\x02\x1f\xd6", 8); /* ldr x16, 1f; br x16; 1: */
	memcpy(to + 8, &target, 8);
#else
	memcpy(to, "\x48\xb8", 2); /* movabs $payload, %rax; jmp *%rax */
	memcpy(to + 2, &target, 8);
	memcpy(to + 10, "\xff\xe0", 2);
#endif
	__builtin___clear_cache(to, to + 16);
}

static void
jump(char *to)
{
	void (*fn)(void);

	memcpy(&fn, &to, sizeof(fn));
	fn();
}

/* A file's code, and code that was written and then given the right. */
static void
allowed(void)
{
	char *p = map(1, RX, MAP_PRIVATE, code), *q = map(1, RW, PRIVATE, -1);

	jump(p);
	write_code(q);
	need(mprotect(q, PAGE, RX) == 0);
	jump(q);
	need(mprotect(q, PAGE, RW) == 0);
	write_code(q);
	need(mprotect(q, PAGE, RX | PROT_WRITE) == 0);
	jump(q);
	need(mprotect(p, PAGE, PROT_NONE) == 0 && mprotect(p, PAGE, RX) == 0);
	jump(p);
	p = mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, MOVED);
	need(p == MOVED);
	jump(p);
}

static long
in_child(void (*act)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		act();
		_exit(0);
	}
	return status_of(pid);
}

static void
make_files(void)
{
	static char page[PAGE];

	data = open(DATA, O_RDWR | O_CREAT | O_TRUNC, 0600);
	code = open(CODE, O_RDWR | O_CREAT | O_TRUNC, 0700);
	write_code(page);
	for (unsigned i = 0; i < FILE_MAX; i++)
		need(write(data, page, PAGE) == PAGE && write(code, page, PAGE) == PAGE);
}

static void
gates(void)
{
	results[R_SHELL] = run_shell();
	results[R_FORK] = run_forks();
	make_files();
	results[R_CODE] = in_child(allowed);
	checkpoint(AT_GATES);
}

/* ---- Pages of every kind ---- */

static void
kinds_of_data(void)
{
	volatile char deep[16 * PAGE];
	char *p;
	size_t n;

	store(deep, 16);
	note(deep + 15 * PAGE, PAGE, DATA_THERE);
	note(deep + PAGE, 2 * PAGE, DATA_THERE);
	p = sbrk(4 * PAGE);
	store(p, 4);
	note(p + PAGE, 3 * PAGE, DATA_THERE);
	store(zeroed, 3);
	note(zeroed + PAGE, PAGE, DATA_THERE);
	store(initialised, 3);
	note(initialised + PAGE, PAGE, DATA_THERE);
	p = some(RW, PRIVATE, -1, &n);
	note(p, n * PAGE, DATA_THERE);
	p = map(n, PROT_READ, PRIVATE, -1);
	load(p, n);
	note(p, n * PAGE, DATA_THERE);
	p = some(RW, SHARED, -1, &n);
	note(p, n * PAGE, DATA_THERE);
	p = map(n, PROT_READ, PRIVATE | MAP_POPULATE, -1);
	note(p, n * PAGE, DATA_THERE);
	show(AT_DATA);
}

static void
kinds_of_files(void)
{
	char *p;
	size_t n, at = draw(FILE_MAX);

	p = map(FILE_MAX, PROT_READ, MAP_PRIVATE, data);
	load(p + at * PAGE, 1);
	note(p + at * PAGE, PAGE, DATA_THERE);
	note(p, FILE_MAX * PAGE, NO_CODE); /* its neighbours came with it */
	p = map(FILE_MAX, RW, MAP_PRIVATE, data);
	load(p + at * PAGE, 1);
	note(p + at * PAGE, PAGE, DATA_THERE);
	note(p, FILE_MAX * PAGE, NO_CODE);
	store(p + at * PAGE, 1);
	p = some(RW, MAP_PRIVATE, data, &n);
	note(p, n * PAGE, DATA_THERE);
	p = some(RW, MAP_SHARED, data, &n);
	note(p, n * PAGE, DATA_THERE);
	p = map(FILE_MAX, PROT_READ, MAP_SHARED, data);
	load(p + at * PAGE, 1);
	note(p, FILE_MAX * PAGE, NO_CODE);
	p = map(FILE_MAX, PROT_READ, MAP_PRIVATE, code); /* a program's file, as data */
	load(p + at * PAGE, 1);
	note(p, FILE_MAX * PAGE, NO_CODE);
	p = map(FILE_MAX, RX, MAP_PRIVATE, code);
	load(p + at * PAGE, 1);
	note(p + at * PAGE, PAGE, CODE_THERE);
	show(AT_FILES);
}

/* Those of this program, as its headers have them; its constants have one of their own (-z separate-code). */
static void
segments(void)
{
	const Elf64_Phdr *h = (const Elf64_Phdr *)getauxval(AT_PHDR);

	for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) {
		uintptr_t start = h[i].p_vaddr & -PAGE, end = (h[i].p_vaddr + h[i].p_memsz + PAGE - 1) & -PAGE;

		if (h[i].p_type != PT_LOAD)
			continue;
		load((const char *)start, (end - start) / PAGE);
		note((const char *)start, end - start, h[i].p_flags & PF_X ? CODE_THERE : DATA_THERE);
	}
	show(AT_SEGMENTS);
}

/* ---- Two processes ---- */

enum { WRITTEN, UNREAD, COPIED, FROM_FILE, TOGETHER, FORBIDDEN, RUN, KINDS };
static struct {
	char *at;
	size_t n;
} both[KINDS];

static void
note_both(int what_is_forbidden)
{
	volatile char here = 1;

	note(&here, PAGE, DATA_THERE);
	note(zeroed + PAGE, PAGE, DATA_THERE);
	note(initialised + PAGE, PAGE, DATA_THERE);
	for (int i = 0; i < KINDS; i++)
		note(both[i].at, both[i].n * PAGE, i == RUN ? CODE_THERE : i == FORBIDDEN ? what_is_forbidden : DATA_THERE);
}

static void
use_both(void (*use)(volatile char *, size_t))
{
	use(zeroed + PAGE, 1);
	use(initialised + PAGE, 1);
	for (int i = 0; i < FORBIDDEN; i++)
		use(both[i].at, both[i].n);
	load(both[RUN].at, both[RUN].n);
}

static void
only_load(volatile char *p, size_t n)
{
	load(p, n);
}

static void
allow_forbidden(void)
{
	need(mprotect(both[FORBIDDEN].at, both[FORBIDDEN].n * PAGE, RW) == 0);
}

static void
forked(void)
{
	pid_t pid;

	both[WRITTEN].at = some(RW, PRIVATE, -1, &both[WRITTEN].n);
	both[UNREAD].at = map(both[UNREAD].n = 2 + draw(4), RW, PRIVATE, -1);
	load(both[UNREAD].at, both[UNREAD].n);
	both[COPIED].at = some(RW, MAP_PRIVATE, data, &both[COPIED].n);
	both[FROM_FILE].at = map(both[FROM_FILE].n = 2 + draw(4), RW, MAP_PRIVATE, data);
	load(both[FROM_FILE].at, both[FROM_FILE].n);
	both[TOGETHER].at = some(RW, SHARED, -1, &both[TOGETHER].n);
	both[FORBIDDEN].at = some(RW, PRIVATE, -1, &both[FORBIDDEN].n);
	need(mprotect(both[FORBIDDEN].at, both[FORBIDDEN].n * PAGE, PROT_NONE) == 0);
	both[RUN].at = map(both[RUN].n = 2, RX, MAP_PRIVATE, code);
	pid = fork();
	if (pid == 0) {
		pin(!cpu);
		use_both(only_load);
		note_both(NO_CODE);
		show(AT_CHILD);
		use_both(store);
		allow_forbidden();
		note_both(DATA_THERE);
		show(AT_CHILD_WROTE);
		_exit(0);
	}
	need(status_of(pid) == 0);
	use_both(only_load);
	note_both(NO_CODE);
	show(AT_PARENT);
	use_both(store);
	allow_forbidden();
	note_both(DATA_THERE);
	show(AT_PARENT_WROTE);
}

/* ---- Entries that are written anew ---- */

static void
protect(char *p, size_t n, int prot)
{
	need(mprotect(p, n * PAGE, prot) == 0);
}

static void
changed(void)
{
	size_t n;
	char *p = some(RW, PRIVATE, -1, &n);

	protect(p + draw((unsigned)n) * PAGE, 1, PROT_READ);
	note(p, n * PAGE, DATA_THERE);
	p = map(n, PROT_READ, PRIVATE | MAP_POPULATE, -1);
	protect(p, n, RW);
	note(p, n * PAGE, DATA_THERE);
	store(p, n);
	p = some(RW, PRIVATE, -1, &n);
	protect(p, n, PROT_NONE);
	protect(p, n, RW);
	note(p, n * PAGE, DATA_THERE);
	p = map(4, RX, MAP_PRIVATE, code);
	load(p, 4);
	protect(p, 2, PROT_READ);
	protect(p + 3 * PAGE, 1, PROT_NONE);
	protect(p + 3 * PAGE, 1, PROT_READ);
	note(p, 2 * PAGE, DATA_THERE);
	note(p + 2 * PAGE, PAGE, CODE_THERE);
	note(p + 3 * PAGE, PAGE, DATA_THERE);
	p = some(RW, PRIVATE, -1, &n);
	protect(p, n, RX);
	protect(p + PAGE, n - 1, RW);
	note(p, PAGE, CODE_THERE);
	note(p + PAGE, (n - 1) * PAGE, DATA_THERE);
	p = some(RW, SHARED, -1, &n);
	protect(p, n, PROT_READ);
	protect(p, 1, RW);
	note(p, n * PAGE, DATA_THERE);
	p = some(RW, PRIVATE, -1, &n);
	need(madvise(p, n * PAGE, MADV_DONTNEED) == 0);
	load(p, n);
	note(p, n * PAGE, DATA_THERE);
	show(AT_CHANGED);
}

static void
moved(void)
{
	const int fixed = MREMAP_MAYMOVE | MREMAP_FIXED;
	char *p, *to = MOVED;
	size_t n;

	p = some(RW, PRIVATE, -1, &n);
	need(mremap(p, n * PAGE, n * PAGE, fixed, to) == to);
	note(to, n * PAGE, DATA_THERE);
	to += 64 * PAGE;
	p = some(RW, PRIVATE, -1, &n);
	protect(p, n, PROT_NONE);
	need(mremap(p, n * PAGE, n * PAGE, fixed, to) == to);
	protect(to, n, PROT_READ);
	note(to, n * PAGE, DATA_THERE);
	p = some(RW, MAP_PRIVATE, data, &n);
	p = mremap(p, n * PAGE, 40 * PAGE, MREMAP_MAYMOVE);
	need(p != MAP_FAILED);
	note(p, n * PAGE, DATA_THERE);
	p = some(RW, PRIVATE, -1, &n);
	to = mremap(p, n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	need(to != MAP_FAILED);
	load(p, n);
	note(p, n * PAGE, DATA_THERE);
	note(to, n * PAGE, DATA_THERE);
	p = map(4, RX, MAP_PRIVATE, code);
	load(p, 4);
	to = MOVED + 128 * PAGE;
	need(mremap(p, 4 * PAGE, 4 * PAGE, fixed, to) == to);
	protect(to, 2, PROT_READ);
	note(to, 2 * PAGE, DATA_THERE);
	note(to + 2 * PAGE, 2 * PAGE, CODE_THERE);
	show(AT_MOVED);
}

/* ---- Jumps: each in a process of its own, which stands once more before it jumps ---- */

static char *place; /* where a parent has put code */

static void
fall(char *to)
{
	write_code(to);
	checkpoint(AT_JUMP);
	jump(to);
}

static void
on_stack(void)
{
	char buffer[64] __attribute__((aligned(16)));

	fall(buffer);
}

static void
on_heap(void)
{
	fall(malloc(64));
}

static void
in_bss(void)
{
	fall((char *)zeroed + PAGE);
}

static void
in_memory(void)
{
	fall(map(1, RW, PRIVATE, -1));
}

static void
in_shared_memory(void)
{
	fall(map(1, RW, SHARED, -1));
}

static void
in_file(void)
{
	fall(map(1, RW, MAP_PRIVATE, data));
}

/* What it has from its parent, as it was. */
static void
in_inheritance(void)
{
	checkpoint(AT_JUMP);
	jump(place);
}

static void
in_forbidden(void)
{
	char *p = map(1, RW, PRIVATE, -1);

	write_code(p);
	protect(p, 1, PROT_NONE);
	protect(p, 1, RW);
	checkpoint(AT_JUMP);
	jump(p);
}

/* What ran a moment ago: the processor knows the page. */
static void
taken_away(void)
{
	char *p = map(1, RX, MAP_PRIVATE, code);

	jump(p);
	protect(p, 1, PROT_READ);
	checkpoint(AT_JUMP);
	jump(p);
}

static void
made_writable(void)
{
	char *p = map(1, RW, PRIVATE, -1);

	write_code(p);
	protect(p, 1, RX);
	jump(p);
	protect(p, 1, RW);
	checkpoint(AT_JUMP);
	jump(p);
}

static void (*const places[])(void) = {on_stack, on_heap, in_bss, in_memory, in_shared_memory, in_file, in_inheritance,
				       in_forbidden, taken_away, made_writable};

static void
jumps(int argc, char **argv)
{
	make_files();
	for (int i = 2; i + 1 < argc; i += 2) {
		pid_t pid;

		cpu = atoi(argv[i + 1]);
		place = map(1, RW, PRIVATE, -1);
		write_code(place);
		checkpoint(AT_READY);
		pid = fork();
		if (pid == 0) {
			pin(cpu);
			places[atoi(argv[i])]();
			_exit(0);
		}
		results[R_STATUS] = status_of(pid);
		checkpoint(AT_OVER);
	}
}

int
main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	if (strcmp(argv[1], "jumps") == 0) {
		jumps(argc, argv);
	} else {
		state = strtoul(argv[3], NULL, 10);
		gates();
		for (int i = 0; i < 2; i++) {
			cpu = atoi(argv[2]) ^ i;
			pin(cpu);
			kinds_of_data();
			kinds_of_files();
			segments();
			forked();
			changed();
			moved();
		}
	}
	checkpoint(AT_END);
	return 0;
}
