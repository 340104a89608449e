/*
 * Structures of Linux's ABI whose layout differs between architectures.
 */
#pragma once

#include "kernel/types.h"

/* struct stat of aarch64 (include/uapi/asm-generic/stat.h) */
struct arch_stat {
	uint64_t dev, ino;
	uint32_t mode, nlink, uid, gid;
	uint64_t rdev, pad1;
	int64_t size;
	int32_t blksize, pad2;
	int64_t blocks;
	uint64_t atime, atime_nsec, mtime, mtime_nsec, ctime, ctime_nsec;
	uint32_t unused_[2];
};
_Static_assert(sizeof(struct arch_stat) == 128, "struct stat is part of the ABI");
