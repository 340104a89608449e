/*
 * Descriptors: what they share, their locks, how they look in /proc, copies from one to another, files without a name.
 */
#include "user/test/test.h"
#include <pthread.h>
#include <sys/file.h>
#include <sys/sendfile.h>

static void
descriptors(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600)), b, c;

	b = ok(dup(fd));
	check_eq(write(fd, "ab", 2), 2);
	check_eq(lseek(b, 0, SEEK_CUR), 2);	/* One offset. */
	c = ok(open("f", O_RDONLY));
	check_eq(lseek(c, 0, SEEK_CUR), 0);	/* Another. */
	check_eq(dup2(fd, 50), 50);
	check_eq(dup2(fd, fd), fd);
	fails(dup2(999, 999), EBADF);
	fails(dup2(fd, -1), EBADF);
	fails(dup3(fd, fd, 0), EINVAL);
	fails(dup3(fd, 51, 0x1234), EINVAL);
	check_eq(dup3(fd, 51, O_CLOEXEC), 51);
	check_eq(fcntl(51, F_GETFD), FD_CLOEXEC);
	check_eq(fcntl(50, F_GETFD), 0);
	check_eq(ok(fcntl(fd, F_DUPFD, 60)), 60);
	check_eq(ok(fcntl(fd, F_DUPFD_CLOEXEC, 60)), 61);
	check_eq(fcntl(61, F_GETFD), FD_CLOEXEC);
	fails(fcntl(fd, F_DUPFD, -1), EINVAL);
	fails(fcntl(fd, 12345, 0), EINVAL);
	fails(close(999), EBADF);
	fails(close(-1), EBADF);
	ok(close(50));
	fails(close(50), EBADF);
	ok(close_range(60, 61, 0));
	fails(fcntl(60, F_GETFD), EBADF);
	fails(close_range(5, 4, 0), EINVAL);
	close(fd);
	check_eq(ok(open("f", O_RDONLY)), fd);	/* The lowest free one. */
	pid_t p = t_fork();
	if (p == 0) {
		check_eq(lseek(b, 1, SEEK_SET), 1);
		_exit(0);
	}
	exits(p, 0);
	check_eq(lseek(b, 0, SEEK_CUR), 1);	/* Shared with the child. */
}

static void
record_locks(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10 };
	int ready[2], go[2];
	char c;

	ok(fcntl(fd, F_SETLK, &l));
	ok(pipe(ready));
	ok(pipe(go));
	pid_t p = t_fork();
	if (p == 0) {
		struct flock q = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 15,
			.l_len = 1 };

		check(fcntl(fd, F_SETLK, &q) == -1 && (errno == EAGAIN || errno == EACCES));
		ok(fcntl(fd, F_GETLK, &q));
		check(q.l_type == F_WRLCK && q.l_pid == getppid() && q.l_start == 10 &&
			q.l_len == 10);
		q = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 20,
			.l_len = 5 };
		ok(fcntl(fd, F_SETLK, &q));
		check_eq(write(ready[1], "x", 1), 1);
		q.l_start = 12;
		ok(fcntl(fd, F_SETLKW, &q));	/* Until the parent lets go. */
		check_eq(write(ready[1], "y", 1), 1);
		_exit(0);
	}
	check_eq(read(ready[0], &c, 1), 1);
	t_msleep(30);
	l.l_type = F_UNLCK;
	l.l_start = 12;
	l.l_len = 5;
	ok(fcntl(fd, F_SETLK, &l));		/* Out of the middle. */
	check_eq(read(ready[0], &c, 1), 1);
	exits(p, 0);
	l = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0 };
	ok(fcntl(fd, F_SETLK, &l));		/* The child's went with it. */
	close(ok(open("f", O_RDONLY)));		/* Closing any descriptor drops all. */
	p = t_fork();
	if (p == 0) {
		ok(fcntl(fd, F_SETLK, &l));
		_exit(0);
	}
	exits(p, 0);
	l.l_type = 99;
	fails(fcntl(fd, F_SETLK, &l), EINVAL);
	int ro = ok(open("f", O_RDONLY));
	l.l_type = F_WRLCK;
	fails(fcntl(ro, F_SETLK, &l), EBADF);
}

static int closed_early;

static void *
waiting_for_a_lock(void *arg)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	fails(fcntl(closed_early, F_SETLKW, &l), EBADF);
	return arg;
}

/* Closing drops a process's locks: also the one that another thread still waits for. */
static void
a_lock_that_comes_after_the_close(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0666)), closed[2], done[2];
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char c;

	ok(fchmod(fd, 0666));
	ok(fcntl(fd, F_SETLK, &l));
	ok(pipe(closed));
	ok(pipe(done));
	pid_t p = t_fork();
	if (p == 0) {
		pthread_t t;

		t_become(STUDENT);
		close(fd);
		closed_early = ok(open("f", O_RDWR));
		zero(pthread_create(&t, NULL, waiting_for_a_lock, NULL));
		t_msleep(100);		/* If that is too short, it finds no descriptor, which is right too. */
		ok(close(closed_early));
		check_eq(write(closed[1], "x", 1), 1);
		zero(pthread_join(t, NULL));
		check_eq(write(done[1], "x", 1), 1);
		for (;;)
			pause();
	}
	close(closed[1]);
	close(done[1]);
	check_eq(read(closed[0], &c, 1), 1);
	l.l_type = F_UNLCK;
	ok(fcntl(fd, F_SETLK, &l));
	check_eq(read(done[0], &c, 1), 1);
	l.l_type = F_WRLCK;
	ok(fcntl(fd, F_GETLK, &l));
	check_eq(l.l_type, F_UNLCK);
	kill(p, SIGKILL);
	dies(p, SIGKILL);
	l.l_type = F_WRLCK;
	ok(fcntl(fd, F_SETLK, &l));
}

static void
whole_file_locks(void)
{
	int a = ok(open("f", O_RDWR | O_CREAT, 0600)), b = ok(open("f", O_RDWR)), c;

	ok(flock(a, LOCK_EX));
	fails(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	c = ok(dup(a));
	ok(flock(c, LOCK_SH));			/* The same open file: changed, not doubled. */
	ok(flock(b, LOCK_SH | LOCK_NB));
	ok(flock(b, LOCK_UN));
	ok(flock(a, LOCK_EX | LOCK_NB));
	close(a);
	fails(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	close(c);
	ok(flock(b, LOCK_EX | LOCK_NB));
	fails(flock(b, 16), EINVAL);
	fails(flock(999, LOCK_EX), EBADF);
}

static void
descriptors_in_proc(void)
{
	char path[64], buf[300], cwd[300];
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600)), again, fds[2];
	ssize_t n;

	check(getcwd(cwd, sizeof(cwd)) != NULL);
	check_eq(write(fd, "text", 4), 4);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = ok(readlink(path, buf, sizeof(buf)));
	check(n == (ssize_t)strlen(cwd) + 2 && memcmp(buf, cwd, strlen(cwd)) == 0);
	again = ok(open(path, O_RDONLY));
	check_eq(read(again, buf, 10), 4);
	ok(unlink("f"));
	n = ok(readlink(path, buf, sizeof(buf) - 1));
	buf[n] = 0;
	check(strstr(buf, "/f (deleted)") != NULL);
	again = ok(open(path, O_RDWR));		/* Reaches the file, though its name is gone. */
	check_eq(read(again, buf, 10), 4);
	ok(pipe(fds));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	n = ok(readlink(path, buf, sizeof(buf)));
	check(memcmp(buf, "pipe:[", 6) == 0);
	fails(readlink("/proc/self/fd/999", buf, 300), ENOENT);
	fails(open("/proc/self/nothing", O_RDONLY), ENOENT);
	fails(open("/proc/999999/stat", O_RDONLY), ENOENT);
	fails(open("/proc/self/new", O_CREAT | O_WRONLY, 0600), ENOENT);
}

/* It is opened at once, though the other side has left: that one cannot come again. */
static void
pipes_in_proc(void)
{
	char path[64], buf[10];
	int fds[2], again;

	signal(SIGPIPE, SIG_IGN);
	ok(pipe(fds));
	check_eq(write(fds[1], "last", 4), 4);
	ok(close(fds[1]));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	again = ok(open(path, O_RDONLY));
	check_eq(read(again, buf, 10), 4);
	check_eq(read(fds[0], buf, 10), 0);
	check_eq(read(again, buf, 10), 0);
	ok(pipe(fds));
	ok(close(fds[0]));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[1]);
	fails(write(ok(open(path, O_WRONLY)), "x", 1), EPIPE);
	fails(write(ok(open(path, O_WRONLY | O_NONBLOCK)), "x", 1), EPIPE);
}

static void
copying_inside_the_kernel(void)
{
	int in = ok(open("in", O_RDWR | O_CREAT, 0600)), out = ok(open("out", O_RDWR | O_CREAT,
		0600)), fds[2];
	off_t off = 3;
	char buf[64] = { 0 };

	check_eq(write(in, "0123456789", 10), 10);
	check_eq(lseek(in, 0, SEEK_SET), 0);
	check_eq(ok(sendfile(out, in, NULL, 4)), 4);
	check_eq(lseek(in, 0, SEEK_CUR), 4);
	check_eq(ok(sendfile(out, in, &off, 100)), 7);
	check_eq(off, 10);
	check_eq(lseek(in, 0, SEEK_CUR), 4);
	check_eq(pread(out, buf, 64, 0), 11);
	check(strcmp(buf, "01233456789") == 0);
	check_eq(sendfile(out, in, &off, 100), 0);
	ok(pipe(fds));
	off = 0;
	check_eq(ok(sendfile(fds[1], in, &off, 10)), 10);
	check_eq(read(fds[0], buf, 64), 10);
	fails(sendfile(out, fds[0], NULL, 10), EINVAL);
	off = -1;
	fails(sendfile(out, in, &off, 10), EINVAL);
	int app = ok(open("out", O_WRONLY | O_APPEND));
	off = 0;
	fails(sendfile(app, in, &off, 10), EINVAL);
}

static void
memory_files(void)
{
	int fd = ok(memfd_create("name", MFD_CLOEXEC));
	char path[64], buf[100];
	struct stat st;
	ssize_t n;

	check_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	check_eq(write(fd, "data", 4), 4);
	ok(ftruncate(fd, 3 * PAGE));
	char *m = ok(mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	check(memcmp(m, "data", 4) == 0);
	m[2 * PAGE] = 'z';
	check_eq(pread(fd, buf, 1, 2 * PAGE), 1);
	check_eq(buf[0], 'z');
	ok(fstat(fd, &st));
	check(S_ISREG(st.st_mode) && st.st_nlink == 0 && st.st_size == 3 * PAGE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = ok(readlink(path, buf, sizeof(buf) - 1));
	buf[n] = 0;
	check(strcmp(buf, "/memfd:name (deleted)") == 0);
	fails(memfd_create("x", 0xf000), EINVAL);
}

static void
a_seal_against_writes_to_come_forbids_holes(void)
{
	int fd = ok(memfd_create("name", MFD_ALLOW_SEALING));

	check_eq(write(fd, "data", 4), 4);
	ok(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	fails(write(fd, "x", 1), EPERM);
	fails(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4), EPERM);
}

/* As long as a mapping may write, there is no seal against that: neither before it nor after. */
static void
a_mapping_that_may_write_rules_out_the_seal_while_it_is_there(void)
{
	int fd = ok(memfd_create("name", MFD_ALLOW_SEALING));
	char *m, *moved;

	ok(ftruncate(fd, 4 * PAGE));
	fails(mmap((void *)1, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), EINVAL);
	m = ok(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	fails(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
	ok(munmap(m + PAGE, PAGE));
	fails(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
	moved = ok(mremap(m, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
	ok(munmap(m + 2 * PAGE, 2 * PAGE));
	ok(mprotect(moved, PAGE, PROT_READ));
	fails(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);	/* It may become writable. */
	pid_t p = t_fork();
	if (p == 0) {
		ok(munmap(moved, 2 * PAGE));
		fails(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
		_exit(0);
	}
	exits(p, 0);
	ok(munmap(moved, 2 * PAGE));
	ok(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	ok(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	fails(write(fd, "x", 1), EPERM);
	fails(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
}

static int there, back;

static void *
move_all(void *arg)
{
	int in = arg ? back : there, out = arg ? there : back;

	for (int i = 0; i < 300; i++) {
		ok(lseek(in, 0, SEEK_SET));
		ok(sendfile(out, in, NULL, 1 << 16));
	}
	return NULL;
}

/* Two threads, one each way: neither waits for a position that the other has. */
static void
files_sent_both_ways(void)
{
	pthread_t t;

	t_become(STUDENT);
	there = ok(memfd_create("a", 0));
	back = ok(memfd_create("b", 0));
	ok(ftruncate(there, 1 << 16));
	ok(ftruncate(back, 1 << 16));
	zero(pthread_create(&t, NULL, move_all, &there));
	move_all(NULL);
	zero(pthread_join(t, NULL));
}

static const struct test tests[] = {
	TEST(descriptors),
	TEST(record_locks),
	TEST(a_lock_that_comes_after_the_close),
	TEST(whole_file_locks),
	TEST(descriptors_in_proc),
	TEST(pipes_in_proc),
	TEST(copying_inside_the_kernel),
	TEST(memory_files),
	TEST(a_seal_against_writes_to_come_forbids_holes),
	TEST(a_mapping_that_may_write_rules_out_the_seal_while_it_is_there),
	TEST(files_sent_both_ways),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
