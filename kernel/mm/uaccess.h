/*
 * User access: every transfer between the kernel and user memory is one of these.
 *
 * Each checks the whole range against the user half first and never faults the kernel.  Read a value
 * once, check the copy, use the copy.  May sleep (page faults): no spin locks held.
 */
#pragma once

#include "kernel/types.h"

/* True if [addr, addr + size) lies in the user half. */
bool user_range_ok(uaddr_t addr, size_t size);

static inline uaddr_t
uaddr_add(uaddr_t a, uint64_t n)
{
	return UADDR(a.v + n);
}

/* 0 or -EFAULT; on a fault part may have been copied. */
must_use int copy_from_user(void *dst, uaddr_t src, size_t n);
must_use int copy_to_user(uaddr_t dst, const void *src, size_t n);
must_use int clear_user(uaddr_t dst, size_t n);
/* Bytes copied, which is less than n only if a fault stopped it. */
must_use size_t copy_from_user_some(void *dst, uaddr_t src, size_t n);
must_use size_t copy_to_user_some(uaddr_t dst, const void *src, size_t n);

/* Copies a string with its NUL: its length, -EFAULT, or -ENAMETOOLONG (no NUL in size bytes). */
must_use ssize_t strncpy_from_user(char *dst, uaddr_t src, size_t size);

/* One object of the type of *ptr. */
#define get_user(ptr, addr) copy_from_user((ptr), (addr), sizeof(*(ptr)))
#define put_user(addr, ptr) copy_to_user((addr), (ptr), sizeof(*(ptr)))
