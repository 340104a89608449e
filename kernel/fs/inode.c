/*
 * Inodes: life and death, who may do what with one, and changes of owner, mode and times.
 */
#include "kernel/errno.h"
#include "kernel/fs/namei.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"

static struct cred boot_cred; /* the kernel's own: root */

static const struct cred *
fs_cred(void)
{
	return likely(current->process) ? &current->process->cred : &boot_cred;
}

struct subject
subject_current(bool real)
{
	const struct cred *c = fs_cred();

	return (struct subject){real ? c->uid : c->fsuid, real ? c->gid : c->fsgid, c};
}

bool
in_group(const struct subject *who, uint32_t gid)
{
	if (who->gid == gid)
		return true;
	for (unsigned i = 0; i < who->cred->ngroups && i < NGROUPS; i++)
		if (who->cred->groups[i] == gid)
			return true;
	return false;
}

/* User 0 passes by (CAP_DAC_OVERRIDE), but runs only what someone may run. */
int
permission_of(const struct subject *who, const struct inode *inode, unsigned may)
{
	uint32_t mode = READ_ONCE(inode->mode), bits = mode;

	if (who->uid == inode->uid)
		bits >>= 6;
	else if ((bits & 070) >> 3 != (bits & 07) && in_group(who, inode->gid))
		bits >>= 3;
	if ((bits & may) == may)
		return 0;
	if (who->uid == 0 &&
	    (!(may & MAY_EXEC) || (mode & 0111) || (mode & S_IFMT) == S_IFDIR))
		return 0;
	return inode->ops->admits && inode->ops->admits(inode, may) ? 0 : -EACCES;
}

int
inode_permission(struct inode *inode, unsigned may)
{
	struct subject who = subject_current(false);

	return permission_of(&who, inode, may & (MAY_READ | MAY_WRITE | MAY_EXEC));
}

bool
inode_owner_or_capable(const struct inode *inode)
{
	const struct cred *c = fs_cred();

	return c->fsuid == inode->uid || c->fsuid == 0;
}

struct timespec
inode_now(void)
{
	return ns_to_timespec(clock_realtime());
}

int
inode_alloc(struct super *s, uint32_t mode, struct inode **out)
{
	struct inode *inode = kzalloc(sizeof(*inode));
	const struct cred *c = fs_cred();

	if (!inode)
		return -ENOMEM;
	refcount_init(&inode->refs);
	mutex_init(&inode->lock);
	inode->mode = mode;
	inode->uid = c->fsuid;
	inode->gid = c->fsgid;
	inode->nlink = 1;
	inode->ino = __atomic_fetch_add(&s->next_ino, 1, __ATOMIC_RELAXED);
	inode->super = s;
	inode->atime = inode->mtime = inode->ctime = inode->btime = inode_now();
	*out = inode;
	return 0;
}

void
inode_get(struct inode *inode)
{
	refcount_get(&inode->refs);
}

void
inode_put(struct inode *inode)
{
	if (!refcount_put(&inode->refs))
		return;
	if (inode->ops && inode->ops->destroy)
		inode->ops->destroy(inode);
	if (inode->locks)
		flock_free_inode(inode);
	kfree(inode);
}

/* writers counts up for files open for writing, down for programs that run. */
static int
writers_add(struct inode *inode, int step)
{
	int32_t n = READ_ONCE(inode->writers);

	do {
		if (step > 0 ? n < 0 : n > 0)
			return -ETXTBSY;
	} while (!__atomic_compare_exchange_n(&inode->writers, &n, n + step, false,
					      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	return 0;
}

int
inode_deny_write(struct inode *inode)
{
	return writers_add(inode, -1);
}

void
inode_allow_write(struct inode *inode)
{
	int32_t old = __atomic_fetch_add(&inode->writers, 1, __ATOMIC_RELEASE);

	assert(old < 0);
}

int
inode_get_write(struct inode *inode)
{
	return writers_add(inode, 1);
}

void
inode_put_write(struct inode *inode)
{
	int32_t old = __atomic_fetch_sub(&inode->writers, 1, __ATOMIC_RELEASE);

	assert(old > 0);
}

void
inode_stat(struct inode *inode, struct stat_info *st)
{
	st->ino = inode->ino;
	st->size = READ_ONCE(inode->size);
	st->blocks = READ_ONCE(inode->blocks);
	st->dev = inode->super->dev;
	st->rdev = inode->rdev;
	st->mode = READ_ONCE(inode->mode);
	st->nlink = inode->nlink;
	st->uid = inode->uid;
	st->gid = inode->gid;
	st->blksize = PAGE_SIZE;
	st->atime = inode->atime;
	st->mtime = inode->mtime;
	st->ctime = inode->ctime;
	st->btime = inode->btime;
	if (inode->ops->getattr)
		inode->ops->getattr(inode, st);
}

void
inode_touch_mtime(struct inode *inode)
{
	inode->mtime = inode->ctime = inode_now();
}

static bool
before(const struct timespec *a, const struct timespec *b)
{
	return a->sec != b->sec ? a->sec < b->sec : a->nsec < b->nsec;
}

/* As relatime: a read counts if it is the first since the last change. */
void
inode_touch_atime(const struct file *f)
{
	struct inode *inode = f->inode;

	if ((f->flags & O_NOATIME) || (f->path.mount->flags & (MNT_READONLY | MNT_NOATIME)))
		return;
	if (likely(before(&inode->mtime, &inode->atime) && before(&inode->ctime, &inode->atime)))
		return;
	inode->atime = inode_now();
}

void
inode_drop_suid(struct inode *inode)
{
	uint32_t mode = inode->mode, drop = 0;

	if (likely(!(mode & (S_ISUID | S_ISGID))) || fs_cred()->fsuid == 0)
		return;
	drop = S_ISUID;
	if ((mode & (S_ISGID | 010)) == (S_ISGID | 010))
		drop |= S_ISGID;
	if ((mode & S_IFMT) == S_IFREG)
		inode->mode = mode & ~drop;
}

int
inode_truncate(struct inode *inode, uint64_t size)
{
	int err;

	if (!inode->ops->truncate)
		return -EINVAL;
	mutex_lock(&inode->lock);
	err = inode->ops->truncate(inode, size);
	if (!err) {
		inode_touch_mtime(inode);
		inode_drop_suid(inode);
	}
	mutex_unlock(&inode->lock);
	return err;
}

int
inode_chmod(const struct path *p, uint32_t mode)
{
	struct inode *inode = p->dentry->inode;
	struct subject who = subject_current(false);
	int err = 0;

	if (mount_readonly(p->mount))
		return -EROFS;
	/* With the lock, for a chown that comes first takes the right away. */
	mutex_lock(&inode->lock);
	if (!inode_owner_or_capable(inode))
		err = -EPERM;
	else if ((inode->mode & S_IFMT) == S_IFLNK)
		err = -EOPNOTSUPP;
	if (err)
		goto out;
	mode &= 07777;
	if (!in_group(&who, inode->gid) && who.uid != 0)
		mode &= ~S_ISGID;
	inode->mode = (inode->mode & S_IFMT) | mode;
	inode->ctime = inode_now();
out:
	mutex_unlock(&inode->lock);
	return err;
}

/* uid, gid: UINT32_MAX leaves it. */
int
inode_chown(const struct path *p, uint32_t uid, uint32_t gid)
{
	struct inode *inode = p->dentry->inode;
	struct subject who = subject_current(false);
	bool root = who.uid == 0;
	uint32_t drop = 0;
	int err = 0;

	if (mount_readonly(p->mount))
		return -EROFS;
	mutex_lock(&inode->lock);
	/* Programs lose their privilege with their owner, also when root changes it. */
	if ((inode->mode & S_IFMT) != S_IFDIR)
		drop = inode->mode & (S_ISUID | (inode->mode & 010 ? S_ISGID : 0));
	if (!root && uid != UINT32_MAX && !(who.uid == inode->uid && uid == inode->uid))
		err = -EPERM;
	if (!root && gid != UINT32_MAX &&
	    !(who.uid == inode->uid && (in_group(&who, gid) || gid == inode->gid)))
		err = -EPERM;
	/* And not by somebody who changes neither owner nor group. */
	if (!root && drop && who.uid != inode->uid)
		err = -EPERM;
	if (err)
		goto out;
	inode->mode &= ~drop;
	if (uid != UINT32_MAX)
		inode->uid = uid;
	if (gid != UINT32_MAX)
		inode->gid = gid;
	inode->ctime = inode_now();
out:
	mutex_unlock(&inode->lock);
	return err;
}

int
inode_utimens(const struct path *p, const struct timespec *times)
{
	struct inode *inode = p->dentry->inode;
	struct timespec now = inode_now();
	bool both_now = !times || (times[0].nsec == UTIME_NOW && times[1].nsec == UTIME_NOW);
	int err = 0;

	for (unsigned i = 0; times && i < 2; i++)
		if ((uint64_t)times[i].nsec >= NSEC_PER_SEC && times[i].nsec != UTIME_NOW &&
		    times[i].nsec != UTIME_OMIT)
			return -EINVAL;
	if (times && times[0].nsec == UTIME_OMIT && times[1].nsec == UTIME_OMIT)
		return 0;
	if (mount_readonly(p->mount))
		return -EROFS;
	mutex_lock(&inode->lock);
	if (!inode_owner_or_capable(inode)) {
		/* Whoever may write may say "now". */
		if (!both_now)
			err = -EPERM;
		else if (inode_permission(inode, MAY_WRITE))
			err = -EACCES;
		if (err)
			goto out;
	}
	if (!times || times[0].nsec != UTIME_OMIT)
		inode->atime = !times || times[0].nsec == UTIME_NOW ? now : times[0];
	if (!times || times[1].nsec != UTIME_OMIT)
		inode->mtime = !times || times[1].nsec == UTIME_NOW ? now : times[1];
	inode->ctime = now;
out:
	mutex_unlock(&inode->lock);
	return err;
}
