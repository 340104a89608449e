/*
 * The program behind the checks: it takes references and gives them back, as scripts say.
 *
 *	lab-refcount SCRIPT,SCRIPT...
 *	lab-refcount SCRIPT,SCRIPT... gates	runs the programs that must go on working first
 *
 * Each script is run by a child, whose references end with it.  Steps are a character each, and may have a number:
 *
 *	@N	goes to CPU N
 *	f	opens a file of its own: 4096 bytes, descriptor R_FD
 *	g	duplicates the newest descriptor; c closes the newest
 *	n	opens the file's name once more
 *	d	takes the name away
 *	m	maps the file's page once more, shared, and reads it (R_PAGE); u unmaps the newest
 *	t	makes the file longer and shorter, so that the kernel goes through all address spaces
 *	a	makes a note; hN has N hold it, who are refused if they are many; p: one lets it go
 *	s	stands in checkpoint()
 *
 * When the child is gone, its parent stands there, with R_ENDED set.  The grader sets the counters in between.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kernel/dev/vuln.h"
#include "user/lab/program.h"

#define PAGE 4096
#define MOST 16

enum { AT_READY = 1, AT_STEP, AT_END };
enum { R_ENDED = R_OWN, R_STATUS, R_FD, R_PAGE, R_NOTE };	/* at AT_STEP */

static int device;

static int fds[MOST], nfds;
static char *pages[MOST];
static int npages;
static uint64_t note;
static char path[32];

/* ---- Files ---- */

static void
have_fd(int fd)
{
	must(fd >= 0 && nfds < MOST);
	fds[nfds++] = fd;
}

static void
open_file(void)
{
	snprintf(path, sizeof(path), "/tmp/r%d", getpid());
	have_fd(open(path, O_RDWR | O_CREAT | O_EXCL, 0600));
	must(ftruncate(fds[0], PAGE) == 0);
	results[R_FD] = fds[0];
}

static void
map_page(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fds[0], 0);

	must(p != MAP_FAILED && npages < MOST);
	(void)*(volatile char *)p;
	pages[npages++] = p;
	results[R_PAGE] = (long)p;
}

static void
change_size(void)
{
	must(ftruncate(fds[0], 2 * PAGE) == 0);
	must(ftruncate(fds[0], PAGE) == 0);
}

/* ---- Notes ---- */

static int
call(unsigned command, uint64_t size)
{
	struct vuln_note n = {note, 0, size};
	int err = ioctl(device, command, &n);

	note = n.id;
	return err;
}

static void
make_note(void)
{
	must(call(VULN_NOTE_FORGET, 0) == 0);
	must(call(VULN_NOTE_NEW, 0) == 0);
	results[R_NOTE] = (long)note;
}

/* ---- Scripts ---- */

static void
play(const char *script)
{
	while (*script && *script != ',') {
		char step = *script++, *end;
		uint64_t number = strtoull(script, &end, 10);

		script = end;
		switch (step) {
		case '@':
			must(pin((int)number) == 0);
			break;
		case 'f':
			open_file();
			break;
		case 'g':
			have_fd(dup(fds[nfds - 1]));
			break;
		case 'n':
			have_fd(open(path, O_RDONLY));
			break;
		case 'c':
			must(nfds > 0 && close(fds[--nfds]) == 0);
			break;
		case 'd':
			must(unlink(path) == 0);
			break;
		case 'm':
			map_page();
			break;
		case 'u':
			must(npages > 0 && munmap(pages[--npages], PAGE) == 0);
			break;
		case 't':
			change_size();
			break;
		case 'a':
			make_note();
			break;
		case 'h':
			(void)call(VULN_NOTE_HOLD, number);
			break;
		case 'p':
			must(call(VULN_NOTE_DROP, 0) == 0);
			break;
		case 's':
			checkpoint(AT_STEP);
			break;
		default:
			_exit(98);
		}
	}
}

int
main(int argc, char **argv)
{
	const char *script = argc > 1 ? argv[1] : NULL;

	device = open("/dev/vuln", O_RDWR | O_CLOEXEC);
	if (argc > 2)
		run_ordinary_programs();
	checkpoint(AT_READY);
	while (script) {
		pid_t pid = fork();

		if (pid == 0) {
			play(script);
			_exit(0);
		}
		results[R_STATUS] = status_of(pid);
		results[R_ENDED] = 1;
		checkpoint(AT_STEP);
		results[R_ENDED] = 0;
		if ((script = strchr(script, ',')) != NULL)
			script++;
	}
	checkpoint(AT_END);
	return 0;
}
