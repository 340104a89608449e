/*
 * Filters as programs really have them: Debian's libseccomp makes the BPF and installs it.  It speaks
 * of calls by name, compares arguments, and refuses numbers of other ABIs.
 */
#include "test.h"

#include <seccomp.h>
#include <sys/prctl.h>

/* The calls that a worker needs which reads and answers requests. */
static scmp_filter_ctx
worker(uint32_t otherwise)
{
	static const int calls[] = {
		SCMP_SYS(read), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn),
		SCMP_SYS(wait4), SCMP_SYS(clone), SCMP_SYS(getpid), SCMP_SYS(execve), SCMP_SYS(brk),
		SCMP_SYS(rt_sigprocmask), SCMP_SYS(set_robust_list), SCMP_SYS(gettid),
	};
	scmp_filter_ctx c = seccomp_init(otherwise);

	check(c != NULL);
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		check_eq(seccomp_rule_add(c, SCMP_ACT_ALLOW, calls[i], 0), 0);
	/* It answers on descriptors 1 and 2 alone. */
	check_eq(seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(write), 1, SCMP_A0_64(SCMP_CMP_LE, 2, 0)), 0);
	return c;
}

static void
a_worker_is_held_to_its_list(void)
{
	int fd = ok(open("/etc/passwd", O_RDONLY)), out = ok(open("out", O_WRONLY | O_CREAT, 0600));
	pid_t pid;
	char c;

	check_eq(seccomp_load(worker(SCMP_ACT_ERRNO(EDOM))), 0);
	ok(read(fd, &c, 1));
	check_eq(write(2, &c, 0), 0);
	fails(write(out, &c, 1), EDOM);
	fails(open("/etc/passwd", O_RDONLY), EDOM);
	fails(syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY), EDOM);
	pid = t_fork();
	if (pid == 0) {
		fails(syscall(SYS_getpid | 0x40000000), EDOM);
		_exit(0);
	}
#if defined(__x86_64__)
	dies(pid, SIGSYS);	/* a number of another ABI, x32 */
#else
	exits(pid, 0);
#endif
}

static void
what_is_not_on_the_list_kills(void)
{
	pid_t pid = t_fork();

	if (pid == 0) {
		check_eq(seccomp_load(worker(SCMP_ACT_KILL_PROCESS)), 0);
		syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
		_exit(0);
	}
	dies(pid, SIGSYS);
	pid = t_fork();
	if (pid == 0) {
		check_eq(seccomp_load(worker(SCMP_ACT_KILL_PROCESS)), 0);
		pid = fork();
		if (pid == 0)
			syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
		_exit(t_wait(pid) == 1000 + SIGSYS ? 5 : 1);
	}
	exits(pid, 5);
	pid = t_fork();
	if (pid == 0) {
		check_eq(seccomp_load(worker(SCMP_ACT_KILL_PROCESS)), 0);
		execl("/bin/busybox", "busybox", "cat", "/etc/passwd", NULL);
		_exit(1);
	}
	dies(pid, SIGSYS);
}

static void
it_gives_up_privileges_for_its_user(void)
{
	t_become(STUDENT);
	check_eq(seccomp_load(worker(SCMP_ACT_ERRNO(EDOM))), 0);
	fails(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), EDOM);
	fails(open("/etc/passwd", O_RDONLY), EDOM);
}

static const struct test tests[] = {
	TEST(a_worker_is_held_to_its_list),
	TEST(what_is_not_on_the_list_kills),
	TEST(it_gives_up_privileges_for_its_user),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
