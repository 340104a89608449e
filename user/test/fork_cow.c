/*
 * fork and memory: what is private after fork stays private in both directions, what is shared
 * stays shared.
 */
#include "user/test/test.h"
#include "user/cpu.h"
#include <pthread.h>

static char data[3 * PAGE] __attribute__((aligned(4096))) = { 'd' };
static char bss[3 * PAGE] __attribute__((aligned(4096)));

static void
child_writes_stay_with_the_child(void)
{
	char *heap = malloc(3 * PAGE), *map = t_map(3 * PAGE, PROT_READ | PROT_WRITE);
	volatile char stack = 's';

	heap[PAGE] = 'h';
	map[PAGE] = 'm';
	bss[PAGE] = 'b';
	pid_t p = t_fork();
	if (p == 0) {
		check(data[0] == 'd' && bss[PAGE] == 'b' && heap[PAGE] == 'h' && map[PAGE] == 'm' &&
			stack == 's');
		data[0] = bss[PAGE] = heap[PAGE] = map[PAGE] = stack = 'X';
		check(data[0] == 'X' && bss[PAGE] == 'X' && heap[PAGE] == 'X' && map[PAGE] == 'X');
		_exit(0);
	}
	exits(p, 0);
	check(data[0] == 'd' && bss[PAGE] == 'b' && heap[PAGE] == 'h' && map[PAGE] == 'm' &&
		stack == 's');
}

static void
parent_writes_stay_with_the_parent(void)
{
	char *map = t_map(64 * PAGE, PROT_READ | PROT_WRITE);
	int go[2];
	char c;

	for (int i = 0; i < 64; i++)
		map[i * PAGE] = (char)i;
	ok(pipe(go));
	pid_t p = t_fork();
	if (p == 0) {
		check_eq(read(go[0], &c, 1), 1);
		for (int i = 0; i < 64; i++)
			check_eq(map[i * PAGE], i);
		_exit(0);
	}
	for (int i = 0; i < 64; i++)
		map[i * PAGE] = 'P';
	check_eq(write(go[1], "x", 1), 1);
	exits(p, 0);
}

static void
pages_not_yet_touched_are_zero_in_both(void)
{
	char *map = t_map(8 * PAGE, PROT_READ | PROT_WRITE);
	char sum = 0;

	for (int i = 0; i < 4; i++)
		sum |= map[i * PAGE];	/* Read only: the zero page may stand here. */
	pid_t p = t_fork();
	if (p == 0) {
		for (int i = 0; i < 8; i++) {
			check_eq(map[i * PAGE], 0);
			map[i * PAGE] = 1;
		}
		_exit(0);
	}
	exits(p, 0);
	for (int i = 0; i < 8; i++)
		check_eq(map[i * PAGE], 0);
	check_eq(sum, 0);
}

static void
shared_anonymous_memory_is_one(void)
{
	volatile int *s = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);

	check(s != MAP_FAILED);
	s[0] = 1;
	pid_t p = t_fork();
	if (p == 0) {
		check_eq(s[0], 1);
		s[0] = 2;
		s[1024] = 3;	/* Second page: first touched by the child, seen by the parent. */
		while (s[1] == 0)
			give_way();
		check_eq(s[1], 7);
		_exit(0);
	}
	while (s[1024] == 0)
		give_way();
	check_eq(s[0], 2);
	s[1] = 7;
	exits(p, 0);
}

static void
shared_file_memory_is_one_and_private_is_not(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));
	char c;

	ok(ftruncate(fd, 2 * PAGE));
	volatile char *shared = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	volatile char *private = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	check(shared != MAP_FAILED && private != MAP_FAILED);
	private[PAGE] = 'p';
	pid_t p = t_fork();
	if (p == 0) {
		shared[0] = 'S';
		private[PAGE] = 'Q';
		private[1] = 'R';
		_exit(0);
	}
	exits(p, 0);
	check_eq(shared[0], 'S');
	check_eq(private[0], 'S');	/* Not yet copied: still the file's page. */
	check_eq(private[PAGE], 'p');
	check_eq(shared[1], 0);
	check_eq(pread(fd, &c, 1, 0), 1);
	check_eq(c, 'S');
	check_eq(pread(fd, &c, 1, PAGE), 1);
	check_eq(c, 0);
}

static void
nested_forks_each_have_their_own(void)
{
	volatile int *v = t_map(PAGE, PROT_READ | PROT_WRITE);
	pid_t p;
	int depth;

	v[0] = 0;
	for (depth = 0; depth < 8; depth++) {
		p = t_fork();
		if (p != 0)
			break;
		check_eq(v[0], depth);
		v[0] = depth + 1;
	}
	if (depth < 8) {
		int before = v[0];

		exits(p, 0);
		check_eq(v[0], before);
		check_eq(v[0], depth);
	} else {
		check_eq(v[0], 8);
	}
	if (depth > 0)
		_exit(0);
}

static void
many_siblings_share_one_page(void)
{
	volatile char *m = t_map(16 * PAGE, PROT_READ | PROT_WRITE);
	pid_t p[12];

	for (int i = 0; i < 16; i++)
		m[i * PAGE] = 'o';
	for (int k = 0; k < 12; k++) {
		p[k] = t_fork();
		if (p[k] == 0) {
			for (int round = 0; round < 20; round++) {
				for (int i = 0; i < 16; i++)
					m[i * PAGE + 1] = (char)k;
				sched_yield();
				for (int i = 0; i < 16; i++)
					check(m[i * PAGE + 1] == k && m[i * PAGE] == 'o');
			}
			_exit(0);
		}
	}
	for (int k = 0; k < 12; k++)
		exits(p[k], 0);
	for (int i = 0; i < 16; i++)
		check(m[i * PAGE + 1] == 0 && m[i * PAGE] == 'o');
}

static void
kernel_writes_copy_too(void)
{
	char *m = t_map(2 * PAGE, PROT_READ | PROT_WRITE);
	int fds[2];

	ok(pipe(fds));
	memset(m, 'a', 2 * PAGE);
	pid_t p = t_fork();
	if (p == 0) {
		/*
		 * read(2) into a page that is still shared with the parent must break the sharing.
		 */
		check_eq(write(fds[1], "kernel", 6), 6);
		check_eq(read(fds[0], m + PAGE - 3, 6), 6);
		check(memcmp(m + PAGE - 3, "kernel", 6) == 0);
		_exit(0);
	}
	exits(p, 0);
	for (unsigned i = 0; i < 2 * PAGE; i++)
		check(m[i] == 'a');
}

static void
protections_are_inherited_and_separate(void)
{
	char *m = t_map(2 * PAGE, PROT_READ | PROT_WRITE);

	m[0] = 'x';
	ok(mprotect(m, PAGE, PROT_READ));
	pid_t p = t_fork();
	if (p == 0) {
		must_fault(t_poke(m, 1), SIGSEGV, SEGV_ACCERR, m);
		ok(mprotect(m, PAGE, PROT_READ | PROT_WRITE));
		m[0] = 'y';
		ok(munmap(m + PAGE, PAGE));
		_exit(0);
	}
	exits(p, 0);
	must_fault(t_poke(m, 1), SIGSEGV, SEGV_ACCERR, m);
	check_eq(m[0], 'x');
	m[PAGE] = 1;
}

static void
read_only_again_after_copy(void)
{
	char *m = t_map(PAGE, PROT_READ | PROT_WRITE);

	m[0] = 'x';
	pid_t p = t_fork();
	if (p == 0)
		_exit(0);
	exits(p, 0);
	/* Alone again, but the page is not writable for that. */
	ok(mprotect(m, PAGE, PROT_READ));
	must_fault(t_poke(m, 1), SIGSEGV, SEGV_ACCERR, m);
	ok(mprotect(m, PAGE, PROT_READ | PROT_WRITE));
	m[0] = 'z';
}

/* Private memory, a private page of a file that was written before, and a file that may only be read. */
struct kinds {
	char *memory, *copy, *file;
};

static struct kinds
read_only_kinds(void)
{
	int fd = ok(open("r", O_RDWR | O_CREAT, 0600));
	struct kinds k;

	ok(ftruncate(fd, PAGE));
	close(fd);
	fd = ok(open("r", O_RDONLY));
	k.memory = t_map(PAGE, PROT_READ | PROT_WRITE);
	k.copy = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	k.file = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	check(k.copy != MAP_FAILED && k.file != MAP_FAILED);
	k.memory[0] = k.copy[0] = 'k';
	check_eq(k.file[0], 0);
	ok(mprotect(k.memory, PAGE, PROT_READ));
	ok(mprotect(k.copy, PAGE, PROT_READ));
	check_eq(mprotect(k.file, PAGE, PROT_READ | PROT_WRITE), -1);
	return k;
}

static void
no_kind_can_be_written(struct kinds k)
{
	must_fault(t_poke(k.memory, 1), SIGSEGV, SEGV_ACCERR, k.memory);
	must_fault(t_poke(k.copy, 1), SIGSEGV, SEGV_ACCERR, k.copy);
	must_fault(t_poke(k.file, 1), SIGSEGV, SEGV_ACCERR, k.file);
	check(k.memory[0] == 'k' && k.copy[0] == 'k' && k.file[0] == 0);
}

static void
read_only_stays_read_only_in_parent_and_children(void)
{
	struct kinds k = read_only_kinds();

	for (int i = 0; i < 3; i++) {
		pid_t p = t_fork();

		if (p == 0) {
			no_kind_can_be_written(k);
			/* The last one gets the permission, and writes for itself alone. */
			if (i == 2) {
				ok(mprotect(k.memory, PAGE, PROT_READ | PROT_WRITE));
				ok(mprotect(k.copy, PAGE, PROT_READ | PROT_WRITE));
				k.memory[0] = k.copy[0] = 'c';
				check_eq(k.file[0], 0);
			}
			_exit(0);
		}
		no_kind_can_be_written(k);
		exits(p, 0);
		no_kind_can_be_written(k);
	}
}

static void *
fork_in_a_thread(void *arg)
{
	struct kinds *k = arg;
	pid_t p = t_fork();

	if (p == 0) {
		no_kind_can_be_written(*k);
		_exit(0);
	}
	exits(p, 0);
	no_kind_can_be_written(*k);
	return NULL;
}

static void
read_only_stays_read_only_in_threads_that_fork(void)
{
	struct kinds k = read_only_kinds();
	pthread_t t;

	for (int i = 0; i < 3; i++) {
		zero(pthread_create(&t, NULL, fork_in_a_thread, &k));
		zero(pthread_join(t, NULL));
	}
	no_kind_can_be_written(k);
}

static void
fork_many_times_in_a_row(void)
{
	volatile char *m = t_map(32 * PAGE, PROT_READ | PROT_WRITE);

	for (int i = 0; i < 60; i++) {
		for (int k = 0; k < 32; k++)
			m[k * PAGE] = (char)i;
		pid_t p = t_fork();
		if (p == 0) {
			for (int k = 0; k < 32; k += 2)
				m[k * PAGE] = 'c';
			_exit(m[PAGE] == i ? 0 : 1);
		}
		exits(p, 0);
		for (int k = 0; k < 32; k++)
			check_eq(m[k * PAGE], (char)i);
	}
}

static void
dontfork_and_wipeonfork(void)
{
	char *m = t_map(PAGE, PROT_READ | PROT_WRITE);

	m[0] = 'x';
	if (madvise(m, PAGE, MADV_DONTFORK) < 0)
		return;		/* Advice may be refused; taken, it must hold. */
	pid_t p = t_fork();
	if (p == 0) {
		must_fault(t_peek(m), SIGSEGV, SEGV_MAPERR, m);
		_exit(0);
	}
	exits(p, 0);
	check_eq(m[0], 'x');
}

/*
 * ftruncate takes a file's pages out of every address space, of one that fork has half made, too: it must find whole
 * areas there, and no page may get into the child behind its back.
 */
static void
a_file_may_shrink_while_its_users_fork(void)
{
	enum { AREAS = 200, FORKS = 150 };
	int fd = ok(open("shrinks", O_RDWR | O_CREAT | O_TRUNC, 0600)), status;
	char *areas[AREAS];

	ok(ftruncate(fd, AREAS * PAGE));
	for (int i = 0; i < AREAS; i++) {	/* Backwards, so that no two of them are one area. */
		areas[i] = ok(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, i * PAGE));
		*areas[i] = 'p';
	}
	pid_t shrinker = t_fork();
	if (shrinker == 0) {
		for (int i = 0; i < AREAS; i++)
			ok(munmap(areas[i], PAGE));
		for (;;) {
			ok(ftruncate(fd, 0));
			ok(ftruncate(fd, AREAS * PAGE));
		}
	}
	for (int i = 0; i < FORKS; i++) {
		pid_t p = t_fork();
		if (p == 0)
			_exit(0);
		exits(p, 0);
	}
	check_eq(waitpid(shrinker, &status, WNOHANG), 0);
	kill(shrinker, SIGKILL);
	dies(shrinker, SIGKILL);
	close(fd);
}

static const struct test tests[] = {
	TEST(child_writes_stay_with_the_child),
	TEST(parent_writes_stay_with_the_parent),
	TEST(pages_not_yet_touched_are_zero_in_both),
	TEST(shared_anonymous_memory_is_one),
	TEST(shared_file_memory_is_one_and_private_is_not),
	TEST(nested_forks_each_have_their_own),
	TEST(many_siblings_share_one_page),
	TEST(kernel_writes_copy_too),
	TEST(protections_are_inherited_and_separate),
	TEST(read_only_again_after_copy),
	TEST(read_only_stays_read_only_in_parent_and_children),
	TEST(read_only_stays_read_only_in_threads_that_fork),
	TEST(fork_many_times_in_a_row),
	TEST(dontfork_and_wipeonfork),
	TEST(a_file_may_shrink_while_its_users_fork),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
