/*
 * What other rooms use of tmpfs: devfs is one with nodes that the kernel adds.
 */
#pragma once

#include "kernel/fs/vfs.h"

/* fcntl's seals of memfd */
#define F_ADD_SEALS	    1033u
#define F_GET_SEALS	    1034u
#define F_SEAL_SEAL	    1u
#define F_SEAL_SHRINK	    2u
#define F_SEAL_GROW	    4u
#define F_SEAL_WRITE	    8u
#define F_SEAL_FUTURE_WRITE 16u

#define FALLOC_KEEP_SIZE  1u
#define FALLOC_PUNCH_HOLE 2u

#define RENAME_NOREPLACE 1u
#define RENAME_EXCHANGE	 2u

/* fs_type.mount and unmount of a tmpfs; options as tmpfs(5), NULL: none. */
must_use int tmpfs_mount(const struct fs_type *type, const char *source, const char *options,
			 struct super **out);
void tmpfs_unmount(struct super *s);
/* A fresh inode of s of any type but a symbolic link; dir (or NULL) gives its group if it is set-gid. */
must_use int tmpfs_inode(struct super *s, struct inode *dir, uint32_t mode, uint32_t rdev,
			 struct inode **out);
/*
 * Adds a node (directory, character device...) of user 0 to the directory dir: for devfs.  *out (may
 * be NULL) is not referenced for the caller.  0, -EEXIST, -ENOMEM.  Takes dir's inode->lock.
 */
must_use int tmpfs_add_node(struct dentry *dir, const char *name, uint32_t mode, uint32_t rdev,
			    struct dentry **out);
