/*
 * Pseudo terminals.  The slave is a struct tty whose driver writes into a ring; the master is a plain
 * file that reads this ring and types into the tty.  A pair is kept for reuse when both sides are
 * closed, so that a pointer to its tty never dangles.
 *
 * Locks: ptys_lock (which pairs are in use), then the tty's lock (the ring).
 */
#include "kernel/fs/pty.h"
#include "kernel/errno.h"
#include "kernel/fs/devfs.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/poll.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/fs/tty.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"

#define PTYS_MAX      64
#define SLAVE_MAJOR   136
#define OUTPUT_BUFFER 4096u /* a power of two */

#define TIOCGPGRP   0x540fu
#define TIOCOUTQ    0x5411u
#define FIONREAD    0x541bu
#define TIOCGSID    0x5429u
#define TIOCGPTN    0x80045430u
#define TIOCSPTLCK  0x40045431u
#define TIOCGPTLCK  0x80045439u

struct pty {
	struct tty tty;	     /* the slave */
	unsigned index;	     /* fixed */
	bool master;	     /* [ptys_lock] the master is open */
	bool locked;	     /* [ptys_lock] the slave may not be opened yet */
	bool slave_was_open; /* [ptys_lock; read anywhere] since the master was opened */
	unsigned slaves;     /* [ptys_lock; read anywhere] open files of the slave */
	struct dentry *node; /* the master's; in devpts */
	uint32_t head, tail; /* [tty.lock; read anywhere] bytes written by the slave, read */
	struct wait_queue read_wait, write_wait; /* the master's */
	char out[OUTPUT_BUFFER]; /* [tty.lock] */
};

static struct spinlock ptys_lock = SPINLOCK_INIT;
static struct pty *ptys[PTYS_MAX]; /* [ptys_lock to set] made when first needed */
static struct super *pts_super ro_after_init;

static inline struct pty *
pty_of(struct tty *t)
{
	return container_of(t, struct pty, tty);
}

/* ---- The slave's driver ---- */

static size_t
slave_room(struct tty *t)
{
	struct pty *p = pty_of(t);

	return OUTPUT_BUFFER - (READ_ONCE(p->head) - READ_ONCE(p->tail));
}

static size_t
slave_write(struct tty *t, const char *s, size_t n)
{
	struct pty *p = pty_of(t);

	n = MIN(n, slave_room(t));
	for (size_t i = 0; i < n; i++)
		p->out[(p->head + i) % OUTPUT_BUFFER] = s[i];
	WRITE_ONCE(p->head, p->head + (uint32_t)n);
	if (n)
		wake_all(&p->read_wait);
	return n;
}

static void
slave_drained(struct tty *t)
{
	wake_all(&pty_of(t)->write_wait);
}

static int
slave_opened(struct tty *t)
{
	struct pty *p = pty_of(t);
	int err = 0;

	spin_lock(&ptys_lock);
	if (!p->master || p->locked) {
		err = -EIO;
	} else {
		p->slaves++;
		p->slave_was_open = true;
	}
	spin_unlock(&ptys_lock);
	return err;
}

static void
slave_closed(struct tty *t)
{
	struct pty *p = pty_of(t);

	/* With the lock held, for without users the pair, queues and all, may be made anew. */
	spin_lock(&ptys_lock);
	if (--p->slaves == 0) {
		wake_all(&p->read_wait);
		wake_all(&p->write_wait);
	}
	spin_unlock(&ptys_lock);
}

static const struct tty_driver slave_driver = {
	.write = slave_write,
	.room = slave_room,
	.drained = slave_drained,
	.open = slave_opened,
	.close = slave_closed,
};

static int
slave_open(struct inode *inode, struct file *f)
{
	unsigned index = inode->rdev & 0xff;
	struct pty *p = NULL;
	int err;

	spin_lock(&ptys_lock);
	if (index < PTYS_MAX)
		p = ptys[index];
	/* A node that somebody kept (O_PATH) is not one of the pair that has its number now. */
	if (p && p->node == f->path.dentry)
		p->slaves++; /* it stays this pair meanwhile */
	else
		p = NULL;
	spin_unlock(&ptys_lock);
	if (!p)
		return -EIO;
	err = tty_open_file(&p->tty, f, true);
	slave_closed(&p->tty);
	return err;
}

static const struct file_ops slave_ops = {
	.open = slave_open,
};

/* ---- The master ---- */

/* A free pair, marked as in use.  0, -ENOSPC or -ENOMEM. */
static int
pty_take(struct pty **out)
{
	struct pty *fresh = kzalloc(sizeof(*fresh)), *p = NULL;

	if (!fresh)
		return -ENOMEM;
	spin_lock(&ptys_lock);
	for (unsigned i = 0; i < PTYS_MAX; i++) {
		p = ptys[i];
		if (!p) {
			p = fresh;
			fresh = NULL;
			p->index = i;
			__atomic_store_n(&ptys[i], p, __ATOMIC_RELEASE);
			break;
		}
		if (!p->master && !p->slaves && !p->node)
			break;
		p = NULL;
	}
	if (p) {
		/* Nobody has it open; its lock and its queues are at rest. */
		tty_init(&p->tty, &slave_driver, MKDEV(SLAVE_MAJOR, p->index));
		wait_queue_init(&p->read_wait);
		wait_queue_init(&p->write_wait);
		p->head = p->tail = 0;
		p->slave_was_open = false;
		p->locked = true;
		p->master = true;
	}
	spin_unlock(&ptys_lock);
	kfree(fresh);
	*out = p;
	return p ? 0 : -ENOSPC;
}

static void
number_name(unsigned n, char name[4])
{
	snprintf(name, 4, "%u", n);
}

static const struct file_ops master_ops;
/* As Linux's devpts: only masters make and remove names, and a node stays where its master looks. */
static const struct inode_ops pts_dir_ops;

static int
ptmx_open(struct inode *inode unused, struct file *f)
{
	char name[4];
	struct pty *p;
	int err = pty_take(&p);

	if (err)
		return err;
	number_name(p->index, name);
	err = tmpfs_add_node(pts_super->root, name, S_IFCHR | 0620,
			     MKDEV(SLAVE_MAJOR, p->index), &p->node);
	if (err) {
		spin_lock(&ptys_lock);
		p->node = NULL;
		p->master = false;
		spin_unlock(&ptys_lock);
		return err;
	}
	dentry_get(p->node); /* nobody else can have removed it: see pts_dir_ops */
	p->node->inode->uid = cred()->fsuid;
	p->node->inode->gid = 5; /* group tty, as the usual options of devpts have it */
	f->ops = &master_ops;
	f->data = p;
	return 0;
}

static void
master_release(struct file *f)
{
	struct pty *p = f->data;
	struct inode *dir = pts_super->root->inode;
	struct dentry *node = p->node;

	mutex_lock(&dir->lock);
	if (!tmpfs_dir_ops.unlink(dir, node))
		dentry_delete(node);
	mutex_unlock(&dir->lock);
	dentry_put(node);
	/* No opens from here on; the node keeps the pair from being taken until the hang-up is over. */
	spin_lock(&ptys_lock);
	p->master = false;
	spin_unlock(&ptys_lock);
	tty_hangup(&p->tty);
	spin_lock(&ptys_lock);
	p->node = NULL;
	spin_unlock(&ptys_lock);
}

/* The slave side had users and has none any more. */
static inline bool
slave_gone(const struct pty *p)
{
	return READ_ONCE(p->slave_was_open) && !READ_ONCE(p->slaves);
}

static inline bool
has_output(const struct pty *p)
{
	return READ_ONCE(p->head) != READ_ONCE(p->tail);
}

static ssize_t
master_read(struct file *f, struct uio *u, uint64_t *pos unused)
{
	struct pty *p = f->data;
	ssize_t done = 0;

	while (u->left) {
		char buf[256];
		irqstate_t s;
		size_t n = 0;
		int err;

		s = spin_lock_irq(&p->tty.lock);
		while (n < MIN(u->left, sizeof(buf)) && p->tail != p->head)
			buf[n++] = p->out[p->tail++ % OUTPUT_BUFFER];
		spin_unlock_irq(&p->tty.lock, s);
		if (n) {
			wake_all(&p->tty.write_wait);
			if (uio_write_to(u, buf, n) != (ssize_t)n)
				return done ? done : -EFAULT;
			done += (ssize_t)n;
			if (signal_pending())
				break;
			cond_resched();
			continue;
		}
		if (done)
			break;
		if (slave_gone(p))
			return -EIO;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(&p->read_wait, has_output(p) || slave_gone(p));
		if (err)
			return err;
	}
	return done;
}

/* Bytes that the slave takes now.  A line that is too long takes any number: it drops them. */
static size_t
typing_room(struct pty *p)
{
	irqstate_t s = spin_lock_irq(&p->tty.lock);
	size_t room = tty_input_room(&p->tty);

	if ((p->tty.termios.lflag & ICANON) && !tty_available(&p->tty))
		room = SIZE_MAX;
	spin_unlock_irq(&p->tty.lock, s);
	return room;
}

static ssize_t
master_write(struct file *f, struct uio *u, uint64_t *pos unused)
{
	struct pty *p = f->data;
	ssize_t done = 0;

	while (u->left) {
		uint8_t buf[256];
		size_t room = MIN(typing_room(p), sizeof(buf));
		ssize_t n;
		int err;

		if (room) {
			n = uio_read_from(u, buf, MIN(u->left, room));
			if (n <= 0)
				return done ? done : -EFAULT;
			tty_receive(&p->tty, buf, (size_t)n);
			done += n;
			if (signal_pending())
				break;
			cond_resched();
			continue;
		}
		if (f->flags & O_NONBLOCK)
			return done ? done : -EAGAIN;
		err = wait_event_interruptible(&p->write_wait, typing_room(p) || slave_gone(p));
		if (err || slave_gone(p))
			return done ? done : err ? err : -EIO;
	}
	return done;
}

static unsigned
master_poll(struct file *f, struct poll_table *pt)
{
	struct pty *p = f->data;
	unsigned mask = 0;

	poll_wait(pt, &p->read_wait);
	poll_wait(pt, &p->write_wait);
	if (has_output(p))
		mask |= POLLIN | POLLRDNORM;
	if (typing_room(p))
		mask |= POLLOUT | POLLWRNORM;
	if (slave_gone(p))
		mask |= POLLHUP;
	return mask;
}

static long
put_int(uaddr_t arg, int32_t n)
{
	return put_user(arg, &n);
}

static long
master_ioctl(struct file *f, unsigned cmd, uaddr_t arg)
{
	struct pty *p = f->data;
	int32_t n;

	switch (cmd) {
	case TIOCGPTN:
		return put_int(arg, (int32_t)p->index);
	case TIOCSPTLCK:
		if (get_user(&n, arg))
			return -EFAULT;
		WRITE_ONCE(p->locked, n != 0);
		return 0;
	case TIOCGPTLCK:
		return put_int(arg, READ_ONCE(p->locked));
	case TIOCGPGRP:
		return put_int(arg, READ_ONCE(p->tty.pgrp));
	case TIOCGSID:
		n = READ_ONCE(p->tty.session);
		return n ? put_int(arg, n) : -ENOTTY;
	case FIONREAD:
		return put_int(arg, (int32_t)(READ_ONCE(p->head) - READ_ONCE(p->tail)));
	case TIOCOUTQ:
		return put_int(arg, 0);
	default:
		return tty_common_ioctl(&p->tty, cmd, arg);
	}
}

static const struct file_ops master_ops = {
	.release = master_release,
	.read = master_read,
	.write = master_write,
	.poll = master_poll,
	.ioctl = master_ioctl,
};

static const struct file_ops ptmx_ops = {
	.open = ptmx_open,
};

/* ---- devpts ---- */

static int
devpts_mount(const struct fs_type *type unused, const char *source unused,
	     const char *options unused, struct super **out)
{
	*out = pts_super;
	return 0;
}

static void
devpts_statfs(struct super *s unused, uint64_t *blocks, uint64_t *free, uint64_t *magic)
{
	*blocks = *free = 0;
	*magic = 0x1cd1; /* DEVPTS_SUPER_MAGIC */
}

static struct fs_type devpts_type = {
	.name = "devpts",
	.nodev = true,
	.mount = devpts_mount,
	.statfs = devpts_statfs,
};

void
pty_init(void)
{
	int err = tmpfs_mount(&devpts_type, "devpts", "mode=755", &pts_super);

	if (err)
		panic("devpts: error %d", err);
	pts_super->mounts = 1; /* for good */
	pts_super->root->inode->ops = &pts_dir_ops;
	fs_register(&devpts_type);
	chrdev_register(5, 2, "ptmx", 0666, &ptmx_ops, NULL);
	chrdev_register_range(SLAVE_MAJOR, 0, PTYS_MAX, &slave_ops, NULL);
}
