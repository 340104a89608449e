/* signalfd: pending signals of the reader as records. */
#include "kernel/errno.h"
#include "kernel/fs/poll.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/signal.h"
#include "kernel/sys/syscalls.h"

/* Linux's struct signalfd_siginfo */
struct signalfd_siginfo {
	uint32_t signo;
	int32_t err, code;
	uint32_t pid, uid;
	int32_t fd;
	uint32_t tid, band, overrun, trapno;
	int32_t status, int_;
	uint64_t ptr, utime, stime, addr;
	uint16_t addr_lsb, pad2;
	int32_t syscall;
	uint64_t call_addr;
	uint32_t arch;
	uint8_t pad[28];
};
_Static_assert(sizeof(struct signalfd_siginfo) == 128, "signalfd_siginfo is part of the ABI");

struct signalfd {
	sigset_t mask; /* atomic */
};

static void
record_make(struct signalfd_siginfo *r, const struct siginfo *info)
{
	*r = (struct signalfd_siginfo){
		.signo = (uint32_t)info->signo,
		.err = info->err,
		.code = info->code,
	};
	switch (info->signo) {
	case SIGILL:
	case SIGFPE:
	case SIGSEGV:
	case SIGBUS:
	case SIGTRAP:
		if (info->code > 0 && info->code != SI_KERNEL) {
			r->addr = info->fault.addr;
			return;
		}
		break;
	case SIGCHLD:
		if (info->code > 0) {
			r->pid = (uint32_t)info->chld.pid;
			r->uid = info->chld.uid;
			r->status = info->chld.status;
			r->utime = (uint64_t)info->chld.utime;
			r->stime = (uint64_t)info->chld.stime;
			return;
		}
		break;
	}
	if (info->code == SI_TIMER) {
		r->tid = (uint32_t)info->timer.tid;
		r->overrun = (uint32_t)info->timer.overrun;
		r->ptr = info->timer.value;
		r->int_ = (int32_t)info->timer.value;
		return;
	}
	r->pid = (uint32_t)info->rt.pid;
	r->uid = info->rt.uid;
	if (info->code == SI_QUEUE) {
		r->ptr = info->rt.value;
		r->int_ = (int32_t)info->rt.value;
	}
}

static ssize_t
signalfd_read(struct file *f, struct uio *u, uint64_t *pos unused)
{
	struct signalfd *sfd = f->data;
	struct signalfd_siginfo record;
	struct siginfo info;
	ssize_t done = 0;

	if (u->left < sizeof(record))
		return -EINVAL;
	while (u->left >= sizeof(record)) {
		sigset_t mask = READ_ONCE(sfd->mask);

		if (signal_dequeue(mask, &info)) {
			record_make(&record, &info);
			if (uio_write_to(u, &record, sizeof(record)) != sizeof(record))
				return done ? done : -EFAULT;
			done += (ssize_t)sizeof(record);
			continue;
		}
		if (done)
			break;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		done = wait_event_interruptible(&signal_arrival,
						signal_pending_set() & READ_ONCE(sfd->mask));
		if (done)
			return done;
	}
	return done;
}

static unsigned
signalfd_poll(struct file *f, struct poll_table *pt)
{
	struct signalfd *sfd = f->data;

	poll_wait(pt, &signal_arrival);
	return signal_pending_set() & READ_ONCE(sfd->mask) ? POLLIN : 0;
}

static void
signalfd_release(struct file *f)
{
	kfree(f->data);
}

static const struct file_ops signalfd_ops = {
	.release = signalfd_release,
	.read = signalfd_read,
	.poll = signalfd_poll,
};

static long
signalfd_update(int fd, sigset_t mask)
{
	struct file *f = fd_get(fd);
	struct signalfd *sfd;

	if (!f)
		return -EBADF;
	if (f->ops != &signalfd_ops) {
		file_put(f);
		return -EINVAL;
	}
	sfd = f->data;
	WRITE_ONCE(sfd->mask, mask);
	wake_all(&signal_arrival);
	file_put(f);
	return fd;
}

static long
do_signalfd(int fd, uaddr_t user, size_t size, unsigned flags)
{
	struct signalfd *sfd;
	struct file *f;
	sigset_t mask;
	int err;

	if (size != sizeof(mask))
		return -EINVAL;
	if (get_user(&mask, user))
		return -EFAULT;
	if (flags & ~(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	mask &= ~(SIGMASK(SIGKILL) | SIGMASK(SIGSTOP));
	if (fd != -1)
		return signalfd_update(fd, mask);
	sfd = kmalloc(sizeof(*sfd));
	if (!sfd)
		return -ENOMEM;
	sfd->mask = mask;
	err = file_create_anonymous("[signalfd]", &signalfd_ops, sfd,
				    O_RDWR | (flags & O_NONBLOCK), &f);
	if (err) {
		kfree(sfd);
		return err;
	}
	fd = fd_alloc(f, flags & O_CLOEXEC, 0);
	if (fd < 0)
		file_put(f);
	return fd;
}

long
sys_signalfd4(struct trapframe *tf)
{
	return do_signalfd(arg_int(tf, 0), arg_user(tf, 1), arg_u64(tf, 2), arg_uint(tf, 3));
}

#if ARCH_HAS_LEGACY_SYSCALLS

long
sys_signalfd(struct trapframe *tf)
{
	return do_signalfd(arg_int(tf, 0), arg_user(tf, 1), arg_u64(tf, 2), 0);
}

#endif
