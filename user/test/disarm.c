/*
 * A workload to look at: `test-disarm N` runs N rounds, in each of which attack pin is made on every processor at
 * once.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user/cpu.h"

static void
attack_on(int cpu)
{
	if (fork() != 0)
		return;
	if (pin(cpu) == 0)
		execl("/bin/attack", "attack", "pin", (char *)NULL);
	_exit(1);
}

int
main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 1, cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);

	for (int i = 0; i < rounds; i++) {
		for (int cpu = 0; cpu < cpus; cpu++)
			attack_on(cpu);
		while (wait(NULL) > 0)
			;
	}
	return 0;
}
