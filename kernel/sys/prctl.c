/* prctl(2) and personality(2): small switches of a process. */
#include "kernel/errno.h"
#include "kernel/lib/string.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/process.h"
#include "kernel/sys/prctl.h"
#include "kernel/sys/syscalls.h"

#define PR_SET_PDEATHSIG	1
#define PR_GET_PDEATHSIG	2
#define PR_GET_DUMPABLE		3
#define PR_SET_DUMPABLE		4
#define PR_GET_KEEPCAPS		7
#define PR_SET_NAME		15
#define PR_GET_NAME		16
#define PR_GET_SECCOMP		21
#define PR_SET_SECCOMP		22
#define PR_CAPBSET_READ		23
#define PR_GET_SECUREBITS	27
#define PR_SET_CHILD_SUBREAPER	36
#define PR_GET_CHILD_SUBREAPER	37
#define PR_SET_NO_NEW_PRIVS	38
#define PR_GET_NO_NEW_PRIVS	39
#define PR_SET_MDWE		65
#define PR_GET_MDWE		66
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#define CAP_LAST_CAP		40

/*
 * Rampart's own ("RAMP"): arg2 1 exempts the programs that this process executes from now on, and
 * their children, from "no page writable and executable"; 0 takes it back; 2 asks.  What runs now
 * is not changed, and a set-user-ID program is never exempt.
 */
#define PR_RAMPART_ALLOW_WX 0x52414d50
/*
 * arg2 points to arg3 bytes: bit n (of byte n / 8) says that this process and its children, whatever
 * they execute, may go on making system call n.  Bits that are not there are 0; a bit that was 0 once
 * stays so.  Any other call kills the process with SIGSYS.  Needs no_new_privs or root.  The second
 * one reads the bits back, and returns how many bytes it wrote.
 */
#define PR_RAMPART_SET_SYSCALL_MASK 0x52414d51
#define PR_RAMPART_GET_SYSCALL_MASK 0x52414d52

static long
put_int(uaddr_t to, int value)
{
	return put_user(to, &value);
}

static long
set_name(uaddr_t from)
{
	char name[THREAD_NAME_LEN];
	ssize_t n = strncpy_from_user(name, from, sizeof(name));

	if (n < 0 && n != -ENAMETOOLONG)
		return n;
	/* Longer names are cut. */
	name[sizeof(name) - 1] = '\0';
	strlcpy(current->name, name, sizeof(current->name));
	if (current->tid == current->process->pid)
		memcpy(current->process->name, current->name, sizeof(current->name));
	return 0;
}

static long
get_name(uaddr_t to)
{
	char name[THREAD_NAME_LEN] = {0};

	strlcpy(name, current->name, sizeof(name));
	return put_user(to, &name);
}

/* The restriction stands unless the program runs exempt; it can be had back, and never given up. */
static long
set_mdwe(uint64_t bits)
{
	struct vm *vm = current->process->vm;

	if (bits & ~(uint64_t)PR_MDWE_REFUSE_EXEC_GAIN)
		return -EINVAL;
	if (bits)
		vm->allow_wx = false;
	else if (!vm->allow_wx)
		return -EPERM;
	return 0;
}

static long
allow_wx(uint64_t how)
{
	struct process *p = current->process;

	switch (how) {
	case 0:
	case 1:
		p->allow_wx = how;
		return 0;
	case 2:
		return p->allow_wx;
	}
	return -EINVAL;
}

long
sys_prctl(struct trapframe *tf)
{
	struct process *p = current->process;
	uint64_t a = arg_u64(tf, 1);
	bool rest = arg_u64(tf, 2) || arg_u64(tf, 3) || arg_u64(tf, 4);

	switch (arg_int(tf, 0)) {
	case PR_SET_PDEATHSIG:
		if (a > NSIG)
			return -EINVAL;
		p->pdeath_signal = (int)a;
		return 0;
	case PR_GET_PDEATHSIG:
		return put_int(UADDR(a), p->pdeath_signal);
	case PR_GET_DUMPABLE:
		return p->dumpable;
	case PR_SET_DUMPABLE:
		if (a > 1)
			return -EINVAL;
		p->dumpable = a;
		return 0;
	case PR_GET_KEEPCAPS:
	case PR_GET_SECUREBITS:
		return 0;
	case PR_SET_NAME:
		return set_name(UADDR(a));
	case PR_GET_NAME:
		return get_name(UADDR(a));
	case PR_CAPBSET_READ:
		return a <= CAP_LAST_CAP ? 1 : -EINVAL;
	case PR_SET_CHILD_SUBREAPER:
		p->subreaper = a;
		return 0;
	case PR_GET_CHILD_SUBREAPER:
		return put_int(UADDR(a), p->subreaper);
	case PR_SET_NO_NEW_PRIVS:
		if (a != 1 || rest)
			return -EINVAL;
		p->no_new_privs = true;
		return 0;
	case PR_GET_NO_NEW_PRIVS:
		return a || rest ? -EINVAL : p->no_new_privs;
	case PR_GET_SECCOMP:
		return current->seccomp.mode;
	case PR_SET_SECCOMP:
		return prctl_set_seccomp(a, arg_user(tf, 2));
	case PR_SET_MDWE:
		return rest ? -EINVAL : set_mdwe(a);
	case PR_GET_MDWE:
		return a || rest ? -EINVAL : p->vm->allow_wx ? 0 : PR_MDWE_REFUSE_EXEC_GAIN;
	case PR_RAMPART_ALLOW_WX:
		return rest ? -EINVAL : allow_wx(a);
	case PR_RAMPART_SET_SYSCALL_MASK:
		return prctl_set_syscall_mask(UADDR(a), arg_u64(tf, 2));
	case PR_RAMPART_GET_SYSCALL_MASK:
		return prctl_get_syscall_mask(UADDR(a), arg_u64(tf, 2));
	}
	return -EINVAL;
}

#define PERSONALITY_QUERY 0xffffffffu

long
sys_personality(struct trapframe *tf)
{
	struct process *p = current->process;
	uint32_t old = p->personality, new = arg_uint(tf, 0);

	if (new != PERSONALITY_QUERY)
		p->personality = new;
	return old;
}
