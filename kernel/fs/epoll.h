/* epoll: a set of watched files that remembers which of them woke it. */
#pragma once

#include "kernel/fs/vfs.h"

#define EPOLL_CTL_ADD 1
#define EPOLL_CTL_DEL 2
#define EPOLL_CTL_MOD 3

#define EPOLLEXCLUSIVE BIT(28)
#define EPOLLWAKEUP    BIT(29)
#define EPOLLONESHOT   BIT(30)
#define EPOLLET	       BIT(31)

must_use int epoll_create_file(struct file **out);
/* f is not referenced by the watch.  0 or epoll_ctl(2)'s errors. */
must_use int epoll_control(struct file *ep, int op, struct file *f, int fd,
			   const struct arch_epoll_event *ev);
/* Stores at most max events at addr.  How many, -EINVAL (not an epoll), -EFAULT, -EINTR. */
must_use long epoll_collect(struct file *ep, uaddr_t addr, int max, uint64_t deadline);
