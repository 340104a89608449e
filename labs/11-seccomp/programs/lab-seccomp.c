/*
 * The program behind the checks: a worker gives system calls up in every way there is, and then makes them.
 *
 *	lab-seccomp holds CALL OTHER SECOND ERRNO CPU FROM	what it gave up, who has it from it, who runs already
 *	lab-seccomp answers CALL OTHER SECOND ERRNO CPU FROM	several filters, other numbers, strict mode, bad programs
 *	lab-seccomp try CALL OTHER SECOND ERRNO CPU FROM	another program that the worker becomes
 *
 * CALL, OTHER and SECOND are places in `calls`: what is given up, what never is, what is given up later.  The grader
 * stops it before and after each of its phases, and where it reaches the functions behind these calls in between.
 * Phases before FROM are left out, and with any of them what is no phase.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "user/lab/program.h"

#define PR_SET_SYSCALL_MASK 0x52414d51
#define PR_GET_SYSCALL_MASK 0x52414d52
#define MASK_WORDS	    8
#define HIGH_HALF	    (1l << 32)
#define NO_CALL	    9999 /* beyond every table's end */
#define SIGN		    (1l << 63)
#define X32_BIT		    0x40000000l
#define TRIES		    8
#define STACK		    65536

enum { AT_GATES = 1, AT_PHASE = 10 }; /* two for each phase */
enum { R_STATUS, R_TRIES, R_WRONG, R_SIGNALS, R_ANSWERS = 8 }; /* where a phase ends */

/* Nobody needs them to begin, to end or to wait; with these arguments they do nothing.  checks.py has the same. */
static const long calls[] = {SYS_mkdirat, SYS_symlinkat, SYS_pipe2, SYS_memfd_create, SYS_epoll_create1,
			     SYS_sysinfo, SYS_fchdir, SYS_times, SYS_getpriority, SYS_setxattr};

static long forbidden, other, second, error;
static int cpu;
static char **arguments;

/* What all processes of a phase see. */
static volatile struct {
	long status;
	int tries;
	long answers[TRIES]; /* errno of each try, or 0 */
	int wrong, signals;
	int ready, go;
} *shared;

/* With all 64 bits of its number, of which the C library passes 32 on aarch64.  errno, or 0. */
static long
call(long number)
{
	long result;
#if defined(__x86_64__)
	register long fourth __asm__("r10") = 0;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(-1l), "S"(0l), "d"(0l), "r"(fourth)
			 : "rcx", "r11", "memory");
#else
	register long nr __asm__("x8") = number, first __asm__("x0") = -1, second_one __asm__("x1") = 0;
	register long third __asm__("x2") = 0, fourth __asm__("x3") = 0;

	__asm__ volatile("svc #0" : "+r"(first) : "r"(nr), "r"(second_one), "r"(third), "r"(fourth) : "memory");
	result = first;
#endif
	return result < 0 && result >= -4095 ? -result : 0;
}

/* ---- Trying ---- */

static void
try_number(long number)
{
	int i = shared->tries++;

	shared->answers[i] = call(number);
}

static void
attempt(void)
{
	call(other);
	try_number(forbidden);
}

static int
attempt_child(void *arg)
{
	(void)arg;
	attempt();
	return 0;
}

static void *
attempt_thread(void *arg)
{
	attempt();
	return arg;
}

static void
in_child(void (*act)(void))
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		act();
		_exit(0);
	}
	status_of(pid);
}

static void
in_grandchild(void)
{
	in_child(attempt);
}

static void *
fork_thread(void *arg)
{
	in_child(attempt);
	return arg;
}

static void
in_thread(void *(*act)(void *))
{
	pthread_t t;

	must(pthread_create(&t, NULL, act, NULL) == 0);
	pthread_join(t, NULL);
}

static void
in_program(void)
{
	arguments[1] = "try";
	execv(arguments[0], arguments);
	_exit(98);
}

/* The program's answer is its exit code: it has no memory in common with this one. */
static void
become_program(void)
{
	int i = shared->tries++;
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		in_program();
	shared->answers[i] = status_of(pid) == 0 ? error : 1;
}

static void *
become_program_thread(void *arg)
{
	become_program();
	return arg;
}

static void
by_vfork(void)
{
	static char stack[STACK] __attribute__((aligned(16)));

	must(clone(attempt_child, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL) > 0);
	wait(NULL);
}

enum { ITSELF, CHILD, GRANDCHILD, VFORK, THREAD, THREADS_CHILD, PROGRAM, THREADS_PROGRAM, WAYS };

static void
attempt_by(int way)
{
	switch (way) {
	case ITSELF:
		attempt();
		break;
	case CHILD:
		in_child(attempt);
		break;
	case GRANDCHILD:
		in_child(in_grandchild);
		break;
	case VFORK:
		by_vfork();
		break;
	case THREAD:
		in_thread(attempt_thread);
		break;
	case THREADS_CHILD:
		in_thread(fork_thread);
		break;
	case PROGRAM:
		become_program();
		break;
	case THREADS_PROGRAM:
		in_thread(become_program_thread);
		break;
	}
}

/* ---- Giving up ---- */

static void
take(struct sock_filter *code, unsigned short n, int sync)
{
	struct sock_fprog program = {n, code};

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, sync ? SECCOMP_FILTER_FLAG_TSYNC : 0, &program) == 0);
}

static void
answer_call(long number, uint32_t answer, int sync)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	take(code, 4, sync);
}

/* The filter of most phases. */
static void
refuse(void)
{
	answer_call(forbidden, SECCOMP_RET_ERRNO | (uint32_t)error, 0);
}

static void
allow_all(void)
{
	struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};

	take(code, 1, 0);
}

/* Only with that first argument. */
static void
refuse_argument(uint32_t low)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)forbidden, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, low, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	take(code, 6, 0);
}

/* Every call but these two; -1 is none. */
static void
mask_out(long one, long two)
{
	uint64_t mask[MASK_WORDS];

	memset(mask, 0xff, sizeof(mask));
	if (one >= 0)
		mask[one / 64] &= ~(1ul << one % 64);
	if (two >= 0)
		mask[two / 64] &= ~(1ul << two % 64);
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	prctl(PR_SET_SYSCALL_MASK, mask, sizeof(mask), 0, 0);
}

/* ---- Phases ---- */

static int phase, first_phase;

/* A phase that nobody asks for. */
static int
left_out(void)
{
	return phase < first_phase && ++phase;
}

/* Where the grader begins to look at the next phase, and what the last one left behind is gone. */
static void
begin(void)
{
	memset((void *)shared, 0, sizeof(*shared));
	checkpoint(AT_PHASE + 2 * phase);
}

static void
end(long status)
{
	results[R_STATUS] = status;
	results[R_TRIES] = shared->tries;
	results[R_WRONG] = shared->wrong;
	results[R_SIGNALS] = shared->signals;
	for (int i = 0; i < TRIES; i++)
		results[R_ANSWERS + i] = shared->answers[i];
	checkpoint(AT_PHASE + 2 * phase + 1);
	phase++;
}

/* A worker of its own for what follows: `if (worker(CPU)) { ...; done(); }`. */
static pid_t pid_of_worker;

static int
worker(int on)
{
	if (left_out())
		return 0;
	begin();
	pid_of_worker = fork();
	if (pid_of_worker == 0) {
		must(pin(on) == 0);
		return 1;
	}
	end(status_of(pid_of_worker));
	return 0;
}

static void __attribute__((noreturn))
done(void)
{
	_exit(0);
}

/* A thread that is there when something is given up: it spins in user mode on the other CPU, or sleeps in a call. */
static int slept[2];

static void *
spin(void *arg)
{
	must(pin(1 - cpu) == 0);
	shared->ready = 1;
	while (!shared->go)
		relax();
	attempt();
	try_number(second);
	return arg;
}

static void *
sleep_in_read(void *arg)
{
	char byte;

	shared->ready = 1;
	must(read(slept[0], &byte, 1) == 1);
	attempt();
	try_number(second);
	return arg;
}

static void *
synchronise(void *arg)
{
	answer_call(second, SECCOMP_RET_ERRNO | ((uint32_t)error - 1), 1);
	return arg;
}

/* act, while that thread is there; then it tries. */
static void
meanwhile(void *(*thread)(void *), void (*act)(void))
{
	pthread_t t;

	must(pipe(slept) == 0 && pthread_create(&t, NULL, thread, NULL) == 0);
	while (!shared->ready)
		give_way();
	if (thread == sleep_in_read) /* it is at its read, or just before it */
		give_way();
	act();
	shared->go = 1;
	must(write(slept[1], "!", 1) == 1);
	pthread_join(t, NULL);
}

static void
mask_both(void)
{
	mask_out(forbidden, second);
}

static void
refuse_both_everywhere(void)
{
	answer_call(forbidden, SECCOMP_RET_ERRNO | (uint32_t)error, 1);
	answer_call(second, SECCOMP_RET_ERRNO | ((uint32_t)error - 1), 1);
}

static void
synchronise_from_thread(void)
{
	in_thread(synchronise);
}

static void
free_ones(void)
{
	for (int i = 0; i < 2; i++)
		if (worker(i)) {
			attempt();
			try_number(forbidden | HIGH_HALF);
			try_number(NO_CALL);
			done();
		}
}

static void
holds(void)
{
	free_ones();
	for (int i = 0; i < 2; i++)
		if (worker(i)) {
			allow_all();
			refuse();
			for (int n = 0; n < 3; n++)
				attempt();
			done();
		}
	if (worker(cpu)) { /* it moves */
		refuse();
		attempt();
		must(pin(1 - cpu) == 0);
		attempt();
		done();
	}
	if (worker(cpu)) {
		refuse_argument(0x1234);
		call(other);
		shared->answers[0] = syscall(forbidden, 0x1234, 0l, 0l, 0l) < 0 ? errno : 0;
		shared->answers[1] = call(forbidden);
		shared->tries = 2;
		done();
	}
	for (int way = CHILD; way < WAYS; way++)
		if (worker(cpu)) {
			refuse();
			attempt_by(way);
			done();
		}
	for (int way = CHILD; way < WAYS; way++)
		if (worker(cpu)) {
			mask_out(forbidden, -1);
			attempt_by(way);
			done();
		}
	if (worker(1 - cpu)) { /* nobody gave up anything here */
		attempt();
		done();
	}
	for (int i = 0; i < 2; i++)
		if (worker(i)) {
			mask_out(forbidden, -1);
			attempt();
			done();
		}
	if (worker(cpu)) { /* neither comes back with a later mask */
		mask_out(forbidden, -1);
		mask_out(second, -1);
		mask_out(-1, -1);
		call(other);
		in_child(attempt);
		try_number(second);
		done();
	}
	if (worker(cpu)) { /* a filter does not ask for less */
		mask_out(forbidden, -1);
		allow_all();
		attempt();
		done();
	}
	if (worker(cpu)) {
		meanwhile(spin, mask_both);
		done();
	}
	if (worker(cpu)) {
		meanwhile(sleep_in_read, mask_both);
		done();
	}
	if (worker(cpu)) {
		meanwhile(spin, refuse_both_everywhere);
		done();
	}
	if (worker(cpu)) {
		meanwhile(sleep_in_read, refuse_both_everywhere);
		done();
	}
	for (int i = 0; i < 2; i++)
		if (worker(i)) { /* a second thread adds one for all */
			cpu = i; /* and the one that spins is on the other */
			refuse();
			meanwhile(spin, synchronise_from_thread);
			attempt();
			try_number(second);
			done();
		}
}

/* ---- Several filters ---- */

static volatile int trapped;

static void
on_sigsys(int signo)
{
	(void)signo;
	trapped = 1;
}

static void
several(void)
{
	const uint32_t fails = SECCOMP_RET_ERRNO | (uint32_t)error, fails_too = fails - 1;

	if (worker(cpu)) {
		refuse();
		allow_all();
		attempt();
		done();
	}
	if (worker(cpu)) {
		allow_all();
		refuse();
		in_child(attempt);
		done();
	}
	if (worker(cpu)) { /* of equals the newest */
		answer_call(forbidden, fails_too, 0);
		refuse();
		attempt();
		done();
	}
	if (worker(cpu)) {
		allow_all();
		allow_all();
		refuse();
		allow_all();
		answer_call(forbidden, SECCOMP_RET_LOG, 0);
		in_child(in_grandchild);
		attempt();
		done();
	}
	for (int i = 0; i < 4; i++)
		if (worker(cpu)) { /* both orders, of each of the two that kill */
			uint32_t kills = i & 1 ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_KILL_THREAD;

			answer_call(forbidden, i & 2 ? kills : fails, 0);
			answer_call(forbidden, i & 2 ? fails : kills, 0);
			attempt();
			done();
		}
	if (worker(cpu)) { /* an error is milder than a signal */
		signal(SIGSYS, on_sigsys);
		answer_call(forbidden, SECCOMP_RET_TRAP, 0);
		refuse();
		attempt();
		shared->signals = trapped;
		done();
	}
}

/* ---- Other numbers for the same call ---- */

static void
numbers(void)
{
	static const long bits[] = {HIGH_HALF, SIGN, SIGN | HIGH_HALF, 0x7ffffffful << 32};

	if (worker(cpu)) {
		refuse();
		call(other | HIGH_HALF);
		for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
			try_number(forbidden | bits[i]);
		done();
	}
	if (worker(cpu)) { /* no call at all */
		refuse();
		call(other);
		try_number(forbidden | X32_BIT);
		done();
	}
	for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		if (worker(cpu)) {
			mask_out(forbidden, -1);
			call(other | HIGH_HALF);
			try_number(forbidden | bits[i]);
			done();
		}
}

/* ---- Strict mode ---- */

static int channel[2], back[2];

static void
count(int signo)
{
	(void)signo;
	trapped++;
}

/* read, write, a signal, exit: no call but these four, so none of the C library's either. */
static void
strict_life(void)
{
	char byte;
	pid_t pid;

	if (left_out())
		return;
	begin();
	must(pipe(channel) == 0 && pipe(back) == 0);
	trapped = 0;
	signal(SIGUSR1, count);
	pid = fork();
	if (pid == 0) {
		pin(cpu);
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
		(void)!write(back[1], "!", 1);
		while (read(channel[0], &byte, 1) != 1)
			;
		shared->signals = trapped;
		syscall(SYS_exit, 7);
	}
	must(read(back[0], &byte, 1) == 1);
	kill(pid, SIGUSR1);
	must(write(channel[1], "!", 1) == 1);
	end(status_of(pid));
}

static void
strict(void)
{
	strict_life();
	if (worker(cpu)) {
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
		try_number(forbidden);
		syscall(SYS_exit, 0);
	}
	if (worker(cpu)) { /* nor does a child of strict mode come to be */
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
		if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0)
			try_number(forbidden);
		syscall(SYS_exit, 0);
	}
}

/* ---- Programs for the checker ---- */

#define LD(k)	       BPF_STMT(BPF_LD | BPF_W | BPF_ABS, k)
#define MEM(k)	       BPF_STMT(BPF_LD | BPF_MEM, k)
#define MEMX(k)	       BPF_STMT(BPF_LDX | BPF_MEM, k)
#define ST(k)	       BPF_STMT(BPF_ST, k)
#define STX(k)	       BPF_STMT(BPF_STX, k)
#define ALU(op, k)     BPF_STMT(BPF_ALU | BPF_##op | BPF_K, k)
#define ALUX(op)       BPF_STMT(BPF_ALU | BPF_##op | BPF_X, 0)
#define JA(k)	       BPF_STMT(BPF_JMP | BPF_JA, k)
#define IF(op, jt, jf) BPF_JUMP(BPF_JMP | BPF_##op | BPF_K, 0, jt, jf)
#define IFX(op)	       BPF_JUMP(BPF_JMP | BPF_##op | BPF_X, 0, 0, 0)
#define CODE(...)      {__VA_ARGS__}, sizeof((struct sock_filter[]){__VA_ARGS__}) / sizeof(struct sock_filter)

/* Programs' middles: what follows is a return.  checks.py has a name for each. */
static const struct middle {
	struct sock_filter code[48];
	unsigned n;
	int good;
} operands[] = {
	{CODE(LD(64)), 0},
	{CODE(LD(0xfffffffc)), 0},
	{CODE(LD(2)), 0},
	{CODE(ST(16)), 0},
	{CODE(STX(0xffffffff)), 0},
	{CODE(ST(0), MEM(16)), 0},
	{CODE(ST(0), MEMX(0x10000)), 0},
	{CODE(ALU(DIV, 0)), 0},
	{CODE(ALU(LSH, 32)), 0},
	{CODE(ALU(RSH, 32)), 0},
	{CODE(JA(1)), 0},
	{CODE(JA(0xffffffff)), 0},
	{CODE(IF(JEQ, 1, 0)), 0},
	{CODE(IF(JGT, 0, 1)), 0},
	{CODE(IF(JSET, 0, 255)), 0},
	{CODE(BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0)), 0},
	{CODE(BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0)), 0},
	{CODE(BPF_STMT(0xffff, 0)), 0},
	{CODE(LD(60), LD(0), ST(15), MEM(15), STX(0), MEMX(0)), 1},
	{CODE(ALU(LSH, 31), ALU(RSH, 31), ALU(DIV, 1), ALU(ADD, 1), ALU(SUB, 1), ALU(MUL, 2), ALU(OR, 1), ALU(AND, 1),
	      ALU(XOR, 1), ALUX(ADD), ALUX(SUB), ALUX(MUL), ALUX(OR), ALUX(AND), ALUX(XOR), ALUX(LSH), ALUX(RSH),
	      ALUX(DIV), BPF_STMT(BPF_ALU | BPF_NEG, 0), BPF_STMT(BPF_MISC | BPF_TAX, 0),
	      BPF_STMT(BPF_MISC | BPF_TXA, 0)), 1},
	{CODE(JA(0), IF(JEQ, 1, 1), JA(0), IF(JGT, 0, 0), IF(JGE, 0, 0), IF(JSET, 0, 0), IFX(JEQ), IFX(JGT), IFX(JGE),
	      IFX(JSET)), 1},
	{CODE(BPF_STMT(BPF_LD | BPF_IMM, 1), BPF_STMT(BPF_LDX | BPF_IMM, 1), BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
	      BPF_STMT(BPF_LDX | BPF_W | BPF_LEN, 0), IF(JEQ, 0, 1), BPF_STMT(BPF_RET | BPF_A, 0)), 1},
}, scratch[] = {
	{CODE(MEM(3)), 0},
	{CODE(MEMX(3)), 0},
	{CODE(ST(2), MEM(3)), 0},
	{CODE(IF(JEQ, 1, 0), ST(3), MEM(3)), 0},
	{CODE(IF(JEQ, 0, 1), ST(3), MEM(3)), 0},
	{CODE(JA(1), ST(3), MEM(3)), 0},
	{CODE(IF(JGT, 0, 2), ST(3), JA(1), ST(4), MEM(3)), 0},
	{CODE(IF(JGT, 0, 2), ST(3), JA(1), STX(4), MEMX(4)), 0},
	{CODE(IF(JEQ, 4, 0), IF(JGT, 1, 0), ST(3), ST(4), JA(1), ST(3), MEM(3)), 0},
	{CODE(ST(3), MEM(3), STX(4), MEMX(4), MEM(4)), 1},
	{CODE(ST(3), IF(JEQ, 0, 1), ST(4), MEM(3)), 1},
	{CODE(IF(JGE, 0, 2), ST(3), JA(1), STX(3), MEM(3)), 1},
	{CODE(IF(JEQ, 4, 0), IF(JGT, 1, 0), ST(4), ST(3), JA(1), ST(3), MEM(3)), 1},
};

/* What the kernel says of a program that comes to its middle only where a call is made that nobody makes. */
static int
is_taken(const struct middle *m)
{
	struct sock_filter code[64] = {
		LD(offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)forbidden, 0, (unsigned char)m->n),
	};
	struct sock_fprog program = {(unsigned short)(m->n + 3), code};

	memcpy(code + 2, m->code, m->n * sizeof(code[0]));
	code[m->n + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 ? 1 : errno == EINVAL ? 0 : 2;
}

static void
programs(const struct middle *m, unsigned n)
{
	if (left_out())
		return;
	begin();
	for (unsigned i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(is_taken(&m[i]));
		if (status_of(pid) != m[i].good)
			shared->wrong |= 1 << i;
	}
	end(0);
}

static void
answers(void)
{
	several();
	numbers();
	strict();
	programs(operands, sizeof(operands) / sizeof(operands[0]));
	programs(scratch, sizeof(scratch) / sizeof(scratch[0]));
}

static void
gates(void)
{
	run_ordinary_programs();
	checkpoint(AT_GATES);
}

int
main(int argc, char **argv)
{
	if (argc != 8)
		return 2;
	arguments = argv;
	forbidden = calls[atoi(argv[2])];
	other = calls[atoi(argv[3])];
	second = calls[atoi(argv[4])];
	error = atoi(argv[5]);
	cpu = atoi(argv[6]);
	first_phase = atoi(argv[7]);
	if (strcmp(argv[1], "try") == 0) {
		call(other);
		return call(forbidden) == error ? 0 : 1;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 3;
	if (strcmp(argv[1], "holds") == 0) {
		if (first_phase == 0)
			gates();
		holds();
	} else {
		answers();
	}
	return 0;
}
