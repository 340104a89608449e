/*
 * Processes: how they are made, waited for, grouped, limited, and who they may become (exec.c: how they are replaced).
 */
#include "user/test/test.h"
#include "machine.h"
#include <pthread.h>
#include <spawn.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/utsname.h>

#include "user/cpu.h"

extern char **environ;

/* - Waiting ------------------------------------------------------------------------------------ */

static void
exit_codes(void)
{
	for (int code = 0; code < 256; code += 51) {
		pid_t p = t_fork();

		if (p == 0)
			_exit(code | 0x7700);
		exits(p, code);
	}
}

static void
wait_variants(void)
{
	int status;
	siginfo_t info;
	struct rusage ru;

	fails(wait(&status), ECHILD);
	fails(waitpid(-1, &status, WNOHANG), ECHILD);
	fails(waitpid(getpid(), &status, 0), ECHILD);
	fails(waitpid(1, &status, 0), ECHILD);
	fails(waitpid(-1, &status, 0x1000), EINVAL);
	pid_t p = t_fork();
	if (p == 0) {
		t_msleep(40);
		_exit(6);
	}
	check_eq(waitpid(p, &status, WNOHANG), 0);
	memset(&info, 1, sizeof(info));
	ok(waitid(P_PID, (id_t)p, &info, WEXITED | WNOHANG));
	check_eq(info.si_pid, 0);
	/* Looked at, and still there. */
	ok(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT));
	check(info.si_pid == p && info.si_code == CLD_EXITED && info.si_status == 6 &&
		info.si_signo == SIGCHLD);
	check_eq(wait4(p, &status, 0, &ru), p);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 6);
	check(ru.ru_utime.tv_sec < 5 && ru.ru_stime.tv_sec < 5);
	fails(waitid(P_PID, (id_t)p, &info, WEXITED), ECHILD);
	fails(waitid(P_ALL, 0, &info, 0), EINVAL);
	fails(waitid(99, 0, &info, WEXITED), EINVAL);
	/* By group. */
	p = t_fork();
	if (p == 0)
		_exit(1);
	pid_t q = t_fork();
	if (q == 0) {
		t_msleep(30);
		_exit(2);
	}
	ok(setpgid(q, q));
	check_eq(waitpid(-q, &status, 0), q);
	check_eq(waitpid(0, &status, 0), p);
	fails(waitpid(-q, &status, 0), ECHILD);
	fails(waitpid(INT_MIN, &status, 0), ESRCH);
}

static void
many_children_are_all_reaped(void)
{
	int n = 0, sum = 0, status;

	for (int i = 0; i < 30; i++) {
		pid_t p = t_fork();

		if (p == 0)
			_exit(i);
	}
	while (wait(&status) > 0) {
		n++;
		sum += WEXITSTATUS(status);
	}
	check_eq(errno, ECHILD);
	check_eq(n, 30);
	check_eq(sum, 435);
}

/* Each forks the next and ends, for ever. */
static void __attribute__((noreturn))
chain(void)
{
	for (;;) {
		pid_t next = fork();

		if (next > 0)
			_exit(0);
		if (next < 0)
			sched_yield();
	}
}

/* Nobody waits for the dead, or sleeps and wakes meanwhile: that would break a chain's turn. */
static void
chains_of_forks_leave_time_for_others(void)
{
	struct timespec used = { 0, 0 };
	pid_t chains, busy;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	ok(sched_setaffinity(0, sizeof(one), &one));
	chains = t_fork();
	if (chains == 0) {
		ok(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
		signal(SIGCHLD, SIG_IGN);
		for (int i = 0; i < 4; i++)
			if (fork() == 0)
				chain();
		for (;;)
			pause();
	}
	busy = t_fork();
	if (busy == 0) {
		while (used.tv_sec == 0 && used.tv_nsec < 100000000)
			ok(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used));
		_exit(0);
	}
	exits(busy, 0);
}

static void
orphans_go_to_init_or_the_subreaper(void)
{
	int fds[2], status, who = 0;
	pid_t p;

	ok(pipe(fds));
	p = t_fork();
	if (p == 0) {
		if (t_fork() == 0) {
			pid_t parent = getppid();

			while (getppid() == parent)
				t_msleep(5);
			who = getppid();
			check_eq(write(fds[1], &who, sizeof(who)), sizeof(who));
			_exit(0);
		}
		t_msleep(20);
		_exit(0);
	}
	exits(p, 0);
	check_eq(read(fds[0], &who, sizeof(who)), sizeof(who));
	check_eq(who, 1);
	ok(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	p = t_fork();
	if (p == 0) {
		if (t_fork() == 0) {
			pid_t parent = getppid();

			while (getppid() == parent)
				t_msleep(5);
			_exit(44);
		}
		t_msleep(20);
		_exit(0);
	}
	exits(p, 0);
	check(wait(&status) > 0 && WEXITSTATUS(status) == 44);
}

static void
parent_death_signal(void)
{
	int fds[2], sig = 0;
	char c;

	ok(pipe(fds));
	pid_t p = t_fork();
	if (p == 0) {
		int ready[2];

		ok(pipe(ready));
		if (t_fork() == 0) {
			sigset_t s;

			sigemptyset(&s);
			sigaddset(&s, SIGUSR1);
			ok(sigprocmask(SIG_BLOCK, &s, NULL));
			ok(prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0));
			check_eq(write(ready[1], "x", 1), 1);
			sig = ok(sigtimedwait(&s, NULL, &(struct timespec){ 10, 0 }));
			check_eq(write(fds[1], &sig, sizeof(sig)), sizeof(sig));
			_exit(0);
		}
		check_eq(read(ready[0], &c, 1), 1);
		_exit(0);
	}
	exits(p, 0);
	check_eq(read(fds[0], &sig, sizeof(sig)), sizeof(sig));
	check_eq(sig, SIGUSR1);
}

/* - Groups and sessions ------------------------------------------------------------------------ */

static void
group_rules(void)
{
	pid_t me = getpid(), p, q;
	int fds[2];
	char c;

	check_eq(getpgrp(), getpgid(0));
	check_eq(getpgid(me), getpgrp());
	fails(getpgid(999999), ESRCH);
	fails(getsid(999999), ESRCH);
	fails(setpgid(999999, 0), ESRCH);
	fails(setpgid(0, -1), EINVAL);
	/* Init's group is in another session, or there is none. */
	fails(setpgid(0, 1), EPERM);
	fails(setpgid(1, 0), ESRCH);		/* Not our child. */
	ok(pipe(fds));
	p = t_fork();
	if (p == 0) {
		pid_t old = getsid(0);

		check_eq(getpgrp(), getpgid(getppid()));
		check_eq(ok(setsid()), getpid());
		check(getsid(0) == getpid() && getpgrp() == getpid() && getsid(0) != old);
		fails(setsid(), EPERM);		/* A leader already. */
		fails(setpgid(0, 0), EPERM);	/* A session leader stays. */
		check_eq(write(fds[1], "x", 1), 1);
		for (;;)
			pause();
	}
	check_eq(read(fds[0], &c, 1), 1);
	fails(setpgid(p, p), EPERM);		/* Another session. */
	check_eq(getsid(p), p);
	kill(p, SIGKILL);
	dies(p, SIGKILL);
	/* A group leader cannot start a session; its group's number stays taken. */
	q = t_fork();
	if (q == 0) {
		ok(setpgid(0, 0));
		fails(setsid(), EPERM);
		_exit(0);
	}
	exits(q, 0);
	/* After exec a child is on its own. */
	p = t_fork();
	if (p == 0) {
		execl("/proc/self/exe", "self", "--pause-after", NULL);
		_exit(126);
	}
	t_msleep(150);
	fails(setpgid(p, p), EACCES);
	kill(p, SIGKILL);
	dies(p, SIGKILL);
}

/* - Credentials -------------------------------------------------------------------------------- */

static void
who_may_become_whom(void)
{
	uid_t r, e, s;
	gid_t groups[40], got[40];

	pid_t p = t_fork();
	if (p == 0) {
		ok(setresuid(1000, 1001, 1002));
		ok(getresuid(&r, &e, &s));
		check(r == 1000 && e == 1001 && s == 1002);
		fails(setuid(0), EPERM);
		fails(setresuid(0, -1, -1), EPERM);
		ok(seteuid(1002));
		ok(setreuid(-1, 1000));
		ok(setresuid(-1, 1002, -1));
		ok(setuid(1000));
		ok(getresuid(&r, &e, &s));
		check(r == 1000 && e == 1000 && s == 1002);
		fails(setgroups(0, NULL), EPERM);
		fails(setgid(5), EPERM);
		_exit(0);
	}
	exits(p, 0);
	p = t_fork();
	if (p == 0) {
		ok(setuid(1000));	/* Root loses all three. */
		ok(getresuid(&r, &e, &s));
		check(r == 1000 && e == 1000 && s == 1000);
		fails(setuid(0), EPERM);
		fails(seteuid(0), EPERM);
		_exit(0);
	}
	exits(p, 0);
	p = t_fork();
	if (p == 0) {
		ok(seteuid(1000));	/* Only the effective one: there is a way back. */
		fails(chown("/tmp", 0, 0), EPERM);
		ok(seteuid(0));
		ok(chown("/tmp", 0, 0));
		_exit(0);
	}
	exits(p, 0);
	p = t_fork();
	if (p == 0) {
		ok(setreuid(1000, 1001));
		ok(getresuid(&r, &e, &s));
		check_eq(s, 1001);	/* The saved one follows. */
		_exit(0);
	}
	exits(p, 0);
	for (int i = 0; i < 40; i++)
		groups[i] = (gid_t)(100 + i);
	ok(setgroups(40, groups));
	check_eq(getgroups(0, NULL), 40);
	fails(getgroups(10, got), EINVAL);
	check_eq(getgroups(40, got), 40);
	check(memcmp(groups, got, sizeof(got)) == 0);
	fails(setgroups(70000, groups), EINVAL);
	fails(getgroups(-1, got), EINVAL);
}

/* - Limits ------------------------------------------------------------------------------------- */

static void
limits_limit(void)
{
	struct rlimit l, now;
	char buf[4096] = { 0 };
	pid_t p;

	ok(getrlimit(RLIMIT_NOFILE, &l));
	p = t_fork();
	if (p == 0) {
		l.rlim_cur = 10;
		ok(setrlimit(RLIMIT_NOFILE, &l));
		int fd, last = -1;
		while ((fd = open("/dev/null", O_RDONLY)) >= 0)
			last = fd;
		check_eq(errno, EMFILE);
		check_eq(last, 9);
		fails(dup2(0, 10), EBADF);
		fails(fcntl(0, F_DUPFD, 10), EINVAL);
		fails(pipe((int[2]){ 0, 0 }), EMFILE);
		_exit(0);
	}
	exits(p, 0);
	p = t_fork();
	if (p == 0) {
		struct rlimit f = { 5000, 5000 };
		int fd = ok(open("f", O_CREAT | O_RDWR, 0600));

		ok(setrlimit(RLIMIT_FSIZE, &f));
		signal(SIGXFSZ, SIG_IGN);
		check_eq(write(fd, buf, 4096), 4096);
		check_eq(write(fd, buf, 4096), 904);
		fails(write(fd, buf, 1), EFBIG);
		fails(ftruncate(fd, 5001), EFBIG);
		signal(SIGXFSZ, SIG_DFL);
		if (write(fd, buf, 1) < 0)
			_exit(1);
		_exit(2);
	}
	dies(p, SIGXFSZ);
	p = t_fork();
	if (p == 0) {
		struct rlimit c = { 1, 2 };

		ok(setrlimit(RLIMIT_NPROC, &(struct rlimit){ 3, 3 }));
		ok(setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }));
		t_become(4321);
		pid_t kids[5];
		int n = 0;
		for (; n < 5; n++) {
			kids[n] = fork();
			if (kids[n] < 0)
				break;
			if (kids[n] == 0) {
				pause();
				_exit(0);
			}
		}
		check_eq(n, 2);
		fails(fork(), EAGAIN);
		while (n-- > 0)
			kill(kids[n], SIGKILL);
		(void)c;
		_exit(0);
	}
	exits(p, 0);
	t_become(STUDENT);
	ok(getrlimit(RLIMIT_NOFILE, &l));
	l.rlim_max++;
	fails(setrlimit(RLIMIT_NOFILE, &l), EPERM);
	l.rlim_max -= 2;
	l.rlim_cur = l.rlim_max + 1;
	fails(setrlimit(RLIMIT_NOFILE, &l), EINVAL);
	l.rlim_cur = 64;
	ok(setrlimit(RLIMIT_NOFILE, &l));
	ok(prlimit(0, RLIMIT_NOFILE, NULL, &now));
	check(now.rlim_cur == 64 && now.rlim_max == l.rlim_max);
	fails(getrlimit(99, &l), EINVAL);
	fails(prlimit(1, RLIMIT_NOFILE, &l, NULL), EPERM);
	fails(prlimit(999999, RLIMIT_NOFILE, NULL, &l), ESRCH);
}

static void
processor_time_is_limited(void)
{
	pid_t p = t_fork();

	if (p == 0) {
		ok(setrlimit(RLIMIT_CPU, &(struct rlimit){ 1, 10 }));
		for (;;)
			continue;
	}
	dies(p, SIGXCPU);
}

static void
address_space_is_limited(void)
{
	struct rlimit l = { 64 << 20, 64 << 20 };

	ok(setrlimit(RLIMIT_AS, &l));
	fails(mmap(NULL, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	char *m = ok(mmap(NULL, 8 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	fails(mremap(m, 8 << 20, 128 << 20, MREMAP_MAYMOVE), ENOMEM);
}

/* What a move leaves behind is counted beside what it makes. */
static void
moves_that_leave_memory_behind_are_limited(void)
{
	size_t size = 20 << 20;
	char *m = t_map(size, PROT_READ | PROT_WRITE);
	int n = 0;

	m[5] = 'x';
	ok(setrlimit(RLIMIT_AS, &(struct rlimit){ 64 << 20, 64 << 20 }));
	while (n < 10) {
		char *to = mremap(m, size, size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

		if (to == MAP_FAILED)
			break;
		check_eq(to[5], n ? 0 : 'x');
		n++;
	}
	check_eq(errno, ENOMEM);
	check_eq(n, 2);
	check_eq(m[5], 0);
}

/* Memory that is private and writable is data, reserved or not, and also once it becomes so. */
static void
data_is_limited(void)
{
	int rw = PROT_READ | PROT_WRITE, anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
	size_t size = 64 << 20;
	char *m;

	ok(setrlimit(RLIMIT_DATA, &(struct rlimit){ 16 << 20, 16 << 20 }));
	fails(mmap(NULL, size, rw, anonymous, -1, 0), ENOMEM);
	fails(mmap(NULL, size, rw, anonymous | MAP_NORESERVE, -1, 0), ENOMEM);
	ok(mmap(NULL, 4 << 20, rw, anonymous | MAP_NORESERVE, -1, 0));
	m = ok(mmap(NULL, size, PROT_READ, anonymous | MAP_NORESERVE, -1, 0));
	fails(mprotect(m, size, rw), ENOMEM);
	ok(mprotect(m, 4 << 20, rw));
	m[0] = 'x';
	fails(mmap(NULL, 12 << 20, rw, anonymous | MAP_NORESERVE, -1, 0), ENOMEM);
	ok(mmap(NULL, size, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

/* - Other ways to be born ---------------------------------------------------------------------- */

static void
vfork_shares_until_exec(void)
{
	volatile int *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		-1, 0);
	pid_t p = vfork();

	if (p == 0) {
		*shared = 5;		/* The same memory, and the parent waits. */
		_exit(3);
	}
	check_eq(*shared, 5);
	exits(p, 3);
	p = vfork();
	if (p == 0) {
		execl("/bin/busybox", "sh", "-c", "exit 8", NULL);
		_exit(126);
	}
	exits(p, 8);
}

static void
posix_spawn_works(void)
{
	char *argv[] = { "sh", "-c", "read x; echo $x; exit 4", NULL };
	posix_spawn_file_actions_t fa;
	int in[2], out[2];
	pid_t p;
	char buf[16] = { 0 };

	ok(pipe2(in, O_CLOEXEC));
	ok(pipe2(out, O_CLOEXEC));
	zero(posix_spawn_file_actions_init(&fa));
	zero(posix_spawn_file_actions_adddup2(&fa, in[0], 0));
	zero(posix_spawn_file_actions_adddup2(&fa, out[1], 1));
	zero(posix_spawn(&p, "/bin/busybox", &fa, NULL, argv, environ));
	check_eq(write(in[1], "hello\n", 6), 6);
	check_eq(read(out[0], buf, 16), 6);
	exits(p, 4);
	check_eq(posix_spawn(&p, "/nonexistent", NULL, NULL, argv, environ), ENOENT);
	fails(wait(NULL), ECHILD);
}

static int
clone_child(void *arg)
{
	int fd = open("/dev/null", O_RDONLY);

	check(fd >= 0);
	*(volatile int *)arg = fd;
	return 9;
}

static void
clone_flags(void)
{
	char *stack = t_map(64 * 1024, PROT_READ | PROT_WRITE);
	volatile int *got = t_map(PAGE, PROT_READ | PROT_WRITE);
	pid_t ptid = 0;

	/* Memory and files are shared: what the child opened is ours. */
	pid_t p = ok(clone(clone_child, stack + 65536,
		CLONE_VM | CLONE_FILES | CLONE_PARENT_SETTID | SIGCHLD,
			   (void *)got, &ptid));
	exits(p, 9);
	check_eq(ptid, p);
	ok(fcntl(*got, F_GETFD));
	close(*got);
	/* No memory shared, files neither. */
	*got = 0;
	p = ok(clone(clone_child, stack + 65536, SIGCHLD, (void *)got));
	exits(p, 9);
	check_eq(*got, 0);
	/* No exit signal: seen with __WALL or __WCLONE only. */
	int status;
	p = ok(clone(clone_child, stack + 65536, 0, (void *)got));
	fails(waitpid(p, &status, 0), ECHILD);
	check_eq(waitpid(p, &status, __WALL), p);
	p = ok(clone(clone_child, stack + 65536, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)got));
	check(*got > 0);		/* It ended before we went on. */
	exits(p, 9);
}

static void
names_and_numbers(void)
{
	char name[16];
	struct utsname u;
	struct sysinfo si;
	struct tms tms;
	struct rusage ru;
	cpu_set_t set;
	unsigned cpu, node;
	pid_t p;

	ok(prctl(PR_SET_NAME, "a name that is far too long", 0, 0, 0));
	ok(prctl(PR_GET_NAME, name, 0, 0, 0));
	check(strcmp(name, "a name that is ") == 0);
	fails(prctl(12345, 0, 0, 0, 0), EINVAL);
	check_eq(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
	ok(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	check_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	fails(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
	ok(uname(&u));
	check(strcmp(u.sysname, "Linux") == 0 && strcmp(u.machine, T_MACHINE) == 0);
	ok(sysinfo(&si));
	check(si.totalram > si.freeram && si.freeram > 0 && si.procs > 0 && si.uptime >= 0 &&
		si.mem_unit >= 1);
	check((long)times(&tms) > 0);
	ok(getrusage(RUSAGE_SELF, &ru));
	check(ru.ru_maxrss > 0 && ru.ru_minflt > 0);
	ok(getrusage(RUSAGE_CHILDREN, &ru));
	fails(getrusage(5, &ru), EINVAL);
	ok(sched_yield());
	ok(sched_getaffinity(0, sizeof(set), &set));
	int n = CPU_COUNT(&set);
	check(n >= 1 && n == sysconf(_SC_NPROCESSORS_ONLN));
	ok(getcpu(&cpu, &node));
	check(CPU_ISSET(cpu, &set));
	for (int i = 0; i < 64; i++) {
		if (!CPU_ISSET(i, &set))
			continue;
		ok(pin(i));
		check_eq(sched_getcpu(), i);
	}
	CPU_ZERO(&set);
	fails(sched_setaffinity(0, sizeof(set), &set), EINVAL);
	fails(sched_getaffinity(999999, sizeof(set), &set), ESRCH);
	fails(sched_getaffinity(0, 1, &set), EINVAL);
	check_eq(personality(0xffffffff), 0);
	errno = 0;
	check_eq(getpriority(PRIO_PROCESS, 0), 0);
	ok(setpriority(PRIO_PROCESS, 0, 7));
	check_eq(getpriority(PRIO_PROCESS, 0), 7);
	p = t_fork();
	if (p == 0) {
		check_eq(getpriority(PRIO_PROCESS, 0), 7);
		t_become(STUDENT);
		fails(setpriority(PRIO_PROCESS, 0, 3), EACCES);
		fails(setpriority(PRIO_PROCESS, 1, 3), EPERM);
		ok(setpriority(PRIO_PROCESS, 0, 100));
		check_eq(getpriority(PRIO_PROCESS, 0), 19);
		_exit(0);
	}
	exits(p, 0);
	fails(setpriority(9, 0, 0), EINVAL);
	fails(getpriority(PRIO_PROCESS, 999999), ESRCH);
	/* CPU time of a child is counted once it is waited for. */
	p = t_fork();
	if (p == 0) {
		long end = t_now() + 100;

		while (t_now() < end)
			getppid();
		_exit(0);
	}
	exits(p, 0);
	ok(getrusage(RUSAGE_CHILDREN, &ru));
	check(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1000000 + ru.ru_stime.tv_usec >
	      5000);
}

static void
unknown_calls(void)
{
	fails(syscall(-1L, 0, 0), ENOSYS);
	fails(syscall(335), ENOSYS);
	fails(syscall(600), ENOSYS);
	fails(syscall(-1L), ENOSYS);
	fails(syscall(0x7fffffff), ENOSYS);
	fails(syscall(1L << 40 | 100000), ENOSYS);
}

#include "process.h"

static const struct test tests[] = {
	TEST(exit_codes),
	TEST(wait_variants),
	TEST(many_children_are_all_reaped),
	TEST(chains_of_forks_leave_time_for_others),
	TEST(orphans_go_to_init_or_the_subreaper),
	TEST(parent_death_signal),
	TEST(group_rules),
	TEST(who_may_become_whom),
	TEST(limits_limit),
	TEST(processor_time_is_limited),
	TEST(address_space_is_limited),
	TEST(moves_that_leave_memory_behind_are_limited),
	TEST(data_is_limited),
	TEST(vfork_shares_until_exec),
	TEST(posix_spawn_works),
	TEST(clone_flags),
	TEST(names_and_numbers),
	TEST(thread_pointers),
	TEST(unknown_calls),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	const char *role = argc > 1 ? argv[1] : "";

	if (strcmp(role, "--pause-after") == 0) {
		for (;;)
			pause();
	}
	return t_main(argc, argv, tests);
}
