/*
 * The program behind the checks: a process that has numbers in all its vector registers, and lets something happen to it.
 *
 *	lab-fpu cases GATES CASE,CASE...	gates, if wanted ("1"); then each case: what happens, and on which CPU, as in "f1"
 *	lab-fpu hold				processes that hold their numbers without end
 *	lab-fpu born				what the first one starts: it is looked at from its first instruction on
 *
 * The grader stops it in checkpoint() before a case, and writes the numbers; and after it, and reads what the registers held.
 * From the first load to the last store of a case nothing but the program's own instructions touches a vector register: the
 * library is not called.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "user/lab/program.h"

enum { AT_GATES = 1, AT_CASE, AT_DONE, AT_BORN, AT_HOLD, AT_HELD };
enum { R_WIDE = R_OWN };	/* at AT_GATES */
enum { R_STATES = 4 };				/* where the states are */
enum { R_WHO = 5 };				/* while it holds: which of the processes this is */

/* ---- A processor's state ---- */

struct state {
	uint8_t vectors[512];
	uint32_t controls[2]; /* MXCSR and nothing; FPCR and FPSR */
	uint8_t x87[108];     /* x86_64's other registers, as FNSAVE has them */
} __attribute__((aligned(64)));

#if defined(__x86_64__)
#include "user/test/x86_64/fpu.h"
#include "user/test/x86_64/machine.h"

static inline void
load_state(const struct state *s)
{
	__asm__ volatile("frstor %0\n\tldmxcsr %1" : : "m"(s->x87), "m"(s->controls[0]) : "memory");
	load(s->vectors);
}

static inline void
store_state(struct state *s)
{
	uint32_t usual = 0x1f80;

	store(s->vectors);
	__asm__ volatile("stmxcsr %0\n\tfnsave %1\n\tldmxcsr %2"
			 : "=m"(s->controls[0]), "=m"(s->x87) : "m"(usual) : "memory");
}

#define KNOW_VECTORS() (avx = true) /* where no constructor has run */
#else
#include "user/test/aarch64/fpu.h"
#include "user/test/aarch64/machine.h"

static inline void
load_state(const struct state *s)
{
	__asm__ volatile("msr fpcr, %0\n\tmsr fpsr, %1"
			 : : "r"((uint64_t)s->controls[0]), "r"((uint64_t)s->controls[1]) : "memory");
	load(s->vectors);
}

static inline void
store_state(struct state *s)
{
	uint64_t fpcr, fpsr;

	store(s->vectors);
	__asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr\n\tmsr fpcr, xzr" : "=r"(fpcr), "=r"(fpsr) : : "memory");
	s->controls[0] = (uint32_t)fpcr;
	s->controls[1] = (uint32_t)fpsr;
}

#define KNOW_VECTORS()
#endif

/* As checks.py has them. The last ones are the holding processes'. */
enum { MINE, SECOND, THEIRS, HANDLERS, SEEN, SEEN_TOO, HOLD };
#define HOLDERS 4

/* Among all processes. */
static struct {
	struct state states[HOLD + HOLDERS];
	volatile long turns, stop;
} *shared;

static void
share(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared != MAP_FAILED);
	memset(shared, 0, sizeof(*shared));
	results[R_STATES] = (long)shared;
}

/* ---- The other process: it has numbers of its own, and runs on the same CPU ---- */

static int commands[2], answers[2], start[2]; /* pipes */

static inline void
ask(char what)
{
	t_call3(SYS_write, commands[1], (long)&what, 1);
}

static inline void
wait_for(int pipe)
{
	char c;

	t_call3(SYS_read, pipe, (long)&c, 1);
}

static inline void
answer(void)
{
	char c = 'a';

	t_call3(SYS_write, answers[1], (long)&c, 1);
}

/* Waits until the other one has run, and has loaded its numbers. */
static inline void
meet(void)
{
	ask('h');
	wait_for(answers[0]);
}

static void
other(void)
{
	char c;

	while (read(commands[0], &c, 1) == 1) {
		if (c == '0' || c == '1') {
			must(pin(c - '0') == 0);
			answer();
			continue;
		}
		load_state(&shared->states[THEIRS]);
		if (c == 's') {
			t_call(SYS_kill, getppid(), SIGUSR1);
			continue;
		}
		answer();
		while (c == 'i' && !shared->stop) /* in user mode all the time: it has to be interrupted */
			shared->turns++;
	}
	_exit(0);
}

/* ---- Cases ---- */

static pid_t me;
static volatile int handled, handler_waits;

static void
handler(int signo)
{
	(void)signo;
	load_state(&shared->states[HANDLERS]);
	if (handler_waits) {
		meet();
		store_state(&shared->states[SEEN_TOO]);
	}
	handled = 1;
}

static inline void
go(int cpu)
{
	static const uint64_t masks[2] = {1, 2};

	t_call3(SYS_sched_setaffinity, 0, sizeof(masks[0]), (long)&masks[cpu]);
}

/* What the parent holds, and not what it held when it last waited. The child begins when others' are in the registers. */
static void
forks(int cpu, int childs_cpu)
{
	long pid;

	load_state(&shared->states[SECOND]);
	meet();
	load_state(&shared->states[MINE]);
	pid = t_call(SYS_clone, SIGCHLD, 0);
	if (pid == 0) {
		if (childs_cpu != cpu)
			go(childs_cpu);
		wait_for(start[0]);
		store_state(&shared->states[SEEN]);
		t_call(SYS_exit_group, 0, 0);
	}
	load_state(&shared->states[THEIRS]);
	t_call3(SYS_write, start[1], (long)"s", 1);
	must(status_of((pid_t)pid) == 0);
}

/* To the other CPU, and back to where this one's older numbers may still be. */
static void
moves(int cpu, int other_waits)
{
	load_state(&shared->states[MINE]);
	go(!cpu);
	store_state(&shared->states[SEEN]);
	load_state(&shared->states[SECOND]);
	if (other_waits)
		meet();
	go(cpu);
	store_state(&shared->states[SEEN_TOO]);
}

/* A signal that it sends itself, without having waited since it loaded its numbers. */
static void
raises(void)
{
	load_state(&shared->states[SECOND]);
	meet();
	load_state(&shared->states[MINE]);
	t_call(SYS_kill, me, SIGUSR1);
	store_state(&shared->states[SEEN]);
}

/* A signal that comes while it waits; the handler waits, too. */
static void
is_signalled(void)
{
	load_state(&shared->states[MINE]);
	ask('s');
	while (!handled)
		t_call(SYS_sched_yield, 0, 0);
	store_state(&shared->states[SEEN]);
}

static void
is_interrupted(void)
{
	long turn;

	shared->stop = 0;
	ask('i');
	wait_for(answers[0]);
	load_state(&shared->states[MINE]);
	for (turn = shared->turns; shared->turns == turn;)
		continue;
	store_state(&shared->states[SEEN]);
	shared->stop = 1;
}

static void
execs(void)
{
	static char self[256]; /* the grader gives it a name */
	static char *argv[] = {self, "born", NULL};
	pid_t pid;

	must(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	pid = fork();
	if (pid == 0) {
		load_state(&shared->states[MINE]);
		t_call3(SYS_execve, (long)self, (long)argv, (long)environ);
		_exit(1);
	}
	must(status_of(pid) == 0);
}

static void
one_case(char what, int cpu)
{
	must(pin(cpu) == 0);
	ask((char)('0' + cpu));
	wait_for(answers[0]);
	handled = 0;
	handler_waits = what == 's';
	checkpoint(AT_CASE);
	switch (what) {
	case 'i':
		is_interrupted();
		break;
	case 'w':
		load_state(&shared->states[MINE]);
		meet();
		store_state(&shared->states[SEEN]);
		break;
	case 'x':
		execs();
		break;
	case 'f':
	case 'F':
		forks(cpu, what == 'F' ? !cpu : cpu);
		break;
	case 'm':
	case 'M':
		moves(cpu, what == 'M');
		break;
	case 'r':
		raises();
		break;
	case 's':
		is_signalled();
		break;
	default:
		_exit(98);
	}
	checkpoint(AT_DONE);
}

static void
cases(char *list)
{
	pid_t pid;

	must(pipe(commands) == 0 && pipe(answers) == 0 && pipe(start) == 0);
	must(nice(19) == 19); /* short turns */
	me = getpid();
	pid = fork();
	if (pid == 0)
		other();
	signal(SIGUSR1, handler);
	for (char *s = strtok(list, ","); s != NULL; s = strtok(NULL, ","))
		one_case(s[0], s[1] - '0');
	close(commands[1]);
	kill(pid, SIGKILL);
}

/* ---- What a program finds: the grader has it begin here, with not one instruction of the library before ---- */

struct state born_state = {.controls = {~0u, ~0u}}; /* in the file: it can be read wherever the program stands */

__attribute__((noipa, used)) void
born(void)
{
	KNOW_VECTORS();
	store_state(&born_state);
	checkpoint(AT_BORN);
	t_call(SYS_exit_group, 0, 0);
}

/* ---- Processes that hold their numbers ---- */

/* A while of user mode, in which no vector register is touched. */
__attribute__((noipa)) void
spin(long turns)
{
	while (turns-- > 0)
		__asm__ volatile("" : : : "memory");
}

static void
hold(int who)
{
	results[R_WHO] = who;
	must(pin(who & 1) == 0);
	if (__atomic_add_fetch(&shared->turns, 1, __ATOMIC_SEQ_CST) == HOLDERS)
		checkpoint(AT_HELD);
	while (shared->turns < HOLDERS)
		give_way();
	for (;;) {
		load_state(&shared->states[HOLD + who]);
		for (int i = 0; i < 4; i++) {
			spin(300);
			relax();
			t_call(SYS_sched_yield, 0, 0);
		}
	}
}

static void
gates(void)
{
	results[R_WIDE] = t_wide_vectors();
	run_ordinary_programs();
	checkpoint(AT_GATES);
}

int
main(int argc, char **argv)
{
	share();
	if (argc == 2 && strcmp(argv[1], "hold") == 0) {
		checkpoint(AT_HOLD);
		for (int i = 0; i < HOLDERS; i++) {
			if (fork() == 0)
				hold(i);
		}
		return wait(NULL) > 0;
	}
	if (argc < 4)
		return 2;
	if (argv[2][0] == '1')
		gates();
	cases(argv[3]);
	return 0;
}
