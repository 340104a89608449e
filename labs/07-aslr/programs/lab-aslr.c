/*
 * The program behind the checks: it runs /bin/layout many times, which writes down where the kernel put it.
 *
 *	lab-aslr WORD...	does what each word says, in turn:
 *	gates			runs the programs that must go on working
 *	cpu0, cpu1		draws LAYOUTS layouts on that CPU
 *	few			draws SOME, wherever they come
 *	limit LIMIT		draws HALF with that limit of the stack, in bytes
 *	root			draws SOME, by root who asks for fixed places (personality(2))
 *	user			by an ordinary user who asks: SOME of a plain program, of a set-user-ID, of a set-group-ID one
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h) and `samples`, of the process that
 * stands there.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "user/lab/program.h"
#include "user/layout/layout.h"

#define LAYOUTS 100
#define HALF	60
#define SOME	4

enum { AT_GATES = 1, AT_SAMPLED, AT_END };

struct layout samples[LAYOUTS];

/* Runs a program that writes its layout down; all of it is 0 if it does not. */
static void
sample(const char *path, struct layout *l)
{
	int fd = memfd_create("layout", 0);
	pid_t pid;

	memset(l, 0, sizeof(*l));
	if (fd < 0 || dup2(fd, LAYOUT_FD) != LAYOUT_FD)
		_exit(3);
	pid = vfork();
	if (pid == 0) {
		execl(path, path, NULL);
		_exit(127);
	}
	if (status_of(pid) != 0 || pread(LAYOUT_FD, l, sizeof(*l), 0) != sizeof(*l))
		memset(l, 0, sizeof(*l));
	close(LAYOUT_FD);
	if (fd != LAYOUT_FD)
		close(fd);
}

/* Draws n, and stops. */
static void
draw(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sample("/bin/layout", &samples[i]);
	checkpoint(AT_SAMPLED);
}

static void
gates(void)
{
	run_ordinary_programs();
	checkpoint(AT_GATES);
}

static void
with_limit(rlim_t limit)
{
	if (setrlimit(RLIMIT_STACK, &(struct rlimit){limit, RLIM_INFINITY}))
		_exit(3);
	draw(HALF);
}

static void
copy_program(const char *to, mode_t mode)
{
	static char buf[4096];
	int in = open("/bin/layout", O_RDONLY), out = open(to, O_CREAT | O_WRONLY, 0600);
	ssize_t n;

	while ((n = read(in, buf, sizeof(buf))) > 0) {
		if (write(out, buf, (size_t)n) != n)
			_exit(3);
	}
	if (in < 0 || out < 0 || fchmod(out, mode) || close(in) || close(out))
		_exit(3);
}

/* A child asks for fixed places; uid 0 is root's. */
static void
who_asks(unsigned id)
{
	static const char *const programs[] = {"/bin/layout", "/privileged", "/group"};
	pid_t pid = fork();

	if (pid == 0) {
		if (setgid(id) || setuid(id) || personality(ADDR_NO_RANDOMIZE) < 0)
			_exit(3);
		for (unsigned i = 0; i < (id ? 3 * SOME : SOME); i++)
			sample(programs[i / SOME], &samples[i]);
		checkpoint(AT_SAMPLED);
		_exit(0);
	}
	if (status_of(pid))
		_exit(3);
}

static void
user_asks(void)
{
	copy_program("/privileged", 04755);
	copy_program("/group", 02755);
	who_asks(1000);
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "gates") == 0) {
			gates();
		} else if (strncmp(argv[i], "cpu", 3) == 0) {
			pin(atoi(argv[i] + 3));
			draw(LAYOUTS);
		} else if (strcmp(argv[i], "few") == 0) {
			draw(SOME);
		} else if (strcmp(argv[i], "limit") == 0 && i + 1 < argc) {
			with_limit(strtoul(argv[++i], NULL, 10));
		} else if (strcmp(argv[i], "root") == 0) {
			who_asks(0);
		} else if (strcmp(argv[i], "user") == 0) {
			user_asks();
		} else {
			return 2;
		}
	}
	checkpoint(AT_END);
	return 0;
}
