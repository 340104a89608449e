/* Pipes: a ring of bytes between two kinds of open file. */
#pragma once

#include "kernel/fs/vfs.h"

#define PIPE_BUF	 4096u	  /* writes up to this size are not interleaved */
#define PIPE_SIZE	 65536u	  /* capacity of a new pipe */
#define PIPE_MAX_SIZE	 1048576u /* what F_SETPIPE_SZ grants to anybody */

#define F_SETPIPE_SZ 1031u
#define F_GETPIPE_SZ 1032u

/* Opens both ends of a new pipe; flags: O_NONBLOCK.  0, -ENOMEM, -ENFILE. */
must_use int pipe_create(unsigned flags, struct file **reader, struct file **writer);
