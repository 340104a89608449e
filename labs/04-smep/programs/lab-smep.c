/*
 * The program behind the checks: it works on both CPUs, asks what only the kernel should know, and has hijacked pointers
 * lead the kernel to its own pages.
 *
 *	lab-smep doors		gates; processes, programs and signals come and go on both CPUs; then the leaks
 *	lab-smep jumps SEED CPU...	on each CPU named a hijacked pointer, to code of a kind that SEED draws
 *	lab-smep writes CPU...	on each CPU named a call of /dev/vuln, in which the grader plays the attacker
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h).
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kernel/dev/vuln.h"
#include "user/lab/program.h"

#define PAGE 4096ul
#define RX   (PROT_READ | PROT_EXEC)

enum { AT_GATES = 1, AT_WORK, AT_REST, AT_LEAKS, AT_JUMP, AT_ACT, AT_KILLED, AT_END };
enum { R_HANDLED = R_OWN, R_READ };	/* doors; R_READ: of what may be read, whether it was */
enum { R_ENDED = 8 };					/* from here on: how each leak ended */
enum { R_ADDRESS, R_STATUS };				/* jumps, writes */

static void
gates(void)
{
	run_ordinary_programs();
	checkpoint(AT_GATES);
}

/* ---- Processes, programs, signals ---- */

static volatile int handled;

static void
on_signal(int number)
{
	handled += number == SIGUSR1;
}

static void *
nap(void *arg)
{
	usleep(50);
	return arg;
}

static void
work(int cpu)
{
	char *program[] = {"/bin/busybox", "true", NULL};

	signal(SIGUSR1, on_signal);
	handled = 0;
	for (int i = 0; i < 4; i++) {
		pthread_t thread;
		pid_t pid;

		if (pthread_create(&thread, NULL, nap, NULL))
			_exit(3);
		pid = fork();
		if (pid == 0) {
			pin(i & 1 ? !cpu : cpu);
			raise(SIGUSR1);
			_exit((int)run(program));
		}
		raise(SIGUSR1);
		if (status_of(pid) || pthread_join(thread, NULL))
			_exit(3);
	}
	results[R_HANDLED] = handled;
}

/* ---- What only the kernel should know ---- */

static volatile uint64_t got[2];

#if defined(__x86_64__)
static void leak_idt(void) { __asm__ volatile("sidt %0" : "=m"(got)); }
static void leak_gdt(void) { __asm__ volatile("sgdt %0" : "=m"(got)); }
static void leak_ldt(void) { __asm__ volatile("sldt %0" : "=m"(got)); }
static void leak_task(void) { __asm__ volatile("str %0" : "=m"(got)); }
static void leak_state(void) { __asm__ volatile("smsw %0" : "=m"(got)); }

static void (*const leaks[])(void) = {leak_idt, leak_gdt, leak_ldt, leak_task, leak_state};

static void
legal(void)
{
	uint16_t selector;

	__asm__ volatile("mov %%cs, %0" : "=r"(selector));
	got[0] = selector;
}
#else
static void leak_mask(void) { uint64_t v; __asm__ volatile("mrs %0, daif" : "=r"(v)); got[0] = v; }
static void set_mask(void) { __asm__ volatile("msr daifclr, #2"); }
static void leak_counter(void) { uint64_t v; __asm__ volatile("mrs %0, cntpct_el0" : "=r"(v)); got[0] = v; }
static void leak_cycles(void) { uint64_t v; __asm__ volatile("mrs %0, pmccntr_el0" : "=r"(v)); got[0] = v; }

static void (*const leaks[])(void) = {leak_mask, set_mask, leak_counter, leak_cycles};

static void
legal(void)
{
	uint64_t v;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
	got[0] = v;
}
#endif

#define LEAKS (sizeof(leaks) / sizeof(leaks[0]))

static void
try_leaks(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		legal();
		_exit(0);
	}
	results[R_READ] = status_of(pid);
	for (unsigned i = 0; i < LEAKS; i++) {
		pid = fork();
		if (pid == 0) {
			leaks[i]();
			_exit(0);
		}
		results[R_ENDED + i] = status_of(pid);
	}
}

/* ---- Hijacked pointers ---- */

/* Runs at the address of a page of its own; what it does is of no interest. */
__attribute__((noinline, aligned(4096))) static void
payload(void)
{
	__asm__ volatile("nop");
}

/* A page that may be executed: the program's own, a file's, a shared one. */
static uint64_t
code_page(unsigned kind)
{
	int fd = memfd_create("code", 0);
	void *page;

	if (kind == 0)
		return (uint64_t)payload;
	if (fd < 0 || write(fd, (const void *)payload, PAGE) != (ssize_t)PAGE)
		_exit(3);
	page = mmap(NULL, PAGE, RX, kind == 1 ? MAP_PRIVATE : MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		_exit(3);
	return (uint64_t)page;
}

static void
jump(int fd, const struct vuln_places *places, uint64_t address)
{
	struct vuln_call call = {places->mark, 0};
	struct vuln_word word = {places->handler, address};

	if (ioctl(fd, VULN_CALL, &call)) /* the legal act */
		_exit(4);
	(void)*(volatile char *)address; /* it is there: what is refused is the instruction */
	checkpoint(AT_ACT);
	ioctl(fd, VULN_WRITE, &word);
	ioctl(fd, VULN_CALL, &call);
	_exit(77);
}

static void
act(int jumps, unsigned kind)
{
	struct vuln_places places;
	int fd = open("/dev/vuln", O_RDWR);
	struct vuln_word back;
	pid_t pid;

	if (fd < 0 || ioctl(fd, VULN_PLACES, &places))
		_exit(4);
	results[R_ADDRESS] = jumps ? (long)code_page(kind) : 0;
	checkpoint(AT_JUMP);
	pid = fork();
	if (pid == 0) {
		if (jumps)
			jump(fd, &places, (uint64_t)results[R_ADDRESS]);
		checkpoint(AT_ACT);
		ioctl(fd, VULN_PLACES, &places);
		_exit(0);
	}
	results[R_STATUS] = status_of(pid);
	back = (struct vuln_word){places.handler, places.victim};
	ioctl(fd, VULN_WRITE, &back);
	close(fd);
	checkpoint(AT_KILLED);
}

int
main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	if (strcmp(argv[1], "doors") == 0) {
		gates();
		for (int cpu = 0; cpu < 2; cpu++) {
			pin(cpu);
			checkpoint(AT_WORK);
			work(cpu);
			pin(cpu);
			checkpoint(AT_REST);
			try_leaks();
			checkpoint(AT_LEAKS);
		}
	} else {
		int jumps = strcmp(argv[1], "jumps") == 0;
		unsigned kind = jumps ? (unsigned)atoi(argv[2]) : 0;

		for (int i = jumps ? 3 : 2; i < argc; i++) {
			pin(atoi(argv[i]));
			act(jumps, kind++ % 3);
		}
	}
	checkpoint(AT_END);
	return 0;
}
