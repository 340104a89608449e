/* Rows about memory: first touches of file and of anonymous pages, mapping and unmapping. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "user/bench/bench.h"

#define PAGE 4096
#define PAGES 256
#define SIZE ((size_t)PAGES * PAGE)
#define FILE_NAME "/tmp/bench.pages"
/* lmbench's lat_mmap touches one byte in so many. */
#define STRIDE 16384

/* A file of PAGES pages that are all in memory; unlinked at once. */
static int
page_file(void)
{
	static char page[PAGE];
	int fd = open(FILE_NAME, O_RDWR | O_CREAT | O_TRUNC, 0600);

	check(fd >= 0, FILE_NAME);
	memset(page, 'p', sizeof(page));
	for (int i = 0; i < PAGES; i++)
		check(write(fd, page, PAGE) == PAGE, FILE_NAME);
	unlink(FILE_NAME);
	return fd;
}

/* Touches each page of a fresh mapping once; only the touching is timed. n counts pages. */
static uint64_t
touch(unsigned int n, int fd, int prot, int flags)
{
	uint64_t took = 0;

	for (unsigned int done = 0; done < n; done += PAGES) {
		unsigned int pages = n - done < PAGES ? n - done : PAGES;
		volatile char *map = mmap(NULL, SIZE, prot, flags, fd, 0);
		uint64_t start;

		check(map != MAP_FAILED, "mmap");
		start = now();
		for (unsigned int i = 0; i < pages; i++) {
			if (prot & PROT_WRITE)
				map[(size_t)i * PAGE] = 1;
			else
				(void)map[(size_t)i * PAGE];
		}
		took += now() - start;
		munmap((void *)map, SIZE);
	}
	return took;
}

static uint64_t
run_fault_file(unsigned int n)
{
	int fd = page_file();
	uint64_t took = touch(n, fd, PROT_READ, MAP_SHARED);

	close(fd);
	return took;
}

static uint64_t
run_fault_anon(unsigned int n)
{
	return touch(n, -1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
}

static uint64_t
run_mmap(unsigned int n)
{
	int fd = page_file();
	uint64_t start = now();

	while (n--) {
		volatile char *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);

		check(map != MAP_FAILED, "mmap");
		for (size_t i = 0; i < SIZE; i += STRIDE)
			(void)map[i];
		munmap((void *)map, SIZE);
	}
	start = now() - start;
	close(fd);
	return start;
}

/* Anonymous memory mapped and unmapped, one page of it used. */
static uint64_t
run_mmap_anon(unsigned int n)
{
	uint64_t start = now();

	while (n--) {
		volatile char *map = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		check(map != MAP_FAILED, "mmap");
		map[0] = 1;
		munmap((void *)map, 16 * PAGE);
	}
	return now() - start;
}

const struct row memory_rows[] = {
	{ "fault-file", run_fault_file, 16 * PAGES, "first read of a page of a file on tmpfs" },
	{ "fault-anon", run_fault_anon, 16 * PAGES, "first write to an anonymous page" },
	{ "mmap+munmap", run_mmap, 100, "map 1 MiB of a file, touch every 16 KiB, unmap" },
	{ "mmap-anon", run_mmap_anon, 1000, "map 64 KiB, write one page, unmap" },
	{ 0 },
};
