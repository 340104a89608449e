/* What prctl(2) leaves to the files that know it. */
#pragma once

#include "kernel/types.h"

/* kernel/sys/seccomp.c.  PR_SET_SECCOMP: 0 or -errno as seccomp(2). */
must_use long prctl_set_seccomp(uint64_t mode, uaddr_t filter);
/* PR_RAMPART_*_SYSCALL_MASK: 0, or the number of bytes written; -EINVAL, -EACCES, -EFAULT. */
must_use long prctl_set_syscall_mask(uaddr_t from, uint64_t size);
must_use long prctl_get_syscall_mask(uaddr_t to, uint64_t size);
