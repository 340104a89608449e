/*
 * Translations die everywhere at once: after munmap, mprotect, mremap or a fork's write protection returns,
 * no CPU may still use the old one. Threads pinned to other CPUs touch the page all the time.
 */
#include "user/test/test.h"
#include <pthread.h>
#include <stdatomic.h>

#include "user/cpu.h"

#define WATCHERS 3

static char *volatile target;
static atomic_int phase;		/* Odd: access must fault. Even: it may work. */
static atomic_int stale, stop, faulted, running;
static int do_write;

/*
 * Touches target for ever. An access that began in an odd phase and worked, while the phase is still the
 * same, used a dead translation.
 */
static void *
watch(void *arg)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	pin((int)((long)arg % cpus));
	t_catch();
	atomic_fetch_add(&running, 1);
	while (!atomic_load(&stop)) {
		if (sigsetjmp(t_jump, 1) != 0) {
			atomic_fetch_add(&faulted, 1);
			sched_yield();
			continue;
		}
		for (int i = 0; i < 1000 && !atomic_load(&stop); i++) {
			int before = atomic_load(&phase);

			if (do_write)
				t_poke(target + 8, 1);
			else
				t_peek(target + 8);
			if ((before & 1) && atomic_load(&phase) == before)
				atomic_fetch_add(&stale, 1);
		}
	}
	return NULL;
}

static void
run(int write, void (*close_)(void), void (*open_)(void))
{
	pthread_t t[WATCHERS];
	long end;

	do_write = write;
	t_catch();
	for (long i = 0; i < WATCHERS; i++)
		zero(pthread_create(&t[i], NULL, watch, (void *)(i + 1)));
	while (atomic_load(&running) < WATCHERS)
		sched_yield();
	end = t_now() + 250;
	while (t_now() < end || atomic_load(&faulted) == 0) {
		close_();
		atomic_fetch_add(&phase, 1);
		for (volatile int i = 0; i < 3000; i++)
			continue;
		sched_yield();
		atomic_fetch_add(&phase, 1);
		open_();
		for (volatile int i = 0; i < 1000; i++)
			continue;
	}
	atomic_store(&stop, 1);
	for (int i = 0; i < WATCHERS; i++)
		zero(pthread_join(t[i], NULL));
	check(atomic_load(&faulted) > 0);
	check_eq(atomic_load(&stale), 0);
}

static void
take_away(void)
{
	ok(munmap(target, PAGE));
}

static void
give_back(void)
{
	char *m = mmap(target, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	check(m == target);
	t_poke(m, 1);
}

static void
forbid(void)
{
	ok(mprotect(target, PAGE, PROT_NONE));
}

static void
forbid_writing(void)
{
	ok(mprotect(target, PAGE, PROT_READ));
}

static void
allow(void)
{
	ok(mprotect(target, PAGE, PROT_READ | PROT_WRITE));
}

static void
munmap_is_seen_everywhere(void)
{
	target = t_map(PAGE, PROT_READ | PROT_WRITE);
	run(0, take_away, give_back);
}

static void
prot_none_is_seen_everywhere(void)
{
	target = t_map(PAGE, PROT_READ | PROT_WRITE);
	run(0, forbid, allow);
}

static void
read_only_is_seen_everywhere(void)
{
	target = t_map(PAGE, PROT_READ | PROT_WRITE);
	run(1, forbid_writing, allow);
}

/* ---- Frames that come back: a page given to another must not be reached through an old translation. --- */

static char *volatile window;
static atomic_int bad;

static void *
scribble(void *arg)
{
	pin((int)((long)arg % sysconf(_SC_NPROCESSORS_ONLN)));
	t_catch();
	while (!atomic_load(&stop)) {
		if (sigsetjmp(t_jump, 1) == 0)
			t_poke(window, 'X');
		else
			sched_yield();
	}
	return NULL;
}

static void
freed_frames_are_not_written(void)
{
	pthread_t t[WATCHERS];
	long end = t_now() + 300;

	window = t_map(PAGE, PROT_READ | PROT_WRITE);
	for (long i = 0; i < WATCHERS; i++)
		zero(pthread_create(&t[i], NULL, scribble, (void *)(i + 1)));
	while (t_now() < end) {
		ok(munmap(window, PAGE));
		/* The frames just freed, most likely. */
		char *fresh = t_map(8 * PAGE, PROT_READ | PROT_WRITE);
		for (int k = 0; k < 8; k++)
			t_poke(fresh + k * PAGE, 'f');
		for (volatile int i = 0; i < 2000; i++)
			continue;
		for (int k = 0; k < 8; k++) {
			if (t_peek(fresh + k * PAGE) != 'f' && fresh + k * PAGE != window)
				atomic_fetch_add(&bad, 1);
		}
		ok(munmap(fresh, 8 * PAGE));
		check(mmap(window, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		      window);
	}
	atomic_store(&stop, 1);
	for (int i = 0; i < WATCHERS; i++)
		zero(pthread_join(t[i], NULL));
	check_eq(atomic_load(&bad), 0);
}

static void *
count_up(void *arg)
{
	volatile long *n = arg;

	while (!atomic_load(&stop))
		(*n)++;
	return NULL;
}

static void
fork_write_protects_for_every_thread(void)
{
	volatile long *n = t_map(PAGE, PROT_READ | PROT_WRITE);
	pthread_t t;

	zero(pthread_create(&t, NULL, count_up, (void *)n));
	for (int i = 0; i < 30; i++) {
		pid_t p = t_fork();

		if (p == 0) {
			long first = *n;

			for (volatile int k = 0; k < 20000; k++)
				continue;
			_exit(*n != first);	/* Ours since fork: another CPU's writes must not come through. */
		}
		exits(p, 0);
	}
	atomic_store(&stop, 1);
	zero(pthread_join(t, NULL));
}

static const struct test tests[] = {
	TEST(munmap_is_seen_everywhere),
	TEST(prot_none_is_seen_everywhere),
	TEST(read_only_is_seen_everywhere),
	TEST(freed_frames_are_not_written),
	TEST(fork_write_protects_for_every_thread),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
