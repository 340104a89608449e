/*
 * Threads: pthreads as glibc builds them from clone, futex and TLS, and those calls by themselves.
 */
#include "user/test/test.h"
#include "machine.h"
#include "user/cpu.h"
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/prctl.h>

#define THREADS 8

static long
futex(void *addr, int op, unsigned val, const void *timeout, void *addr2, unsigned val3)
{
	return syscall(SYS_futex, addr, op, val, timeout, addr2, val3);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long counter;
static __thread int local = 77;
static __thread int zeroed[100];

static void *
add_many(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&lock);
		counter++;
		pthread_mutex_unlock(&lock);
		if (i % 500 == 0)
			sched_yield();
	}
	return arg;
}

static void
create_join_and_a_contended_mutex(void)
{
	pthread_t t[THREADS];

	for (long i = 0; i < THREADS; i++)
		zero(pthread_create(&t[i], NULL, add_many, (void *)i));
	for (long i = 0; i < THREADS; i++) {
		void *r;

		zero(pthread_join(t[i], &r));
		check_eq((long)r, i);
	}
	check_eq(counter, THREADS * 2000);
}

static void *
use_tls(void *arg)
{
	check_eq(local, 77);
	check_eq(zeroed[99], 0);
	local = (int)(long)arg;
	zeroed[99] = local;
	errno = local;
	for (int i = 0; i < 20; i++) {
		sched_yield();
		check(local == (int)(long)arg && zeroed[99] == local && errno == local);
	}
	return NULL;
}

static void
thread_local_storage_is_local(void)
{
	pthread_t t[THREADS];

	local = 1;
	for (long i = 0; i < THREADS; i++)
		zero(pthread_create(&t[i], NULL, use_tls, (void *)(i + 10)));
	for (int i = 0; i < THREADS; i++)
		zero(pthread_join(t[i], NULL));
	check_eq(local, 1);
}

static int queue, produced, consumed;

static void *
consume(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	while (consumed < 400) {
		while (queue == 0 && consumed < 400)
			pthread_cond_wait(&cond, &lock);
		if (queue > 0) {
			queue--;
			consumed++;
		}
	}
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void *
produce(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++) {
		pthread_mutex_lock(&lock);
		queue++;
		produced++;
		pthread_cond_signal(&cond);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static void
condition_variables(void)
{
	pthread_t t[8];

	for (int i = 0; i < 8; i++)
		zero(pthread_create(&t[i], NULL, i < 4 ? consume : produce, NULL));
	for (int i = 0; i < 8; i++)
		zero(pthread_join(t[i], NULL));
	check_eq(produced, 400);
	check_eq(consumed, 400);
	struct timespec past = { 0, 0 };
	pthread_mutex_lock(&lock);
	check_eq(pthread_cond_timedwait(&cond, &lock, &past), ETIMEDOUT);
	pthread_mutex_unlock(&lock);
}

static pthread_barrier_t barrier;
static atomic_int phase[20];

static void *
walk_phases(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20; i++) {
		atomic_fetch_add(&phase[i], 1);
		pthread_barrier_wait(&barrier);
		check_eq(atomic_load(&phase[i]), THREADS);
	}
	return NULL;
}

static void
barriers(void)
{
	pthread_t t[THREADS];

	zero(pthread_barrier_init(&barrier, NULL, THREADS));
	for (int i = 0; i < THREADS; i++)
		zero(pthread_create(&t[i], NULL, walk_phases, NULL));
	for (int i = 0; i < THREADS; i++)
		zero(pthread_join(t[i], NULL));
}

static sem_t ping, pong;

static void *
answer(void *arg)
{
	(void)arg;
	for (int i = 0; i < 300; i++) {
		sem_wait(&ping);
		sem_post(&pong);
	}
	return NULL;
}

static void
semaphores_ping_pong(void)
{
	pthread_t t;

	sem_init(&ping, 0, 0);
	sem_init(&pong, 0, 0);
	zero(pthread_create(&t, NULL, answer, NULL));
	for (int i = 0; i < 300; i++) {
		sem_post(&ping);
		sem_wait(&pong);
	}
	zero(pthread_join(t, NULL));
}

static void *
linger(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void *
spin(void *arg)
{
	for (;;) {
		for (int i = 0; i < 1000; i++)
			atomic_fetch_add((atomic_int *)arg, 1);
		relax();
	}
	return NULL;
}

static void
main_thread_exits_first(void)
{
	pid_t p = t_fork();

	if (p == 0) {
		pthread_t t;

		zero(pthread_create(&t, NULL, add_many, NULL));
		pthread_exit(NULL);	/* The process ends with its last thread, with status 0. */
	}
	exits(p, 0);
}

static void *
exit_group_now(void *arg)
{
	t_msleep(10);
	_exit((int)(long)arg);
}

static void
exit_from_any_thread_ends_all(void)
{
	static atomic_int n;
	pid_t p = t_fork();

	if (p == 0) {
		pthread_t t;

		zero(pthread_create(&t, NULL, linger, NULL));
		zero(pthread_create(&t, NULL, spin, &n));
		zero(pthread_create(&t, NULL, exit_group_now, (void *)21));
		for (;;)
			pause();
	}
	exits(p, 21);
}

static void
sigkill_ends_the_whole_group(void)
{
	static atomic_int n;
	int ready[2];
	char c;

	ok(pipe(ready));
	pid_t p = t_fork();
	if (p == 0) {
		pthread_t t;

		for (int i = 0; i < 3; i++) {
			zero(pthread_create(&t, NULL, linger, NULL));
			zero(pthread_create(&t, NULL, spin, &n));
		}
		check_eq(write(ready[1], "x", 1), 1);
		for (;;)
			pause();
	}
	check_eq(read(ready[0], &c, 1), 1);
	ok(kill(p, SIGKILL));
	dies(p, SIGKILL);
}

static void *
segfault(void *arg)
{
	t_poke((void *)16, 1);
	return arg;
}

static void
a_fault_in_one_thread_ends_all(void)
{
	pid_t p = t_fork();

	if (p == 0) {
		pthread_t t;

		signal(SIGSEGV, SIG_DFL);
		zero(pthread_create(&t, NULL, linger, NULL));
		zero(pthread_create(&t, NULL, segfault, NULL));
		for (;;)
			pause();
	}
	dies(p, SIGSEGV);
}

static void *
exec_true(void *arg)
{
	char *argv[] = { "sh", "-c", "[ $$ = $ME ] && exit 17", NULL };
	char me[32];
	char *envp[] = { me, NULL };

	snprintf(me, sizeof(me), "ME=%d", getpid());
	execve("/bin/busybox", argv, envp);
	return arg;
}

static void
exec_from_a_thread_takes_the_process(void)
{
	static atomic_int n;
	pid_t p = t_fork();

	if (p == 0) {
		pthread_t t;

		zero(pthread_create(&t, NULL, linger, NULL));
		zero(pthread_create(&t, NULL, spin, &n));
		zero(pthread_create(&t, NULL, exec_true, NULL));
		for (;;)
			pause();
	}
	exits(p, 17);		/* The same process number, one thread, the new program's status. */
}

static void *
fork_here(void *arg)
{
	pid_t p = t_fork();

	(void)arg;
	if (p == 0)
		_exit(gettid() == getpid() ? 33 : 1);	/* Alone, and its own leader. */
	return (void *)(long)t_wait(p);
}

static void
fork_from_a_thread(void)
{
	pthread_t t[4];
	void *r;

	for (int i = 0; i < 4; i++)
		zero(pthread_create(&t[i], NULL, fork_here, NULL));
	for (int i = 0; i < 4; i++) {
		zero(pthread_join(t[i], &r));
		check_eq((long)r, 33);
	}
}

static void *
ids(void *arg)
{
	check_eq(getpid(), (pid_t)(long)arg);
	check(gettid() != getpid());
	return (void *)(long)gettid();
}

static void
ids_are_those_of_the_process(void)
{
	pthread_t a, b;
	void *ra, *rb;

	zero(pthread_create(&a, NULL, ids, (void *)(long)getpid()));
	zero(pthread_create(&b, NULL, ids, (void *)(long)getpid()));
	zero(pthread_join(a, &ra));
	zero(pthread_join(b, &rb));
	check(ra != rb);
	check_eq(gettid(), getpid());
	/* Joined is not yet gone: the kernel wakes the joiner from within the exit. */
	for (int i = 0; i < 100 && syscall(SYS_tgkill, getpid(), (long)ra, 0) == 0; i++)
		t_msleep(5);
	fails(syscall(SYS_tgkill, getpid(), (long)ra, 0), ESRCH);
}

static volatile pid_t handled_by;

static void
on_usr(int sig)
{
	(void)sig;
	handled_by = gettid();
}

static atomic_int go;

static void *
await_signal(void *arg)
{
	*(volatile pid_t *)arg = gettid();
	while (handled_by == 0)
		give_way();
	return NULL;
}

static void
signals_reach_the_thread_meant(void)
{
	pthread_t t;
	volatile pid_t tid = 0;
	sigset_t s;

	signal(SIGUSR1, on_usr);
	zero(pthread_create(&t, NULL, await_signal, (void *)&tid));
	while (tid == 0)
		give_way();
	ok(syscall(SYS_tgkill, getpid(), tid, SIGUSR1));
	zero(pthread_join(t, NULL));
	check_eq(handled_by, tid);
	/* For the process, when only one thread lets it through. */
	handled_by = tid = 0;
	zero(pthread_create(&t, NULL, await_signal, (void *)&tid));
	while (tid == 0)
		give_way();
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	zero(pthread_sigmask(SIG_BLOCK, &s, NULL));
	ok(kill(getpid(), SIGUSR1));
	zero(pthread_join(t, NULL));
	check_eq(handled_by, tid);
}

static void *
change_credentials(void *arg)
{
	while (!atomic_load(&go))
		give_way();
	check_eq(getuid(), STUDENT);
	return arg;
}

static void
setuid_changes_every_thread(void)
{
	pthread_t t;

	atomic_store(&go, 0);
	zero(pthread_create(&t, NULL, change_credentials, NULL));
	ok(setuid(STUDENT));	/* glibc signals each thread to do the same. */
	atomic_store(&go, 1);
	zero(pthread_join(t, NULL));
}

static void *
open_a_file(void *arg)
{
	(void)arg;
	int fd = open("shared", O_CREAT | O_RDWR, 0600);

	check(chdir("/") == 0);
	umask(077);
	return (void *)(long)fd;
}

static volatile int times_set;

static void *
set_and_set(void *arg)
{
	for (;; times_set++)
		syscall(SYS_setfsuid, 0);
	return arg;
}

/* By the calls themselves: libc's have every thread change with the others. */
static void
root_that_is_given_up_does_not_come_back(void)
{
	for (int i = 0; i < 60; i++) {
		pid_t p = t_fork();

		if (p == 0) {
			uid_t r, e, s;
			pthread_t t;

			zero(pthread_create(&t, NULL, set_and_set, NULL));
			while (times_set < 10)
				give_way();
			ok(syscall(SYS_setresuid, STUDENT, STUDENT, STUDENT));
			for (int k = 0; k < 20; k++) {
				ok(syscall(SYS_getresuid, &r, &e, &s));
				check(r == STUDENT && e == STUDENT && s == STUDENT);
			}
			_exit(0);
		}
		exits(p, 0);
	}
}

static void
files_and_cwd_are_shared(void)
{
	pthread_t t;
	void *fd;
	char buf[100];

	umask(022);
	zero(pthread_create(&t, NULL, open_a_file, NULL));
	zero(pthread_join(t, &fd));
	check_eq(write((int)(long)fd, "x", 1), 1);
	check(getcwd(buf, sizeof(buf)) != NULL && strcmp(buf, "/") == 0);
	check_eq(umask(022), 077);
}

static atomic_uint word;

static void *
wait_on_word(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
	return (void *)(futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) < 0 ? (long)errno : 0);
}

static void
futex_wait_and_wake(void)
{
	pthread_t t[3];
	atomic_int ready = 0;
	long woken = 0;
	struct timespec shortly = { 0, 20000000 }, wrong = { 0, -5 };

	atomic_store(&word, 5);
	fails(futex(&word, FUTEX_WAIT, 4, NULL, NULL, 0), EAGAIN);
	fails(futex(&word, FUTEX_WAIT, 5, &shortly, NULL, 0), ETIMEDOUT);
	fails(futex(&word, FUTEX_WAIT, 5, &wrong, NULL, 0), EINVAL);
	fails(futex((char *)&word + 1, FUTEX_WAIT, 5, NULL, NULL, 0), EINVAL);
	fails(futex((void *)16, FUTEX_WAIT, 5, NULL, NULL, 0), EFAULT);
	fails(futex((void *)0xffff888000000000, FUTEX_WAIT, 5, NULL, NULL, 0), EFAULT);
	fails(futex(&word, 99, 5, NULL, NULL, 0), ENOSYS);
	check_eq(futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0), 0);
	atomic_store(&word, 0);
	for (int i = 0; i < 3; i++)
		zero(pthread_create(&t[i], NULL, wait_on_word, &ready));
	while (atomic_load(&ready) < 3)
		give_way();
	t_msleep(30);
	check_eq(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 1);
	while (woken < 2)
		woken += ok(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
	for (int i = 0; i < 3; i++)
		zero(pthread_join(t[i], NULL));
	/* Absolute times, by either clock. */
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_nsec += 10000000;
	if (at.tv_nsec >= 1000000000)
		at.tv_sec++, at.tv_nsec -= 1000000000;
	fails(futex(&word, FUTEX_WAIT_BITSET, 0, &at, NULL, ~0U), ETIMEDOUT);
	clock_gettime(CLOCK_REALTIME, &at);
	fails(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &at, NULL, ~0U), ETIMEDOUT);
	fails(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0), EINVAL);
}

static void
futex_between_processes(void)
{
	atomic_uint *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));

	ok(ftruncate(fd, PAGE));
	atomic_uint *one = ok(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	atomic_uint *two = ok(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	pid_t p = t_fork();
	if (p == 0) {
		while (atomic_load(shared) == 0)
			futex(shared, FUTEX_WAIT, 0, NULL, NULL, 0);
		atomic_store(&one[1], 1);
		while (atomic_load(one) == 0)
			futex(one, FUTEX_WAIT, 0, NULL, NULL, 0);
		_exit(0);
	}
	t_msleep(20);
	atomic_store(shared, 1);
	futex(shared, FUTEX_WAKE, 1, NULL, NULL, 0);
	while (atomic_load(&two[1]) == 0)
		give_way();
	t_msleep(20);
	atomic_store(two, 1);		/* Another address, the same page of the same file. */
	futex(two, FUTEX_WAKE, 1, NULL, NULL, 0);
	exits(p, 0);
}

struct waiter {
	atomic_uint *on;
	unsigned bits;
	atomic_int *ready;
};

static void *
wait_bits(void *arg)
{
	struct waiter *w = arg;

	atomic_fetch_add(w->ready, 1);
	return (void *)(futex(w->on, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, w->bits) < 0
		? (long)errno : 0);
}

static void
futex_bitset_requeue_and_wake_op(void)
{
	static atomic_uint a, b;
	atomic_int ready = 0;
	struct waiter w1 = { &a, 1, &ready }, w2 = { &a, 2, &ready };
	pthread_t t1, t2, t[4];
	struct timespec none = { 0, 0 };

	zero(pthread_create(&t1, NULL, wait_bits, &w1));
	zero(pthread_create(&t2, NULL, wait_bits, &w2));
	while (atomic_load(&ready) < 2)
		give_way();
	t_msleep(30);
	check_eq(futex(&a, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 4), 0);
	check_eq(futex(&a, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 2), 1);
	zero(pthread_join(t2, NULL));
	check_eq(futex(&a, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 1);
	zero(pthread_join(t1, NULL));
	/* Requeue: one wakes, the rest wait on b. */
	ready = 0;
	w1.bits = ~0U;
	for (int i = 0; i < 4; i++)
		zero(pthread_create(&t[i], NULL, wait_bits, &w1));
	while (atomic_load(&ready) < 4)
		give_way();
	t_msleep(30);
	fails(futex(&a, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)100, &b, 9), EAGAIN);
	check_eq(futex(&a, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &b, 0), 3);
	check_eq(futex(&b, FUTEX_REQUEUE_PRIVATE, 0, (void *)1, &a, 0), 1);
	check_eq(futex(&b, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 1);
	check_eq(futex(&a, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 2);
	for (int i = 0; i < 4; i++)
		zero(pthread_join(t[i], NULL));
	/* FUTEX_WAKE_OP: b = 7, and wake on b too if b was 0. */
	atomic_store(&b, 0);
	check_eq(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b,
		       FUTEX_OP(FUTEX_OP_SET, 7, FUTEX_OP_CMP_EQ, 0)), 0);
	check_eq(atomic_load(&b), 7);
	check_eq(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b,
		       FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_GT, 100)), 0);
	check_eq(atomic_load(&b), 10);
	check_eq(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &b,
		       FUTEX_OP(FUTEX_OP_XOR, 3, FUTEX_OP_CMP_NE, 0)), 0);
	check_eq(atomic_load(&b), 9);
	fails(futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, (void *)0xffffffff80200000, 0),
		EFAULT);
	(void)none;
}

static pthread_mutex_t *robust;

static void *
die_holding(void *arg)
{
	pthread_mutex_lock(robust);
	return arg;
}

static void
robust_mutexes_tell_of_the_dead(void)
{
	pthread_mutexattr_t attr;
	pthread_t t;

	robust = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	zero(pthread_mutex_init(robust, &attr));
	zero(pthread_create(&t, NULL, die_holding, NULL));
	zero(pthread_join(t, NULL));
	check_eq(pthread_mutex_lock(robust), EOWNERDEAD);
	zero(pthread_mutex_consistent(robust));
	zero(pthread_mutex_unlock(robust));
	pid_t p = t_fork();
	if (p == 0) {
		pthread_mutex_lock(robust);
		kill(getpid(), SIGKILL);
	}
	dies(p, SIGKILL);
	check_eq(pthread_mutex_lock(robust), EOWNERDEAD);
}

static void *
nothing(void *arg)
{
	return arg;
}

static void
many_short_threads(void)
{
	for (int i = 0; i < 150; i++) {
		pthread_t t;

		zero(pthread_create(&t, NULL, nothing, NULL));
		zero(pthread_join(t, NULL));
	}
}

static volatile int let_go;

static int
spin_until_let_go(void *arg)
{
	while (let_go != (int)(long)arg)
		continue;
	return 0;
}

/* By clone itself: glibc's threads begin with calls on their mask. */
static void *
make_spinners(void *arg)
{
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	char *stack = t_map(4 * PAGE, PROT_READ | PROT_WRITE);
	volatile int there;

	for (int i = 1;; i++) {
		there = 1;
		ok(clone(spin_until_let_go, stack + 4 * PAGE, flags | CLONE_CHILD_CLEARTID, (void *)(long)i, NULL, NULL,
			 &there));
		let_go = i;
		while (there)
			give_way();
	}
	return arg;
}

/* One that is made while another thread takes the stop stops, too. */
static void
new_threads_stop_with_their_process(void)
{
	int status;
	pid_t p = t_fork();

	if (p == 0) {
		pthread_t t;

		zero(pthread_create(&t, NULL, make_spinners, NULL));
		for (;;)
			continue;
	}
	for (int i = 0; i < 200; i++) {
		for (volatile int wait = i * 7919 % 200000; wait > 0; wait--)
			continue;
		ok(kill(p, SIGSTOP));
		check_eq(ok(waitpid(p, &status, WUNTRACED)), p);
		check(WIFSTOPPED(status));
		ok(kill(p, SIGCONT));
	}
	ok(kill(p, SIGKILL));
	dies(p, SIGKILL);
}

static void *
sleep_for_ever(void *arg)
{
	for (;;)
		sleep(100);
	return arg;
}

static void
cancellation_interrupts_a_sleep(void)
{
	pthread_t t;
	void *r;

	zero(pthread_create(&t, NULL, sleep_for_ever, NULL));
	t_msleep(10);
	zero(pthread_cancel(t));
	zero(pthread_join(t, &r));
	check(r == PTHREAD_CANCELED);
}

static void *
map_and_unmap(void *arg)
{
	for (int i = 0; i < 60; i++) {
		char *m = t_map(4 * PAGE, PROT_READ | PROT_WRITE);

		for (int k = 0; k < 4; k++)
			m[k * PAGE] = (char)(long)arg;
		for (int k = 0; k < 4; k++)
			check_eq(m[k * PAGE], (char)(long)arg);
		ok(munmap(m, 4 * PAGE));
	}
	return NULL;
}

static void
mapping_from_many_threads(void)
{
	pthread_t t[THREADS];

	for (long i = 0; i < THREADS; i++)
		zero(pthread_create(&t[i], NULL, map_and_unmap, (void *)(i + 1)));
	for (int i = 0; i < THREADS; i++)
		zero(pthread_join(t[i], NULL));
}

static void
clone_flags_that_do_not_go_together(void)
{
	char *stack = t_map(4 * PAGE, PROT_READ | PROT_WRITE);

	fails(syscall(SYS_clone, CLONE_THREAD, stack + 4 * PAGE, 0, 0, 0), EINVAL);
	fails(syscall(SYS_clone, CLONE_SIGHAND, stack + 4 * PAGE, 0, 0, 0), EINVAL);
	fails(syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND, stack + 4 * PAGE, 0, 0, 0), EINVAL);
	fails(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0), EINVAL);
	/* The switch to such a thread would fault. */
	if (T_NO_TLS)
		fails(syscall(SYS_clone, CLONE_SETTLS | SIGCHLD, 0, 0, 0, T_NO_TLS), EPERM);
}

static const struct test tests[] = {
	TEST(create_join_and_a_contended_mutex),
	TEST(thread_local_storage_is_local),
	TEST(condition_variables),
	TEST(barriers),
	TEST(semaphores_ping_pong),
	TEST(main_thread_exits_first),
	TEST(exit_from_any_thread_ends_all),
	TEST(sigkill_ends_the_whole_group),
	TEST(a_fault_in_one_thread_ends_all),
	TEST(exec_from_a_thread_takes_the_process),
	TEST(fork_from_a_thread),
	TEST(ids_are_those_of_the_process),
	TEST(signals_reach_the_thread_meant),
	TEST(setuid_changes_every_thread),
	TEST(root_that_is_given_up_does_not_come_back),
	TEST(files_and_cwd_are_shared),
	TEST(futex_wait_and_wake),
	TEST(futex_between_processes),
	TEST(futex_bitset_requeue_and_wake_op),
	TEST(robust_mutexes_tell_of_the_dead),
	TEST(many_short_threads),
	TEST(new_threads_stop_with_their_process),
	TEST(cancellation_interrupts_a_sleep),
	TEST(mapping_from_many_threads),
	TEST(clone_flags_that_do_not_go_together),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
