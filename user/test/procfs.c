/*
 * /proc: formats that programs parse, who may see what, and processes that end while they are read.
 */
#include "user/test/test.h"

#include <ctype.h>
#include <dirent.h>
#include <pthread.h>
#include <sys/prctl.h>

static char text[65536];

/* The whole of a file, NUL-terminated; its length, or -errno. */
static long
slurp(const char *path)
{
	size_t size = 0;
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
		size += (size_t)n;
	close(fd);
	text[size] = '\0';
	return n < 0 ? -errno : (long)size;
}

static const char *
path_of(pid_t pid, const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return path;
}

static pid_t
sleeper(void)
{
	pid_t pid = ok(fork());

	if (pid == 0) {
		for (;;)
			pause();
	}
	return pid;
}

static void
end(pid_t pid)
{
	ok(kill(pid, SIGKILL));
	check_eq(ok(waitpid(pid, NULL, 0)), pid);
}

static void
self_is_the_caller(void)
{
	char link[32] = "";
	int pid, ppid, pgrp;
	char state;

	ok(readlink("/proc/self", link, sizeof(link) - 1));
	check_eq(atoi(link), getpid());
	check(slurp("/proc/self/stat") > 0);
	check_eq(sscanf(text, "%d (%*[^)]) %c %d %d", &pid, &state, &ppid, &pgrp), 4);
	check(pid == getpid() && ppid == getppid() && pgrp == getpgrp() && state == 'R');
	memset(link, 0, sizeof(link));
	ok(readlink("/proc/thread-self", link, sizeof(link) - 1));
	check(strstr(link, "/task/") != NULL);
}

static void
a_name_of_several_lines_is_one_in_status(void)
{
	static const char start[] = "Name:\ta\\nUid:\\\\b\n";

	ok(prctl(PR_SET_NAME, "a\nUid:\\b", 0, 0, 0));
	check(slurp("/proc/self/status") > 0);
	check(strncmp(text, start, strlen(start)) == 0);
	check(slurp("/proc/self/comm") > 0);
	check(strcmp(text, "a\nUid:\\b\n") == 0);
}

static void
stat_has_every_field(void)
{
	int fields = 1;

	check(slurp("/proc/self/stat") > 0);
	for (char *s = strrchr(text, ')'); *s; s++)
		fields += *s == ' ';
	check_eq(fields, 51); /* 52, of which the name may hold spaces */
}

static void
maps_tell_of_a_mapping(void)
{
	char want[64];
	void *m = ok(mmap(NULL, 3 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	check(slurp("/proc/self/maps") > 0);
	check(strstr(text, "[stack]") && strstr(text, "/test-procfs"));
	ok(mprotect((char *)m + PAGE, PAGE, PROT_NONE));
	check(slurp("/proc/self/maps") > 0);
	snprintf(want, sizeof(want), "%08lx-%08lx ---p", (unsigned long)m + PAGE,
		 (unsigned long)m + 2 * PAGE);
	check(strstr(text, want) != NULL);
}

static void
arguments_and_environment(void)
{
	long n = slurp("/proc/self/cmdline");

	check(n > 0 && strstr(text, "test-procfs") && text[n - 1] == '\0');
	check(slurp("/proc/self/environ") >= 0);
	check(slurp("/proc/self/auxv") > 0 && slurp("/proc/self/statm") > 0);
}

static void
descriptors_are_links(void)
{
	int fds[2], fd = ok(open("/proc/self/stat", O_RDONLY));
	char path[64], link[64] = "";
	struct stat a, b;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ok(stat(path, &a));
	ok(fstat(fd, &b));
	check(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	ok(pipe(fds));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[1]);
	ok(readlink(path, link, sizeof(link) - 1));
	check(strncmp(link, "pipe:[", 6) == 0);
	ok(lstat(path, &a));
	check_eq(a.st_mode & 0777, 0300);
	check_eq(write(ok(open(path, O_WRONLY)), "x", 1), 1);
	check_eq(read(fds[0], link, 1), 1);
	ok(close(fds[1]));
	fails(readlink(path, link, sizeof(link)), ENOENT);
}

static void *
named_thread(void *barrier)
{
	pthread_barrier_wait(barrier);
	pthread_barrier_wait(barrier);
	return NULL;
}

static void
descriptors_tell_how_they_are_open(void)
{
	const int flags[] = { O_RDONLY, O_WRONLY | O_APPEND | O_CLOEXEC };
	const char *says;
	char name[24];

	for (int i = 0; i < 2; i++) {
		int fd = ok(open("f", flags[i] | O_CREAT, 0600));

		check_eq(lseek(fd, 7, SEEK_SET), 7);
		snprintf(name, sizeof(name), "fdinfo/%d", fd);
		check(slurp(path_of(getpid(), name)) > 0);
		check(strncmp(text, "pos:\t7\n", strlen("pos:\t7\n")) == 0);
		says = strstr(text, "flags:\t0");
		check(says != NULL);
		check_eq(strtol(says + strlen("flags:\t"), NULL, 8) & (O_ACCMODE | O_APPEND | O_CLOEXEC), flags[i]);
	}
}

static void
threads_have_names(void)
{
	pthread_barrier_t barrier;
	pthread_t thread;
	struct dirent *e;
	char name[16];
	int threads = 0;
	DIR *dir;

	pthread_barrier_init(&barrier, NULL, 2);
	check_eq(pthread_create(&thread, NULL, named_thread, &barrier), 0);
	pthread_barrier_wait(&barrier);
	check_eq(pthread_setname_np(thread, "second"), 0);
	check_eq(pthread_getname_np(thread, name, sizeof(name)), 0);
	check(strcmp(name, "second") == 0);
	check((dir = opendir("/proc/self/task")) != NULL);
	while ((e = readdir(dir)))
		threads += e->d_name[0] != '.';
	check_eq(threads, 2);
	closedir(dir);
	check(slurp("/proc/self/status") > 0 && strstr(text, "Threads:\t2\n"));
	pthread_barrier_wait(&barrier);
	check_eq(pthread_join(thread, NULL), 0);
}

static void
strangers_see_little(void)
{
	static const char *const hidden[] = {
		"maps", "environ", "auxv", "exe", "cwd", "fd", "fd/0",
	};
	pid_t pid = sleeper();
	char buf[64];

	t_become(STUDENT);
	for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
		fails(open(path_of(pid, hidden[i]), O_RDONLY), EACCES);
		if (strcmp(hidden[i], "exe") == 0)
			fails(readlink(path_of(pid, hidden[i]), buf, sizeof(buf)), EACCES);
	}
	check(slurp(path_of(pid, "stat")) > 0 && slurp(path_of(pid, "status")) > 0);
	check(slurp(path_of(pid, "cmdline")) > 0);
	check(slurp("/proc/self/maps") > 0);
	fails(open("/proc/sys/kernel/hostname", O_WRONLY), EACCES);
}

/* Of a process whose memory is not its user's to see, the user sees no descriptors; the process does. */
static void
descriptors_are_ones_own(void)
{
	int null = ok(open("/dev/null", O_RDWR));
	char name[16], link[64];
	pid_t pid, p;
	DIR *dir;

	snprintf(name, sizeof(name), "fd/%d", null);
	t_become(STUDENT);
	ok(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
	pid = getpid();
	check((dir = opendir("/proc/self/fd")) != NULL);
	check(readdir(dir) != NULL);
	ok(readlink(path_of(pid, name), link, sizeof(link)));
	ok(close(ok(open(path_of(pid, name), O_RDONLY))));
	ok(access("/proc/self/fd", R_OK | X_OK));
	p = t_fork();
	if (p == 0) {
		ok(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
		fails(open(path_of(pid, "fd"), O_RDONLY), EACCES);
		fails(readlink(path_of(pid, name), link, sizeof(link)), EACCES);
		_exit(42);
	}
	exits(p, 42);
}

/* Whether a word of 16 hexadecimal digits is of the upper half; Linux lists its vsyscall page there. */
static bool
has_kernel_address(const char *s)
{
	for (size_t n; *s; s += n ? n : 1) {
		n = strspn(s, "0123456789abcdef");
		if (n == 16 && strncmp(s, "ffff", 4) == 0 && strncmp(s, "ffffffffff60", 12) != 0)
			return true;
	}
	return false;
}

static void
no_kernel_address_is_shown(void)
{
	static const char *const files[] = {
		"/proc/self/stat", "/proc/self/status", "/proc/self/maps", "/proc/harden",
		"/proc/stat", "/proc/meminfo", "/proc/self/auxv", "/proc/cmdline",
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if (strcmp(files[i], "/proc/harden") == 0 && access(files[i], F_OK) < 0)
			continue;	/* Only Rampart has it. */
		check(slurp(files[i]) > 0);
		check(!has_kernel_address(text));
		check(!strstr(text, "18446" "683") && !strstr(text, "1844668"));
	}
}

static void
files_outlive_their_process(void)
{
	pid_t pid = sleeper();
	int dir = ok(open(path_of(pid, "."), O_RDONLY | O_DIRECTORY));
	int fd_dir = ok(open(path_of(pid, "fd"), O_RDONLY | O_DIRECTORY));
	int task_dir = ok(open(path_of(pid, "task"), O_RDONLY | O_DIRECTORY));
	char buf[512];
	siginfo_t info;
	int fd;

	ok(kill(pid, SIGKILL));
	ok(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	/* A zombie: it has a state, but no memory and no files. */
	check(slurp(path_of(pid, "stat")) > 0 && strstr(text, ") Z "));
	check_eq(slurp(path_of(pid, "maps")), 0);
	check_eq(slurp(path_of(pid, "cmdline")), 0);
	fails(readlink(path_of(pid, "exe"), buf, sizeof(buf)), ENOENT);
	check_eq(ok(waitpid(pid, NULL, 0)), pid);
	fails(open(path_of(pid, "stat"), O_RDONLY), ENOENT);
	/* The directory is still there; what it says is nothing. */
	fd = openat(dir, "stat", O_RDONLY);
	check(fd < 0 ? errno == ESRCH || errno == ENOENT : read(fd, buf, 1) == -1 && errno == ESRCH);
	check(syscall(SYS_getdents64, fd_dir, buf, sizeof(buf)) >= 0 || errno == ENOENT);
	check(syscall(SYS_getdents64, task_dir, buf, sizeof(buf)) >= 0 || errno == ENOENT);
	fails(openat(fd_dir, "0", O_RDONLY), ENOENT);
}

/* Whether the name is one of those that follow each other in `list`, the last one empty. */
static bool
is_listed(const char *list, const char *name)
{
	for (; *list; list += strlen(list) + 1) {
		if (strcmp(list, name) == 0)
			return true;
	}
	return false;
}

/* The names from the directory's position on, one after the other, as many as one call gives; how many. */
static int
list_once(int fd, char *to, size_t size)
{
	char buf[8192] __attribute__((aligned(8)));
	long n = ok(syscall(SYS_getdents64, fd, buf, sizeof(buf)));
	int names = 0;

	for (long at = 0; at < n; names++) {
		struct dirent64 *d = (struct dirent64 *)(buf + at);
		size_t length = strlen(d->d_name) + 1;

		check(d->d_reclen <= n - at && length < size);
		memcpy(to, d->d_name, length);
		to += length;
		size -= length;
		at += d->d_reclen;
	}
	*to = '\0';
	return names;
}

/* A position is the user's to choose: one that was never given shows no name that is not there. */
static void
positions_that_were_never_given(void)
{
	static const char *const dirs[] = {
		"/proc/sys/kernel/random", "/proc/sys/vm", "/proc/sys/kernel", "/proc/sys", "/proc/self",
	};
	static char some[8192];

	t_become(STUDENT);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		int fd = ok(open(dirs[i], O_RDONLY | O_DIRECTORY));
		char *end = text;

		*end = '\0';
		while (list_once(fd, end, sizeof(text) - (size_t)(end - text)) > 0) {
			while (*end)
				end += strlen(end) + 1;
		}
		check(is_listed(text, ".") && is_listed(text, ".."));
		for (int pos = 0; pos <= 300; pos++) {
			check_eq(lseek(fd, pos, SEEK_SET), pos);
			list_once(fd, some, sizeof(some));
			for (const char *s = some; *s; s += strlen(s) + 1) {
				if (!is_listed(text, s))
					t_fail(__FILE__, __LINE__, "%s at %d has \"%.40s\"", dirs[i], pos, s);
			}
		}
		close(fd);
	}
}

/* Reads everything of every process, below /proc, until the deadline. */
static void
read_everything(const char *dir, int depth, long deadline)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char path[512];

	while (d && t_now() < deadline && (e = readdir(d))) {
		if (e->d_name[0] == '.' || (depth == 0 && !isdigit(e->d_name[0])))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_type == DT_DIR && depth < 4)
			read_everything(path, depth + 1, deadline);
		else if (e->d_type == DT_REG)
			slurp(path);
		else if (e->d_type == DT_LNK)
			(void)!readlink(path, text, sizeof(text));
	}
	if (d)
		closedir(d);
}

static void
processes_end_while_they_are_read(void)
{
	long deadline = t_now() + 1500;
	pid_t busy[3];

	for (int i = 0; i < 3; i++) {
		busy[i] = ok(fork());
		while (busy[i] == 0) {
			pid_t pid = fork();

			if (pid == 0)
				execl("/proc/self/exe", "test-procfs", "-l", "quiet", (char *)NULL);
			if (pid > 0)
				waitpid(pid, NULL, 0);
		}
	}
	while (t_now() < deadline)
		read_everything("/proc", 0, deadline);
	for (int i = 0; i < 3; i++)
		end(busy[i]);
}

static const struct test tests[] = {
	TEST(self_is_the_caller),
	TEST(a_name_of_several_lines_is_one_in_status),
	TEST(stat_has_every_field),
	TEST(maps_tell_of_a_mapping),
	TEST(arguments_and_environment),
	TEST(descriptors_are_links),
	TEST(descriptors_tell_how_they_are_open),
	TEST(threads_have_names),
	TEST(strangers_see_little),
	TEST(descriptors_are_ones_own),
	TEST(no_kernel_address_is_shown),
	TEST(files_outlive_their_process),
	TEST(positions_that_were_never_given),
	TEST(processes_end_while_they_are_read),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[2], "quiet") == 0)
		return 0; /* the one that processes_end_while_they_are_read starts */
	return t_main(argc, argv, tests);
}
