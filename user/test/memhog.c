/*
 * test-memhog [shared|tables]: takes memory and touches it until the kernel ends the process. One process dies,
 * with SIGKILL (shared: 25 do, whose memory it is; tables: the one that has hardly any pages, but the tables for
 * them); everything else lives. Ends with `memhog: done`.
 */
#include "user/test/test.h"
#include <sys/sysinfo.h>

/* This one, please, and not its parents. */
static void
volunteer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	if (fd >= 0 && write(fd, "1000", 4) == 4)
		close(fd);
}

static void
hog(void)
{
	volunteer();
	for (;;) {
		char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

		if (m == MAP_FAILED)
			_exit(12);	/* Refused is an answer too. */
		for (int i = 0; i < 256; i++)
			m[i * (long)PAGE] = 1;
	}
}

#define COVERED (2UL << 20)	/* by one table */
#define HELD	(8UL << 20)

/* Keeps no page, and the tables that each of them needed. */
static void
hog_tables(void)
{
	size_t length = 1UL << 40;
	char *m = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	volunteer();
	if (m == MAP_FAILED)
		_exit(12);
	t_become(STUDENT);
	for (size_t at = 0; at < length; at += COVERED) {
		t_peek(m + at);
		madvise(m + at, PAGE, MADV_DONTNEED);
	}
	_exit(14);
}

/* It dies, and not who has more pages. */
static int
tables(void)
{
	int ready[2], how;
	char c;

	if (pipe(ready) < 0)
		return 1;
	pid_t bystander = fork();
	if (bystander == 0) {
		memset(t_map(HELD, PROT_READ | PROT_WRITE), 1, HELD);
		if (write(ready[1], "x", 1) == 1)
			pause();
		_exit(15);
	}
	if (read(ready[0], &c, 1) != 1)
		return 1;
	pid_t p = fork();
	if (p == 0)
		hog_tables();
	how = t_wait(p);
	if (how != 1000 + SIGKILL)
		printf("not ok memhog: ended with %d\n", how);
	else if (waitpid(bystander, NULL, WNOHANG) != 0)
		printf("not ok memhog: another process died\n");
	else
		printf("memhog: done\n");
	kill(bystander, SIGKILL);
	waitpid(bystander, NULL, 0);
	return 0;
}

#define SHARERS 24

static int
idle(void *arg)
{
	while (arg == NULL)
		pause();
	return 0;
}

static int
share_and_hog(void *arg)
{
	(void)arg;
	hog();
	return 0;
}

/* All processes that share a hog's memory end, or it would not come back; the hog is the last of them. */
static int
shared(void)
{
	static char stacks[SHARERS][16384] __attribute__((aligned(16)));
	pid_t bystander = fork(), p;
	int how;

	if (bystander == 0)
		idle(NULL);
	p = fork();
	if (p == 0) {
		volunteer();
		for (int i = 0; i < SHARERS; i++) {
			if (clone(i < SHARERS - 1 ? idle : share_and_hog, stacks[i] + sizeof(stacks[i]),
				  CLONE_VM | CLONE_PARENT | SIGCHLD, NULL) < 0)
				_exit(13);
		}
		idle(NULL);
	}
	for (int i = 0; i < SHARERS + 1; i++) {
		int status;

		p = wait(&status);
		how = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
		if (p == bystander || how != 1000 + SIGKILL) {
			printf("not ok memhog: %s ended with %d\n", p == bystander ? "another process" : "one", how);
			return 1;
		}
	}
	if (waitpid(bystander, NULL, WNOHANG) != 0) {
		printf("not ok memhog: another process died\n");
		return 1;
	}
	kill(bystander, SIGKILL);
	waitpid(bystander, NULL, 0);
	printf("memhog: done\n");
	return 0;
}

int
main(int argc, char **argv)
{
	struct sysinfo before, after;
	int how = 0;

	if (argc > 1 && strcmp(argv[1], "shared") == 0)
		return shared();
	if (argc > 1 && strcmp(argv[1], "tables") == 0)
		return tables();
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
