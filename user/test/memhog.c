/*
 * test-memhog: takes memory and touches it until the kernel ends the process. One process dies,
 * with SIGKILL;
 * everything else lives. Ends with `memhog: done`.
 */
#include "user/test/test.h"
#include <sys/sysinfo.h>

static void
hog(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	if (fd >= 0 && write(fd, "1000", 4) == 4)	/* This one, please, and not its parents. */
		close(fd);
	for (;;) {
		char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

		if (m == MAP_FAILED)
			_exit(12);	/* Refused is an answer too. */
		for (int i = 0; i < 256; i++)
			m[i * (long)PAGE] = 1;
	}
}

int
main(void)
{
	struct sysinfo before, after;
	int how = 0;

	for (int round = 0; round < 3; round++) {
		sysinfo(&before);
		pid_t bystander = fork();
		if (bystander == 0) {
			for (;;)
				pause();
		}
		pid_t p = fork();
		if (p == 0)
			hog();
		how = t_wait(p);
		if (how != 1000 + SIGKILL && how != 12) {
			printf("not ok memhog: ended with %d\n", how);
			return 1;
		}
		if (kill(bystander, 0) < 0 || waitpid(bystander, NULL, WNOHANG) != 0) {
			printf("not ok memhog: another process died\n");
			return 1;
		}
		kill(bystander, SIGKILL);
		waitpid(bystander, NULL, 0);
		t_msleep(50);
		sysinfo(&after);
		if (after.freeram + (16 << 20) < before.freeram) {
			printf("not ok memhog: %lu KiB did not come back\n",
				(before.freeram - after.freeram) >> 10);
			return 1;
		}
	}
	printf("memhog: done\n");
	return 0;
}
