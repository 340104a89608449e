/*
 * What every regression program shares. A program is a table of tests; each runs in a child of its
 * own, in a
 * fresh directory under /tmp, with 20 seconds to live, and prints one line:
 *
 *	ok NAME
 *	not ok NAME: FILE:LINE WHAT, ERRNO
 *
 * The exit status is 0 when all passed. `test-X NAME...` runs only those, `test-X -l` lists them.
 * They run as root, on Linux and on Rampart alike. Never rely on memory that is writable and
 * executable.
 */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Wrong arguments are what these programs are for. */
#pragma GCC diagnostic ignored "-Wnonnull"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#pragma GCC diagnostic ignored "-Wstringop-overread"
#endif

#define PAGE 4096UL
#define T_SECONDS 20		/* A test that takes longer hangs: its SIGALRM is the verdict. */
#define STUDENT 1000		/* An ordinary user; no entry in /etc/passwd is needed. */

struct test {
	const char *name;
	void (*run)(void);
};

#define TEST(f) { #f, f }

static const char *t_name = "?";	/* The test under way, for its failure line. */

static inline const char *
t_errno_name(int e)
{
	const char *n = strerrorname_np(e);

	return n != NULL ? n : "E?";
}

/*
 * Prints why the test fails and ends this process with status 1. Works in any child or thread of
 * the test.
 */
static inline void __attribute__((noreturn, format(printf, 3, 4)))
t_fail(const char *file, int line, const char *format, ...)
{
	int e = errno;
	char what[400], all[600];
	const char *base = strrchr(file, '/');
	va_list args;
	int n;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	n = snprintf(all, sizeof(all), "not ok %s: %s:%d %s, %s\n", t_name, base ? base + 1 : file,
		line, what,
		     t_errno_name(e));
	if (write(1, all, (size_t)n) < 0)
		_exit(2);
	_exit(1);
}

#define check(cond)									\
	do {										\
		if (!(cond))								\
			t_fail(__FILE__, __LINE__, "%s", #cond);			\
	} while (0)

/* Integers that must be equal; both values are shown. */
#define check_eq(a, b)									\
	do {										\
		long long a_ = (long long)(a), b_ = (long long)(b);			\
		if (a_ != b_)								\
			t_fail(__FILE__, __LINE__, "%s == %s (%lld, %lld)", #a, #b, a_, b_); \
	} while (0)

/* A call that must not give -1; its result is the value. */
#define ok(call)									\
	({										\
		errno = 0;								\
		__typeof__(call) r_ = (call);						\
		if ((long)r_ == -1)							\
			t_fail(__FILE__, __LINE__, "%s", #call);			\
		r_;									\
	})

/* A call that must give -1 and this errno. */
#define fails(call, err)								\
	do {										\
		errno = 0;								\
		long r_ = (long)(call);							\
		if (r_ != -1 || errno != (err))						\
			t_fail(__FILE__, __LINE__, "%s gives %ld, not %s", #call, r_, #err); \
	} while (0)

/* A call that returns its errno (the pthread family) and must succeed. */
#define zero(call)									\
	do {										\
		int r_ = (int)(call);							\
		errno = r_;								\
		if (r_ != 0)								\
			t_fail(__FILE__, __LINE__, "%s gives %d", #call, r_);		\
	} while (0)

static inline void
t_msleep(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		continue;
}

/* Milliseconds of CLOCK_MONOTONIC. */
static inline long
t_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Waits for a child. How it ended: its exit code, or 1000 + the signal that killed it. */
static inline int
t_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#define exits(pid, code) check_eq(t_wait(pid), code)
#define dies(pid, sig) check_eq(t_wait(pid), 1000 + (sig))

/*
 * The code between braces runs in a child: pid_t p = fork(); with the line buffer out of the way.
 */
static inline pid_t
t_fork(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		t_fail(__FILE__, __LINE__, "fork");
	return pid;
}

/* Makes the file, or makes it anew, with this text and mode. */
static inline void
t_put(const char *path, const char *text, mode_t mode)
{
	int fd = ok(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700));

	check_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ok(fchmod(fd, mode));
	close(fd);
}

/* - Provoked faults ---------------------------------------------------------------------------- */

static __thread sigjmp_buf t_jump;
static __thread volatile int t_sig, t_code;
static __thread void *volatile t_addr;

static inline void
t_on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	t_sig = sig;
	t_code = info->si_code;
	t_addr = info->si_addr;
	siglongjmp(t_jump, 1);
}

static inline void
t_catch(void)
{
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_NODEFER };

	sa.sa_sigaction = t_on_fault;
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaction(sigs[i], &sa, NULL);
}

/* Runs the statement; true if a signal ended it, which t_sig, t_code, t_addr then describe. */
#define faults(statement)								\
	({										\
		t_catch();								\
		t_sig = 0;								\
		if (sigsetjmp(t_jump, 1) == 0) {					\
			statement;							\
		}									\
		t_sig != 0;								\
	})

#define must_fault(statement, sig, code, addr)						\
	do {										\
		if (!faults(statement))							\
			t_fail(__FILE__, __LINE__, "%s does not fault", #statement);	\
		check_eq(t_sig, sig);							\
		check_eq(t_code, code);							\
		check_eq((long)t_addr, (long)(addr));					\
	} while (0)

static inline char
t_peek(const volatile void *p)
{
	__asm__("" : "+r"(p));		/* The compiler shall not reason about where it points. */
	return *(const volatile char *)p;
}

static inline void
t_poke(volatile void *p, char c)
{
	__asm__("" : "+r"(p));
	*(volatile char *)p = c;
}

static inline void *
t_map(size_t length, int prot)
{
	void *p = mmap(NULL, length, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		t_fail(__FILE__, __LINE__, "mmap of %zu bytes", length);
	return p;
}

/* Drops root for good: real, effective and saved, no other groups. */
static inline void
t_become(uid_t uid)
{
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		t_fail(__FILE__, __LINE__, "becoming %u", uid);
}

/* - The runner --------------------------------------------------------------------------------- */

static inline void
t_remove_all(const char *dir)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl("/bin/busybox", "busybox", "rm", "-rf", dir, NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

static inline int
t_run(const struct test *test)
{
	char dir[64];
	pid_t pid;
	int how, status = 0;

	snprintf(dir, sizeof(dir), "/tmp/test.%d.%s", getpid(), test->name);
	pid = fork();
	if (pid == 0) {
		t_name = test->name;
		umask(022);
		setpgid(0, 0);
		if (mkdir(dir, 0755) < 0 || chdir(dir) < 0)
			t_fail(__FILE__, __LINE__, "mkdir %s", dir);
		alarm(T_SECONDS);
		errno = 0;
		test->run();
		fflush(stdout);
		_exit(0);
	}
	setpgid(pid, pid);
	while (waitpid(pid, &status, WUNTRACED) < 0 && errno == EINTR)
		continue;
	how = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
	if (WIFSTOPPED(status))		/* Its alarm would never come. */
		how = 2000 + WSTOPSIG(status);
	kill(-pid, SIGKILL);		/* What a failed test left behind. */
	if (how >= 2000)
		waitpid(pid, NULL, 0);
	if (how == 0)
		printf("ok %s\n", test->name);
	else if (how >= 2000)
		printf("not ok %s: stopped by signal %d\n", test->name, how - 2000);
	else if (how >= 1000)
		printf("not ok %s: killed by signal %d%s\n", test->name, how - 1000,
		       how == 1000 + SIGALRM ? " (took too long)" : "");
	else if (how != 1)
		printf("not ok %s: exit status %d\n", test->name, how);
	fflush(stdout);
	if (chdir("/") == 0)
		t_remove_all(dir);
	return how == 0 ? 0 : 1;
}

/* Runs the table, which ends with an entry without a name, or those of it that are named; the program's exit status. */
static inline int
t_main(int argc, char **argv, const struct test *tests)
{
	bool list = argc == 2 && strcmp(argv[1], "-l") == 0;
	int failed = 0, run = 0;

	signal(SIGALRM, SIG_DFL);
	for (; tests->name != NULL; tests++) {
		bool wanted = argc < 2;

		for (int i = 1; i < argc; i++)
			wanted |= strcmp(argv[i], tests->name) == 0;
		if (list) {
			puts(tests->name);
		} else if (wanted) {
			failed += t_run(tests);
			run++;
		}
	}
	if (!list && run < argc - 1) {
		printf("# of %d named, only %d are there\n", argc - 1, run);
		return 2;
	}
	printf("# %d of %d passed\n", run - failed, run);
	return failed != 0;
}
