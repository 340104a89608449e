/*
 * test-forkbomb [SECONDS]: forks without end for so long, as an ordinary user with the limits it
 * was given,
 * then ends all of it. `-u` without RLIMIT_NPROC: until the kernel itself has no more. Ends with
 * `forkbomb: done`.
 */
#include "user/test/test.h"

int
main(int argc, char **argv)
{
	bool unlimited = argc > 1 && strcmp(argv[1], "-u") == 0;
	long seconds = argc > 1 + unlimited ? atol(argv[1 + unlimited]) : 2;
	struct rlimit procs = { 200, 200 };
	volatile long *counts = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);
	pid_t pid = fork();

	if (pid == 0) {
		long end = t_now() + seconds * 1000;

		setsid();
		if (!unlimited)
			setrlimit(RLIMIT_NPROC, &procs);
		if (getuid() == 0)
			t_become(STUDENT + 1);
		while (t_now() < end) {
			pid_t p = fork();	/* Child and parent go on alike. */

			if (p < 0) {
				counts[1]++;
				usleep(5000);
			} else if (p == 0) {
				counts[0]++;
			}
		}
		pause();
		_exit(0);
	}
	t_msleep(seconds * 1000 + 300);
	/* Everything of that user ends; more than one round, since a fork may be under way. */
	for (int i = 0; i < 50; i++) {
		pid_t killer = fork();

		if (killer == 0) {
			if (getuid() == 0)
				t_become(STUDENT + 1);
			/* All that it may; this one goes on, as Linux has it. */
			kill(-1, SIGKILL);
			_exit(0);
		}
		if (killer > 0)
			waitpid(killer, NULL, 0);
		if (waitpid(pid, NULL, WNOHANG) == pid && i > 2)
			break;
		t_msleep(20);
	}
	if (counts[0] < 20 || counts[1] < 1) {
		printf("not ok forkbomb: %ld forks, %ld refused\n", counts[0], counts[1]);
		return 1;
	}
	printf("forkbomb: done\n");
	return 0;
}
