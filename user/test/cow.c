/*
 * test-cow ROUNDS: private memory is forked, protected and written in every order, by parents, children and
 * grandchildren; each checks what it sees. test-cow race ROUNDS: one thread has the kernel write to private
 * pages of a file, another writes itself, a third drops them meanwhile. Ends with 0 if all was as it should be;
 * whoever watches looks at the frames.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE  4096
#define PAGES 4
#define FILL  0x46 /* every byte of the file */

/* The file through a shared mapping that cannot be written: the page cache's own frames. */
unsigned char *volatile cow_file;

/* Whoever watches stops here, in whichever process comes by. */
__attribute__((noinline)) void cow_look(void);

void
cow_look(void)
{
	__asm__ volatile("");
}

static void
must(int ok)
{
	if (!ok)
		_exit(1);
}

/* What is not as it should be ends nothing: whoever watches is to see how it came. */
static atomic_int failed;

static void
expect(int ok)
{
	if (!ok)
		atomic_store(&failed, 1);
}

static unsigned char *
map(int flags, int prot, int fd)
{
	unsigned char *p = mmap(NULL, PAGES * PAGE, prot, flags, fd, 0);

	must(p != MAP_FAILED);
	return p;
}

static void
fill(volatile unsigned char *p, unsigned char c)
{
	for (int i = 0; i < PAGES; i++)
		p[i * PAGE] = c;
}

static int
filled(const volatile unsigned char *p, unsigned char c)
{
	for (int i = 0; i < PAGES; i++)
		if (p[i * PAGE] != c)
			return 0;
	return 1;
}

static void
protect_twice(void *p)
{
	must(mprotect(p, PAGES * PAGE, PROT_READ) == 0);
	cow_look();
	must(mprotect(p, PAGES * PAGE, PROT_READ | PROT_WRITE) == 0);
	cow_look();
}

static pid_t
start(void)
{
	pid_t p = fork();

	must(p >= 0);
	cow_look();
	return p;
}

static void
ends(pid_t p)
{
	int status;

	must(waitpid(p, &status, 0) == p);
	expect(status == 0);
	cow_look();
}

/* Memory that the parent filled with c: it protects, writes, forks on, or is forked from again. */
static void
child(unsigned char *memory, unsigned char *file, unsigned char c, long how)
{
	expect(filled(memory, c) && filled(file, c));
	if (how & 1)
		protect_twice(memory);
	if (how & 2)
		protect_twice(file);
	if (how & 4) {
		pid_t p = start();

		if (p == 0) {
			fill(file, 3);
			expect(filled(memory, c));
			_exit(failed);
		}
		fill(memory, 2);
		ends(p);
		expect(filled(file, c));
	}
	fill(memory, 2);
	cow_look();
	fill(file, 2);
	expect(filled(memory, 2) && filled(file, 2));
	cow_look();
	_exit(failed);
}

static int source; /* a file of another content, which nobody else maps */

/* The page cache's frame has one mapping, which is private and writes. */
static void
alone(void)
{
	unsigned char *file = map(MAP_PRIVATE, PROT_READ | PROT_WRITE, source);

	expect(filled(file, 5));
	cow_look();
	fill(file, 6);
	cow_look();
	must(munmap(file, PAGES * PAGE) == 0);
}

static void
work(int fd, long how)
{
	unsigned char *memory = map(MAP_PRIVATE | MAP_ANONYMOUS, PROT_READ | PROT_WRITE, -1);
	unsigned char *read_first = map(MAP_PRIVATE, PROT_READ, fd);
	unsigned char *file = map(MAP_PRIVATE, PROT_READ | PROT_WRITE, fd);
	pid_t p;

	alone();
	/* A page that was read is the page cache's; it may be written then. */
	expect(filled(read_first, FILL));
	cow_look();
	must(mprotect(read_first, PAGES * PAGE, PROT_READ | PROT_WRITE) == 0);
	cow_look();
	fill(read_first, 9);
	expect(filled(file, FILL));
	fill(memory, 1);
	fill(file, 1);
	p = start();
	if (p == 0)
		child(memory, file, 1, how);
	if (how & 8) {
		protect_twice(memory);
		fill(memory, 1);
	}
	ends(p);
	expect(filled(memory, 1) && filled(file, 1) && filled(read_first, 9) && filled(cow_file, FILL));
	fill(memory, 4);
	must(madvise(file, PAGES * PAGE, MADV_DONTNEED) == 0);
	expect(filled(file, FILL));
	cow_look();
	munmap(memory, PAGES * PAGE);
	munmap(read_first, PAGES * PAGE);
	munmap(file, PAGES * PAGE);
}

/* ---- The race ---- */

static unsigned char *raced;
static atomic_long left;

static void *
kernel_writes(void *arg)
{
	while (atomic_fetch_sub(&left, 1) > 0)
		must(pread(source, raced, PAGES * PAGE, 0) == PAGES * PAGE);
	return arg;
}

static void *
user_writes(void *arg)
{
	while (atomic_load(&left) > 0)
		fill(raced, 7);
	return arg;
}

static void
race(int fd, long rounds)
{
	pthread_t t[2];

	raced = map(MAP_PRIVATE, PROT_READ | PROT_WRITE, fd);
	atomic_store(&left, rounds);
	must(pthread_create(&t[0], NULL, kernel_writes, NULL) == 0);
	must(pthread_create(&t[1], NULL, user_writes, NULL) == 0);
	while (atomic_load(&left) > 0) {
		unsigned char c = *(volatile unsigned char *)raced; /* the file's page, mapped read-only */

		expect(c == FILL || c == 5 || c == 7);
		must(madvise(raced, PAGES * PAGE, MADV_DONTNEED) == 0);
	}
	must(pthread_join(t[0], NULL) == 0 && pthread_join(t[1], NULL) == 0);
	expect(filled(cow_file, FILL));
}

/* A file with these contents, open for reading alone. */
static int
file_of(const char *name, const unsigned char *contents)
{
	int fd = open(name, O_RDWR | O_CREAT, 0600);

	must(fd >= 0 && write(fd, contents, PAGES * PAGE) == PAGES * PAGE);
	close(fd);
	fd = open(name, O_RDONLY);
	must(fd >= 0);
	return fd;
}

int
main(int argc, char **argv)
{
	unsigned char *page = malloc(PAGES * PAGE);
	long rounds = argc > 1 ? atol(argv[argc - 1]) : 16;
	int fd;

	must(page != NULL);
	memset(page, FILL, PAGES * PAGE);
	fd = file_of("/tmp/cow", page);
	memset(page, 5, PAGES * PAGE);
	source = file_of("/tmp/cow-source", page);
	cow_file = map(MAP_SHARED, PROT_READ, fd);
	expect(filled(cow_file, FILL));
	if (argc > 2 && strcmp(argv[1], "race") == 0)
		race(fd, rounds);
	else
		for (long i = 0; i < rounds; i++)
			work(fd, i);
	cow_look();
	return failed;
}
