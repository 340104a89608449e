/*
 * The program behind the checks: it makes the kernel do what the grader then looks at from outside.
 *
 *	lab-stack-guard CPU NAME DEPTH PHASES
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernel/dev/vuln.h"
#include "user/lab/program.h"

#define SLEEPERS   80 /* more than are likely to be kept for use again */
#define FITS	   22 /* calls of about 1 KiB: most of a stack of 32 KiB */
#define WARM_UP	   10
#define REPEATS	   50
#define CHURN	   150
#define NOT_KILLED 77

enum { AT_GATES = 1, AT_TABLES, AT_REUSE, AT_BEFORE, AT_AFTER, AT_ALIVE, AT_AGAIN, AT_LEAK, AT_LEAKED, AT_END };
enum { R_DEPTH0 = R_OWN, R_DEPTH1, R_STATUS, R_ALIVE, R_AGAIN, R_AGAIN_ALIVE };

struct sleeper {
	pid_t pid;
	int to, from;
};

static struct sleeper sleepers[SLEEPERS];
static const char *victim_name;
static unsigned long overflow_depth;

/*
 * A function of one instruction, every 4 bytes, for each round of churn(). So the grader stops in the rounds that it has
 * drawn and in no other: where it stops, QEMU translates everything anew.
 */
#define STRING_(x) #x
#define STRING(x)  STRING_(x)
__asm__(".pushsection .text\n"
	".balign 4\n"
	"churned:\n"
	".rept " STRING(CHURN) "\n"
	"	ret\n"
	"	.balign 4\n"
	".endr\n"
	".popsection");
extern char churned[];

static void
rest(void)
{
	struct timespec t = {0, 5000000};

	nanosleep(&t, NULL);
}

static long
recurse(unsigned long depth)
{
	struct vuln_recursion r = {depth, 0x4242424242424242};
	int fd = open("/dev/vuln", O_RDWR);
	long result = fd < 0 ? -1 : ioctl(fd, VULN_RECURSE, &r);

	close(fd);
	return result;
}

/* ---- Processes that wait, each with its stack ---- */

static void
start_sleeper(struct sleeper *s, int cpu)
{
	int down[2], up[2];
	char byte;

	pin(cpu);
	if (pipe(down) || pipe(up))
		_exit(3);
	s->pid = fork();
	if (s->pid == 0) {
		close(down[1]);
		close(up[0]);
		while (write(up[1], "!", 1) == 1 && read(down[0], &byte, 1) == 1)
			continue;
		_exit(0);
	}
	close(down[0]);
	close(up[1]);
	s->to = down[1];
	s->from = up[0];
	if (s->pid < 0 || read(s->from, &byte, 1) != 1)
		_exit(3);
}

static void
start_sleepers(int from, int to)
{
	for (int i = from; i < to; i++)
		start_sleeper(&sleepers[i], i % 2);
}

static void
stop_sleepers(void)
{
	for (int i = 0; i < SLEEPERS; i++) {
		close(sleepers[i].to);
		close(sleepers[i].from);
		kill(sleepers[i].pid, SIGKILL);
		waitpid(sleepers[i].pid, NULL, 0);
	}
}

/* How many of them still answer. */
static long
answers(void)
{
	long n = 0;
	char byte;

	for (int i = 0; i < SLEEPERS; i++)
		n += write(sleepers[i].to, "?", 1) == 1 && read(sleepers[i].from, &byte, 1) == 1;
	return n;
}

/* ---- Phases ---- */

static void
gates(void)
{
	run_ordinary_programs();
	for (int cpu = 0; cpu < 2; cpu++) {
		pid_t pid = fork();

		if (pid == 0) {
			pin(cpu);
			_exit(recurse(FITS) == FITS && recurse(1) == 1 ? 0 : 1);
		}
		results[R_DEPTH0 + cpu] = status_of(pid);
	}
	checkpoint(AT_GATES);
}

static void
churn(void)
{
	char *true_[] = {"/bin/busybox", "true", NULL};

	stop_sleepers();
	for (int i = 0; i < CHURN; i++) {
		pid_t pid;

		pin(i % 2);
		pid = fork();
		if (pid == 0)
			_exit(0);
		((void (*)(void))(churned + 4 * i))();
		status_of(pid);
	}
	for (int i = 0; i < 10; i++)
		run(true_);
	start_sleepers(0, SLEEPERS);
}

static void *
overflow_in_thread(void *arg)
{
	recurse(overflow_depth);
	return arg;
}

/* A process that runs off its kernel stack on cpu. */
static pid_t
victim(int cpu, int seen, int in_thread)
{
	pid_t pid = fork();
	pthread_t t;

	if (pid != 0)
		return pid;
	pin(cpu);
	prctl(PR_SET_NAME, victim_name);
	if (recurse(4) != 4)
		_exit(NOT_KILLED + 1);
	if (seen)
		checkpoint(AT_BEFORE);
	if (in_thread && pthread_create(&t, NULL, overflow_in_thread, NULL) == 0)
		pthread_join(t, NULL);
	else
		recurse(overflow_depth);
	_exit(NOT_KILLED);
}

static void
overflow_once(int cpu)
{
	pin(!cpu);
	rest(); /* until every one of them sleeps */
	results[R_STATUS] = status_of(victim(cpu, 1, 0));
	checkpoint(AT_AFTER);
	results[R_ALIVE] = answers();
	checkpoint(AT_ALIVE);
}

static void
overflow_again(int cpu)
{
	pid_t both[2];
	long killed = 0;

	killed += status_of(victim(cpu, 0, 0)) >= 1000;
	killed += status_of(victim(cpu, 0, 1)) >= 1000;
	for (int i = 0; i < 2; i++)
		both[i] = victim(i, 0, 0);
	for (int i = 0; i < 2; i++)
		killed += status_of(both[i]) >= 1000;
	results[R_AGAIN] = killed;
	results[R_AGAIN_ALIVE] = answers();
	checkpoint(AT_AGAIN);
}

static void
overflow_many(int cpu)
{
	for (int i = 0; i < WARM_UP; i++)
		status_of(victim((cpu + i) % 2, 0, 0));
	rest();
	checkpoint(AT_LEAK);
	for (int i = 0; i < REPEATS; i++)
		status_of(victim((cpu + i) % 2, 0, 0));
	rest();
	checkpoint(AT_LEAKED);
}

int
main(int argc, char **argv)
{
	int cpu;

	if (argc != 5)
		return 2;
	cpu = atoi(argv[1]);
	victim_name = argv[2];
	overflow_depth = strtoul(argv[3], NULL, 10);
	signal(SIGPIPE, SIG_IGN);
	if (strchr(argv[4], 'g'))
		gates();
	start_sleepers(0, SLEEPERS);
	if (strchr(argv[4], 't')) {
		rest();
		checkpoint(AT_TABLES);
		churn();
		rest();
		checkpoint(AT_REUSE);
	}
	overflow_once(cpu);
	if (strchr(argv[4], 'm')) {
		overflow_again(cpu);
		overflow_many(cpu);
	}
	checkpoint(AT_END);
	return 0;
}
