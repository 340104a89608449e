/* lab-second CPU: children that copy a note, and more than a note, through /dev/vuln. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/dev/vuln.h"

volatile long results[16];

__attribute__((noinline)) void
checkpoint(long which)
{
	__asm__ volatile("" : : "r"(which) : "memory");
}

static long
child(int cpu, unsigned request, uint64_t size)
{
	static uint8_t bytes[2 * VULN_NOTE_SIZE];
	struct vuln_note n = {0, (uint64_t)bytes, size};
	int status, fd = open("/dev/vuln", O_RDWR);
	cpu_set_t set;
	pid_t pid = fork();

	if (pid == 0) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set) || ioctl(fd, VULN_NOTE_FORGET, &n) || ioctl(fd, VULN_NOTE_NEW, &n))
			_exit(1);
		n.at = (uint64_t)bytes;
		n.size = size;
		_exit(ioctl(fd, request, &n) < 0 ? 2 : ioctl(fd, VULN_NOTE_FREE, &n) < 0 ? 3 : 0);
	}
	close(fd);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

int
main(int argc, char **argv)
{
	int cpu = argc == 2 ? atoi(argv[1]) : 0;

	results[0] = child(cpu, VULN_NOTE_WRITE, VULN_NOTE_SIZE) | child(cpu, VULN_NOTE_READ, VULN_NOTE_SIZE);
	results[1] = child(cpu, VULN_NOTE_READ, 2 * VULN_NOTE_SIZE);
	results[2] = child(cpu, VULN_NOTE_WRITE, 2 * VULN_NOTE_SIZE);
	checkpoint(1);
	return 0;
}
