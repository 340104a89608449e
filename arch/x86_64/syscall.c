/* System calls that only x86_64 has. */
#include "kernel/errno.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/thread.h"
#include "kernel/sys/table.h"
#include "x86.h"

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004

long
sys_arch_prctl(struct trapframe *tf)
{
	struct thread *t = current;
	uint64_t value = arg_u64(tf, 1);

	switch (arg_int(tf, 0)) {
	case ARCH_SET_FS:
		if (value >= USER_END)
			return -EPERM;
		arch_set_tls(t, value);
		return 0;
	case ARCH_SET_GS:
		if (value >= USER_END)
			return -EPERM;
		t->arch.gs_base = value;
		x86_wrmsr(MSR_KERNEL_GS_BASE, value); /* active after the next swapgs */
		return 0;
	case ARCH_GET_FS:
		return put_user(arg_user(tf, 1), &t->arch.fs_base);
	case ARCH_GET_GS:
		return put_user(arg_user(tf, 1), &t->arch.gs_base);
	default:
		return -EINVAL;
	}
}
