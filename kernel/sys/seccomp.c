/* seccomp(2), and what prctl(2) has of it. */
#include "kernel/harden/seccomp.h"

#include "kernel/errno.h"
#include "kernel/harden/bpf.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/process.h"
#include "kernel/sys/prctl.h"
#include "kernel/sys/syscalls.h"

enum { SECCOMP_SET_MODE_STRICT, SECCOMP_SET_MODE_FILTER, SECCOMP_GET_ACTION_AVAIL };

#define FLAGS                                                                                      \
	(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW |    \
	 SECCOMP_FILTER_FLAG_TSYNC_ESRCH)

/* Linux's struct sock_fprog. */
struct program {
	uint16_t n;
	uint64_t code; /* user address of n instructions */
};

static long
set_filter(uint64_t flags, uaddr_t from)
{
	struct program p;
	struct bpf_insn *code;
	long result;

	if (flags & ~FLAGS)
		return -EINVAL;
	if (get_user(&p, from))
		return -EFAULT;
	if (p.n == 0 || p.n > BPF_MAXINSNS)
		return -EINVAL;
	if (!seccomp_may_confine())
		return -EACCES;
	code = kmalloc(p.n * sizeof(*code));
	if (!code)
		return -ENOMEM;
	result = copy_from_user(code, UADDR(p.code), p.n * sizeof(*code));
	if (!result)
		result = seccomp_filter(code, p.n, flags);
	kfree(code);
	return result;
}

static long
action_available(uaddr_t from)
{
	uint32_t action;

	if (get_user(&action, from))
		return -EFAULT;
	switch (action) {
	case SECCOMP_RET_KILL_PROCESS:
	case SECCOMP_RET_KILL_THREAD:
	case SECCOMP_RET_TRAP:
	case SECCOMP_RET_ERRNO:
	case SECCOMP_RET_TRACE:
	case SECCOMP_RET_LOG:
	case SECCOMP_RET_ALLOW:
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

long
sys_seccomp(struct trapframe *tf)
{
	unsigned flags = arg_uint(tf, 1);
	uaddr_t arg = arg_user(tf, 2);

	switch (arg_uint(tf, 0)) {
	case SECCOMP_SET_MODE_STRICT:
		return flags || arg.v ? -EINVAL : seccomp_strict();
	case SECCOMP_SET_MODE_FILTER:
		return set_filter(flags, arg);
	case SECCOMP_GET_ACTION_AVAIL:
		return flags ? -EINVAL : action_available(arg);
	default:
		return -EINVAL;
	}
}

long
prctl_set_seccomp(uint64_t mode, uaddr_t filter)
{
	switch (mode) {
	case SECCOMP_MODE_STRICT:
		return seccomp_strict();
	case SECCOMP_MODE_FILTER:
		return set_filter(0, filter);
	default:
		return -EINVAL;
	}
}

/* Bytes of a mask that count; a shorter one allows nothing beyond its end. */
static size_t
mask_bytes(uint64_t size)
{
	return MIN(size, SYSCALL_MASK_WORDS * sizeof(uint64_t));
}

long
prctl_set_syscall_mask(uaddr_t from, uint64_t size)
{
	uint64_t allowed[SYSCALL_MASK_WORDS] = {0};

	if (size == 0)
		return -EINVAL;
	if (!seccomp_may_confine())
		return -EACCES;
	if (copy_from_user(allowed, from, mask_bytes(size)))
		return -EFAULT;
	seccomp_mask(allowed);
	return 0;
}

long
prctl_get_syscall_mask(uaddr_t to, uint64_t size)
{
	const struct syscall_mask *m = &current->process->syscall_mask;
	uint64_t allowed[SYSCALL_MASK_WORDS];

	for (unsigned i = 0; i < SYSCALL_MASK_WORDS; i++)
		allowed[i] = ~READ_ONCE(m->denied[i]);
	if (copy_to_user(to, allowed, mask_bytes(size)))
		return -EFAULT;
	return (long)mask_bytes(size);
}
