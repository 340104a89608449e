/*
 * The program behind the checks: a few processes do to the same pages what a script says, step by step.
 *
 *	lab-cow BASE gates STEP,STEP...
 *
 * A step is who acts, what is done, and to which page: "1w3".  The first process, 0, runs the script and has the others
 * act.  It stands in checkpoint() before the first step and after each, where the grader looks at everybody's pages;
 * its results are the processes' ids.  "gates" is 1 if what must go on working is to be tried first.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "user/lab/program.h"

#define PAGE	  4096
#define PROCESSES 4
#define STACK	  7 /* the page that the stack pointer is in at a fork by 'g' */

/* Pages from BASE on, as checks.py has them. */
enum { ANONYMOUS = 8, FILES = 12, PAGES = 14 };	/* up to here: private memory; a file's, writable; a file's, read only */
enum { AT_GATES = 1, AT_STEP };
enum { R_PIDS };		     /* at AT_STEP */

static char *base;
static int file;
static int steps[PROCESSES][2], done[2]; /* pipes: what a process is to do; that it has done it */
static struct shared {
	volatile pid_t pids[PROCESSES];
	volatile int parents[PROCESSES];
	volatile int running; /* the thread; it has to go */
	pid_t thread;	      /* the kernel makes it 0 when the thread has gone */
	char stack[PAGE] __attribute__((aligned(16)));
} *shared; /* among all of them */

static volatile long *
page(int number)
{
	return (volatile long *)(base + number * PAGE);
}

/* What private memory and the file hold before anybody writes. */
static long
first_value(int number)
{
	return 1000 + number;
}

static void
map(int from, int to, int prot, int flags)
{
	off_t at = flags & MAP_ANONYMOUS ? 0 : (from - ANONYMOUS) * PAGE;

	must(mmap(base + from * PAGE, (to - from) * PAGE, prot, MAP_PRIVATE | MAP_FIXED | flags,
		  flags & MAP_ANONYMOUS ? -1 : file, at) == base + from * PAGE);
}

static void
begin(void)
{
	map(0, ANONYMOUS, PROT_READ | PROT_WRITE, MAP_ANONYMOUS);
	for (int i = 0; i < ANONYMOUS; i++)
		*page(i) = first_value(i);
	map(ANONYMOUS, FILES, PROT_READ | PROT_WRITE, 0);
	map(FILES, PAGES, PROT_READ, 0);
}

/* ---- A thread that runs on the other CPU ---- */

static int cpu;

/*
 * Once there it reads and writes shared memory alone, which no fork changes: whether a thread goes by what its TLB
 * remembers is looked at from outside, and must not decide whether this program comes to its end.
 */
static int
spin(void *arg)
{
	struct shared *s = arg;

	must(pin(!cpu) == 0);
	s->running = 1;
	while (s->running) {
		for (volatile int i = 0; i < 2000; i++)
			continue;
		give_way();
	}
	return 0;
}

/* Not one of the C library's, whose stack and notes are private memory. */
static void
start_thread(void)
{
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
			  CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

	must(clone(spin, shared->stack + sizeof(shared->stack), flags, shared, &shared->thread, NULL, &shared->thread) > 0);
	while (!shared->running)
		give_way();
}

static void
end_thread(void)
{
	shared->running = 0;
	while (*(volatile pid_t *)&shared->thread != 0)
		give_way();
}

/* ---- Steps ---- */

/* fork, with the stack pointer in a page of its own that nobody writes to afterwards. */
static long
fork_on_page(void)
{
	char *top = (char *)page(STACK) + PAGE / 2;
#if defined(__x86_64__)
	long result;
	register long fourth __asm__("r10") = 0, fifth __asm__("r8") = 0;

	__asm__ volatile("mov %%rsp, %%r12\n\tmov %[top], %%rsp\n\tsyscall\n\tmov %%r12, %%rsp"
			 : "=a"(result)
			 : "a"((long)SYS_clone), "D"((long)SIGCHLD), "S"(0l), "d"(0l), "r"(fourth), "r"(fifth), [top] "r"(top)
			 : "rcx", "r11", "r12", "memory");
	return result;
#else
	register long nr __asm__("x8") = SYS_clone, result __asm__("x0") = SIGCHLD, second __asm__("x1") = 0;
	register long third __asm__("x2") = 0, fourth __asm__("x3") = 0, fifth __asm__("x4") = 0;

	__asm__ volatile("mov x19, sp\n\tmov sp, %[top]\n\tsvc #0\n\tmov sp, x19"
			 : "+r"(result)
			 : "r"(nr), "r"(second), "r"(third), "r"(fourth), "r"(fifth), [top] "r"(top)
			 : "x19", "memory");
	return result;
#endif
}

static void serve(int me) __attribute__((noreturn));

static void
fork_as(int me, int child, long (*how)(void))
{
	long pid;

	shared->parents[child] = me;
	pid = how();
	must(pid >= 0);
	if (pid == 0)
		serve(child);
	shared->pids[child] = (pid_t)pid;
}

static long
plain_fork(void)
{
	return fork();
}

/* The kernel writes for us. */
static void
read_into(volatile long *to, long value)
{
	int p[2];

	must(pipe(p) == 0 && write(p[1], &value, sizeof(value)) == sizeof(value));
	must(read(p[0], (void *)to, sizeof(value)) == sizeof(value));
	close(p[0]);
	close(p[1]);
}

/* What is written is the step's number. */
static void
act(int me, char what, int on, long number)
{
	volatile long *at = page(on);

	switch (what) {
	case 'f':
		fork_as(me, on, plain_fork);
		break;
	case 'g':
		fork_as(me, on, fork_on_page);
		break;
	case 'w':
		*at = number;
		break;
	case 'k':
		read_into(at, number);
		break;
	case 'r':
		(void)*at;
		break;
	case 'q':
		must(mprotect((void *)at, PAGE, PROT_READ) == 0);
		break;
	case 's':
		must(mprotect((void *)at, PAGE, PROT_READ | PROT_WRITE) == 0);
		break;
	case 'd':
		must(madvise((void *)at, PAGE, MADV_DONTNEED) == 0);
		break;
	case 'u':
		must(munmap((void *)at, PAGE) == 0);
		break;
	case 'l':
		must(mlock((void *)at, PAGE) == 0);
		break;
	case 'a':
		cpu = on;
		must(pin(cpu) == 0);
		break;
	case 't':
		start_thread();
		break;
	case 'e':
		end_thread();
		break;
	case 'z': /* its child `on` has ended, or will now */
		must(waitpid(shared->pids[on], NULL, 0) == shared->pids[on]);
		shared->pids[on] = 0;
		break;
	case '.':
		begin();
		break;
	default:
		_exit(98);
	}
}

struct step {
	char what;
	int on;
	long number;
};

static void
serve(int me)
{
	struct step s;

	while (read(steps[me][0], &s, sizeof(s)) == sizeof(s) && s.what != 'x') {
		act(me, s.what, s.on, s.number);
		must(write(done[1], "", 1) == 1);
	}
	_exit(0);
}

static void
have_act(int who, struct step s)
{
	char byte;

	if (who == 0) {
		act(0, s.what, s.on, s.number);
		return;
	}
	must(write(steps[who][1], &s, sizeof(s)) == sizeof(s));
	if (s.what == 'x') /* its parent sees it end */
		have_act(shared->parents[who], (struct step){'z', who, 0});
	else
		must(read(done[0], &byte, 1) == 1);
}

static void
look(void)
{
	const struct timespec moment = {0, 50000};

	nanosleep(&moment, NULL); /* meanwhile all others come to rest */
	for (int i = 0; i < PROCESSES; i++)
		results[R_PIDS + i] = shared->pids[i];
	checkpoint(AT_STEP);
}

static void
gates(void)
{
	run_ordinary_programs();
	checkpoint(AT_GATES);
}

/* A file with a word in each of its pages. */
static void
make_file(void)
{
	int fd = open("/tmp/pages", O_RDWR | O_CREAT, 0600);

	for (int i = ANONYMOUS; i < PAGES; i++) {
		long value = first_value(i);

		must(pwrite(fd, &value, sizeof(value), (i - ANONYMOUS) * PAGE) == sizeof(value));
	}
	must(ftruncate(fd, (PAGES - ANONYMOUS) * PAGE) == 0);
	close(fd);
	file = open("/tmp/pages", O_RDONLY);
	must(file >= 0);
}

int
main(int argc, char **argv)
{
	long number = 0;

	if (argc < 4)
		return 2;
	base = (char *)strtoul(argv[1], NULL, 16);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared != MAP_FAILED && pipe(done) == 0);
	for (int i = 0; i < PROCESSES; i++)
		must(pipe(steps[i]) == 0);
	if (strcmp(argv[2], "1") == 0)
		gates();
	make_file();
	shared->pids[0] = getpid();
	begin();
	look();
	for (char *s = strtok(argv[3], ","); s != NULL; s = strtok(NULL, ",")) {
		have_act(s[0] - '0', (struct step){s[1], (int)strtol(s + 2, NULL, 16), ++number});
		look();
	}
	return 0;
}
