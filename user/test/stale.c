/*
 * A load to look at from outside: on CPU 1 a bug of the kernel's (/dev/vuln) writes where stale_word says, which
 * whoever watches sets, one more each time; meanwhile on CPU 0 a program needs more page tables than there are.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kernel/dev/vuln.h"
#include "user/cpu.h"

struct vuln_word stale_word;

static void
move_to(int cpu)
{
	if (pin(cpu) != 0)
		_exit(1);
}

int
main(void)
{
	int fd = open("/dev/vuln", O_RDWR);
	struct vuln_places places;

	if (fd < 0 || ioctl(fd, VULN_PLACES, &places) != 0)
		return 1;
	stale_word.address = places.scratch;
	move_to(1);
	if (fork() == 0) {
		move_to(0);
		execl("/bin/test-sparse", "test-sparse", (char *)NULL);
		_exit(1);
	}
	for (;;) {
		stale_word.value++;
		if (ioctl(fd, VULN_WRITE, &stale_word) != 0)
			return 1;
	}
}
