/* Job control: groups of processes, and who stops and goes on. */
#include "user/test/test.h"
#include <sys/prctl.h>

static void
stopped_processes_stay_and_die(void)
{
	volatile int *count = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);
	int status, was;

	pid_t p = t_fork();
	if (p == 0) {
		for (;;)
			(*count)++;
	}
	while (*count == 0)
		sched_yield();
	ok(kill(p, SIGSTOP));
	check(waitpid(p, &status, WUNTRACED) == p && WIFSTOPPED(status));
	was = *count;
	t_msleep(50);
	check_eq(*count, was);
	ok(kill(p, SIGTERM));		/* Pending until it continues. */
	check_eq(waitpid(p, &status, WNOHANG), 0);
	ok(kill(p, SIGCONT));
	dies(p, SIGTERM);
	p = t_fork();
	if (p == 0)
		raise(SIGSTOP), _exit(0);
	check(waitpid(p, &status, WUNTRACED) == p);
	ok(kill(p, SIGKILL));		/* Needs no SIGCONT. */
	dies(p, SIGKILL);
}

static void
groups_are_signalled_together(void)
{
	pid_t leader = t_fork(), second;
	int ready[2];
	char c;

	if (leader == 0) {
		for (;;)
			pause();
	}
	ok(setpgid(leader, leader));
	ok(pipe(ready));
	second = t_fork();
	if (second == 0) {
		ok(setpgid(0, leader));
		check_eq(write(ready[1], "x", 1), 1);
		for (;;)
			pause();
	}
	check_eq(read(ready[0], &c, 1), 1);
	ok(kill(-leader, SIGTERM));
	dies(leader, SIGTERM);
	dies(second, SIGTERM);
	fails(kill(-leader, 0), ESRCH);
	pid_t p = t_fork();
	if (p == 0) {
		ok(setpgid(0, 0));
		kill(0, SIGKILL);
		_exit(0);
	}
	dies(p, SIGKILL);
}

/* Who is forked while a group is signalled is signalled, too; the shell's ^C leaves nobody behind. */
static void
no_child_escapes_what_its_group_is_sent(void)
{
	ok(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	for (int round = 0; round < 40; round++) {
		int ready[2];
		char c;
		pid_t p;

		ok(pipe(ready));
		p = t_fork();
		if (p == 0) {
			ok(setpgid(0, 0));
			for (int i = 0; i < 30; i++) {
				if (fork() == 0)
					break;
				if (i == round % 8 && write(ready[1], "x", 1) != 1)
					_exit(1);
			}
			for (;;)
				pause();
		}
		check_eq(read(ready[0], &c, 1), 1);
		ok(kill(-p, SIGTERM));
		dies(p, SIGTERM);
		while ((p = wait(NULL)) > 0)
			continue;
		check_eq(errno, ECHILD);
		close(ready[0]);
		close(ready[1]);
	}
}

/* One that comes while a stop is on its way from the queue to its effect is not lost. */
static void
sigcont_wins_over_a_stop_before_it(void)
{
	volatile int *word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t p;

	check(word != MAP_FAILED);
	p = t_fork();
	if (p == 0) {
		for (;;) {
			word[1] = word[0];
			if (word[0] == word[1])
				sched_yield();
		}
	}
	for (int i = 1; i <= 1000; i++) {
		ok(kill(p, SIGSTOP));
		for (volatile int wait = i % 64; wait > 0; wait--)
			continue;
		ok(kill(p, SIGCONT));
		word[0] = i;
		while (word[1] != i)
			sched_yield();
	}
	ok(kill(p, SIGKILL));
	dies(p, SIGKILL);
}

static void
terminal_stops_do_nothing_in_orphaned_groups(void)
{
	int status;
	pid_t p = t_fork();

	if (p == 0) {
		ok(setsid());		/* Its own session: nobody could continue it. */
		raise(SIGTSTP);
		raise(SIGTTIN);
		raise(SIGTTOU);
		_exit(5);
	}
	check(waitpid(p, &status, WUNTRACED) == p && WIFEXITED(status) && WEXITSTATUS(status) == 5);
}

static const struct test tests[] = {
	TEST(stopped_processes_stay_and_die),
	TEST(groups_are_signalled_together),
	TEST(no_child_escapes_what_its_group_is_sent),
	TEST(sigcont_wins_over_a_stop_before_it),
	TEST(terminal_stops_do_nothing_in_orphaned_groups),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
