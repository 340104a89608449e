/*
 * User access: every transfer between the kernel and user memory is one of these.
 *
 * Each checks the whole range against the user half first and never faults the kernel.  Read a value
 * once, check the copy, use the copy.  May sleep (page faults): no spin locks held.
 */
#pragma once

#include "kernel/harden/usercopy.h"
#include "kernel/types.h"

/* True if [addr, addr + size) lies in the user half. */
bool user_range_ok(uaddr_t addr, size_t size);

static inline uaddr_t
uaddr_add(uaddr_t a, uint64_t n)
{
	return UADDR(a.v + n);
}

/* The copies themselves, unchecked: for what follows alone. */
must_use int uaccess_from(void *dst, uaddr_t src, size_t n);
must_use int uaccess_to(uaddr_t dst, const void *src, size_t n);
must_use ssize_t uaccess_string(char *dst, uaddr_t src, size_t size);
must_use size_t uaccess_from_some(void *dst, uaddr_t src, size_t n);
must_use size_t uaccess_to_some(uaddr_t dst, const void *src, size_t n);

#if __has_attribute(error)
void uaccess_overflow(void) __attribute__((error("the copy is larger than the object")));
#else
static inline void
uaccess_overflow(void)
{
}
#endif

/* A size that the compiler knows is checked by the compiler; any other when it is used. */
static always_inline void
uaccess_check(const void *p, size_t n, bool to_user)
{
	if (!__builtin_constant_p(n))
		usercopy_check((uint64_t)p, n, to_user);
	else if (__builtin_object_size(p, 0) < n)
		uaccess_overflow();
}

/* 0 or -EFAULT; on a fault part may have been copied. */
static always_inline must_use int
copy_from_user(void *dst, uaddr_t src, size_t n)
{
	uaccess_check(dst, n, false);
	return uaccess_from(dst, src, n);
}

static always_inline must_use int
copy_to_user(uaddr_t dst, const void *src, size_t n)
{
	uaccess_check(src, n, true);
	return uaccess_to(dst, src, n);
}

must_use int clear_user(uaddr_t dst, size_t n);

/* Bytes copied, which is less than n only if a fault stopped it. */
static always_inline must_use size_t
copy_from_user_some(void *dst, uaddr_t src, size_t n)
{
	uaccess_check(dst, n, false);
	return uaccess_from_some(dst, src, n);
}

static always_inline must_use size_t
copy_to_user_some(uaddr_t dst, const void *src, size_t n)
{
	uaccess_check(src, n, true);
	return uaccess_to_some(dst, src, n);
}

/* Copies a string with its NUL: its length, -EFAULT, or -ENAMETOOLONG (no NUL in size bytes). */
static always_inline must_use ssize_t
strncpy_from_user(char *dst, uaddr_t src, size_t size)
{
	uaccess_check(dst, size, false);
	return uaccess_string(dst, src, size);
}

/* One object of the type of *ptr. */
#define get_user(ptr, addr) copy_from_user((ptr), (addr), sizeof(*(ptr)))
#define put_user(addr, ptr) copy_to_user((addr), (ptr), sizeof(*(ptr)))
