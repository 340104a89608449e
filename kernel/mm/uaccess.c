/* User access: the range check and the architecture's copy, in one place. */
#include "kernel/mm/uaccess.h"

#include "arch/arch.h"
#include "kernel/errno.h"

bool
user_range_ok(uaddr_t addr, size_t size)
{
	return size <= USER_END && addr.v <= USER_END - size;
}

int
uaccess_from(void *dst, uaddr_t src, size_t n)
{
	if (unlikely(!user_range_ok(src, n)) || unlikely(arch_copy_from_user(dst, src.v, n)))
		return n ? -EFAULT : 0; /* nothing can be copied from anywhere */
	return 0;
}

int
uaccess_to(uaddr_t dst, const void *src, size_t n)
{
	if (unlikely(!user_range_ok(dst, n)) || unlikely(arch_copy_to_user(dst.v, src, n)))
		return n ? -EFAULT : 0;
	return 0;
}

int
clear_user(uaddr_t dst, size_t n)
{
	if (unlikely(!user_range_ok(dst, n)) || unlikely(arch_clear_user(dst.v, n)))
		return -EFAULT;
	return 0;
}

size_t
uaccess_from_some(void *dst, uaddr_t src, size_t n)
{
	return user_range_ok(src, n) ? n - arch_copy_from_user(dst, src.v, n) : 0;
}

size_t
uaccess_to_some(uaddr_t dst, const void *src, size_t n)
{
	return user_range_ok(dst, n) ? n - arch_copy_to_user(dst.v, src, n) : 0;
}

ssize_t
uaccess_string(char *dst, uaddr_t src, size_t size)
{
	size_t max = size;
	ssize_t n;

	if (!user_range_ok(src, 1))
		return -EFAULT;
	/* A string that runs into the end of the user half faults there. */
	if (max > USER_END - src.v)
		max = USER_END - src.v;
	n = arch_strncpy_from_user(dst, src.v, max);
	if (n < 0)
		return n;
	if ((size_t)n == max)
		return max < size ? -EFAULT : -ENAMETOOLONG;
	return n;
}
