/*
 * The program behind the checks: it makes system calls that copy as much as it says.
 *
 *	lab-usercopy WORD...	does what each word says, in turn:
 *	gates			runs the programs that must go on working
 *	legal,CPU		copies of many sizes, all of which are its own
 *	read,CPU,SIZE		in a child: reads so many bytes of one of 24 notes of 64 bytes
 *	write,CPU,SIZE		in a child: writes them
 *	poll,CPU,N		polls N descriptors: the kernel copies them to its heap
 *	vector,CPU,N		writes N pieces: the same, and larger
 *	file,CPU		reads a file
 *
 * The grader stops it in checkpoint() when the programs have run; before and after each copy that it looks at, which may be the
 * child's last act; and after each legal child.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/uio.h>

#include "kernel/dev/vuln.h"
#include "user/lab/program.h"

#define NOTES	  24
#define POLL_MAX  1000
#define VECTORS	  1000
#define LOOT_SIZE (64 << 10)

enum { AT_GATES = 1, AT_BEFORE, AT_AFTER, AT_END };
enum { R_STATUS };		     /* at AT_AFTER */

/* What the child reads into, and writes from. */
unsigned char loot[LOOT_SIZE];

/* ---- Notes: the kernel's copies of a size that nobody compares with anything ---- */

static int
call(int device, unsigned command, uint64_t id, uint64_t size)
{
	struct vuln_note note = {id, (uint64_t)loot, size};

	return ioctl(device, command, &note);
}

static void
make_notes(int device)
{
	must(call(device, VULN_NOTE_FORGET, 0, 0) == 0);
	for (uint64_t i = 0; i < NOTES; i++)
		must(call(device, VULN_NOTE_NEW, 0, 0) == 0);
	memset(loot, 0x5a, VULN_NOTE_SIZE);
	for (uint64_t i = 0; i < NOTES; i++)
		must(call(device, VULN_NOTE_WRITE, i, VULN_NOTE_SIZE) == 0);
}

static void
copy_note(bool read, uint64_t size)
{
	int device = open("/dev/vuln", O_RDWR);

	make_notes(device);
	memset(loot, read ? 0 : 0xee, sizeof(loot));
	checkpoint(AT_BEFORE);
	call(device, read ? VULN_NOTE_READ : VULN_NOTE_WRITE, NOTES / 2, size);
}

/* ---- Legal copies ---- */

static void
poll_some(nfds_t n)
{
	static struct pollfd fds[POLL_MAX];

	for (nfds_t i = 0; i < n; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	must(poll(fds, n, 0) == 0);
}

static void
write_some(int n)
{
	static struct iovec pieces[VECTORS];
	static char byte[1];
	int null = open("/dev/null", O_WRONLY);

	for (int i = 0; i < n; i++)
		pieces[i] = (struct iovec){byte, 1};
	must(writev(null, pieces, n) == n);
	close(null);
}

static void
read_file(size_t n)
{
	int fd = open("/bin/busybox", O_RDONLY);

	must(read(fd, loot, n) == (ssize_t)n);
	close(fd);
}

static void
legal(void)
{
	static char path[4096];
	int device = open("/dev/vuln", O_RDWR), pipes[2];
	DIR *d = opendir("/proc");

	for (nfds_t n = 1; n <= POLL_MAX; n += n / 2 + 1)
		poll_some(n);
	for (int n = 1; n <= VECTORS; n += n / 2 + 1)
		write_some(n);
	for (size_t n = 1; n <= 100000; n *= 3)
		read_file(n);
	make_notes(device);
	for (uint64_t size = 0; size <= VULN_NOTE_SIZE; size++)
		must(call(device, VULN_NOTE_READ, size % NOTES, size) == 0);
	close(device);
	must(getrandom(path, sizeof(path), 0) == sizeof(path));
	must(d && readdir(d) && getcwd(path, sizeof(path)) && readlink("/proc/self/exe", path, sizeof(path)) > 0);
	closedir(d);
	must(pipe(pipes) == 0 && write(pipes[1], loot, 10000) == 10000 && read(pipes[0], loot, 10000) == 10000);
	close(pipes[0]);
	close(pipes[1]);
}

/* ---- Words ---- */

static long
in_a_child(const char *what, uint64_t n)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (strcmp(what, "legal") == 0)
			legal();
		else
			copy_note(strcmp(what, "read") == 0, n);
		_exit(0);
	}
	return status_of(pid);
}

static void
say(char *word)
{
	char *what = strtok(word, ","), *cpu = strtok(NULL, ","), *size = strtok(NULL, ",");
	uint64_t n = size ? (uint64_t)atoll(size) : 0;

	must(what && cpu && pin(atoi(cpu)) == 0);
	if (strcmp(what, "legal") == 0 || strcmp(what, "read") == 0 || strcmp(what, "write") == 0) {
		results[R_STATUS] = in_a_child(what, n);
	} else {
		checkpoint(AT_BEFORE);
		if (strcmp(what, "poll") == 0)
			poll_some(n);
		else if (strcmp(what, "vector") == 0)
			write_some((int)n);
		else
			read_file(4096);
	}
	checkpoint(AT_AFTER);
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "gates") != 0) {
			say(argv[i]);
			continue;
		}
		run_ordinary_programs();
		checkpoint(AT_GATES);
	}
	checkpoint(AT_END);
	return 0;
}
