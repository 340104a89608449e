/*
 * Changes of the name space, for mount(2) and its kin.  Callers have checked that the process may.
 */
#pragma once

#include "kernel/fs/vfs.h"

/* flags: MNT_*.  -ENODEV: no such type. */
must_use int mount_new(const char *type, const char *source, const struct path *at, unsigned flags,
		       const char *options);
must_use int mount_bind(const struct path *from, const struct path *at);
must_use int mount_remount(const struct path *at, unsigned flags);
must_use int mount_move(const struct path *from, const struct path *at);
/* at (with its caller's reference) is the root of what goes.  -EBUSY if it is in use. */
must_use int mount_unmount(const struct path *at, bool lazily);
must_use int mount_pivot(const struct path *new_root, const struct path *put_old);
/* which is &cwd or &root of the current process's context. */
void fs_set_path(struct path *which, const struct path *to);
