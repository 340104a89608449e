/* System calls: the epoll family. */
#include "kernel/fs/epoll.h"
#include "kernel/errno.h"
#include "kernel/fs/poll.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/signal.h"
#include "kernel/proc/time.h"
#include "kernel/sys/syscalls.h"

#define EVENTS_MAX ((int)(INT32_MAX / sizeof(struct arch_epoll_event)))

static long
do_create(unsigned flags)
{
	struct file *f;
	int err, fd;

	if (flags & ~O_CLOEXEC)
		return -EINVAL;
	err = epoll_create_file(&f);
	if (err)
		return err;
	fd = fd_alloc(f, flags, 0);
	if (fd < 0)
		file_put(f);
	return fd;
}

long
sys_epoll_create1(struct trapframe *tf)
{
	return do_create(arg_uint(tf, 0));
}

long
sys_epoll_ctl(struct trapframe *tf)
{
	int op = arg_int(tf, 1), fd = arg_int(tf, 2);
	struct arch_epoll_event ev = {0};
	struct fd_use ep, f;
	long err = -EBADF;

	if (op != EPOLL_CTL_DEL && get_user(&ev, arg_user(tf, 3)))
		return -EFAULT;
	ep = fd_use(arg_int(tf, 0));
	f = fd_use(fd);
	if (ep.file && f.file)
		err = epoll_control(ep.file, op, f.file, fd, &ev);
	fd_done(f);
	fd_done(ep);
	return err;
}

static long
do_wait(struct trapframe *tf, uint64_t deadline)
{
	int max = arg_int(tf, 2);
	uaddr_t addr = arg_user(tf, 1);
	struct fd_use ep;
	long n;

	if (max <= 0 || max > EVENTS_MAX)
		return -EINVAL;
	if (!user_range_ok(addr, (size_t)max * sizeof(struct arch_epoll_event)))
		return -EFAULT;
	ep = fd_use(arg_int(tf, 0));
	if (!ep.file)
		return -EBADF;
	n = epoll_collect(ep.file, addr, max, deadline);
	fd_done(ep);
	return n;
}

static uint64_t
ms_deadline(int ms)
{
	if (ms == 0)
		return 0;
	return ms < 0 ? NO_DEADLINE : clock_monotonic() + (uint64_t)ms * NSEC_PER_MSEC;
}

static long
do_pwait(struct trapframe *tf, uint64_t deadline)
{
	long n = signal_set_user_mask(arg_user(tf, 4), arg_u64(tf, 5));

	if (n)
		return n;
	n = do_wait(tf, deadline);
	if (n != -EINTR)
		signal_restore_user_mask();
	return n;
}

long
sys_epoll_pwait(struct trapframe *tf)
{
	return do_pwait(tf, ms_deadline(arg_int(tf, 3)));
}

long
sys_epoll_pwait2(struct trapframe *tf)
{
	uint64_t deadline = NO_DEADLINE;
	struct timespec ts;

	if (arg_u64(tf, 3)) {
		if (get_user(&ts, arg_user(tf, 3)))
			return -EFAULT;
		if (!timespec_valid(&ts))
			return -EINVAL;
		deadline = poll_deadline(&ts);
	}
	return do_pwait(tf, deadline);
}

#if ARCH_HAS_LEGACY_SYSCALLS

long
sys_epoll_create(struct trapframe *tf)
{
	return arg_int(tf, 0) <= 0 ? -EINVAL : do_create(0);
}

long
sys_epoll_wait(struct trapframe *tf)
{
	return do_wait(tf, ms_deadline(arg_int(tf, 3)));
}

#endif
