/* Mappings of files: who sees whose writes, holes, and where a file that changes its size ends. */
#include "user/test/test.h"

#define RW (PROT_READ | PROT_WRITE)

static void
private_file_mapping(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));
	char buf[16];

	check_eq(write(fd, "0123456789", 10), 10);
	char *p = ok(mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0));
	check(memcmp(p, "0123456789\0\0", 12) == 0);
	check_eq(p[PAGE - 1], 0);	/* The rest of the last page is zero. */
	p[0] = 'X';
	check_eq(pread(fd, buf, 1, 0), 1);
	check_eq(buf[0], '0');
	check_eq(pwrite(fd, "W", 1, 0), 1);
	check_eq(p[0], 'X');
	close(fd);
	ok(unlink("f"));
	check_eq(p[5], '5');		/* A mapping keeps the file alive. */
}

static void
a_page_that_was_read_and_made_writable_is_not_the_files(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));
	char c;

	ok(ftruncate(fd, PAGE));
	char *private = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	check(private != MAP_FAILED);
	check_eq(t_peek(private), 0);
	ok(mprotect(private, PAGE, PROT_READ | PROT_WRITE));
	private[0] = 'p';
	check_eq(pread(fd, &c, 1, 0), 1);
	check_eq(c, 0);
	check_eq(private[0], 'p');
}

static void
shared_file_mapping(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));
	char c;

	ok(ftruncate(fd, 3 * PAGE));
	char *s = ok(mmap(NULL, 3 * PAGE, RW, MAP_SHARED, fd, 0));
	char *t = ok(mmap(NULL, PAGE, RW, MAP_SHARED, fd, PAGE));
	s[PAGE] = 'x';
	check_eq(t[0], 'x');
	check_eq(pread(fd, &c, 1, PAGE), 1);
	check_eq(c, 'x');
	check_eq(pwrite(fd, "y", 1, PAGE), 1);
	check_eq(t[0], 'y');
	ok(msync(s, 3 * PAGE, MS_SYNC));
	ok(munmap(s, 3 * PAGE));
	check_eq(t[0], 'y');
	check_eq(pread(fd, &c, 1, 2 * PAGE), 1);
	check_eq(c, 0);
}

/* A page and a half to four: zeros, in all mappings that there are, which are still the file's. */
static void
a_hole_is_seen_through_shared_mappings(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600)), ready[2], go[2];
	char *m[3], c;
	const int first[3] = { 0, 3, 0 }, pages[3] = { 6, 3, 2 };

	ok(ftruncate(fd, 6 * PAGE));
	for (int i = 0; i < 3; i++)
		m[i] = ok(mmap(NULL, pages[i] * PAGE, RW, MAP_SHARED, fd, first[i] * PAGE));
	memset(m[0], 'x', 6 * PAGE);
	memset(m[1], 'y', 3 * PAGE);
	check_eq(m[2][0], 'x');
	check_eq(m[2][PAGE], 'x');
	ok(pipe(ready));
	ok(pipe(go));
	pid_t p = t_fork();
	if (p == 0) {
		check(m[0][2 * PAGE] == 'x' && m[1][0] == 'y');
		check_eq(write(ready[1], "x", 1), 1);
		check_eq(read(go[0], &c, 1), 1);
		check(m[0][2 * PAGE] == 0 && m[1][0] == 0 && m[1][PAGE] == 'y');
		m[0][2 * PAGE + 1] = 'c';
		_exit(0);
	}
	close(ready[1]);
	check_eq(read(ready[0], &c, 1), 1);
	ok(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE + PAGE / 2, 2 * PAGE + PAGE / 2));
	for (unsigned i = 0; i < 6 * PAGE; i++) {
		bool hole = i >= PAGE + PAGE / 2 && i < 4 * PAGE;

		check_eq(m[0][i], hole ? 0 : i < 3 * PAGE ? 'x' : 'y');
	}
	check(m[1][0] == 0 && m[1][PAGE - 1] == 0 && m[1][PAGE] == 'y');
	check(m[2][PAGE] == 'x' && m[2][PAGE + PAGE / 2] == 0);
	check_eq(write(go[1], "x", 1), 1);
	exits(p, 0);
	/* One page again, in memory and in the file. */
	m[0][3 * PAGE + 5] = 'z';
	check_eq(m[1][5], 'z');
	check_eq(pread(fd, &c, 1, 3 * PAGE + 5), 1);
	check_eq(c, 'z');
	check_eq(pwrite(fd, "w", 1, 3 * PAGE + 6), 1);
	check_eq(m[1][6], 'w');
	check_eq(m[0][2 * PAGE + 1], 'c');
	check_eq(pread(fd, &c, 1, 2 * PAGE + 1), 1);
	check_eq(c, 'c');
}

static void
a_hole_is_seen_through_private_mappings_where_they_hold_no_copy(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));

	ok(ftruncate(fd, 4 * PAGE));
	for (int i = 0; i < 4; i++)
		check_eq(pwrite(fd, "x", 1, i * (long)PAGE), 1);
	char *m = ok(mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0));
	char *r = ok(mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0));
	t_poke(m + PAGE + 1, 'c');
	for (int i = 0; i < 4; i++)
		check(t_peek(m + i * PAGE) == 'x' && t_peek(r + i * PAGE) == 'x');
	ok(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, 2 * PAGE));
	check(t_peek(m) == 'x' && t_peek(m + 3 * PAGE) == 'x');
	check(t_peek(m + PAGE) == 'x' && t_peek(m + PAGE + 1) == 'c');
	check_eq(t_peek(m + 2 * PAGE), 0);
	check(t_peek(r) == 'x' && t_peek(r + PAGE) == 0 && t_peek(r + 2 * PAGE) == 0);
	/* What is written there later is seen, as in any page that is no copy. */
	check_eq(pwrite(fd, "y", 1, 2 * PAGE), 1);
	check(t_peek(m + 2 * PAGE) == 'y' && t_peek(r + 2 * PAGE) == 'y');
}

static void
what_is_written_beyond_the_end_of_a_file_that_shrinks_is_gone(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));
	char buf[3];

	ok(ftruncate(fd, 100));
	char *m = ok(mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0));
	memset(m, 'x', PAGE);
	ok(ftruncate(fd, 50));
	ok(ftruncate(fd, PAGE));
	check(m[49] == 'x' && m[50] == 0 && m[100] == 0 && m[PAGE - 1] == 0);
	check_eq(pread(fd, buf, 3, 199), 3);
	check(buf[0] == 0 && buf[1] == 0 && buf[2] == 0);
}

static void
beyond_the_end_is_sigbus(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));

	ok(ftruncate(fd, PAGE + 10));
	char *s = ok(mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0));
	char *p = ok(mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0));
	check_eq(t_peek(s + 2 * PAGE - 1), 0);
	must_fault(t_peek(s + 2 * PAGE), SIGBUS, BUS_ADRERR, s + 2 * PAGE);
	must_fault(t_poke(s + 3 * PAGE + 3, 1), SIGBUS, BUS_ADRERR, s + 3 * PAGE + 3);
	must_fault(t_peek(p + 2 * PAGE + 1), SIGBUS, BUS_ADRERR, p + 2 * PAGE + 1);
	must_fault(t_poke(p + 2 * PAGE, 1), SIGBUS, BUS_ADRERR, p + 2 * PAGE);
	/* The kernel's own access is EFAULT, and a file that grew is readable. */
	int fds[2];
	ok(pipe(fds));
	fails(write(fds[1], s + 2 * PAGE, 10), EFAULT);
	ok(ftruncate(fd, 4 * PAGE));
	check_eq(t_peek(s + 3 * PAGE), 0);
	/*
	 * A file that shrank takes its pages away, and the tail of the last one is zero when it
	 * grows again.
	 */
	memset(s, 'z', 4 * PAGE);
	p[2 * PAGE] = 'p';
	ok(ftruncate(fd, 100));
	must_fault(t_peek(s + PAGE), SIGBUS, BUS_ADRERR, s + PAGE);
	must_fault(t_peek(p + 2 * PAGE), SIGBUS, BUS_ADRERR, p + 2 * PAGE);
	check(s[99] == 'z');
	ok(ftruncate(fd, 2 * PAGE));
	check(s[99] == 'z' && s[100] == 0 && s[PAGE - 1] == 0 && s[PAGE] == 0);
}

static const struct test tests[] = {
	TEST(private_file_mapping),
	TEST(a_page_that_was_read_and_made_writable_is_not_the_files),
	TEST(shared_file_mapping),
	TEST(a_hole_is_seen_through_shared_mappings),
	TEST(a_hole_is_seen_through_private_mappings_where_they_hold_no_copy),
	TEST(what_is_written_beyond_the_end_of_a_file_that_shrinks_is_gone),
	TEST(beyond_the_end_is_sigbus),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
