/* execve and execveat. */
#include "kernel/errno.h"
#include "kernel/fs/namei.h"
#include "kernel/proc/pid.h"
#include "kernel/sys/syscalls.h"

static long
exec_user(struct trapframe *tf, int dirfd, uaddr_t path, unsigned flags,
	  const struct exec_source *src)
{
	NAME(name);
	int err = name_get(&name, path);

	if (err)
		return err;
	err = exec(tf, dirfd, name.s, flags, src);
	name_put(&name);
	return err;
}

long
sys_execve(struct trapframe *tf)
{
	struct exec_source src = {.argv = arg_user(tf, 1), .envp = arg_user(tf, 2)};

	return exec_user(tf, AT_FDCWD, arg_user(tf, 0), 0, &src);
}

long
sys_execveat(struct trapframe *tf)
{
	struct exec_source src = {.argv = arg_user(tf, 2), .envp = arg_user(tf, 3)};
	unsigned flags = arg_uint(tf, 4);

	if (flags & ~(unsigned)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	return exec_user(tf, arg_int(tf, 0), arg_user(tf, 1), flags, &src);
}
