/*
 * File locks: flock(2), POSIX record locks, and their open-file-description (OFD) kin.
 *
 * One mutex guards them all: locks are rare and short-lived.  flock locks and record locks do not see
 * each other, as on Linux.  A record lock belongs to a descriptor table (POSIX) or to an open file
 * (OFD); a flock lock belongs to an open file.
 */
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/process.h"

#define LOCK_SH 1
#define LOCK_EX 2
#define LOCK_NB 4
#define LOCK_UN 8

#define F_GETLK	    5u
#define F_SETLK	    6u
#define F_SETLKW    7u
#define F_OFD_GETLK 36u
#define F_OFD_SETLK 37u
#define F_OFD_SETLKW 38u

enum { F_RDLCK, F_WRLCK, F_UNLCK };

/* Linux's struct flock on 64-bit machines */
struct user_flock {
	int16_t type, whence;
	int64_t start, len;
	int32_t pid;
};

#define OFFSET_MAX INT64_MAX

struct lock {
	struct list link;
	const void *owner; /* struct files (POSIX), struct file (OFD, flock) */
	int pid;	   /* for F_GETLK; -1: OFD */
	int type;	   /* F_RDLCK, F_WRLCK */
	int64_t start, end; /* inclusive */
};

/* An inode's locks; made when first needed, kept until the inode goes. */
struct flock_list {
	struct list records; /* [locks_mutex] per owner sorted by start, not touching unless types differ */
	struct list flocks;  /* [locks_mutex] */
	struct wait_queue wait; /* somebody released something */
	unsigned changes;	/* [locks_mutex; read anywhere] */
};

/* A POSIX owner that waits for another: for finding deadlocks. */
struct blocked {
	struct list link; /* [locks_mutex] */
	const void *owner, *by;
};

static struct mutex locks_mutex = MUTEX_INIT(locks_mutex);
static struct list blocked_all = LIST_INIT(blocked_all); /* [locks_mutex] */

static struct flock_list *
list_of(struct inode *inode)
{
	struct flock_list *l = inode->locks;

	if (l)
		return l;
	l = kzalloc(sizeof(*l));
	if (!l)
		return NULL;
	list_init(&l->records);
	list_init(&l->flocks);
	wait_queue_init(&l->wait);
	inode->locks = l;
	return l;
}

void
flock_free_inode(struct inode *inode)
{
	kfree(inode->locks);
	inode->locks = NULL;
}

/* Something was released: those who wait look again.  Caller holds locks_mutex. */
static void
released(struct flock_list *l)
{
	WRITE_ONCE(l->changes, l->changes + 1);
	wake_all(&l->wait);
}

static struct lock *
lock_new(const struct lock *from)
{
	struct lock *n = kmalloc(sizeof(*n));

	if (n) {
		*n = *from;
		list_init(&n->link);
	}
	return n;
}

static void
lock_drop(struct lock *k)
{
	list_remove(&k->link);
	kfree(k);
}

static struct lock *
conflict(struct list *locks, const struct lock *want)
{
	struct lock *k;

	list_for_each(k, locks, link) {
		if (k->owner != want->owner && k->start <= want->end && want->start <= k->end &&
		    (k->type == F_WRLCK || want->type == F_WRLCK))
			return k;
	}
	return NULL;
}

/* Waits, without the mutex, until a lock of l is released.  The inode stays: a file holds it. */
static int
wait_for_release(struct flock_list *l)
{
	unsigned seen = l->changes;
	int err;

	mutex_unlock(&locks_mutex);
	err = wait_event_interruptible(&l->wait, READ_ONCE(l->changes) != seen);
	mutex_lock(&locks_mutex);
	return err;
}

/* ---- flock(2) ---- */

static struct lock *
flock_of(struct flock_list *l, const struct file *f)
{
	struct lock *k;

	list_for_each(k, &l->flocks, link) {
		if (k->owner == f)
			return k;
	}
	return NULL;
}

long
flock_apply(struct file *f, int op)
{
	struct lock want = {.owner = f, .pid = current->process->pid, .start = 0,
			    .end = OFFSET_MAX};
	bool wait = !(op & LOCK_NB);
	struct flock_list *l;
	struct lock *k, *fresh = NULL;
	long err = 0;

	switch (op & ~LOCK_NB) {
	case LOCK_SH:
		want.type = F_RDLCK;
		break;
	case LOCK_EX:
		want.type = F_WRLCK;
		break;
	case LOCK_UN:
		want.type = F_UNLCK;
		break;
	default:
		return -EINVAL;
	}
	if (want.type != F_UNLCK && !(f->mode & (FILE_READ | FILE_WRITE)))
		return -EBADF;
	if (want.type != F_UNLCK) {
		fresh = lock_new(&want);
		if (!fresh)
			return -ENOLCK;
	}
	mutex_lock(&locks_mutex);
	l = list_of(f->inode);
	if (!l) {
		err = -ENOLCK;
		goto out;
	}
	k = flock_of(l, f);
	if (k && k->type == want.type)
		goto out;
	/* A change of type gives the old lock up first: flock(2) says that it is not atomic. */
	if (k) {
		lock_drop(k);
		released(l);
	}
	if (!fresh)
		goto out;
	while (conflict(&l->flocks, &want)) {
		err = wait ? wait_for_release(l) : -EAGAIN;
		if (err)
			goto out;
	}
	/* Another thread may have used the same file while this one slept. */
	k = flock_of(l, f);
	if (k)
		lock_drop(k);
	list_push_back(&l->flocks, &fresh->link);
	fresh = NULL;
out:
	mutex_unlock(&locks_mutex);
	kfree(fresh);
	return err;
}

/* ---- Record locks ---- */

/*
 * Gives want's owner its range with its type (F_UNLCK: none): what it had there is cut away, and
 * equal neighbours melt into one.  Needs at most two fresh locks, which it takes from spare[].
 */
static void
record_set(struct flock_list *l, const struct lock *want, struct lock *spare[2])
{
	struct lock *k, *next, *mine = NULL;
	bool freed = want->type == F_UNLCK;
	int64_t start = want->start, end = want->end;

	list_for_each_safe(k, next, &l->records, link) {
		if (k->owner != want->owner)
			continue;
		if (k->type == want->type) {
			/* Touches or overlaps: takes it in.  start - 1 and end + 1 do not overflow. */
			if ((start > 0 && k->end < start - 1) ||
			    (end < OFFSET_MAX && k->start > end + 1))
				continue;
			start = MIN(start, k->start);
			end = MAX(end, k->end);
			lock_drop(k);
			continue;
		}
		if (k->end < want->start || k->start > want->end)
			continue;
		freed = true; /* a lock becomes weaker, or goes */
		if (k->start < want->start && k->end > want->end) {
			struct lock *right = spare[1];

			spare[1] = NULL;
			*right = *k;
			right->start = want->end + 1;
			k->end = want->start - 1;
			list_push_front(&k->link, &right->link);
		} else if (k->start < want->start) {
			k->end = want->start - 1;
		} else if (k->end > want->end) {
			k->start = want->end + 1;
		} else {
			lock_drop(k);
		}
	}
	if (want->type != F_UNLCK) {
		mine = spare[0];
		spare[0] = NULL;
		*mine = *want;
		mine->start = start;
		mine->end = end;
		list_push_back(&l->records, &mine->link);
	}
	if (freed)
		released(l);
}

/* Would `owner`, waiting for `by`, close a circle of waiting owners? */
static bool
would_deadlock(const void *owner, const void *by)
{
	for (unsigned steps = 0; steps < 64; steps++) {
		const void *next = NULL;
		struct blocked *b;

		if (by == owner)
			return true;
		list_for_each(b, &blocked_all, link) {
			if (b->owner == by)
				next = b->by;
		}
		if (!next)
			return false;
		by = next;
	}
	return false;
}

/* The user's description as a range; as Linux's flock_to_posix_lock. */
static int
range_of(const struct file *f, const struct user_flock *u, struct lock *out)
{
	int64_t base;

	switch (u->whence) {
	case 0:
		base = 0;
		break;
	case 1:
		base = (int64_t)f->pos;
		break;
	case 2:
		base = (int64_t)f->inode->size;
		break;
	default:
		return -EINVAL;
	}
	if (u->start > OFFSET_MAX - base)
		return -EOVERFLOW;
	out->start = base + u->start;
	if (out->start < 0)
		return -EINVAL;
	if (u->len > 0) {
		if (u->len - 1 > OFFSET_MAX - out->start)
			return -EOVERFLOW;
		out->end = out->start + u->len - 1;
	} else if (u->len < 0) {
		if (out->start + u->len < 0)
			return -EINVAL;
		out->end = out->start - 1;
		out->start += u->len;
	} else {
		out->end = OFFSET_MAX;
	}
	if (u->type != F_RDLCK && u->type != F_WRLCK && u->type != F_UNLCK)
		return -EINVAL;
	out->type = u->type;
	return 0;
}

static long
record_get(struct file *f, struct user_flock *u, const struct lock *want)
{
	struct lock *k = NULL;

	if (want->type == F_UNLCK && want->pid != -1)
		return -EINVAL;
	mutex_lock(&locks_mutex);
	if (f->inode->locks)
		k = conflict(&f->inode->locks->records, want);
	if (k) {
		u->type = (int16_t)k->type;
		u->whence = 0;
		u->start = k->start;
		u->len = k->end == OFFSET_MAX ? 0 : k->end - k->start + 1;
		u->pid = k->pid;
	} else {
		u->type = F_UNLCK;
	}
	mutex_unlock(&locks_mutex);
	return 0;
}

static long
record_apply(struct file *f, const struct lock *want, bool wait)
{
	struct lock *spare[2] = {lock_new(want), lock_new(want)};
	bool posix = want->pid != -1;
	struct flock_list *l;
	struct lock *k;
	long err = 0;

	if (!spare[0] || !spare[1]) {
		err = -ENOLCK;
		goto out;
	}
	mutex_lock(&locks_mutex);
	l = list_of(f->inode);
	if (!l)
		err = -ENOLCK;
	while (!err && want->type != F_UNLCK && (k = conflict(&l->records, want))) {
		struct blocked b = {.owner = want->owner, .by = k->owner};

		if (!wait) {
			err = -EAGAIN;
		} else if (posix && would_deadlock(want->owner, k->owner)) {
			err = -EDEADLK;
		} else {
			list_init(&b.link);
			if (posix)
				list_push_back(&blocked_all, &b.link);
			err = wait_for_release(l);
			list_remove(&b.link);
		}
	}
	if (!err)
		record_set(l, want, spare);
	mutex_unlock(&locks_mutex);
out:
	kfree(spare[0]);
	kfree(spare[1]);
	return err;
}

/* Another thread closed fd, perhaps before it could see the new lock: then nobody else would drop it. */
static long
record_check(struct file *f, int fd)
{
	struct file *now = fd_get(fd);
	long err = 0;

	if (now != f) {
		flock_release(f, current->process->files);
		err = -EBADF;
	}
	if (now)
		file_put(now);
	return err;
}

long
flock_fcntl(struct file *f, int fd, unsigned cmd, uaddr_t arg)
{
	bool ofd = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
	struct lock want = {0};
	struct user_flock u;
	long err;

	if (get_user(&u, arg))
		return -EFAULT;
	err = range_of(f, &u, &want);
	if (err)
		return err;
	if (ofd && u.pid != 0)
		return -EINVAL;
	want.owner = ofd ? (const void *)f : (const void *)current->process->files;
	want.pid = ofd ? -1 : current->process->pid;
	switch (cmd) {
	case F_GETLK:
	case F_OFD_GETLK:
		err = record_get(f, &u, &want);
		return err ? err : put_user(arg, &u);
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		if ((want.type == F_RDLCK && !(f->mode & FILE_READ)) ||
		    (want.type == F_WRLCK && !(f->mode & FILE_WRITE)))
			return -EBADF;
		err = record_apply(f, &want, cmd == F_SETLKW || cmd == F_OFD_SETLKW);
		return err || ofd || want.type == F_UNLCK ? err : record_check(f, fd);
	default:
		return -EINVAL;
	}
}

/* Drops the locks of owner; caller holds locks_mutex. */
static bool
drop_owned(struct list *locks, const void *owner)
{
	struct lock *k, *next;
	bool any = false;

	list_for_each_safe(k, next, locks, link) {
		if (k->owner == owner) {
			lock_drop(k);
			any = true;
		}
	}
	return any;
}

void
flock_release(struct file *f, struct files *owner)
{
	struct flock_list *l = READ_ONCE(f->inode->locks);
	bool any;

	if (likely(!l))
		return;
	mutex_lock(&locks_mutex);
	any = drop_owned(&l->records, owner ? (const void *)owner : (const void *)f);
	if (!owner)
		any |= drop_owned(&l->flocks, f);
	if (any)
		released(l);
	mutex_unlock(&locks_mutex);
}
