/*
 * Where programs lie.  `test-aslr sample N [LIMIT]` runs /bin/layout N times (with that stack limit) for a grader, who stops at
 * samples_taken() and reads `samples`.
 */
#include "user/test/test.h"

#include "user/layout/layout.h"

#include <spawn.h>
#include <sys/mount.h>
#include <sys/personality.h>

#define SAMPLES_MAX 4096

struct layout samples[SAMPLES_MAX];
volatile unsigned long sample_count;
void samples_taken(void);

__attribute__((noinline)) void
samples_taken(void)
{
	__asm__ volatile("");
}

/* Runs a program that writes its layout down. */
static struct layout
sample(const char *path)
{
	struct layout l = { 0 };
	char *const argv[] = { (char *)path, NULL }, *const envp[] = { NULL };
	int status, fd = ok(memfd_create("layout", 0));
	pid_t p;

	ok(dup2(fd, LAYOUT_FD));
	zero(posix_spawn(&p, path, NULL, NULL, argv, envp));
	check_eq(waitpid(p, &status, 0), p);
	check_eq(status, 0);
	check_eq(pread(LAYOUT_FD, &l, sizeof(l), 0), sizeof(l));
	ok(close(LAYOUT_FD));
	if (fd != LAYOUT_FD)
		ok(close(fd));
	return l;
}

static int
parts_that_differ(const struct layout *a, const struct layout *b)
{
	return (a->stack != b->stack) + (a->mmap != b->mmap) + (a->interpreter != b->interpreter) +
	       (a->vdso != b->vdso) + (a->program != b->program) + (a->heap != b->heap);
}

static void
check_elsewhere(const char *path)
{
	struct layout a = sample(path), b = sample(path);

	check(a.stack && a.mmap && a.interpreter && a.vdso && a.program && a.heap);
	check_eq(parts_that_differ(&a, &b), 6);
}

static void
each_exec_lies_elsewhere(void)
{
	check_elsewhere("/bin/layout");
}

static void
a_script_s_interpreter_lies_elsewhere(void)
{
	int fd = ok(open("script", O_CREAT | O_WRONLY, 0755));

	ok(write(fd, "#!/bin/layout\n", 14));
	ok(close(fd));
	check_elsewhere("./script");
}

static void
a_stack_without_limit_changes_nothing(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY }, large = { 3ul << 40, RLIM_INFINITY };

	ok(setrlimit(RLIMIT_STACK, &large));
	check_elsewhere("/bin/layout");
	ok(setrlimit(RLIMIT_STACK, &all));
	check_elsewhere("/bin/layout");
}

static void
who_asks_for_it_lies_where_he_lay(void)
{
	struct layout a, b;

	ok(personality(ADDR_NO_RANDOMIZE));
	check_eq(personality(0xffffffff), ADDR_NO_RANDOMIZE);
	a = sample("/bin/layout");
	b = sample("/bin/layout");
	check_eq(parts_that_differ(&a, &b), 0);
}

static void
copy_program(const char *from, const char *to, mode_t mode)
{
	char buf[4096];
	ssize_t n;
	int in = ok(open(from, O_RDONLY)), out = ok(open(to, O_CREAT | O_WRONLY, 0600));

	while ((n = ok(read(in, buf, sizeof(buf)))) > 0)
		check_eq(write(out, buf, (size_t)n), n);
	ok(fchmod(out, mode));
	ok(close(in));
	ok(close(out));
}

static void
a_set_user_id_program_does_not_ask_who_runs_it(void)
{
	ok(chmod(".", 0755));
	ok(mkdir("m", 0755)); /* /tmp is nosuid */
	ok(mount("tmpfs", "m", "tmpfs", 0, "mode=755"));
	copy_program("/bin/layout", "m/privileged", 04755);
	t_become(STUDENT);
	ok(personality(ADDR_NO_RANDOMIZE));
	check_elsewhere("m/privileged");
}

static void
a_forked_child_lies_where_its_parent_does(void)
{
	void **shared = ok(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	pid_t p = t_fork();
	int status;

	if (p == 0) {
		shared[0] = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		shared[1] = sbrk(0);
		_exit(0);
	}
	check_eq(waitpid(p, &status, 0), p);
	check(shared[0] == mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	check(shared[1] == sbrk(0));
}

static const struct test tests[] = {
	TEST(each_exec_lies_elsewhere),
	TEST(a_script_s_interpreter_lies_elsewhere),
	TEST(a_stack_without_limit_changes_nothing),
	TEST(who_asks_for_it_lies_where_he_lay),
	TEST(a_set_user_id_program_does_not_ask_who_runs_it),
	TEST(a_forked_child_lies_where_its_parent_does),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	if (argc >= 3 && strcmp(argv[1], "sample") == 0) {
		unsigned long n = strtoul(argv[2], NULL, 10);

		if (argc == 4) {
			rlim_t limit = strtoul(argv[3], NULL, 10);

			ok(setrlimit(RLIMIT_STACK, &(struct rlimit){ limit, RLIM_INFINITY }));
		}

		check(n <= SAMPLES_MAX);
		for (; sample_count < n; sample_count++)
			samples[sample_count] = sample("/bin/layout");
		samples_taken();
		return 0;
	}
	return t_main(argc, argv, tests);
}
