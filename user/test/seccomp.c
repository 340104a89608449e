/*
 * seccomp(2): strict mode, filters and their answers, the checker, inheritance, threads; and Rampart's
 * own mask of system calls, where the kernel has one.
 */
#include "test.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <ucontext.h>

#if defined(__x86_64__)
#define ARCH_HERE AUDIT_ARCH_X86_64
#else
#define ARCH_HERE AUDIT_ARCH_AARCH64
#endif
#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif

#define PR_SET_SYSCALL_MASK 0x52414d51
#define PR_GET_SYSCALL_MASK 0x52414d52

#define INSN(code, k) BPF_STMT(code, k)
#define LOAD(field) INSN(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RET(value) INSN(BPF_RET | BPF_K, value)
#define ERRNO(e) (SECCOMP_RET_ERRNO | (e))
/* Answers `action` for system call nr, and allows every other. */
#define FOR_CALL(nr_, action)								\
	{ LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr_, 0, 1), RET(action), RET(SECCOMP_RET_ALLOW) }

/* The program's result, and errno. */
#define install_flags(flags, ...)							\
	({										\
		struct sock_filter code_[] = __VA_ARGS__;				\
		struct sock_fprog program_ = { sizeof(code_) / sizeof(code_[0]), code_ }; \
		syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program_);	\
	})
#define install(...) install_flags(0, __VA_ARGS__)

/* Runs the statement in a child; how it ended, as t_wait says it. */
#define in_child(statement)								\
	({										\
		pid_t pid_ = t_fork();							\
		if (pid_ == 0) {							\
			statement;							\
			_exit(0);							\
		}									\
		t_wait(pid_);								\
	})

static long
try_getppid(void)
{
	errno = 0;
	return syscall(SYS_getppid);
}

/* - Strict mode -------------------------------------------------------------------------------- */

static void
strict_mode_leaves_read_write_exit(void)
{
	int p[2];
	char c = 'x';

	ok(pipe(p));
	check_eq(in_child({
		ok(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
		if (write(p[1], &c, 1) == 1 && read(p[0], &c, 1) == 1)
			syscall(SYS_exit, 7);
	}), 7);
	check_eq(in_child({
		ok(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL));
		syscall(SYS_getppid);
		syscall(SYS_exit, 7);
	}), 1000 + SIGKILL);
	/* exit_group is another call. */
	check_eq(in_child({
		ok(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
		_exit(7);
	}), 1000 + SIGKILL);
	check_eq(in_child({
		ok(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
		prctl(PR_GET_SECCOMP);
	}), 1000 + SIGKILL);
	fails(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL), EINVAL);
	fails(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, p), EINVAL);
}

static void
a_mode_is_not_left_for_another(void)
{
	check_eq(prctl(PR_GET_SECCOMP), 0);
	ok(install({ RET(SECCOMP_RET_ALLOW) }));
	check_eq(prctl(PR_GET_SECCOMP), 2);
	fails(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT), EINVAL);
	fails(prctl(PR_SET_SECCOMP, 0), EINVAL);
	fails(prctl(PR_SET_SECCOMP, 3), EINVAL);
	fails(syscall(SYS_seccomp, 77, 0, NULL), EINVAL);
}

/* - Who may, and with what --------------------------------------------------------------------- */

static void
an_ordinary_user_gives_up_privileges_first(void)
{
	t_become(STUDENT);
	fails(install({ RET(SECCOMP_RET_ALLOW) }), EACCES);
	ok(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	ok(install({ RET(SECCOMP_RET_ALLOW) }));
}

static void
programs_that_could_run_wild_are_refused(void)
{
	struct sock_fprog none = { 0, NULL }, bad = { 1, (struct sock_filter *)16 };
	struct sock_filter *many = calloc(4097, sizeof(*many));
	struct sock_fprog big = { 4097, many };

	fails(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &none), EINVAL);
	fails(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &bad), EFAULT);
	fails(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (void *)16), EFAULT);
	fails(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 1 << 30, &none), EINVAL);
	for (int i = 0; i < 4097; i++)
		many[i] = (struct sock_filter)RET(SECCOMP_RET_ALLOW);
	fails(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &big), EINVAL);
#define refused(...) fails(install({ __VA_ARGS__ }), EINVAL)
	refused(LOAD(nr));								/* no end */
	refused(RET(0), LOAD(nr));
	refused(INSN(BPF_LD | BPF_W | BPF_ABS, 64), RET(0));				/* outside the data */
	refused(INSN(BPF_LD | BPF_W | BPF_ABS, 2), RET(0));				/* not aligned */
	refused(INSN(BPF_LD | BPF_W | BPF_ABS, -4u), RET(0));
	refused(INSN(BPF_LD | BPF_B | BPF_ABS, 0), RET(0));				/* bytes, halves, packets */
	refused(INSN(BPF_LD | BPF_H | BPF_ABS, 0), RET(0));
	refused(INSN(BPF_LD | BPF_W | BPF_IND, 0), RET(0));
	refused(INSN(BPF_LDX | BPF_B | BPF_MSH, 0), RET(0));
	refused(INSN(BPF_JMP | BPF_JA, 1), RET(0));					/* jumps out */
	refused(INSN(BPF_JMP | BPF_JA, -1u), RET(0));
	refused(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), RET(0));
	refused(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), RET(0));
	refused(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_X, 0, 255, 0), RET(0));
	refused(INSN(BPF_ST, 16), RET(0));						/* scratch */
	refused(INSN(BPF_LD | BPF_MEM, 16), RET(0));
	refused(INSN(BPF_LD | BPF_MEM, 0), RET(0));					/* never written */
	refused(INSN(BPF_ST, 1), INSN(BPF_LDX | BPF_MEM, 0), RET(0));
	refused(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), INSN(BPF_ST, 0),		/* on one path only */
		INSN(BPF_LD | BPF_MEM, 0), RET(0));
	refused(INSN(BPF_ALU | BPF_DIV | BPF_K, 0), RET(0));
	refused(INSN(BPF_ALU | BPF_MOD | BPF_K, 3), RET(0));
	refused(INSN(BPF_ALU | BPF_LSH | BPF_K, 32), RET(0));
	refused(INSN(BPF_ALU | BPF_RSH | BPF_K, 32), RET(0));
	refused(INSN(BPF_RET | BPF_X, 0));
	refused(INSN(0xffff, 0), RET(0));
	check_eq(prctl(PR_GET_SECCOMP), 0);
}

static void
filters_have_a_limit(void)
{
	static struct sock_filter code[4096];
	struct sock_fprog program = { 4096, code };
	int n = 0;

	for (int i = 0; i < 4096; i++)
		code[i] = (struct sock_filter)RET(SECCOMP_RET_ALLOW);
	while (n < 20 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0)
		n++;
	check_eq(errno, ENOMEM);
	check(n >= 3 && n <= 7);	/* 32768 of the kernel's own instructions: Linux makes two of one */
}

static void
actions_are_told(void)
{
	static const uint32_t known[] = {
		SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
		SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW,
	};
	uint32_t no = 0x12340000;

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		ok(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &known[i]));
	fails(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &no), EOPNOTSUPP);
	fails(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 1, &no), EINVAL);
	fails(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, (void *)16), EFAULT);
}

/* - What filters compute ----------------------------------------------------------------------- */

/* A program that leaves a small number in A answers getppid with it as errno. */
#define computes(value, ...)								\
	check_eq(in_child({								\
		ok(install({ LOAD(nr),							\
			     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0),	\
			     RET(SECCOMP_RET_ALLOW), __VA_ARGS__,			\
			     INSN(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO),		\
			     INSN(BPF_RET | BPF_A, 0) }));				\
		check_eq(try_getppid(), -1);						\
		_exit(errno);								\
	}), value)

#define A(v) INSN(BPF_LD | BPF_IMM, v)
#define X(v) INSN(BPF_LDX | BPF_IMM, v)
#define ALU_K(op, v) INSN(BPF_ALU | (op) | BPF_K, v)
#define ALU_X(op) INSN(BPF_ALU | (op) | BPF_X, 0)

static void
arithmetic(void)
{
	computes(5, A(5));
	computes(9, A(5), ALU_K(BPF_ADD, 4));
	computes(9, A(5), X(4), ALU_X(BPF_ADD));
	computes(3, A(1), ALU_K(BPF_SUB, -2u));
	computes(1, A(5), X(4), ALU_X(BPF_SUB));
	computes(42, A(6), ALU_K(BPF_MUL, 7));
	computes(42, A(6), X(7), ALU_X(BPF_MUL));
	computes(6, A(45), ALU_K(BPF_DIV, 7));
	computes(6, A(45), X(7), ALU_X(BPF_DIV));
	computes(7, A(3), ALU_K(BPF_OR, 6));
	computes(7, A(3), X(6), ALU_X(BPF_OR));
	computes(2, A(3), ALU_K(BPF_AND, 6));
	computes(2, A(3), X(6), ALU_X(BPF_AND));
	computes(5, A(3), ALU_K(BPF_XOR, 6));
	computes(5, A(3), X(6), ALU_X(BPF_XOR));
	computes(24, A(3), ALU_K(BPF_LSH, 3));
	computes(24, A(3), X(3), ALU_X(BPF_LSH));
	computes(3, A(0x30000000), ALU_K(BPF_RSH, 28));
	computes(3, A(24), X(3), ALU_X(BPF_RSH));
	computes(8, A(-8u), INSN(BPF_ALU | BPF_NEG, 0));
	computes(64, INSN(BPF_LD | BPF_W | BPF_LEN, 0));
	computes(64, INSN(BPF_LDX | BPF_W | BPF_LEN, 0), INSN(BPF_MISC | BPF_TXA, 0));
	computes(12, A(12), INSN(BPF_MISC | BPF_TAX, 0), A(1), INSN(BPF_MISC | BPF_TXA, 0));
	computes(77, A(77), INSN(BPF_ST, 15), A(0), INSN(BPF_LD | BPF_MEM, 15));
	computes(77, X(77), INSN(BPF_STX, 0), X(0), INSN(BPF_LDX | BPF_MEM, 0), INSN(BPF_MISC | BPF_TXA, 0));
	/* Nobody could check this one before: it kills. */
	check_eq(in_child({
		ok(install({ LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0),
			     RET(SECCOMP_RET_ALLOW), A(1), X(0), ALU_X(BPF_DIV), RET(SECCOMP_RET_ALLOW) }));
		try_getppid();
	}), 1000 + SIGSYS);
}

#define JUMP(op, v) BPF_JUMP(BPF_JMP | (op) | BPF_K, v, 0, 1), A(1), INSN(BPF_JMP | BPF_JA, 0)
#define JUMP_X(op) BPF_JUMP(BPF_JMP | (op) | BPF_X, 0, 0, 1), A(1), INSN(BPF_JMP | BPF_JA, 0)

static void
comparisons(void)
{
	/* A becomes 1 where the jump is taken. */
	computes(1, A(9), JUMP(BPF_JEQ, 9));
	computes(9, A(9), JUMP(BPF_JEQ, 8));
	computes(1, A(9), JUMP(BPF_JGT, 8));
	computes(9, A(9), JUMP(BPF_JGT, 9));
	computes(1, A(9), JUMP(BPF_JGE, 9));
	computes(9, A(9), JUMP(BPF_JGE, -1u));	/* unsigned */
	computes(1, A(9), JUMP(BPF_JSET, 8));
	computes(9, A(9), JUMP(BPF_JSET, 6));
	computes(1, A(9), X(9), JUMP_X(BPF_JEQ));
	computes(9, A(9), X(9), JUMP_X(BPF_JGT));
	computes(1, A(9), X(9), JUMP_X(BPF_JGE));
	computes(1, A(9), X(1), JUMP_X(BPF_JSET));
	computes(3, INSN(BPF_JMP | BPF_JA, 1), A(4), ALU_K(BPF_ADD, 3), ALU_K(BPF_AND, 7), A(3));
}

static void
calls_are_seen_with_all_that_they_carry(void)
{
	long x = 0x1234567800000041;

	/* Each argument's low and high half must be as given: else errno 1. */
	for (unsigned i = 0; i < 6; i++) {
		long a[6] = { 0 };
		unsigned at = offsetof(struct seccomp_data, args) + 8 * i;

		a[i] = x;
		check_eq(in_child({
			ok(install({ LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0),
				     RET(SECCOMP_RET_ALLOW),
				     INSN(BPF_LD | BPF_W | BPF_ABS, at),
				     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x41, 0, 3),
				     INSN(BPF_LD | BPF_W | BPF_ABS, at + 4),
				     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x12345678, 0, 1),
				     RET(ERRNO(100)), RET(ERRNO(1)) }));
			check_eq(syscall(SYS_getppid, a[0], a[1], a[2], a[3], a[4], a[5]), -1);
			_exit(errno);
		}), 100);
	}
	check_eq(in_child({
		ok(install({ LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH_HERE, 1, 0),
			     RET(SECCOMP_RET_KILL_PROCESS), RET(SECCOMP_RET_ALLOW) }));
		check(try_getppid() > 0);
	}), 0);
	/* The call comes from syscall(), near its beginning. */
	check_eq(in_child({
		uint64_t low = (uint32_t)(uintptr_t)syscall;

		ok(install({ LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0),
			     RET(SECCOMP_RET_ALLOW), LOAD(instruction_pointer),
			     ALU_K(BPF_SUB, low), BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 128, 0, 1),
			     RET(ERRNO(1)), RET(ERRNO(100)) }));
		check_eq(try_getppid(), -1);
		_exit(errno);
	}), 100);
}

/* A call's number has 32 bits, for the filter as for the kernel. */
static void
numbers_are_what_they_are(void)
{
	check_eq(syscall((long)SYS_getppid | 1l << 32), getppid());
	check_eq(in_child({
		ok(install(FOR_CALL(SYS_getppid, ERRNO(100))));
		check_eq(try_getppid(), -1);
		check_eq(syscall((long)SYS_getppid | 1l << 32), -1);
		check_eq(errno, 100);
		/* x32's number of the same call is another one, and there is none. */
		fails(syscall(SYS_getppid | 0x40000000), ENOSYS);
		fails(syscall(100000), ENOSYS);
		fails(syscall(-1), ENOSYS);
	}), 0);
	check_eq(in_child({
		ok(install({ LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
			     RET(ERRNO(100)), RET(SECCOMP_RET_ALLOW) }));
		fails(syscall(SYS_getppid | 0x40000000), ENETDOWN);
	}), 0);
}

static void
the_kernel_has_a_copy(void)
{
	struct sock_filter code[] = FOR_CALL(SYS_getppid, ERRNO(EPERM));
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	ok(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
	fails(try_getppid(), EPERM);
	memset(code, 0, sizeof(code));
	fails(try_getppid(), EPERM);
}

/* - Answers ------------------------------------------------------------------------------------ */

static void
answers(void)
{
	static const struct {
		uint32_t action;
		int ends;	/* as t_wait says it; 0: it returns */
		int err;
	} all[] = {
		{ ERRNO(EPERM), 0, EPERM },	{ ERRNO(0xffff), 0, 4095 },
		{ SECCOMP_RET_TRACE, 0, ENOSYS }, { SECCOMP_RET_USER_NOTIF, 0, ENOSYS },
		{ SECCOMP_RET_LOG, 0, 0 },	{ SECCOMP_RET_ALLOW | 77, 0, 0 },
		{ SECCOMP_RET_KILL_PROCESS, 1000 + SIGSYS, 0 },
		{ SECCOMP_RET_KILL_THREAD, 1000 + SIGSYS, 0 },
		{ SECCOMP_RET_TRAP, 1000 + SIGSYS, 0 },
		{ 0x00110000, 1000 + SIGSYS, 0 },	/* nobody knows it */
	};

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		check_eq(in_child({
			ok(install(FOR_CALL(SYS_getppid, all[i].action)));
			check_eq(try_getppid() == -1, all[i].err != 0);
			check_eq(errno, all[i].err);
		}), all[i].ends);
	/* No error at all: the call is not made and gives 0. */
	check_eq(in_child({
		ok(install(FOR_CALL(SYS_getppid, ERRNO(0))));
		check_eq(try_getppid(), 0);
	}), 0);
}

static volatile int trap_code, trap_errno, trap_nr, trap_arch;
static void *volatile trap_addr;

/* Does the call's work. */
static void
on_trap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *c = context;

	(void)sig;
	trap_code = info->si_code;
	trap_errno = info->si_errno;
	trap_nr = info->si_syscall;
	trap_arch = (int)info->si_arch;
	trap_addr = info->si_call_addr;
#if defined(__x86_64__)
	check_eq(c->uc_mcontext.gregs[REG_RAX], SYS_getppid);
	check_eq(c->uc_mcontext.gregs[REG_RDI], 55);
	check_eq(c->uc_mcontext.gregs[REG_RIP], (long)trap_addr);
	c->uc_mcontext.gregs[REG_RAX] = 1234;
#else
	check_eq(c->uc_mcontext.regs[8], SYS_getppid);
	check_eq(c->uc_mcontext.regs[0], 55);
	check_eq(c->uc_mcontext.pc, (long)trap_addr);
	c->uc_mcontext.regs[0] = 1234;
#endif
}

static void
a_trap_is_a_signal_that_tells_all(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO };
	uintptr_t there;

	sa.sa_sigaction = on_trap;
	ok(sigaction(SIGSYS, &sa, NULL));
	ok(install(FOR_CALL(SYS_getppid, SECCOMP_RET_TRAP | 99)));
	check_eq(syscall(SYS_getppid, 55), 1234);
	check_eq(trap_code, SYS_SECCOMP);
	check_eq(trap_errno, 99);
	check_eq(trap_nr, SYS_getppid);
	check_eq((unsigned)trap_arch, ARCH_HERE);
	there = (uintptr_t)trap_addr - (uintptr_t)syscall;
	check(there < 128);
}

static void
a_trap_cannot_be_held_off(void)
{
	check_eq(in_child({
		signal(SIGSYS, SIG_IGN);
		ok(install(FOR_CALL(SYS_getppid, SECCOMP_RET_TRAP)));
		try_getppid();
	}), 1000 + SIGSYS);
	check_eq(in_child({
		struct sigaction sa = { .sa_flags = SA_SIGINFO };
		sigset_t set;

		sa.sa_sigaction = on_trap;
		ok(sigaction(SIGSYS, &sa, NULL));
		sigfillset(&set);
		sigprocmask(SIG_BLOCK, &set, NULL);
		ok(install(FOR_CALL(SYS_getppid, SECCOMP_RET_TRAP)));
		try_getppid();
	}), 1000 + SIGSYS);
}

static void
the_severest_of_all_filters_counts(void)
{
	check_eq(in_child({
		ok(install(FOR_CALL(SYS_getppid, ERRNO(EPERM))));
		ok(install({ RET(SECCOMP_RET_ALLOW) }));
		fails(try_getppid(), EPERM);
	}), 0);
	check_eq(in_child({
		ok(install(FOR_CALL(SYS_getppid, SECCOMP_RET_TRACE)));
		ok(install(FOR_CALL(SYS_getppid, ERRNO(EPERM))));
		ok(install(FOR_CALL(SYS_getppid, SECCOMP_RET_LOG)));
		fails(try_getppid(), EPERM);
	}), 0);
	/* Of equals, the newest says which errno. */
	check_eq(in_child({
		ok(install(FOR_CALL(SYS_getppid, ERRNO(1))));
		ok(install(FOR_CALL(SYS_getppid, ERRNO(2))));
		check_eq(try_getppid(), -1);
		check_eq(errno, 2);
	}), 0);
	check_eq(in_child({
		ok(install(FOR_CALL(SYS_getppid, SECCOMP_RET_KILL_PROCESS)));
		ok(install(FOR_CALL(SYS_getppid, SECCOMP_RET_KILL_THREAD)));
		try_getppid();
	}), 1000 + SIGSYS);
	/* A filter judges those that come after it, too. */
	check_eq(in_child({
		ok(install(FOR_CALL(SYS_seccomp, ERRNO(EPERM))));
		fails(install({ RET(SECCOMP_RET_ALLOW) }), EPERM);
	}), 0);
}

/* - Who inherits ------------------------------------------------------------------------------- */

static void
children_and_programs_inherit(void)
{
	ok(install(FOR_CALL(SYS_getppid, ERRNO(EPERM))));
	check_eq(in_child({
		fails(try_getppid(), EPERM);
		check_eq(in_child(fails(try_getppid(), EPERM)), 0);
	}), 0);
	check_eq(in_child({
		execl("/proc/self/exe", "test-seccomp", "--refused", NULL);
		_exit(99);
	}), 0);
#if defined(__x86_64__)
	pid_t pid = vfork();

	if (pid == 0) {
		execl("/proc/self/exe", "test-seccomp", "--refused", NULL);
		_exit(99);
	}
	exits(pid, 0);
#endif
}

static int
status_number(const char *key)
{
	char line[256];
	int value = -1;
	FILE *f = fopen("/proc/self/status", "r");

	check(f != NULL);
	while (fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
			value = atoi(line + strlen(key) + 1);
	}
	fclose(f);
	return value;
}

static void *
refused_thread(void *arg)
{
	(void)arg;
	fails(try_getppid(), EPERM);
	return NULL;
}

static void
threads_inherit_and_the_others_are_not_touched(void)
{
	pthread_t t;

	ok(install(FOR_CALL(SYS_getppid, ERRNO(EPERM))));
	zero(pthread_create(&t, NULL, refused_thread, NULL));
	zero(pthread_join(t, NULL));
}

static pthread_barrier_t barrier;
static volatile int other_tid;
static volatile bool goes_its_own_way;

/* Confined by another thread between the two barriers; or by itself before. */
static void *
synchronised_thread(void *arg)
{
	(void)arg;
	other_tid = (int)syscall(SYS_gettid);
	if (goes_its_own_way)
		ok(install({ RET(SECCOMP_RET_ALLOW) }));
	check(try_getppid() > 0);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	if (goes_its_own_way)
		check(try_getppid() > 0);
	else
		fails(try_getppid(), EPERM);
	return NULL;
}

static void
one_thread_can_confine_all(void)
{
	struct sock_filter code[] = FOR_CALL(SYS_getppid, ERRNO(EPERM));
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	zero(pthread_barrier_init(&barrier, NULL, 3));
	ok(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	for (int own = 0; own < 2; own++)
		check_eq(in_child({
			pthread_t t[2];

			goes_its_own_way = own;
			for (int i = 0; i < 2; i++)
				zero(pthread_create(&t[i], NULL, synchronised_thread, NULL));
			pthread_barrier_wait(&barrier);
			long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
					 &program);
			if (own) {
				check(r > 0 && r != getpid());	/* who is in the way */
				check(try_getppid() > 0);
				fails(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
					      SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH,
					      &program), ESRCH);
			} else {
				check_eq(r, 0);
				fails(try_getppid(), EPERM);
			}
			pthread_barrier_wait(&barrier);
			for (int i = 0; i < 2; i++)
				zero(pthread_join(t[i], NULL));
		}), 0);
}

static void *
calling_thread(void *arg)
{
	(void)arg;
	try_getppid();
	return (void *)1;
}

static void
killing_a_thread_leaves_the_others(void)
{
	check_eq(in_child({
		pthread_t t;

		ok(install(FOR_CALL(SYS_getppid, SECCOMP_RET_KILL_THREAD)));
		zero(pthread_create(&t, NULL, calling_thread, NULL));
		while (status_number("Threads") != 1)
			t_msleep(1);
		_exit(5);
	}), 5);
	check_eq(in_child({
		pthread_t t;

		ok(install(FOR_CALL(SYS_getppid, SECCOMP_RET_KILL_PROCESS)));
		zero(pthread_create(&t, NULL, calling_thread, NULL));
		for (;;)
			pause();
	}), 1000 + SIGSYS);
}

/* - What is told, and what goes with it -------------------------------------------------------- */

static void
status_tells(void)
{
	check_eq(status_number("NoNewPrivs"), 0);
	check_eq(status_number("Seccomp"), 0);
	check_eq(status_number("Seccomp_filters"), 0);
	ok(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	ok(install({ RET(SECCOMP_RET_ALLOW) }));
	ok(install_flags(SECCOMP_FILTER_FLAG_SPEC_ALLOW, { RET(SECCOMP_RET_ALLOW) }));
	check_eq(status_number("NoNewPrivs"), 1);
	check_eq(status_number("Seccomp"), 2);
	check_eq(status_number("Seccomp_filters"), 2);
}

static void
copy_program(const char *to, mode_t mode)
{
	char buf[65536];
	int from = ok(open("/proc/self/exe", O_RDONLY)), out = ok(open(to, O_WRONLY | O_CREAT, 0700));
	ssize_t n;

	while ((n = ok(read(from, buf, sizeof(buf)))) > 0)
		check_eq(write(out, buf, (size_t)n), n);
	close(from);
	ok(fchmod(out, mode));
	close(out);
}

static void
no_new_privileges_by_exec(void)
{
	ok(mkdir("m", 0755));	/* /tmp is nosuid */
	ok(mount("none", "m", "tmpfs", 0, NULL));
	copy_program("m/setid", 04755);
	for (int give_up = 0; give_up < 2; give_up++)
		check_eq(in_child({
			t_become(STUDENT);
			if (give_up)
				ok(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
			execl("m/setid", "setid", "--euid", NULL);
			_exit(99);
		}), give_up ? 2 : 0);
	fails(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
	ok(umount2("m", MNT_DETACH));
}

/* - The kernel's own probes ---------------------------------------------------------------------- */

/* All of the file from its beginning, with nothing but read; strict mode allows no more. */
static void
read_all(int fd)
{
	static char buf[65536];
	long n, sum = 0;

	while ((n = syscall(SYS_read, fd, buf, sizeof(buf))) > 0)
		sum += n;
	syscall(SYS_exit, n == 0 && sum > 0 ? 7 : 8);
}

/* Reading how the defences stand makes the kernel call itself: no filter judges that, nobody dies of it. */
static void
what_the_kernel_asks_itself_is_not_the_readers(void)
{
	if (access("/proc/harden", F_OK) < 0)
		return;		/* Only Rampart has it. */
	t_become(STUDENT);
	ok(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	for (int strict = 0; strict < 2; strict++) {
		int fd = ok(open("/proc/harden", O_RDONLY));

		check_eq(in_child({
			if (strict)
				ok(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
			else
				ok(install(FOR_CALL(SYS_restart_syscall, SECCOMP_RET_KILL_PROCESS)));
			read_all(fd);
		}), 7);
		/* Nor does it leave a lock behind. */
		check_eq(lseek(fd, 0, SEEK_SET), 0);
		check_eq(in_child(read_all(fd)), 7);
		close(fd);
	}
}

/* - The mask, Rampart's own -------------------------------------------------------------------- */

static uint64_t mask[8];

static void
allow(int nr, bool yes)
{
	mask[nr / 64] = (mask[nr / 64] & ~(1ul << nr % 64)) | (uint64_t)yes << nr % 64;
}

/* False on kernels that do not have it: they must say so. */
static bool
has_masks(void)
{
	struct utsname u;

	ok(uname(&u));
	if (prctl(PR_GET_SYSCALL_MASK, mask, sizeof(mask), 0, 0) == sizeof(mask))
		return true;
	check_eq(errno, EINVAL);
	check(strcmp(u.sysname, "Linux") == 0);
	return false;
}

static long
set_mask(size_t size)
{
	return prctl(PR_SET_SYSCALL_MASK, mask, size, 0, 0);
}

static void *
masked_thread(void *arg)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	(void)arg;
	try_getppid();
	return NULL;
}

static void
a_mask_kills(void)
{
	if (!has_masks())
		return;
	for (unsigned i = 0; i < 8; i++)
		check_eq(mask[i], UINT64_MAX);
	allow(SYS_getppid, false);
	check_eq(in_child({
		ok(set_mask(sizeof(mask)));
		check(getpid() > 0);
		try_getppid();
	}), 1000 + SIGSYS);
	check_eq(in_child({
		ok(set_mask(sizeof(mask)));
		_exit(in_child(try_getppid()) == 1000 + SIGSYS ? 7 : 1);
	}), 7);
	check_eq(in_child({
		ok(set_mask(sizeof(mask)));
		execl("/proc/self/exe", "test-seccomp", "--refused", NULL);
	}), 1000 + SIGSYS);
	check_eq(in_child({
		ok(set_mask(sizeof(mask)));
		syscall(SYS_getppid | 0x40000000);
	}), 1000 + SIGSYS);
	check_eq(in_child({
		ok(set_mask(sizeof(mask)));
		syscall((long)SYS_getppid | 1l << 32);
	}), 1000 + SIGSYS);
	/* A thread that was there before. */
	zero(pthread_barrier_init(&barrier, NULL, 2));
	check_eq(in_child({
		pthread_t t;

		zero(pthread_create(&t, NULL, masked_thread, NULL));
		pthread_barrier_wait(&barrier);
		ok(set_mask(sizeof(mask)));
		pthread_barrier_wait(&barrier);
		for (;;)
			pause();
	}), 1000 + SIGSYS);
}

static void
a_mask_only_shrinks(void)
{
	uint64_t got[8];

	if (!has_masks())
		return;
	fails(set_mask(0), EINVAL);
	fails(prctl(PR_SET_SYSCALL_MASK, 16, 64, 0, 0), EFAULT);
	fails(prctl(PR_GET_SYSCALL_MASK, 16, 64, 0, 0), EFAULT);
	check_eq(in_child({
		t_become(STUDENT);
		fails(set_mask(sizeof(mask)), EACCES);
		ok(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		ok(set_mask(sizeof(mask)));
	}), 0);
	allow(SYS_getppid, false);
	ok(set_mask(sizeof(mask)));
	allow(SYS_getppid, true);
	allow(SYS_getsid, false);
	ok(set_mask(sizeof(mask)));
	check_eq(prctl(PR_GET_SYSCALL_MASK, got, sizeof(got), 0, 0), sizeof(got));
	allow(SYS_getppid, false);
	check(memcmp(got, mask, sizeof(mask)) == 0);
	check_eq(in_child(try_getppid()), 1000 + SIGSYS);
	check_eq(in_child(syscall(SYS_getsid, 0)), 1000 + SIGSYS);
	/* What a short mask does not say is not allowed. */
	ok(set_mask(56));
	ok(prctl(PR_GET_SYSCALL_MASK, got, sizeof(got), 0, 0));
	check_eq(got[7], 0);
}

static void
a_mask_and_a_filter_both_count(void)
{
	if (!has_masks())
		return;
	allow(SYS_getppid, false);
	check_eq(in_child({
		ok(install(FOR_CALL(SYS_getppid, ERRNO(EPERM))));
		ok(set_mask(sizeof(mask)));
		try_getppid();
	}), 1000 + SIGSYS);
	check_eq(in_child({
		ok(set_mask(sizeof(mask)));
		ok(install(FOR_CALL(SYS_getsid, ERRNO(EPERM))));
		fails(syscall(SYS_getsid, 0), EPERM);
		try_getppid();
	}), 1000 + SIGSYS);
}

static const struct test tests[] = {
	TEST(strict_mode_leaves_read_write_exit),
	TEST(a_mode_is_not_left_for_another),
	TEST(an_ordinary_user_gives_up_privileges_first),
	TEST(programs_that_could_run_wild_are_refused),
	TEST(filters_have_a_limit),
	TEST(actions_are_told),
	TEST(arithmetic),
	TEST(comparisons),
	TEST(calls_are_seen_with_all_that_they_carry),
	TEST(numbers_are_what_they_are),
	TEST(the_kernel_has_a_copy),
	TEST(answers),
	TEST(a_trap_is_a_signal_that_tells_all),
	TEST(a_trap_cannot_be_held_off),
	TEST(the_severest_of_all_filters_counts),
	TEST(children_and_programs_inherit),
	TEST(threads_inherit_and_the_others_are_not_touched),
	TEST(one_thread_can_confine_all),
	TEST(killing_a_thread_leaves_the_others),
	TEST(status_tells),
	TEST(no_new_privileges_by_exec),
	TEST(what_the_kernel_asks_itself_is_not_the_readers),
	TEST(a_mask_kills),
	TEST(a_mask_only_shrinks),
	TEST(a_mask_and_a_filter_both_count),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	const char *role = argc > 1 ? argv[1] : "";

	if (strcmp(role, "--refused") == 0) {
		t_name = role;
		fails(try_getppid(), EPERM);
		return 0;
	}
	if (strcmp(role, "--euid") == 0)
		return geteuid() == 0 ? 0 : 2;
	return t_main(argc, argv, tests);
}
