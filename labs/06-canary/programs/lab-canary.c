/*
 * The program behind the checks: it makes threads, and overruns a function's frame in the kernel.
 *
 *	lab-canary threads		gates; threads come, sleep and go on both CPUs; then a crowd of them
 *	lab-canary crowd		the crowd alone, in another start
 *	lab-canary overflow CPU...	one overflow a CPU named
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h); before an overflow it writes there
 * what an attacker has guessed.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kernel/dev/vuln.h"
#include "user/lab/program.h"

#define ROUNDS 6
#define CROWD  32 /* processes, and as many threads */
/* Words of an overflow: the buffer; the canary and what may lie beside it; whatever there is up to the return address. */
#define BUFFER (VULN_STRING_SIZE / 8)
#define KNOWN  2
#define SPRAY  4

enum { AT_GATES = 1, AT_WORK, AT_REST, AT_CROWD, AT_GUESS, AT_ACT, AT_KILLED, AT_END };
enum { R_LEGAL = R_OWN, R_GUESS, R_STATUS };

/* ---- What must go on working ---- */

/* Whether the kernel adds up a string that fits. */
static long
legal_string(void)
{
	uint8_t text[VULN_STRING_SIZE];
	struct vuln_string s = {(uint64_t)text, 0, 0};
	long wrong = 0, sum = 0;
	int fd = open("/dev/vuln", O_RDWR);

	for (unsigned i = 0; i < sizeof(text); i++)
		sum += text[i] = (uint8_t)(3 * i + 1);
	for (s.size = 0; s.size < sizeof(text); s.size += 9)
		wrong += ioctl(fd, VULN_STRING, &s) < 0;
	s.size = sizeof(text);
	wrong += ioctl(fd, VULN_STRING, &s) != sum;
	close(fd);
	return wrong;
}

static void
gates(void)
{
	run_ordinary_programs();
	checkpoint(AT_GATES);
}

/* ---- Threads that come, sleep and go ---- */

static void *
nap(void *arg)
{
	usleep(100);
	return arg;
}

/* A child on this CPU or the other answers, while a thread beside us sleeps. */
static void
work(int cpu)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_t thread;
		int p[2];
		pid_t pid;
		char c;

		if (pipe(p) || pthread_create(&thread, NULL, nap, NULL))
			_exit(3);
		pid = fork();
		if (pid == 0) {
			pin(i & 1 ? !cpu : cpu);
			usleep(50);
			_exit(write(p[1], "x", 1) != 1);
		}
		if (read(p[0], &c, 1) != 1 || status_of(pid) || pthread_join(thread, NULL))
			_exit(3);
		close(p[0]);
		close(p[1]);
	}
}

/* ---- Many at once ---- */

static int gate[2];

static void *
wait_at_gate(void *arg)
{
	char c;

	if (read(gate[0], &c, 1) != 0)
		_exit(3);
	return arg;
}

static void
crowd(void)
{
	pthread_t threads[CROWD];
	pid_t children[CROWD];

	if (pipe(gate))
		_exit(3);
	for (int i = 0; i < CROWD; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			close(gate[1]);
			wait_at_gate(NULL);
			_exit(0);
		}
	}
	for (int i = 0; i < CROWD; i++) {
		if (pthread_create(&threads[i], NULL, wait_at_gate, NULL))
			_exit(3);
	}
	checkpoint(AT_CROWD);
	close(gate[1]);
	for (int i = 0; i < CROWD; i++) {
		if (status_of(children[i]) || pthread_join(threads[i], NULL))
			_exit(3);
	}
}

/* ---- Overflows ---- */

static void
overflow(void)
{
	uint64_t words[BUFFER + KNOWN + SPRAY];
	struct vuln_string s = {(uint64_t)words, VULN_STRING_SIZE, 0};
	int fd = open("/dev/vuln", O_RDWR);

	memset(words, 0, sizeof(words));
	if (fd < 0 || ioctl(fd, VULN_STRING, &s) < 0) /* says where the gadget is */
		_exit(4);
	for (int i = BUFFER; i < BUFFER + KNOWN; i++)
		words[i] = (uint64_t)results[R_GUESS];
	for (int i = BUFFER + KNOWN; i < BUFFER + KNOWN + SPRAY; i++)
		words[i] = s.gadget;
	s.size = sizeof(words);
	checkpoint(AT_ACT);
	ioctl(fd, VULN_STRING, &s);
	_exit(77);
}

int
main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	if (strcmp(argv[1], "threads") == 0) {
		gates();
		for (int cpu = 0; cpu < 2; cpu++) {
			pin(cpu);
			checkpoint(AT_WORK);
			work(cpu);
			pin(cpu);
			checkpoint(AT_REST);
		}
	}
	if (strcmp(argv[1], "overflow") != 0)
		crowd();
	for (int i = 2; i < argc; i++) {
		pid_t pid;

		pin(atoi(argv[i]));
		results[R_LEGAL] = legal_string();
		checkpoint(AT_GUESS);
		pid = fork();
		if (pid == 0)
			overflow();
		results[R_STATUS] = status_of(pid);
		checkpoint(AT_KILLED);
	}
	checkpoint(AT_END);
	return 0;
}
