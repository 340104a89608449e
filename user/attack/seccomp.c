/*
 * A compromised worker.  It has confined itself as its authors thought right, and then an attacker
 * runs in it, who wants a file: by another number, in a child, in a thread, in another program, and
 * at last as he is.
 */
#include "user/attack/attack.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECRET "/etc/shadow"
#define PR_RAMPART_SET_SYSCALL_MASK 0x52414d51
#define PR_RAMPART_GET_SYSCALL_MASK 0x52414d52

#if defined(__x86_64__)
#define ARCH_HERE AUDIT_ARCH_X86_64
#else
#define ARCH_HERE AUDIT_ARCH_AARCH64
#endif

/* What the attacker came for: whoever judges looks here. */
char attack_secret[16];

static int channel[2]; /* children tell what they got */

/* Numbers of calls that open files; x86_64 has more of them. */
static const int opens[] = {
	SYS_openat, 437, /* openat2 */
#if defined(__x86_64__)
	SYS_open, SYS_creat,
#endif
};
#define OPENS (sizeof(opens) / sizeof(opens[0]))

static void
confine_by_filter(void)
{
	struct sock_filter code[5 + 2 * OPENS + 1] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH_HERE, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		/* The bit that marks x32's numbers. */
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~0x40000000u),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
	size_t n = 5;

	for (size_t i = 0; i < OPENS; i++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)opens[i], 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	}
	code[n] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		give_up("the worker's filter is not accepted");
}

static void
confine_by_mask(void)
{
	uint64_t mask[8];

	if (prctl(PR_RAMPART_GET_SYSCALL_MASK, mask, sizeof(mask), 0, 0) < 0)
		give_up("the kernel knows no mask");
	for (size_t i = 0; i < OPENS; i++)
		mask[opens[i] / 64] &= ~(1ull << opens[i] % 64);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_RAMPART_SET_SYSCALL_MASK, mask, sizeof(mask), 0, 0) < 0)
		give_up("the worker's mask is not accepted");
}

/* With all 64 bits of the number, of which the C library passes on 32 on aarch64. */
static long
call(long number, long first, const void *second, long third)
{
#if defined(__aarch64__)
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = first, x2 __asm__("x2") = third;
	register const void *x1 __asm__("x1") = second;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
#else
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second), "d"(third)
			 : "rcx", "r11", "memory");
	return result;
#endif
}

/* Opens the file by that number, and sends what it reads. */
static void
steal(long number)
{
	char bytes[sizeof(attack_secret)];
	int fd = (int)call(number, AT_FDCWD, SECRET, O_RDONLY);

	if (fd >= 0 && read(fd, bytes, sizeof(bytes)) == sizeof(bytes))
		(void)!write(channel[1], bytes, sizeof(bytes));
}

static void
as_it_is(void)
{
	steal(SYS_openat);
}

static void
by_another_number(void)
{
	steal(SYS_openat | 0x40000000);
	steal(SYS_openat | 1l << 32);
}

static void *
thread(void *arg)
{
	steal(SYS_openat);
	return arg;
}

static void
in_a_thread(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, thread, NULL) == 0)
		pthread_join(t, NULL);
}

static void
in_another_program(void)
{
	dup2(channel[1], 1);
	execl("/bin/busybox", "cat", SECRET, (char *)NULL);
}

/* True if somebody sent the file. */
static int
arrived(void)
{
	char bytes[sizeof(attack_secret)];

	fcntl(channel[0], F_SETFL, O_NONBLOCK);
	if (read(channel[0], bytes, sizeof(bytes)) != sizeof(bytes))
		return 0;
	memcpy(attack_secret, bytes, sizeof(bytes));
	return 1;
}

/* The worker's child tries; true if it got the file. */
static int
child_gets_it(void (*how)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		how();
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	return arrived();
}

static void
run_confined(void (*confine)(void))
{
	static void (*const ways[])(void) = { by_another_number, as_it_is, in_a_thread, in_another_program };
	char line[16];
	int fd;

	step("legal: the worker opens what it needs, confines itself, and goes on reading");
	if (pipe(channel) < 0 || (fd = open("/etc/hostname", O_RDONLY)) < 0)
		give_up("the worker cannot begin");
	confine();
	if (read(fd, line, sizeof(line)) <= 0)
		give_up("the worker cannot work");

	step("illegal: whoever took the worker over opens " SECRET);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (child_gets_it(ways[i]))
			return;
	as_it_is();
	if (!arrived())
		_exit(1); /* refused, and alive */
}

static void
run(void)
{
	run_confined(confine_by_filter);
}

static void
run_mask(void)
{
	run_confined(confine_by_mask);
}

ATTACK(seccomp) = {
	.name = "seccomp",
	.what = "a compromised worker opens a file that its filter forbids",
	.needs_off_x86_64 = "seccomp",
	.needs_off_aarch64 = "seccomp",
	.run = run,
};

ATTACK(seccomp_mask) = {
	.name = "seccomp-mask",
	.what = "a compromised worker makes a call that is not in its mask",
	.needs_off_x86_64 = "seccomp",
	.needs_off_aarch64 = "seccomp",
	.run = run_mask,
};
