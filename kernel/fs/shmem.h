/*
 * Between tmpfs's names and its files' content.
 */
#pragma once

#include "kernel/fs/vfs.h"

/* A tmpfs (super.data). */
struct tmpfs {
	uint64_t max_pages; /* fixed after mount */
	uint64_t used;	    /* atomic */
};

/* Makes a new inode of a tmpfs an empty regular file.  0 or -ENOMEM. */
must_use int shmem_init_inode(struct inode *inode);
/*
 * A regular file without a directory entry, open for reading and writing; name is what /proc shows.
 * 0 or -errno.
 */
must_use int shmem_nameless_file(const char *name, uint64_t size, struct file **out);
