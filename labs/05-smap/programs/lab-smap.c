/*
 * The program behind the checks: it makes the kernel do what the grader then looks at from outside.
 *
 *	lab-smap doors CPU ACT ACT	gates; each way into the kernel on both CPUs; user copies on CPU
 *	lab-smap forged PLACE VALUE	kernel pointers that lead into user memory, on both CPUs
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/dev/vuln.h"
#include "user/lab/program.h"

#define PAGE  4096
#define CALLS 6
#define SPINS 6000000

enum { AT_GATES = 1, AT_CALLS, AT_TRAPS, AT_NMI, AT_NESTED, AT_SIGNAL, AT_REST, AT_FORGED, AT_KILLED, AT_STEP = 10,
       AT_ACT = 20, AT_END = 40 };
enum { R_HANDLERS = R_OWN, R_COPIES, R_SIGNAL, R_NESTED, R_ADDRESS, R_STATUS, R_STORED };

static char *region; /* a page that can be written, one that can be read, one that cannot */
static char name_too_long[2 * PAGE];
static int to_us[2], zero;

/*
 * The flag that opens user memory to the kernel, where user mode can set it: AC of x86_64.  Elsewhere
 * these do nothing.
 */
#if defined(__x86_64__)
#define BELOW_RED_ZONE(body) "lea -128(%%rsp), %%rsp\n\t" body "\n\tlea 128(%%rsp), %%rsp"

static void
open_flag(void)
{
	__asm__ volatile(BELOW_RED_ZONE("pushfq; orl $0x40000, (%%rsp); popfq") : : : "memory", "cc");
}

static void
close_flag(void)
{
	__asm__ volatile(BELOW_RED_ZONE("pushfq; andl $~0x40000, (%%rsp); popfq") : : : "memory", "cc");
}

static int
flag_is_open(void)
{
	long flags;

	__asm__ volatile(BELOW_RED_ZONE("pushfq; pop %0") : "=r"(flags) : : "memory");
	return !!(flags & 0x40000);
}

/* A debug exception, which comes by a way of its own. */
static void
one_step(void)
{
	__asm__ volatile(BELOW_RED_ZONE("pushfq; orl $0x100, (%%rsp); popfq; nop") : : : "memory", "cc");
}
#define FLAG_EXPECTED 1
#else
static void
open_flag(void)
{
}

static void
close_flag(void)
{
}

static int
flag_is_open(void)
{
	return 0;
}

static void
one_step(void)
{
}
#define FLAG_EXPECTED 0
#endif

static void *
fresh(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(3);
	return p;
}

/* ---- Acts: each takes one of the user copies, the later ones into a fault ---- */

enum { FROM, TO, CLEAR, STRING, EXCHANGE, STRING_LONG, FROM_FAULT, TO_FAULT, CLEAR_FAULT, STRING_FAULT, EXCHANGE_FAULT,
       ACTS };

static long
exchange(uint32_t *word)
{
	static uint32_t other;

	return syscall(SYS_futex, &other, FUTEX_WAKE_OP, 1, (void *)1, word, FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0));
}

static void
fill(size_t n)
{
	if (write(to_us[1], "twenty-four bytes of it!", n) != (ssize_t)n)
		_exit(3);
}

static void
drain(void)
{
	char scrap[64];

	if (read(to_us[0], scrap, sizeof(scrap)) < 0)
		_exit(3);
}

/* Whether it went as it must. */
static int
act(int which)
{
	char *end = region + 2 * PAGE, *hole = end;
	char buf[128];
	long n, m;

	switch (which) {
	case FROM:
		n = write(to_us[1], "twenty-four bytes of it!", 24);
		drain();
		return n == 24;
	case TO:
		fill(24);
		return read(to_us[0], buf, sizeof(buf)) == 24 && !memcmp(buf, "twenty-four bytes of it!", 24);
	case CLEAR:
		memset(buf, 1, sizeof(buf));
		n = read(zero, buf + 1, 101);
		m = 0;
		for (int i = 0; i < 128; i++)
			m += buf[i] == 0;
		return n == 101 && m == 101;
	case STRING:
		n = open("/etc/hostname", O_RDONLY);
		return n >= 0 && close((int)n) == 0;
	case EXCHANGE:
		*(uint32_t *)region = 7;
		return exchange((uint32_t *)region) == 0 && *(uint32_t *)region == 7;
	case STRING_LONG:
		return open(name_too_long, O_RDONLY) < 0 && errno == ENAMETOOLONG;
	case FROM_FAULT:
		return write(to_us[1], hole, 24) < 0 && errno == EFAULT;
	case TO_FAULT:
		fill(24);
		n = read(to_us[0], region + PAGE, 24); /* may not be written */
		m = errno;
		fill(1); /* whatever is left, there is something to drain */
		drain();
		return n < 0 && m == EFAULT && region[PAGE] == 0;
	case CLEAR_FAULT:
		memset(region + PAGE - 20, 1, 20);
		n = read(zero, region + PAGE - 20, 40);
		return n == 20 ? region[PAGE - 1] == 0 : n < 0 && errno == EFAULT;
	case STRING_FAULT:
		return open(hole, O_RDONLY) < 0 && errno == EFAULT;
	default:
		return exchange((uint32_t *)(region + PAGE)) < 0 && errno == EFAULT;
	}
}

static void
prepare(void)
{
	region = fresh(3 * PAGE);
	region[0] = 1;
	if (mprotect(region + PAGE, PAGE, PROT_READ) || mprotect(region + 2 * PAGE, PAGE, PROT_NONE) || pipe(to_us))
		_exit(3);
	zero = open("/dev/zero", O_RDONLY);
	memset(name_too_long, 'n', sizeof(name_too_long));
	name_too_long[0] = '/';
}

static volatile int handled;

static void
handler(int signo)
{
	handled += signo == SIGUSR1;
}

/* A handler on an alternate stack of which no page is there yet, or on the stack that is in use. */
static void
prepare_handler(int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
	stack_t stack = {.ss_sp = fresh(64 * PAGE), .ss_size = 64 * PAGE};

	handled = 0;
	sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &action, NULL);
}

/* 0: signals are handled, on either stack, and what was interrupted goes on. */
static long
handlers(void)
{
	volatile double kept = 3.0;

	for (int flags = 0; flags != 2 * SA_ONSTACK; flags += SA_ONSTACK) {
		prepare_handler(flags);
		for (int i = 0; i < 3; i++)
			raise(SIGUSR1);
		if (handled != 3)
			return 1;
	}
	return kept != 3.0;
}

static void
gates(void)
{
	run_ordinary_programs();
	results[R_HANDLERS] = handlers();
	for (int i = 0; i < ACTS; i++)
		results[R_COPIES] |= (long)!act(i) << i;
	checkpoint(AT_GATES);
}

/* ---- The ways in ---- */

static void
ignore(int signo)
{
	(void)signo;
}

static void
traps(void)
{
	struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
	volatile char *page = fresh(PAGE);

	setitimer(ITIMER_REAL, &often, NULL);
	open_flag();
	*page = 1;
	one_step();
	for (volatile int i = 0; i < SPINS; i++)
		continue;
	close_flag();
	setitimer(ITIMER_REAL, &never, NULL);
}

/* User copies that have to fetch their page, or to copy it. */
static void
nested(void)
{
	char *page = fresh(2 * PAGE), *shared = page + PAGE;
	int ready[2];
	pid_t pid;
	char c;

	*shared = 1;
	if (pipe(ready))
		_exit(3);
	pid = fork(); /* from now on the page is copied when it is written */
	if (pid == 0) {
		close(ready[1]);
		_exit(read(ready[0], &c, 1) == 0 ? 0 : 1);
	}
	fill(24);
	checkpoint(AT_NESTED);
	results[R_NESTED] = read(to_us[0], page + 100, 24) == 24 && !memcmp(page + 100, "twenty-four bytes of it!", 24) &&
			    exchange((uint32_t *)shared) == 0 && *shared == 1;
	close(ready[0]);
	close(ready[1]);
	status_of(pid);
}

static void
signals(void)
{
	prepare_handler(SA_ONSTACK);
	checkpoint(AT_SIGNAL);
	open_flag();
	raise(SIGUSR1);
	results[R_SIGNAL] = handled == 1 && flag_is_open() == FLAG_EXPECTED;
	close_flag();
}

static void
doors(int cpu)
{
	pin(cpu);
	checkpoint(AT_CALLS);
	open_flag();
	for (int i = 0; i < CALLS; i++)
		syscall(SYS_getppid);
	close_flag();
	checkpoint(AT_TRAPS);
	traps();
	open_flag();
	checkpoint(AT_NMI);
	close_flag();
	nested();
	signals();
	checkpoint(AT_REST);
}

/* ---- Forged objects ---- */

static struct vuln_object in_data = {(uint64_t *)1};

static void *
place(const char *where, void *on_stack)
{
	switch (*where) {
	case 's':
		return on_stack;
	case 'h':
		return malloc(sizeof(struct vuln_object));
	case 'm':
		return fresh(PAGE);
	default:
		return &in_data;
	}
}

static void
call(unsigned request, void *argument)
{
	int fd = open("/dev/vuln", O_RDWR);

	if (fd < 0 || ioctl(fd, request, argument) != 0)
		_exit(4);
	close(fd);
}

static void
forged_load(const char *where, uint64_t value)
{
	struct vuln_object on_stack, *fake = place(where, &on_stack);
	struct vuln_places places;
	struct vuln_set set = {0, 1};

	call(VULN_PLACES, &places);
	call(VULN_OBJECT_NEW, &set);
	set.value = 1;
	call(VULN_OBJECT_SET, &set);
	fake->slot = (uint64_t *)places.mark;
	results[R_ADDRESS] = (long)fake;
	set.handle = (uint64_t)fake;
	set.value = value;
	checkpoint(AT_FORGED);
	call(VULN_OBJECT_SET, &set);
}

static void
forged_store(volatile uint64_t *shared, uint64_t value)
{
	struct vuln_word word = {(uint64_t)shared, value};
	struct vuln_places places;

	call(VULN_PLACES, &places);
	call(VULN_WRITE, &(struct vuln_word){places.scratch, 1});
	*shared = 0; /* the page is there */
	results[R_ADDRESS] = (long)shared;
	checkpoint(AT_FORGED);
	open_flag();
	call(VULN_WRITE, &word);
	close_flag();
}

static void
forged(int cpu, const char *where, uint64_t value)
{
	volatile uint64_t *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	pin(!cpu);
	*shared = 0;
	for (int store = 0; store < 2; store++) {
		pid_t pid = fork();

		if (pid == 0) {
			pin(cpu);
			if (store)
				forged_store(shared, value);
			else
				forged_load(where, value);
			_exit(77);
		}
		results[R_STATUS] = status_of(pid);
		results[R_STORED] = (long)*shared;
		checkpoint(AT_KILLED);
	}
}

int
main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	signal(SIGALRM, SIG_IGN);
	signal(SIGTRAP, ignore);
	prepare();
	if (strcmp(argv[1], "doors") == 0) {
		gates();
		for (int cpu = 0; cpu < 2; cpu++)
			doors(cpu);
		pin(atoi(argv[2]));
		for (int i = 3; i < argc; i++) {
			checkpoint(AT_STEP);
			act(atoi(argv[i]));
		}
		for (int i = 0; i < ACTS; i++) {
			checkpoint(AT_ACT + i);
			act(i);
		}
	} else {
		for (int cpu = 0; cpu < 2; cpu++)
			forged(cpu, argv[2], strtoul(argv[3], NULL, 16));
	}
	checkpoint(AT_END);
	return 0;
}
