/*
 * How a process is replaced: what the new program is told, keeps and loses, and what is not one.
 */
#include "user/test/test.h"
#include "machine.h"
#include <elf.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/prctl.h>

extern char **environ;

/* Runs this program again with these arguments, in a child; see main(). */
static pid_t
spawn_self(char *const argv[], char *const envp[])
{
	pid_t p = t_fork();

	if (p == 0) {
		execve("/proc/self/exe", argv, envp);
		_exit(126);
	}
	return p;
}

static void
copy_self(const char *to, mode_t mode)
{
	int in = ok(open("/proc/self/exe", O_RDONLY)), out = ok(open(to,
		O_WRONLY | O_CREAT | O_TRUNC, 0700));
	static char buf[65536];
	ssize_t n;

	while ((n = ok(read(in, buf, sizeof(buf)))) > 0)
		check_eq(write(out, buf, (size_t)n), n);
	ok(fchmod(out, mode));
	close(in);
	close(out);
}

/* The errno of execve, or how the new program ended + 2000. */
static int
try_exec(const char *path)
{
	int fds[2], e = 0;
	char *argv[] = { (char *)path, "--exit", "5", NULL };

	ok(pipe2(fds, O_CLOEXEC));
	pid_t p = t_fork();
	if (p == 0) {
		execve(path, argv, environ);
		e = errno;
		if (write(fds[1], &e, sizeof(e)) < 0)
			_exit(1);
		_exit(0);
	}
	close(fds[1]);
	if (read(fds[0], &e, sizeof(e)) != sizeof(e)) {
		close(fds[0]);
		return 2000 + t_wait(p);
	}
	close(fds[0]);
	t_wait(p);
	return e;
}

/* - What arrives, and what is kept -------------------------------------------------------------- */

static void
arguments_and_environment_arrive(void)
{
	char *argv[] = { "zero", "--args", "two words", "", "\xff\x01", NULL };
	char *envp[] = { "A=1", "EMPTY=", "B=x=y", NULL };

	exits(spawn_self(argv, envp), 0);
}

static int
sub_args(int argc, char **argv)
{
	t_name = "--args";
	check_eq(argc, 5);
	check(strcmp(argv[0], "zero") == 0 && strcmp(argv[2], "two words") == 0 && argv[3][0] == 0);
	check(strcmp(argv[4], "\xff\x01") == 0 && argv[5] == NULL);
	check(strcmp(getenv("A"), "1") == 0 && getenv("EMPTY")[0] == 0 && strcmp(getenv("B"),
		"x=y") == 0);
	check(environ[3] == NULL);
	return 0;
}

static void
auxiliary_vector(void)
{
	char *argv[] = { "self", "--auxv", NULL };
	char *envp[] = { NULL };

	exits(spawn_self(argv, envp), 0);
}

static int
sub_auxv(void)
{
	extern char __ehdr_start[] __attribute__((weak));
	extern char _start[];
	const Elf64_Ehdr *eh = (const void *)__ehdr_start;
	const char *random = (const char *)getauxval(AT_RANDOM);

	t_name = "--auxv";
	check_eq(getauxval(AT_PAGESZ), 4096);
	check_eq(getauxval(AT_ENTRY), (unsigned long)_start);
	check_eq(getauxval(AT_PHDR), (unsigned long)__ehdr_start + eh->e_phoff);
	check_eq(getauxval(AT_PHNUM), eh->e_phnum);
	check_eq(getauxval(AT_PHENT), sizeof(Elf64_Phdr));
	check_eq(getauxval(AT_BASE), 0);
	check_eq(getauxval(AT_SECURE), 0);
	check_eq(getauxval(AT_CLKTCK), 100);
	check(getauxval(AT_UID) == 0 && getauxval(AT_EUID) == 0 && getauxval(AT_GID) == 0 &&
		getauxval(AT_EGID) == 0);
	check(strcmp((const char *)getauxval(AT_EXECFN), "/proc/self/exe") == 0);
	check(strcmp((const char *)getauxval(AT_PLATFORM), T_MACHINE) == 0);
	check(random != NULL && memcmp(random, "\0\0\0\0\0\0\0\0", 8) != 0);
	check(memcmp(random, random + 8, 8) != 0);
	return 0;
}

static void
two_runs_differ_in_at_random(void)
{
	unsigned char r[2][16];

	for (int i = 0; i < 2; i++) {
		int fds[2];

		ok(pipe(fds));
		pid_t p = t_fork();
		if (p == 0) {
			dup2(fds[1], 1);
			execl("/proc/self/exe", "self", "--random", NULL);
			_exit(126);
		}
		check_eq(read(fds[0], r[i], 16), 16);
		exits(p, 0);
		close(fds[0]);
		close(fds[1]);
	}
	check(memcmp(r[0], r[1], 16) != 0);
}

static void
what_cannot_run(void)
{
	t_put("text", "just text\n", 0755);
	t_put("empty", "", 0755);
	t_put("noexec", "#!/bin/busybox sh\nexit 5\n", 0644);
	t_put("short-elf", "\177ELF\2\1\1", 0755);
	t_put("no-interp", "#!/nonexistent/sh\n", 0755);
	t_put("no-name", "#!\n", 0755);
	t_put("spaces", "#!   \n", 0755);
	ok(mkdir("dir", 0755));
	check_eq(try_exec("absent"), ENOENT);
	check_eq(try_exec("text"), ENOEXEC);
	check_eq(try_exec("empty"), ENOEXEC);
	check_eq(try_exec("noexec"), EACCES);
	check_eq(try_exec("short-elf"), ENOEXEC);
	check_eq(try_exec("no-interp"), ENOENT);
	check_eq(try_exec("no-name"), ENOEXEC);
	check_eq(try_exec("spaces"), ENOEXEC);
	check_eq(try_exec("dir"), EACCES);
	check_eq(try_exec("text/x"), ENOTDIR);
	check_eq(try_exec(""), ENOENT);
	copy_self("self", 0755);
	check_eq(try_exec("./self"), 2005);
	int fd = ok(open("self", O_WRONLY));
	check_eq(try_exec("./self"), ETXTBSY);
	close(fd);
	check_eq(try_exec("./self"), 2005);
	/* And the other way round: a running program is not written to. */
	pid_t p = t_fork();
	if (p == 0) {
		execl("./self", "self", "--pause-after", NULL);
		_exit(126);
	}
	t_msleep(150);
	fails(open("self", O_WRONLY), ETXTBSY);
	kill(p, SIGKILL);
	dies(p, SIGKILL);
	fd = ok(open("self", O_WRONLY));
}

/* Not even by who opens it for reading alone, which needs the right to write it all the same. */
static void
a_running_program_is_not_truncated(void)
{
	struct stat was, now;
	int fds[2];
	char c;

	copy_self("self", 0755);
	ok(stat("self", &was));
	ok(pipe2(fds, O_CLOEXEC));
	pid_t p = t_fork();
	if (p == 0) {
		execl("./self", "self", "--pause-after", NULL);
		_exit(126);
	}
	close(fds[1]);
	check_eq(read(fds[0], &c, 1), 0);	/* It runs. */
	fails(open("self", O_RDONLY | O_TRUNC), ETXTBSY);
	fails(open("self", O_WRONLY | O_TRUNC), ETXTBSY);
	fails(truncate("self", 0), ETXTBSY);
	ok(stat("self", &now));
	check_eq(now.st_size, was.st_size);
	check_eq(try_exec("./self"), 2005);
	kill(p, SIGKILL);
	dies(p, SIGKILL);			/* Not of a SIGBUS before. */
	close(ok(open("self", O_RDONLY | O_TRUNC)));
	ok(stat("self", &now));
	check_eq(now.st_size, 0);
}

static void
too_many_arguments(void)
{
	char *big = malloc(140000);
	char *argv[] = { "self", big, NULL };
	char *none[] = { NULL };
	char **many = calloc(200000, sizeof(*many));

	memset(big, 'x', 139999);
	big[139999] = 0;
	fails(execve("/proc/self/exe", argv, none), E2BIG);	/* One string: at most 128 KiB. */
	for (int i = 0; i < 199999; i++)
		many[i] = "an argument of some length to fill the area";
	fails(execve("/proc/self/exe", many, none), E2BIG);
	fails(execve("/proc/self/exe", (char **)16, none), EFAULT);
	argv[1] = (char *)0xffff888000000000;
	fails(execve("/proc/self/exe", argv, none), EFAULT);
	fails(execve((char *)16, argv, none), EFAULT);
	/* Many that fit do arrive. */
	pid_t p = t_fork();
	if (p == 0) {
		many[0] = "self";
		many[1] = "--count";
		many[2] = "8000";
		many[8000] = NULL;
		execve("/proc/self/exe", many, none);
		_exit(126);
	}
	exits(p, 0);
}

static void
scripts(void)
{
	char big[400];

	t_put("script", "#!/bin/busybox sh\n[ \"$1\" = --exit ] && exit $2\n", 0755);
	check_eq(try_exec("./script"), 2005);
	t_put("spaced", "#!  /bin/busybox   sh  \n[ \"$1\" = --exit ] && exit $2\n", 0755);
	check_eq(try_exec("./spaced"), 2005);
	t_put("nested", "#!./script\n", 0755);
	check_eq(try_exec("./nested"), 2001);	/* $1 is ./nested */
	t_put("loop", "#!./loop\n", 0755);
	check_eq(try_exec("./loop"), ELOOP);
	memset(big, 'y', sizeof(big));
	memcpy(big, "#!/", 3);
	big[398] = '\n';
	big[399] = 0;
	t_put("long", big, 0755);
	check_eq(try_exec("./long"), ENOEXEC);	/* The name is cut off: refused, not guessed. */
}

static void
close_on_exec(void)
{
	int keep = ok(open("/dev/null", O_RDONLY)), drop = ok(open("/dev/null",
		O_RDONLY | O_CLOEXEC));
	int duped = ok(fcntl(drop, F_DUPFD, 0)), flagged = ok(dup(keep));
	char a[16], b[16], c[16], d[16];
	char *argv[] = { "self", "--fds", a, b, c, d, NULL };

	ok(fcntl(flagged, F_SETFD, FD_CLOEXEC));
	snprintf(a, sizeof(a), "+%d", keep);
	snprintf(b, sizeof(b), "-%d", drop);
	snprintf(c, sizeof(c), "+%d", duped);
	snprintf(d, sizeof(d), "-%d", flagged);
	exits(spawn_self(argv, environ), 0);
	ok(fcntl(drop, F_GETFD));	/* Still open here. */
}

static int
sub_fds(char **argv)
{
	t_name = "--fds";
	for (; *argv != NULL; argv++) {
		int fd = atoi(*argv + 1), open = fcntl(fd, F_GETFD) >= 0;

		check_eq(open, **argv == '+');
	}
	return 0;
}

static void
exec_resets_handlers_and_keeps_the_rest(void)
{
	char *argv[] = { "self", "--after-exec", NULL };
	sigset_t s;
	stack_t alt = { .ss_sp = malloc(65536), .ss_size = 65536 };

	signal(SIGUSR1, (void (*)(int))(void *)abort);
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&s);
	sigaddset(&s, SIGTERM);
	ok(sigprocmask(SIG_BLOCK, &s, NULL));
	ok(sigaltstack(&alt, NULL));
	ok(prctl(PR_SET_NAME, "before", 0, 0, 0));
	umask(027);
	pid_t p = t_fork();
	if (p == 0) {
		alarm(100);
		raise(SIGTERM);		/* Pending, and stays so. */
		execv("/proc/self/exe", argv);
		_exit(126);
	}
	exits(p, 0);
}

static int
sub_after_exec(void)
{
	struct sigaction sa;
	sigset_t s;
	stack_t alt;
	char name[16];

	t_name = "--after-exec";
	ok(sigaction(SIGUSR1, NULL, &sa));
	check(sa.sa_handler == SIG_DFL);
	ok(sigaction(SIGUSR2, NULL, &sa));
	check(sa.sa_handler == SIG_IGN);
	ok(sigprocmask(SIG_BLOCK, NULL, &s));
	check(sigismember(&s, SIGTERM));
	ok(sigpending(&s));
	check(sigismember(&s, SIGTERM));
	ok(sigaltstack(NULL, &alt));
	check_eq(alt.ss_flags, SS_DISABLE);
	check_eq(umask(0), 027);
	check(alarm(0) > 90);
	ok(prctl(PR_GET_NAME, name, 0, 0, 0));
	check(strcmp(name, "exe") == 0);
	return 0;
}

/* - Hand-made programs ------------------------------------------------------------------------- */

struct tiny {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[2];
	unsigned char code[16];
};

static struct tiny
tiny_elf(int type, unsigned long base)
{
	struct tiny t = {
		.eh = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = (Elf64_Half)type, .e_machine = T_ELF_MACHINE, .e_version = EV_CURRENT,
			.e_entry = base + offsetof(struct tiny, code),
				.e_phoff = offsetof(struct tiny, ph),
			.e_ehsize = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr),
				.e_phnum = 2,
		},
		.ph = {
			{ .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = base,
				.p_filesz = sizeof(struct tiny),
			  .p_memsz = sizeof(struct tiny), .p_align = 4096 },
			{ .p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W },
		},
		.code = T_CODE_EXIT_5,
	};

	return t;
}

static int
run_tiny(const struct tiny *t)
{
	int fd = ok(open("tiny", O_WRONLY | O_CREAT | O_TRUNC, 0755));

	check_eq(write(fd, t, sizeof(*t)), sizeof(*t));
	close(fd);
	return try_exec("./tiny");
}

static void
hand_made_programs(void)
{
	struct tiny t = tiny_elf(ET_EXEC, 0x400000);
	int how;

	check_eq(run_tiny(&t), 2005);
	t = tiny_elf(ET_DYN, 0);			/* Position-independent, no interpreter. */
	check_eq(run_tiny(&t), 2005);
	t = tiny_elf(ET_EXEC, 0x400000);
	t.eh.e_machine = EM_386;
	check_eq(run_tiny(&t), ENOEXEC);
	t = tiny_elf(ET_REL, 0x400000);
	check_eq(run_tiny(&t), ENOEXEC);
	t = tiny_elf(ET_EXEC, 0x400000);
	t.eh.e_phentsize = 55;
	check_eq(run_tiny(&t), ENOEXEC);
	t = tiny_elf(ET_EXEC, 0x400000);
	t.eh.e_phnum = 0;
	check_eq(run_tiny(&t), ENOEXEC);
	t = tiny_elf(ET_EXEC, 0x400000);
	t.eh.e_ident[0] = 'x';
	check_eq(run_tiny(&t), ENOEXEC);
	/*
	 * What is refused before the old program is gone, or kills the new one: never success,
	 * never an oops.
	 */
	for (int i = 0; i < 13; i++) {
		t = tiny_elf(ET_EXEC, 0x400000);
		switch (i) {
		case 0: t = tiny_elf(ET_EXEC, 0xffffffff80200000); break;
		case 1: t = tiny_elf(ET_EXEC, 0xffff888000000000); break;
		case 2: t = tiny_elf(ET_EXEC, T_MMAP_END); break;
		case 3: t = tiny_elf(ET_EXEC, T_USER_END); break;
		case 4: t.ph[0].p_memsz = ~0UL; break;
		case 5: t.ph[0].p_memsz = T_USER_END; break;
		case 6: t.ph[0].p_filesz = ~0UL; break;
		case 7: t.ph[0].p_filesz = t.ph[0].p_memsz + 1; break;
		case 8: t.ph[0].p_offset = 1; break;		/* Not congruent. */
		case 9: t.eh.e_phoff = ~0UL - 8; break;
		case 10: t.eh.e_phnum = 0xffff; break;
		case 11: t.eh.e_entry = 0xffffffff80200000; break;
		case 12: t.eh.e_entry = 0; break;
		}
		how = run_tiny(&t);
		if (how == 2005 || how == 0)
			t_fail(__FILE__, __LINE__, "hostile program %d gives %d", i, how);
	}
}

/* - Set-user-ID programs ------------------------------------------------------------------------ */

static void
set_user_id_programs(void)
{
	char path[200];

	ok(chmod(".", 0755));
	ok(mkdir("m", 0755));
	ok(mount("tmpfs", "m", "tmpfs", 0, "mode=755"));
	copy_self("m/suid", 04755);
	ok(chown("m/suid", 2000, 3000));
	ok(chmod("m/suid", 06755));
	check(getcwd(path, sizeof(path)) != NULL);
	strcat(path, "/m/suid");
	pid_t p = t_fork();
	if (p == 0) {
		t_become(STUDENT);
		execl(path, "suid", "--creds", "1000", "2000", "1000", "3000", "1", NULL);
		_exit(126);
	}
	exits(p, 0);
	/* chown takes the bits away; so does a write by another. */
	struct stat st;
	ok(chown("m/suid", 2000, 3000));
	ok(stat("m/suid", &st));
	check_eq(st.st_mode & 07777, 0755);
	ok(chmod("m/suid", 06777));
	p = t_fork();
	if (p == 0) {
		t_become(STUDENT);
		int fd = ok(open(path, O_WRONLY | O_APPEND));
		check_eq(write(fd, "x", 1), 1);
		_exit(0);
	}
	exits(p, 0);
	ok(stat("m/suid", &st));
	check_eq(st.st_mode & 07777, 0777);
	/* On a nosuid mount the bits say nothing. */
	ok(chmod("m/suid", 06755));
	ok(mount("tmpfs", "m", "tmpfs", MS_REMOUNT | MS_NOSUID, "mode=755"));
	p = t_fork();
	if (p == 0) {
		t_become(STUDENT);
		execl(path, "suid", "--creds", "1000", "1000", "1000", "1000", "0", NULL);
		_exit(126);
	}
	exits(p, 0);
	ok(umount("m"));
}

static int
sub_creds(char **want)
{
	uid_t r, e, s;

	t_name = "--creds";
	ok(getresuid(&r, &e, &s));
	check(r == (uid_t)atoi(want[0]) && e == (uid_t)atoi(want[1]) && s == e);
	ok(getresgid(&r, &e, &s));
	check(r == (gid_t)atoi(want[2]) && e == (gid_t)atoi(want[3]) && s == e);
	check_eq(getauxval(AT_SECURE), atoi(want[4]));
	return 0;
}

/* It tells where a program's memory lies: nobody else may ask that of one that has more rights than its user. */
static void
robust_lists_of_set_id_programs(void)
{
	static const mode_t modes[] = { 0755, 04755, 02755 };
	void *head;
	size_t size;
	char path[200], c;

	ok(chmod(".", 0755));
	ok(mkdir("m", 0755));
	ok(mount("tmpfs", "m", "tmpfs", 0, "mode=755"));
	check(getcwd(path, sizeof(path)) != NULL);
	strcat(path, "/m/self");
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		int fds[2];

		copy_self(path, modes[i]);
		ok(pipe2(fds, O_CLOEXEC));
		pid_t p = t_fork();
		if (p == 0) {
			t_become(STUDENT);
			execl(path, "self", "--pause-after", NULL);
			_exit(126);
		}
		close(fds[1]);
		check_eq(read(fds[0], &c, 1), 0);	/* It runs. */
		close(fds[0]);
		pid_t q = t_fork();
		if (q == 0) {
			t_become(STUDENT);
			if (modes[i] == 0755)
				ok(syscall(SYS_get_robust_list, p, &head, &size));
			else
				fails(syscall(SYS_get_robust_list, p, &head, &size), EPERM);
			fails(syscall(SYS_get_robust_list, 1, &head, &size), EPERM);
			ok(syscall(SYS_get_robust_list, 0, &head, &size));
			ok(syscall(SYS_get_robust_list, getpid(), &head, &size));
			_exit(0);
		}
		exits(q, 0);
		ok(syscall(SYS_get_robust_list, p, &head, &size));	/* Root may. */
		kill(p, SIGKILL);
		dies(p, SIGKILL);
		ok(unlink(path));
		fails(syscall(SYS_get_robust_list, p, &head, &size), ESRCH);
	}
	ok(umount2("m", MNT_DETACH));
}

/* A child that was to end its parent with SIGKILL was not to end what that becomes. */
static void
children_of_the_program_before(void)
{
	char path[200], end[12];
	int ends[2];

	ok(chmod(".", 0755));
	ok(mkdir("m", 0755));
	ok(mount("tmpfs", "m", "tmpfs", 0, "mode=755"));
	copy_self("m/suid", 04755);
	check(getcwd(path, sizeof(path)) != NULL);
	strcat(path, "/m/suid");
	ok(pipe(ends));
	pid_t p = t_fork();
	if (p == 0) {
		t_become(STUDENT);
		if (ok(syscall(SYS_clone, SIGKILL, 0, 0, 0, 0)) == 0) {
			close(ends[1]);
			/* Until the program that its parent has become closes it. */
			_exit(read(ends[0], end, 1) != 0);
		}
		snprintf(end, sizeof(end), "%d", ends[1]);
		execl(path, "suid", "--outlive", end, NULL);
		_exit(126);
	}
	ok(close(ends[0]));
	ok(close(ends[1]));
	exits(p, 7);
	ok(umount2("m", MNT_DETACH));
}

/* argv: "--again", how many times more, the end of a pipe that hears when it is enough. */
static int
sub_again(char **argv)
{
	char left[12], *again[] = { argv[0], argv[1], left, argv[3], NULL };
	int n = atoi(argv[2]);

	if (n == 0)
		return write(atoi(argv[3]), "", 1) == 1 ? pause() : 1;
	snprintf(left, sizeof(left), "%d", n - 1);
	execv("/proc/self/exe", again);
	return 1;
}

/* Whoever reads what /proc tells of descriptors does not share them. */
static void
record_locks_while_others_look(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600)), ends[2];
	char path[32], end[12], buf[64];
	bool locked, told;

	ok(pipe(ends));
	pid_t p = t_fork();
	if (p == 0) {
		close(ends[0]);
		ok(fcntl(fd, F_SETLK, &lock));
		snprintf(end, sizeof(end), "%d", ends[1]);
		execl("/proc/self/exe", "exec", "--again", "500", end, NULL);
		_exit(126);
	}
	ok(close(ends[1]));
	ok(fcntl(ends[0], F_SETFL, O_NONBLOCK));
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", p, fd);
	do {
		int info = ok(open(path, O_RDONLY));

		ok(read(info, buf, sizeof(buf)));	/* Rampart's is empty if an exec came in between. */
		ok(close(info));
		told = read(ends[0], buf, 1) >= 0;
	} while (!told);
	ok(fcntl(fd, F_GETLK, &lock));
	locked = lock.l_type == F_WRLCK && lock.l_pid == p;
	ok(kill(p, SIGKILL));
	t_wait(p);
	check(locked);
}

static const struct test tests[] = {
	TEST(arguments_and_environment_arrive),
	TEST(auxiliary_vector),
	TEST(two_runs_differ_in_at_random),
	TEST(what_cannot_run),
	TEST(a_running_program_is_not_truncated),
	TEST(too_many_arguments),
	TEST(scripts),
	TEST(close_on_exec),
	TEST(exec_resets_handlers_and_keeps_the_rest),
	TEST(hand_made_programs),
	TEST(set_user_id_programs),
	TEST(robust_lists_of_set_id_programs),
	TEST(children_of_the_program_before),
	TEST(record_locks_while_others_look),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	const char *role = argc > 1 ? argv[1] : "";

	if (strcmp(role, "--exit") == 0)
		return atoi(argv[2]);
	if (strcmp(role, "--args") == 0)
		return sub_args(argc, argv);
	if (strcmp(role, "--auxv") == 0)
		return sub_auxv();
	if (strcmp(role, "--random") == 0)
		return write(1, (void *)getauxval(AT_RANDOM), 16) != 16;
	if (strcmp(role, "--fds") == 0)
		return sub_fds(argv + 2);
	if (strcmp(role, "--after-exec") == 0)
		return sub_after_exec();
	if (strcmp(role, "--creds") == 0)
		return sub_creds(argv + 2);
	if (strcmp(role, "--count") == 0)
		return argc != atoi(argv[2]);
	if (strcmp(role, "--outlive") == 0)	/* the child that it finds, and lets go */
		return close(atoi(argv[2])) == 0 && waitpid(-1, NULL, __WALL) > 0 ? 7 : 8;
	if (strcmp(role, "--again") == 0)
		return sub_again(argv);
	if (strcmp(role, "--pause-after") == 0) {
		for (;;)
			pause();
	}
	return t_main(argc, argv, tests);
}
