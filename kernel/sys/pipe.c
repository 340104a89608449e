/* System calls: pipe, pipe2. */
#include "kernel/fs/pipe.h"
#include "kernel/errno.h"
#include "kernel/mm/uaccess.h"
#include "kernel/sys/syscalls.h"

static long
do_pipe(uaddr_t user, unsigned flags)
{
	struct file *reader, *writer;
	int32_t fds[2];
	int err;

	/* O_DIRECT (packets) is not there: say so rather than merge them. */
	if (flags & ~(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	err = pipe_create(flags & O_NONBLOCK, &reader, &writer);
	if (err)
		return err;
	fds[0] = fd_alloc(reader, flags & O_CLOEXEC, 0);
	if (fds[0] < 0) {
		file_put(reader);
		file_put(writer);
		return fds[0];
	}
	fds[1] = fd_alloc(writer, flags & O_CLOEXEC, 0);
	if (fds[1] < 0) {
		file_put(writer);
		(void)!fd_close(fds[0]);
		return fds[1];
	}
	if (put_user(user, &fds)) {
		(void)!fd_close(fds[0]);
		(void)!fd_close(fds[1]);
		return -EFAULT;
	}
	return 0;
}

long
sys_pipe2(struct trapframe *tf)
{
	return do_pipe(arg_user(tf, 0), arg_uint(tf, 1));
}

#if ARCH_HAS_LEGACY_SYSCALLS

long
sys_pipe(struct trapframe *tf)
{
	return do_pipe(arg_user(tf, 0), 0);
}

#endif
