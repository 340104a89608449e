/*
 * The program behind the checks: it takes what the kernel hands out, and makes system calls.
 *
 *	lab-leaks WORD...	does what each word says, in turn:
 *	gates			runs the programs that must go on working; reads, as root, what root may read
 *	files			reads all of /proc as an ordinary user, and what root opened for it
 *	log			asks for the kernel's log as an ordinary user
 *	print			has the kernel print a thing by its own format, THINGS times
 *	format			has it print things whose names are formats
 *	calls CPU		makes CALLS system calls on that CPU
 *	children		has CHILDREN children make one
 *	padding CPU		takes structures on that CPU
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h), `kept` and `things`, of the process that
 * stands there.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "kernel/dev/vuln.h"
#include "user/lab/program.h"

#define THINGS	 8
#define FORMATS	 3
#define CALLS	 320
#define CHILDREN 48

enum { AT_GATES = 1, AT_FILES, AT_LOG, AT_PRINTED, AT_FORMATS, AT_CALLS, AT_CALLED, AT_FORKED, AT_PADDING, AT_END };
enum { R_LOG = R_OWN, R_KEPT };

char kept[4 << 20];
struct vuln_text things[THINGS];
struct {
	struct sysinfo info;
	struct utsname name;
	unsigned cpu, node;
} structures;

/* ---- What files say ---- */

static void
keep_rest(int fd)
{
	ssize_t n;

	if (fd < 0)
		return;
	while (results[R_KEPT] < (long)sizeof(kept) &&
	       (n = read(fd, kept + results[R_KEPT], sizeof(kept) - (size_t)results[R_KEPT])) > 0)
		results[R_KEPT] += n;
	close(fd);
}

static void
keep_tree(const char *path, int depth)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char child[512];

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
		if (e->d_type == DT_DIR && depth)
			keep_tree(child, depth - 1);
		else if (e->d_type == DT_REG)
			keep_rest(open(child, O_RDONLY | O_NONBLOCK));
	}
	if (d)
		closedir(d);
}

/* Runs fn in a child that is an ordinary user. */
static void
as_a_user(void (*fn)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		if (setgid(1000) || setuid(1000))
			_exit(3);
		fn();
		_exit(0);
	}
	if (status_of(pid))
		_exit(3);
}

static int opened_by_root[2];

static void
files(void)
{
	results[R_KEPT] = 0;
	for (int i = 0; i < 2; i++)
		keep_rest(opened_by_root[i]);
	keep_tree("/proc", 3);
	checkpoint(AT_FILES);
}

/* ---- The log ---- */

#define READ_ALL 3 /* of syslog(2) */

static void
read_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);

	results[R_KEPT] = 0;
	if (fd >= 0 && read(fd, kept, sizeof(kept)) > 0)
		results[R_KEPT]++;
	if (klogctl(READ_ALL, kept, sizeof(kept) - 1) > 0)
		results[R_KEPT]++;
	close(fd);
}

static void
users_log(void)
{
	read_log();
	checkpoint(AT_LOG);
}

static void
gates(void)
{
	run_ordinary_programs();
	read_log();
	results[R_LOG] = results[R_KEPT];
	results[R_KEPT] = 0;
	keep_rest(open("/proc/kallsyms", O_RDONLY));
	keep_rest(open("/proc/self/stat", O_RDONLY));
	checkpoint(AT_GATES);
}

/* ---- What the kernel prints ---- */

/* The kernel keeps the text of a file that is read: memory of a thing's size, which the next thing does not get. */
static void
keep_open(const char *path)
{
	char c;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || read(fd, &c, 1) != 1)
		_exit(3);
}

static void
print(void)
{
	int fd = open("/dev/vuln", O_RDWR);

	memset(things, 0, sizeof(things));
	for (int i = 0; i < THINGS; i++) {
		if (ioctl(fd, VULN_FORMAT, &things[i]))
			_exit(3);
		keep_open("/proc/self/status");
		keep_open("/proc/meminfo");
	}
	checkpoint(AT_PRINTED);
	close(fd);
}

static void
formats(void)
{
	static const char *const directives[FORMATS] = {"%lx.", "%lu.", "%p."};
	int fd = open("/dev/vuln", O_RDWR);

	memset(things, 0, sizeof(things));
	for (int i = 0; i < FORMATS; i++) {
		for (size_t n = 0; n + 5 < sizeof(things[i].format); n += strlen(directives[i]))
			strcpy(things[i].format + n, directives[i]);
		if (ioctl(fd, VULN_FORMAT, &things[i]))
			_exit(3);
	}
	checkpoint(AT_FORMATS);
	close(fd);
}

/* ---- Where calls begin ---- */

static void
calls(int cpu)
{
	pin(cpu);
	checkpoint(AT_CALLS);
	for (int i = 0; i < CALLS; i++)
		getppid();
	checkpoint(AT_CALLED);
}

static void
children(void)
{
	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(getppid() == 0);
		if (status_of(pid))
			_exit(3);
	}
	checkpoint(AT_FORKED);
}

static void
padding(int cpu)
{
	pin(cpu);
	memset(&structures, 0, sizeof(structures));
	if (sysinfo(&structures.info) || uname(&structures.name) || getcpu(&structures.cpu, &structures.node))
		_exit(3);
	checkpoint(AT_PADDING);
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];

		if (strcmp(word, "gates") == 0) {
			gates();
		} else if (strcmp(word, "files") == 0) {
			opened_by_root[0] = open("/proc/kallsyms", O_RDONLY);
			opened_by_root[1] = open("/proc/self/stat", O_RDONLY);
			as_a_user(files);
		} else if (strcmp(word, "log") == 0) {
			as_a_user(users_log);
		} else if (strcmp(word, "print") == 0) {
			print();
		} else if (strcmp(word, "format") == 0) {
			formats();
		} else if (strcmp(word, "calls") == 0 && i + 1 < argc) {
			calls(atoi(argv[++i]));
		} else if (strcmp(word, "children") == 0) {
			children();
		} else if (strcmp(word, "padding") == 0 && i + 1 < argc) {
			padding(atoi(argv[++i]));
		} else {
			return 2;
		}
	}
	checkpoint(AT_END);
	return 0;
}
