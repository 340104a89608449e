/* The system call table and the one way into it. */
#include "kernel/sys/table.h"

#include "kernel/errno.h"
#include "kernel/harden/kstack_offset.h"
#include "syscall_nr.h"

#define SYSCALL_ENTRY(name) [SYS_##name] = sys_##name,

static syscall_fn *const table[SYS_LIMIT] = {
	SYSCALLS(SYSCALL_ENTRY)
#if ARCH_HAS_LEGACY_SYSCALLS
	SYSCALLS_LEGACY(SYSCALL_ENTRY)
#endif
};

/* No canary: the room on its stack is nobody's array, and every system call would pay. */
no_canary void
syscall_dispatch(struct trapframe *tf)
{
	uint64_t nr = tf_syscall(tf);

	kstack_offset_apply();
	if (likely(nr < SYS_LIMIT)) {
		/* Speculation past the check above must not index beyond the table. */
		syscall_fn *fn = table[arch_index_mask(nr, SYS_LIMIT) & nr];

		if (likely(fn)) {
			tf_set_result(tf, fn(tf));
			return;
		}
	}
	tf_set_result(tf, -ENOSYS);
}
