/*
 * Structures of Linux's ABI whose layout differs between architectures.
 */
#pragma once

#include "kernel/types.h"

/* struct stat of x86_64 (arch/x86/include/uapi/asm/stat.h) */
struct arch_stat {
	uint64_t dev, ino, nlink;
	uint32_t mode, uid, gid, pad0;
	uint64_t rdev;
	int64_t size, blksize, blocks;
	uint64_t atime, atime_nsec, mtime, mtime_nsec, ctime, ctime_nsec;
	int64_t unused_[3];
};
_Static_assert(sizeof(struct arch_stat) == 144, "struct stat is part of the ABI");
