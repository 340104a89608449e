/*
 * Opening files, as system calls do it.
 */
#pragma once

#include "kernel/fs/vfs.h"

void file_init(void);
/* As openat(2) with a kernel string; flags as the user gave them (O_CLOEXEC is not looked at). */
must_use int file_open_at(int dfd, const char *name, unsigned flags, uint32_t mode,
			  struct file **out);
