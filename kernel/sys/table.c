/* The system call table and the one way into it. */
#include "kernel/sys/table.h"

#include "kernel/errno.h"
#include "kernel/harden/kstack_offset.h"
#include "kernel/harden/seccomp.h"
#include "kernel/proc/thread.h"
#include "syscall_nr.h"

#define SYSCALL_ENTRY(name) [SYS_##name] = sys_##name,

static syscall_fn *const table[SYS_LIMIT] = {
	SYSCALLS(SYSCALL_ENTRY)
#if ARCH_HAS_LEGACY_SYSCALLS
	SYSCALLS_LEGACY(SYSCALL_ENTRY)
#endif
};

static always_inline void
run(struct trapframe *tf, uint32_t nr)
{
	/* Speculation past the caller's check must not index beyond the table. */
	syscall_fn *fn = table[arch_index_mask(nr, SYS_LIMIT) & nr];

	tf_set_result(tf, likely(fn) ? fn(tf) : -ENOSYS);
}

/* The number of a confined thread's call, or of none that there is. */
static noinline void
judge(struct trapframe *tf, uint32_t nr)
{
	/* Row kstack-offset's probe calls from inside a call, with locks held: nobody's to judge, or to kill. */
	bool nested = tf != arch_user_frame(current);

	if (!nested && !seccomp_permits(tf, nr))
		return;
	if (nr < SYS_LIMIT)
		run(tf, nr);
	else
		tf_set_result(tf, -ENOSYS);
}

/*
 * A number has 32 bits, as on Linux.  syscall_limit is SYS_LIMIT, or 0 for a thread that may not make
 * every call: one comparison finds those and the numbers that do not exist.  No canary: the room on its
 * stack is nobody's array, and every system call would pay.
 */
no_canary void
syscall_dispatch(struct trapframe *tf)
{
	uint32_t nr = (uint32_t)tf_entry_syscall(tf);

	kstack_offset_apply();
	if (likely(nr < READ_ONCE(current->syscall_limit)))
		run(tf, nr);
	else
		judge(tf, nr);
}
