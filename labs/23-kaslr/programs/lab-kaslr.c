/*
 * The program behind the checks: it asks what everybody may know of the kernel's places, and has the kernel use addresses
 * that it was given.
 *
 *	lab-kaslr WORD...	does what each word says, in turn:
 *	gates			runs the programs that must go on working
 *	tell			takes down /proc/harden and the kernel's log
 *	call=ADDRESS		a child has the kernel call a function there (0: the one that the kernel would call)
 *	read=ADDRESS, write=ADDRESS	a child has it use a variable there
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h), `told` and `logged`.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>

#include "kernel/dev/vuln.h"
#include "user/lab/program.h"

#define LOG_READ_ALL 3 /* syslog(2) */

enum { AT_GATES = 1, AT_TOLD, AT_USED, AT_END };
enum { R_STATUS };

char told[16384], logged[32768];

static void
gates(void)
{
	run_ordinary_programs();
	checkpoint(AT_GATES);
}

static void
tell(void)
{
	int fd = open("/proc/harden", O_RDONLY);
	size_t have = 0;
	ssize_t n;

	must(fd >= 0);
	/* All of their pages are there when the grader reads them. */
	memset(told, 0, sizeof(told));
	memset(logged, 0, sizeof(logged));
	while ((n = read(fd, told + have, sizeof(told) - 1 - have)) > 0)
		have += (size_t)n;
	close(fd);
	must(have > 0 && klogctl(LOG_READ_ALL, logged, sizeof(logged) - 1) > 0);
	checkpoint(AT_TOLD);
}

static void
use(unsigned how, const char *address)
{
	struct vuln_word w = {strtoul(address, NULL, 16), 41};
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open("/dev/vuln", O_RDWR);

		must(fd >= 0);
		_exit(ioctl(fd, how, &w) < 0);
	}
	results[R_STATUS] = status_of(pid);
	checkpoint(AT_USED);
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "gates") == 0)
			gates();
		else if (strcmp(argv[i], "tell") == 0)
			tell();
		else if (strncmp(argv[i], "call=", 5) == 0)
			use(VULN_COOKIE, argv[i] + 5);
		else if (strncmp(argv[i], "read=", 5) == 0)
			use(VULN_READ, argv[i] + 5);
		else if (strncmp(argv[i], "write=", 6) == 0)
			use(VULN_WRITE, argv[i] + 6);
		else
			return 2;
	}
	checkpoint(AT_END);
	return 0;
}
