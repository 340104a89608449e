/*
 * Descriptor operations that only system calls use.
 */
#pragma once

#include "kernel/types.h"

struct file;

/* The close-on-exec flag of fd as it was (0 or 1), or -EBADF; set 1 or 0 changes it, -1 does not. */
must_use int fd_cloexec(int fd, int set);
/* dup2: fd becomes f (a reference is taken), whatever it was.  fd, -EBADF, -EBUSY, -ENOMEM. */
must_use int fd_replace(int fd, struct file *f, unsigned flags);
void fd_close_range(unsigned first, unsigned last, bool only_mark);
