/*
 * The program behind the checks: it makes and frees the notes of /dev/vuln, as scripts say.
 *
 *	lab-heap gates SCRIPT...	runs the programs that must go on working first
 *	lab-heap SCRIPT...
 *
 * Each script is run by a child, for the kernel ends whoever frees what is not his; steps stand between commas:
 *
 *	cN	goes to CPU N
 *	nN	makes N notes; a script's notes count from 0
 *	fIII	frees notes; each is one character: a to z, A to Z, 0 to 9
 *	w	writes to each note what is its own; v looks whether that is still there
 *	z	has the kernel take and give back memory of many sizes
 *	s	stands in checkpoint()
 *
 * When the child is gone, its parent stands there, with R_ENDED set.  The grader reads the notes' addresses from the kernel.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "kernel/dev/vuln.h"
#include "user/lab/program.h"

#define NOTES	 256
#define POLL_MAX 1000
#define VECTORS	 500

enum { AT_GATES = 1, AT_STEP, AT_END };
enum { R_ENDED, R_STATUS };	     /* at AT_STEP */

static int device;
static uint64_t made;
static bool freed[NOTES];

/* ---- Notes ---- */

static uint64_t
call(unsigned command, uint64_t id, void *at, uint64_t size)
{
	struct vuln_note note = {id, (uint64_t)at, size};

	must(ioctl(device, command, &note) == 0);
	return note.id;
}

static void
make_notes(uint64_t n)
{
	while (n-- > 0) {
		made = call(VULN_NOTE_NEW, 0, NULL, 0) + 1;
		freed[made - 1] = false;
	}
}

static uint64_t
note_named(char c)
{
	return c >= 'a' ? (uint64_t)(c - 'a') : c >= 'A' ? (uint64_t)(c - 'A') + 26 : (uint64_t)(c - '0') + 52;
}

static void
free_notes(const char *names)
{
	for (; *names && *names != ','; names++) {
		freed[note_named(*names)] = true;
		call(VULN_NOTE_FREE, note_named(*names), NULL, 0);
	}
}

static void
fill(uint64_t note, uint64_t *words)
{
	for (uint64_t i = 0; i < VULN_NOTE_SIZE / 8; i++)
		words[i] = 0x5eed000000000001 + (note << 8) + i;
}

static void
write_notes(void)
{
	uint64_t words[VULN_NOTE_SIZE / 8];

	for (uint64_t i = 0; i < made; i++) {
		fill(i, words);
		if (!freed[i])
			call(VULN_NOTE_WRITE, i, words, sizeof(words));
	}
}

static void
verify_notes(void)
{
	uint64_t words[VULN_NOTE_SIZE / 8], found[VULN_NOTE_SIZE / 8];

	for (uint64_t i = 0; i < made; i++) {
		fill(i, words);
		if (freed[i])
			continue;
		call(VULN_NOTE_READ, i, found, sizeof(found));
		must(memcmp(words, found, sizeof(words)) == 0);
	}
}

/* ---- Memory of many sizes ---- */

static void
poll_many(nfds_t n)
{
	static struct pollfd fds[POLL_MAX];

	for (nfds_t i = 0; i < n; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN, .revents = -1};
	must(poll(fds, n, 0) == 0);
}

static void
use_memory(void)
{
	static struct iovec vectors[VECTORS];
	static char byte[1], path[4096];
	int null = open("/dev/null", O_RDWR);
	DIR *d = opendir("/bin");

	for (nfds_t n = 15; n <= POLL_MAX; n += n)
		poll_many(n);
	poll_many(POLL_MAX);
	for (int i = 0; i < VECTORS; i++)
		vectors[i] = (struct iovec){byte, 1};
	for (int n = 10; n <= VECTORS; n *= 3)
		must(writev(null, vectors, n) == n);
	must(d && readdir(d) && getcwd(path, sizeof(path)));
	closedir(d);
	close(null);
	if (fork() == 0)
		_exit(0);
	wait(NULL);
}

/* ---- Scripts ---- */

static const char *
next_step(const char *step)
{
	const char *comma = strchr(step, ',');

	return comma ? comma + 1 : NULL;
}

static void
play(const char *script)
{
	call(VULN_NOTE_FORGET, 0, NULL, 0);
	for (const char *step = script; step; step = next_step(step)) {
		switch (*step) {
		case 'c':
			must(pin(atoi(step + 1)) == 0);
			break;
		case 'n':
			make_notes((uint64_t)atoi(step + 1));
			break;
		case 'f':
			free_notes(step + 1);
			break;
		case 'w':
			write_notes();
			break;
		case 'v':
			verify_notes();
			break;
		case 'z':
			use_memory();
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
	int first = 1;

	device = open("/dev/vuln", O_RDWR);
	if (argc > 1 && strcmp(argv[1], "gates") == 0) {
		run_ordinary_programs();
		checkpoint(AT_GATES);
		first = 2;
	}
	results[R_ENDED] = 0;
	for (int i = first; i < argc; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			play(argv[i]);
			_exit(0);
		}
		results[R_STATUS] = status_of(pid);
		results[R_ENDED] = 1;
		checkpoint(AT_STEP);
		results[R_ENDED] = 0;
	}
	checkpoint(AT_END);
	return 0;
}
