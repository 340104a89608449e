/*
 * test-hammer SECONDS [PART...]: everything at once. Each part is a process that does one kind of thing in a
 * tight loop and checks what comes out; they run side by side for that long. Ends with `hammer: done`, or with
 * `not ok` lines; what the kernel has lost meanwhile is counted from outside. `test-hammer -l` lists the parts.
 */
#include "user/test/test.h"
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

static long end;		/* Of the run: t_now() milliseconds. */
static __thread uint64_t seed;

static unsigned
draw(unsigned below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % below;
}

static bool
more(void)
{
	return t_now() < end;
}

static atomic_int handled;

static void
on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&handled, 1);
}

static void
handle(int sig, int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };

	ok(sigaction(sig, &sa, NULL));
}

static void
exec_child(const char *what)
{
	execl("/proc/self/exe", "hammer", "--child", what, NULL);
	_exit(126);
}

/* fork's own loop, as EINTR and EAGAIN are no failures here. */
static pid_t
try_fork(void)
{
	pid_t p = fork();

	if (p < 0 && errno != EAGAIN && errno != ENOMEM && errno != EINTR)
		t_fail(__FILE__, __LINE__, "fork");
	return p;
}

/* - Threads, forks, execs, signals and mappings of one process ---------------------------------- */

static void *
nothing(void *arg)
{
	return arg;
}

static void
map_and_touch(void)
{
	size_t n = 1 + draw(40);
	char *m = t_map(n * PAGE, PROT_READ | PROT_WRITE);

	for (size_t i = 0; i < n; i += 1 + draw(3))
		m[i * PAGE + 1] = (char)i;
	if (draw(2))
		ok(mprotect(m, (1 + draw((unsigned)n)) * PAGE, PROT_READ));
	if (draw(2)) {
		char *bigger = mremap(m, n * PAGE, (n + 7) * PAGE, MREMAP_MAYMOVE);

		check(bigger != MAP_FAILED || errno == EFAULT);	/* It is two areas by now. */
		if (bigger != MAP_FAILED) {
			m = bigger;
			n += 7;
		}
	}
	if (n > 2 && draw(2)) {	/* A hole in between may be another thread's at once: it is not unmapped again. */
		ok(munmap(m + PAGE, PAGE));
		ok(munmap(m, PAGE));
		ok(munmap(m + 2 * PAGE, (n - 2) * PAGE));
		return;
	}
	ok(munmap(m, n * PAGE));
}

static void *
mixer(void *arg)
{
	seed = (uint64_t)(long)arg * 77777 + (uint64_t)getpid();
	while (more()) {
		pthread_t t;
		pid_t p;

		switch (draw(8)) {
		case 0:
			if ((p = try_fork()) == 0)
				_exit(3);
			if (p > 0)
				exits(p, 3);
			break;
		case 1:
			if ((p = try_fork()) == 0)
				exec_child("7");
			if (p > 0)
				exits(p, 7);
			break;
		case 2:
			if (pthread_create(&t, NULL, nothing, arg) == 0) {
				void *got;

				zero(pthread_join(t, &got));
				check(got == arg);
			}
			break;
		case 3:
			ok(kill(getpid(), SIGUSR1));
			break;
		case 4:
			for (volatile unsigned i = 0; i < 100000; i++)
				continue;
			break;
		case 5:
			if ((p = try_fork()) == 0) {
				map_and_touch();
				raise(SIGKILL);
			}
			if (p > 0)
				dies(p, SIGKILL);
			break;
		default:
			map_and_touch();
		}
	}
	return NULL;
}

static void
mix(void)
{
	pthread_t t[3];

	handle(SIGUSR1, SA_RESTART);
	for (long i = 0; i < 3; i++)
		zero(pthread_create(&t[i], NULL, mixer, (void *)(i + 1)));
	for (int i = 0; i < 3; i++)
		zero(pthread_join(t[i], NULL));
}

/* - Futexes, in threads and between processes --------------------------------------------------- */

struct shared {
	pthread_mutex_t mutex, robust;
	pthread_cond_t turn;
	long count, whose, copies[4];
};
static struct shared *shared;

static void *
take_turns(void *arg)
{
	long me = (long)arg;

	while (more()) {
		struct timespec t;

		zero(pthread_mutex_lock(&shared->mutex));
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_nsec += 2000000;
		if (t.tv_nsec >= 1000000000)
			t.tv_sec++, t.tv_nsec -= 1000000000;
		if (shared->whose % 4 != me)	/* Not for ever: the others may have ended. */
			pthread_cond_timedwait(&shared->turn, &shared->mutex, &t);
		if (shared->whose % 4 == me) {
			shared->whose++;
			pthread_cond_broadcast(&shared->turn);
		}
		shared->count++;
		shared->copies[me]++;
		zero(pthread_mutex_unlock(&shared->mutex));
	}
	return NULL;
}

static void
futexes(void)
{
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	pthread_t t[2];
	pid_t p;

	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(shared != MAP_FAILED);
	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	zero(pthread_mutex_init(&shared->mutex, &ma));
	pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST);
	zero(pthread_mutex_init(&shared->robust, &ma));
	pthread_condattr_init(&ca);
	pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
	zero(pthread_cond_init(&shared->turn, &ca));
	if ((p = t_fork()) == 0) {
		zero(pthread_create(&t[0], NULL, take_turns, (void *)2));
		take_turns((void *)3);
		zero(pthread_join(t[0], NULL));
		_exit(0);
	}
	for (long i = 0; i < 2; i++)
		zero(pthread_create(&t[i], NULL, take_turns, (void *)i));
	while (more()) {
		pid_t owner = t_fork();
		int r;

		if (owner == 0) {
			pthread_mutex_lock(&shared->robust);
			raise(SIGKILL);
		}
		r = pthread_mutex_lock(&shared->robust);
		check(r == 0 || r == EOWNERDEAD);
		if (r == EOWNERDEAD)
			zero(pthread_mutex_consistent(&shared->robust));
		zero(pthread_mutex_unlock(&shared->robust));
		dies(owner, SIGKILL);
		zero(pthread_mutex_lock(&shared->robust) & ~EOWNERDEAD);
		pthread_mutex_consistent(&shared->robust);
		zero(pthread_mutex_unlock(&shared->robust));
	}
	for (int i = 0; i < 2; i++)
		zero(pthread_join(t[i], NULL));
	exits(p, 0);
	check_eq(shared->count, shared->copies[0] + shared->copies[1] + shared->copies[2] + shared->copies[3]);
}

/* - A chain of pipes that must neither lose nor reorder a byte ----------------------------------- */

static void
relay(int in, int out)
{
	static char buf[9000];
	ssize_t n;

	if (draw(2))
		fcntl(in, F_SETFL, O_NONBLOCK);
	for (;;) {
		struct pollfd p = { in, POLLIN, 0 };

		n = read(in, buf, 1 + draw(sizeof(buf)));
		if (n < 0 && errno == EAGAIN) {
			ok(poll(&p, 1, -1));
			continue;
		}
		if (ok(n) == 0)
			_exit(0);
		for (ssize_t at = 0; at < n;)
			at += ok(write(out, buf + at, (size_t)(n - at)));
	}
}

static void
pipes(void)
{
	static unsigned char buf[20000];
	int first[2], in, fds[2];
	uint8_t next = 0;
	pid_t writer;

	ok(pipe2(first, O_CLOEXEC));
	in = first[0];
	for (int i = 0; i < 3; i++) {
		ok(pipe2(fds, O_CLOEXEC));
		seed += (uint64_t)i * 99;
		if (t_fork() == 0) {
			close(first[1]);
			close(fds[0]);
			relay(in, fds[1]);
		}
		close(in);
		close(fds[1]);
		in = fds[0];
	}
	if ((writer = t_fork()) == 0) {
		uint8_t b = 0;

		while (more()) {
			size_t n = 1 + draw(sizeof(buf));

			for (size_t i = 0; i < n; i++)
				buf[i] = b++;
			for (size_t at = 0; at < n;)
				at += (size_t)ok(write(first[1], buf + at, n - at));
		}
		_exit(0);
	}
	close(first[1]);
	for (ssize_t n; (n = ok(read(in, buf, sizeof(buf)))) > 0;)
		for (ssize_t i = 0; i < n; i++)
			check_eq(buf[i], next++);
	exits(writer, 0);
	while (wait(NULL) > 0)
		continue;
}

/* - Processes that shower one another with signals ------------------------------------------------ */

#define CROWD 6

static void
kill_storm(void)
{
	const int signals[] = { SIGUSR1, SIGUSR2, SIGCONT, SIGRTMIN + 3, SIGSTOP, SIGCHLD, SIGWINCH };
	pid_t *crowd = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	check(crowd != MAP_FAILED);
	handle(SIGUSR1, SA_RESTART);
	handle(SIGUSR2, 0);
	handle(SIGRTMIN + 3, SA_RESTART | SA_NODEFER);
	while (more()) {
		for (int i = 0; i < CROWD; i++) {
			pid_t child = t_fork();

			if (child > 0) {
				crowd[i] = child;
				continue;
			}
			seed += (uint64_t)i + (uint64_t)getpid();
			t_msleep(2);
			for (;;) {
				pid_t p = crowd[draw(CROWD)];

				if (p > 0)
					kill(p, signals[draw(sizeof(signals) / sizeof(signals[0]))]);
				if (draw(20) == 0)
					usleep(100);
			}
		}
		for (int i = 0; i < 30; i++) {
			kill(crowd[draw(CROWD)], SIGCONT);
			usleep(1000);
		}
		for (int i = 0; i < CROWD; i++)
			ok(kill(crowd[i], SIGKILL));
		for (int i = 0; i < CROWD; i++)
			dies(crowd[i], SIGKILL);
	}
}

/* - vfork and exec while signals come, and while the waiting parent is killed --------------------- */

static void
vforks(void)
{
	pid_t me = getpid(), pest;

	handle(SIGUSR1, SA_RESTART);
	if ((pest = t_fork()) == 0) {
		while (kill(me, SIGUSR1) == 0 && getppid() == me)
			usleep(draw(300));
		_exit(0);
	}
	while (more()) {
		pid_t p = vfork();

		if (p == 0)
			exec_child("9");
		exits(ok(p), 9);
		if ((p = t_fork()) == 0) {
			if (vfork() == 0) {
				usleep(3000);
				_exit(0);
			}
			_exit(5);
		}
		usleep(draw(4000));
		kill(p, SIGKILL);
		(void)t_wait(p);
	}
	kill(pest, SIGKILL);
	(void)t_wait(pest);
}

/* - exec from any thread while its siblings work, fork and exit ----------------------------------- */

static void *
sibling(void *arg)
{
	for (unsigned i = 0;; i++) {
		if (i % 3 == 0)
			usleep(100);
		if (i % 7 == 0) {
			pid_t p = fork();

			if (p == 0)
				_exit(0);
			if (p > 0)
				waitpid(p, NULL, 0);
		}
		if (i > 3 && (long)arg % 2)
			return NULL;
	}
}

static void *
execer(void *arg)
{
	usleep((unsigned)(long)arg);
	exec_child("11");
	return NULL;
}

static void
thread_execs(void)
{
	while (more()) {
		pid_t p = t_fork();
		pthread_t t;

		if (p == 0) {
			for (long i = 0; i < 4; i++)
				pthread_create(&t, NULL, sibling, (void *)i);
			if (pthread_create(&t, NULL, execer, (void *)(long)draw(3000)) != 0)
				_exit(11);
			if (draw(2))
				pthread_create(&t, NULL, execer, (void *)(long)draw(3000));
			if (draw(3) == 0)
				pthread_exit(NULL);
			pause();
		}
		exits(p, 11);
	}
}

/* - Pseudo-terminals -------------------------------------------------------------------------------- */

static void
ptys(void)
{
	while (more()) {
		char name[32], line[64];
		int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), slave, zero = 0, number;
		pid_t p;

		check(ok(master) >= 0);
		ok(ioctl(master, TIOCSPTLCK, &zero));
		ok(ioctl(master, TIOCGPTN, &number));
		snprintf(name, sizeof(name), "/dev/pts/%d", number);
		slave = ok(open(name, O_RDWR | O_NOCTTY));
		if ((p = t_fork()) == 0) {
			close(master);
			setsid();
			ioctl(slave, TIOCSCTTY, 0);
			while (read(slave, line, sizeof(line)) > 0)
				if (write(slave, "answer\n", 7) < 0)
					break;
			_exit(4);
		}
		for (unsigned i = draw(6); i > 0; i--) {
			ok(write(master, "a line\n", 7));
			check(ok(read(master, line, sizeof(line))) > 0);
		}
		if (draw(2)) {
			close(slave);
			slave = -1;
		}
		close(master);		/* SIGHUP for the session, or an end of file. */
		if (draw(2))
			kill(p, SIGKILL);
		(void)t_wait(p);
		if (slave >= 0)
			close(slave);
	}
}

/* - Mounts, with somebody always inside --------------------------------------------------------------- */

static void
mounts(void)
{
	char path[64];
	pid_t visitor;

	ok(mkdir("mnt", 0755));
	if ((visitor = t_fork()) == 0) {
		struct stat st;

		for (;;) {
			int fd = open("mnt/dir/file", O_RDONLY);

			stat("mnt/dir", &st);
			if (chdir("mnt/dir") == 0) {
				stat("../dir/./file", &st);
				if (chdir("../..") < 0)
					_exit(1);	/* It was unmounted lazily: nothing above. */
			}
			if (fd >= 0)
				close(fd);
			if (access("mnt", F_OK) < 0)
				_exit(1);
		}
	}
	while (more()) {
		int fd;

		ok(mount("tmpfs", "mnt", "tmpfs", 0, "size=1m"));
		ok(mkdir("mnt/dir", 0755));
		for (int i = 0; i < 5; i++) {
			snprintf(path, sizeof(path), "mnt/dir/%d", i);
			fd = ok(open(path, O_CREAT | O_RDWR, 0644));
			check_eq(write(fd, path, sizeof(path)), sizeof(path));
			close(fd);
		}
		ok(rename("mnt/dir/1", "mnt/dir/file"));
		ok(unlink("mnt/dir/2"));
		if (umount2("mnt", 0) < 0) {
			check_eq(errno, EBUSY);
			ok(umount2("mnt", MNT_DETACH));
		}
		if (waitpid(visitor, NULL, WNOHANG) == visitor && (visitor = t_fork()) == 0)
			_exit(0);
	}
	kill(visitor, SIGKILL);
	waitpid(visitor, NULL, 0);
}

/* - A file that is mapped, truncated and written at the same time --------------------------------------- */

#define FILE_PAGES 16

static void *
truncater(void *arg)
{
	int fd = (int)(long)arg;

	seed = 4711;
	while (more()) {
		ok(ftruncate(fd, draw(FILE_PAGES + 1) * (off_t)PAGE + draw(3000)));
		ok(pwrite(fd, "x", 1, draw(FILE_PAGES * 4096)));
	}
	return NULL;
}

static void
truncates(void)
{
	int fd = ok(open("file", O_CREAT | O_RDWR, 0600));
	pthread_t t;

	zero(pthread_create(&t, NULL, truncater, (void *)(long)fd));
	while (more()) {
		int flags = draw(2) ? MAP_SHARED : MAP_PRIVATE;
		volatile char *m = mmap(NULL, FILE_PAGES * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
		pid_t p;

		check(m != MAP_FAILED);
		for (unsigned i = 0; i < 20; i++) {
			if (faults(m[draw(FILE_PAGES * 4096)]++))
				check_eq(t_sig, SIGBUS);
		}
		if ((p = try_fork()) == 0) {
			if (faults(m[draw(FILE_PAGES * 4096)]++) && t_sig != SIGBUS)
				_exit(1);
			_exit(0);
		}
		if (p > 0)
			exits(p, 0);
		ok(munmap((void *)m, FILE_PAGES * PAGE));
	}
	zero(pthread_join(t, NULL));
}

static const struct test parts[] = {
	TEST(mix), TEST(futexes), TEST(pipes), TEST(kill_storm), TEST(vforks), TEST(thread_execs), TEST(ptys),
	TEST(mounts), TEST(truncates), { NULL, NULL },
};

static pid_t
start(const struct test *part)
{
	char dir[64];
	pid_t p = t_fork();

	if (p > 0)
		return p;
	setpgid(0, 0);
	t_name = part->name;
	seed = (uint64_t)getpid();
	snprintf(dir, sizeof(dir), "/tmp/hammer.%s", part->name);
	mkdir(dir, 0755);
	ok(chdir(dir));
	part->run();
	_exit(0);
}

int
main(int argc, char **argv)
{
	pid_t pids[sizeof(parts) / sizeof(parts[0])];
	long late;
	int failed = 0, n = 0, left;

	if (argc == 3 && strcmp(argv[1], "--child") == 0)
		return atoi(argv[2]);
	if (argc == 2 && strcmp(argv[1], "-l") == 0) {
		for (const struct test *p = parts; p->name != NULL; p++)
			puts(p->name);
		return 0;
	}
	end = t_now() + (argc > 1 ? atol(argv[1]) : 5) * 1000;
	late = end + T_SECONDS * 1000L;
	for (const struct test *p = parts; p->name != NULL; p++, n++) {
		bool wanted = argc <= 2;

		for (int i = 2; i < argc; i++)
			wanted |= strcmp(argv[i], p->name) == 0;
		pids[n] = wanted ? start(p) : 0;
	}
	do {
		left = 0;
		for (int i = 0; i < n; i++) {
			int status;

			if (pids[i] == 0)
				continue;
			left++;
			if (t_now() > late) {
				printf("not ok %s: does not end\n", parts[i].name);
				kill(-pids[i], SIGKILL);
				late += 1000;
			}
			if (waitpid(pids[i], &status, WNOHANG) != pids[i])
				continue;
			kill(-pids[i], SIGKILL);	/* What a failure left behind. */
			pids[i] = 0;
			if (status != 0)
				printf("not ok %s: status %#x\n", parts[i].name, status);
			failed |= status != 0;
		}
		fflush(stdout);
		t_msleep(20);
	} while (left > 0);
	t_remove_all("/tmp/hammer.mounts");
	t_remove_all("/tmp/hammer.truncates");
	printf("hammer: %s\n", failed ? "failed" : "done");
	return failed;
}
