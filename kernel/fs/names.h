/*
 * Making, removing and moving names: what the system calls and the initramfs use.  Each takes kernel
 * strings relative to a directory descriptor (AT_FDCWD), checks everything, and returns 0 or -errno.
 */
#pragma once

#include "kernel/fs/tmpfs.h"

/* mode: type and permissions, less the umask.  Type 0 is a regular file. */
must_use int names_mknod(int dfd, const char *name, uint32_t mode, uint32_t rdev);
must_use int names_mkdir(int dfd, const char *name, uint32_t mode);
must_use int names_symlink(const char *target, int dfd, const char *name);
must_use int names_link(const struct path *old, int dfd, const char *name);
/* rmdir or unlink */
must_use int names_remove(int dfd, const char *name, bool directory);
must_use int names_rename(int from_dfd, const char *from, int to_dfd, const char *to,
			  unsigned flags);
