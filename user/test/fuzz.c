/*
 * test-fuzz N SEED: passes garbage to every call number, N times in all, in children that are
 * replaced when
 * they die or hang. Started by root it becomes an ordinary user first (`-r` keeps root). It ends
 * with
 * `fuzz: done N`; what counts is that the kernel is still there.
 */
#include "user/test/test.h"
#include "machine.h"

/* The same sequence for the same seed: splitmix64. */
static uint64_t state;

static uint64_t
draw(void)
{
	uint64_t z = (state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static char *page, *read_only;
static long parent;

/* An argument: small numbers, descriptors, good and bad addresses, edges, bits. */
static long
argument(void)
{
	static const long fixed[] = {
		0, 1, -1, 8, 4095, 4096, 4097, INT_MAX, INT_MIN, UINT_MAX, LONG_MAX, LONG_MIN,
			LONG_MIN + 1,
		T_USER_END - PAGE, T_USER_END - 8, T_USER_END,
			(long)0xffff800000000000,
		(long)0xffff888000000000, (long)0xffffffff80000000, (long)0xffffffff80200000,
		(long)0xffffffffff600000, (long)0xfffffffffffff000, 0x4141414141414141, 1L << 32,
			1L << 40,
		0x7ffff000, AT_FDCWD,
	};
	uint64_t r = draw();

	switch (r % 12) {
	case 0: case 1: return (long)(r >> 8 & 15);
	case 2: return fixed[(r >> 8) % (sizeof(fixed) / sizeof(fixed[0]))];
	case 3: return (long)page + (long)(r >> 8 & 0xff8);
	case 4: return (long)page + (long)PAGE - (long)(r >> 8 & 63);	/* Runs off the edge. */
	case 5: return (long)page;
	case 6: return (long)read_only;
	case 7: return (long)(r >> 8 & 0xffff);
	case 8: return 1L << (r >> 8 & 63);
	case 9: return (long)(r >> 32);
	case 10: return (long)page + (long)(r >> 8 & 0xfff);
	default: return (long)draw();
	}
}

/* Calls that would end the machine, the whole session, or this process without a word. */
static bool
left_out(long number, const long *a)
{
	switch ((int)number) {
	case SYS_reboot: case SYS_exit: case SYS_exit_group: case SYS_vhangup:
	case SYS_rt_sigsuspend: case SYS_rt_sigreturn:
		return true;
#ifdef SYS_fork
	case SYS_pause: case SYS_vfork: case SYS_fork:
		return true;
#endif
	case SYS_kill:
		return a[0] != getpid();
	case SYS_tkill: case SYS_tgkill: case SYS_rt_sigqueueinfo: case SYS_rt_tgsigqueueinfo:
		return a[0] == 1 || a[0] == parent || (int)a[1] == SIGKILL || (int)a[1] == SIGSTOP;
	case SYS_clone: case SYS_clone3:
		return true;		/* Tried apart, in fork_once(). */
	case SYS_ioctl:
		return (a[1] & 0xff00) == 0x5400;	/* The console belongs to others. */
	}
	return false;
}

static void
fork_once(void)
{
	long flags = (long)(draw() & 0xffffff00 & ~0x7e020000UL);	/* No namespaces. */
	long r;

	flags &= ~(long)0x4000;		/* CLONE_VFORK: the child might never let go. */
	if (flags & 0x100)
		return;			/* Sharing this stack ends nowhere good. */
	r = syscall(SYS_clone, flags | (draw() & 1 ? SIGCHLD : 0), 0, argument(), argument(), 0);
	if (r == 0)
		_exit(0);
}

static void
fill(void)
{
	uint64_t *w = (uint64_t *)page;
	uint64_t how = draw() & 3;

	for (unsigned i = 0; i < PAGE / 8; i++)
		w[i] = how == 0 ? 0 : how == 1 ? draw() : (uint64_t)argument();
	if (how == 0)
		strcpy(page, draw() & 1 ? "f" : "../../../proc/self/mem");
}

/* The child: calls garbage until its share is done; says through the pipe how far it came. */
static void
child(volatile long *done, long until, const char *dir)
{
	struct rlimit cpu = { 20, 20 }, as = { 256 << 20, 256 << 20 }, core = { 0, 0 },
		file = { 1 << 20, 1 << 20 },
		procs = { 64, 64 }, files = { 64, 64 };
	struct sigaction quiet = { .sa_handler = SIG_IGN };

	if (chdir(dir) < 0)
		_exit(1);
	setpgid(0, 0);
	for (int sig = 1; sig < 64; sig++) {
		if (sig != SIGALRM && sig != SIGSEGV && sig != SIGBUS)
			sigaction(sig, &quiet, NULL);
	}
	setrlimit(RLIMIT_CPU, &cpu);
	setrlimit(RLIMIT_AS, &as);
	setrlimit(RLIMIT_CORE, &core);
	setrlimit(RLIMIT_FSIZE, &file);
	setrlimit(RLIMIT_NPROC, &procs);
	setrlimit(RLIMIT_NOFILE, &files);
	close(0);
	open("/dev/null", O_RDWR);
	dup2(0, 1);
	dup2(0, 2);
	page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	read_only = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED || read_only == MAP_FAILED)
		_exit(1);
	munmap(page + PAGE, PAGE);
	alarm(3);
	for (long since = 0; *done < until; since++) {
		uint64_t r = draw();
		/* Mostly the numbers that exist; sometimes ones that do not. */
		long number = r % 50 == 0 ? (long)draw() : r % 10 == 0
			? (long)(r >> 8) % 1024 : (long)(r >> 8) % 340;
		long a[6];

		(*done)++;
		if (since % 64 == 0) {
			fill();
			alarm(3);
			open("f", O_RDWR | O_CREAT, 0600);
		}
		if (r % 97 == 0)
			fork_once();
		for (int i = 0; i < 6; i++)
			a[i] = argument();
		/*
		 * What waits with a time limit gets a short one: most garbage structures are long.
		 */
		if (!left_out(number, a))
			syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (since == 4000)
			/* A fresh one: this has closed and unmapped too much. */
			_exit(0);
	}
	_exit(0);
}

int
main(int argc, char **argv)
{
	bool stay_root = argc > 1 && strcmp(argv[1], "-r") == 0;
	long n, children = 0, killed = 0;
	volatile long *done;
	char dir[64];

	if (stay_root)
		argc--, argv++;
	n = argc > 1 ? atol(argv[1]) : 5000;
	state = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;
	snprintf(dir, sizeof(dir), "/tmp/fuzz.%d", getpid());
	if (mkdir(dir, 0777) < 0 || chmod(dir, 0777) < 0) {
		perror(dir);
		return 1;
	}
	done = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (done == MAP_FAILED)
		return 1;
	/* Two guards: root keeps watch and reaps, an ordinary user calls. */
	parent = getpid();
	while (*done < n) {
		int status, wait_ms = 0;
		pid_t pid = fork();

		if (pid == 0) {
			state += (uint64_t)children * 0x1234567;
			if (!stay_root && getuid() == 0)
				t_become(STUDENT);
			child(done, n, dir);
		}
		if (pid < 0) {
			t_msleep(50);
			continue;
		}
		children++;
		/*
		 * The garbage may have blocked SIGALRM, or reset it: a child that stands still is
		 * killed.
		 */
		for (long last = -1;;) {
			pid_t got = waitpid(pid, &status, WNOHANG);

			if (got == pid || got < 0)
				break;
			t_msleep(wait_ms < 20 ? 2 : 20);
			if (*done != last) {
				last = *done;
				wait_ms = 0;
			} else if ((wait_ms += 20) > 200) {
				kill(pid, SIGKILL);
			}
		}
		kill(-pid, SIGKILL);
		if (WIFSIGNALED(status))
			killed++;
		while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
			continue;
	}
	fprintf(stderr, "fuzz: %ld children, %ld of them killed\n", children, killed);
	t_remove_all(dir);
	printf("fuzz: done %ld\n", n);
	return 0;
}
