/*
 * System calls that change the name space: mount, umount2, pivot_root.
 */
#include "kernel/fs/mount.h"
#include "kernel/errno.h"
#include "kernel/fs/namei.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/sys/syscalls.h"

#define MS_REMOUNT     32u
#define MS_BIND	       4096u
#define MS_MOVE	       8192u
#define MS_UNBINDABLE  BIT(17)
#define MS_PRIVATE     BIT(18)
#define MS_SLAVE       BIT(19)
#define MS_SHARED      BIT(20)
#define MS_PROPAGATION (MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED)
#define MS_MGC_VAL     0xc0ed0000u
#define MS_KEPT	       (MNT_READONLY | MNT_NOSUID | MNT_NODEV | MNT_NOEXEC | MNT_NOATIME)

/* One page: the options of file systems are text here, which a user may end with the page. */
static long
options_get(uaddr_t from, char **out)
{
	char *buf;
	size_t n;

	*out = NULL;
	if (!from.v)
		return 0;
	buf = kmalloc(PAGE_SIZE);
	if (!buf)
		return -ENOMEM;
	n = MIN(copy_from_user_some(buf, from, PAGE_SIZE - 1), PAGE_SIZE - 1);
	if (n == 0) {
		kfree(buf);
		return -EFAULT;
	}
	buf[n] = '\0';
	*out = buf;
	return 0;
}

static long
mount_at(const char *source, const struct path *at, const char *type, unsigned flags,
	 const char *options)
{
	unsigned kept = flags & MS_KEPT;
	struct path from;
	long err;

	if (!capable())
		return -EPERM;
	if (flags & MS_REMOUNT)
		return mount_remount(at, kept);
	if (flags & (MS_BIND | MS_MOVE)) {
		if (!source || !*source)
			return -EINVAL;
		err = path_lookup(source, true, &from);
		if (err)
			return err;
		err = flags & MS_BIND ? mount_bind(&from, at) : mount_move(&from, at);
		path_put(&from);
		return err;
	}
	/* There is one name space, so that nothing propagates anyway: every mount is private. */
	if (flags & MS_PROPAGATION)
		return flags & (MS_SHARED | MS_SLAVE) ? -EINVAL : 0;
	if (!type)
		return -EINVAL;
	return mount_new(type, source, at, kept, options);
}

/* A string argument that may be NULL. */
static long
maybe_name(struct name *n, uaddr_t at, const char **out)
{
	long err;

	n->s = n->buf;
	*out = NULL;
	if (!at.v)
		return 0;
	err = name_get(n, at);
	if (err)
		n->s = n->buf;
	else
		*out = n->s;
	return err;
}

long
sys_mount(struct trapframe *tf)
{
	uint64_t flags = arg_u64(tf, 3);
	const char *type, *source;
	char *options = NULL;
	struct path at;
	NAME(type_name);
	NAME(source_name);
	long err;

	if ((flags & 0xffff0000u) == MS_MGC_VAL)
		flags &= 0xffffu;
	err = maybe_name(&type_name, arg_user(tf, 2), &type);
	if (err)
		return err;
	err = maybe_name(&source_name, arg_user(tf, 0), &source);
	if (!err)
		err = options_get(arg_user(tf, 4), &options);
	if (!err)
		err = user_path_at(AT_FDCWD, arg_user(tf, 1), WALK_FOLLOW, &at);
	if (!err) {
		err = mount_at(source, &at, type, (unsigned)flags, options);
		path_put(&at);
	}
	kfree(options);
	name_put(&source_name);
	name_put(&type_name);
	return err;
}

#define MNT_FORCE	1u
#define MNT_DETACH	2u
#define MNT_EXPIRE	4u
#define UMOUNT_NOFOLLOW 8u

long
sys_umount2(struct trapframe *tf)
{
	unsigned flags = arg_uint(tf, 1);
	struct path at;
	long err;

	if (flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW))
		return -EINVAL;
	if (!capable())
		return -EPERM;
	err = user_path_at(AT_FDCWD, arg_user(tf, 0), flags & UMOUNT_NOFOLLOW ? 0 : WALK_FOLLOW, &at);
	if (err)
		return err;
	err = flags & MNT_EXPIRE ? -EINVAL : mount_unmount(&at, flags & MNT_DETACH);
	path_put(&at);
	return err;
}

long
sys_pivot_root(struct trapframe *tf)
{
	struct path new_root, put_old;
	long err;

	if (!capable())
		return -EPERM;
	err = user_path_at(AT_FDCWD, arg_user(tf, 0), WALK_FOLLOW | WALK_DIRECTORY, &new_root);
	if (err)
		return err;
	err = user_path_at(AT_FDCWD, arg_user(tf, 1), WALK_FOLLOW | WALK_DIRECTORY, &put_old);
	if (!err) {
		err = mount_pivot(&new_root, &put_old);
		path_put(&put_old);
	}
	path_put(&new_root);
	return err;
}
