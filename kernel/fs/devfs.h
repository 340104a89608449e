/* Character devices and the file system that shows them. */
#pragma once

#include "kernel/fs/vfs.h"

/*
 * Registers the file system "devtmpfs": one instance that all its mounts share, with a node for each
 * device registered before or after.  Once, during start-up, after the VFS.
 */
void devfs_init(void);

/* Registers count (at most 256) minors without a name; open tells them apart by inode->rdev. */
void chrdev_register_range(unsigned major, unsigned minor, unsigned count,
			   const struct file_ops *ops, void *data);
