/*
 * Terminals as files: read, write, poll, the ioctls, and job control.
 */
#include "kernel/fs/tty.h"
#include "kernel/errno.h"
#include "kernel/fs/poll.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/signal.h"
#include "kernel/proc/sigqueue.h"
#include "kernel/proc/thread.h"

#define TCGETS	   0x5401u
#define TCSETS	   0x5402u
#define TCSETSW	   0x5403u
#define TCSETSF	   0x5404u
#define TCSBRK	   0x5409u
#define TCXONC	   0x540au
#define TCFLSH	   0x540bu
#define TIOCSCTTY  0x540eu
#define TIOCGPGRP  0x540fu
#define TIOCSPGRP  0x5410u
#define TIOCOUTQ   0x5411u
#define TIOCSTI	   0x5412u
#define TIOCGWINSZ 0x5413u
#define TIOCSWINSZ 0x5414u
#define FIONREAD   0x541bu
#define TIOCNOTTY  0x5422u
#define TIOCGETD   0x5424u
#define TCSBRKP	   0x5425u
#define TIOCGSID   0x5429u
#define TCGETS2	   0x802c542au
#define TCSETS2	   0x402c542bu
#define TCSETSW2   0x402c542cu
#define TCSETSF2   0x402c542du

const struct termios tty_default_termios = {
	.iflag = ICRNL | IXON,
	.oflag = OPOST | ONLCR,
	.cflag = 0x0cbd, /* B38400 CS8 CREAD HUPCL CLOCAL */
	.lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
	.cc = {[VINTR] = 3, [VQUIT] = 28, [VERASE] = 127, [VKILL] = 21, [VEOF] = 4, [VMIN] = 1,
	       [VSTART] = 17, [VSTOP] = 19, [VSUSP] = 26, [VREPRINT] = 18, [VDISCARD] = 15,
	       [VWERASE] = 23, [VLNEXT] = 22},
	.ispeed = 38400,
	.ospeed = 38400,
};

/* An open file of a terminal. */
struct tty_file {
	struct tty *tty;
	unsigned generation; /* the terminal's at open */
	bool immortal;	     /* /dev/console outlives hang-ups, as in Linux */
};

void
tty_init(struct tty *t, const struct tty_driver *driver, uint32_t dev)
{
	memset(t, 0, sizeof(*t));
	t->driver = driver;
	t->dev = dev;
	spin_init(&t->lock);
	t->termios = tty_default_termios;
	mutex_init(&t->write_mutex);
	wait_queue_init(&t->read_wait);
	wait_queue_init(&t->write_wait);
}

static inline bool
is_hung_up(const struct tty_file *tf)
{
	return !tf->immortal && READ_ONCE(tf->tty->generation) != tf->generation;
}

/* ---- Job control ---- */

/*
 * A process of a background group may not go on: SIGTTIN or SIGTTOU to its group, and -ERESTARTSYS;
 * -EIO where that would stop nobody; 0: it may.
 */
static int
check_foreground(struct tty *t, int signo)
{
	struct process *p = current->process;
	int foreground = READ_ONCE(t->pgrp);

	if (READ_ONCE(p->tty) != t || !foreground || foreground == READ_ONCE(p->pgid))
		return 0;
	if (signal_ignored_or_blocked(signo))
		return signo == SIGTTIN ? -EIO : 0;
	if (process_group_orphaned(p->pgid))
		return -EIO;
	(void)!signal_send_group(p->pgid, signo);
	return -ERESTARTSYS;
}

/* Makes t nobody's controlling terminal.  Caller holds process_lock. */
static void
session_clear(struct tty *t)
{
	struct process *p;

	list_for_each(p, &process_all, all) {
		if (p->tty == t)
			p->tty = NULL;
	}
	t->session = 0;
	t->pgrp = 0;
}

/* Makes t the controlling terminal of the current process's session.  Holds process_lock. */
static void
session_set(struct tty *t)
{
	struct process *p = current->process;

	t->session = p->sid;
	t->pgrp = p->pgid;
	p->tty = t;
}

/* Takes t away from its session and tells the foreground group.  process_lock may be held. */
static void
session_end(struct tty *t)
{
	irqstate_t s;
	bool taken = signal_tree_lock(&s);
	int pgrp = t->pgrp;
	struct process *leader = t->session ? process_find_locked(t->session) : NULL;

	if (leader && leader != current->process) {
		signal_send_kernel(leader, SIGHUP);
		signal_send_kernel(leader, SIGCONT);
	}
	session_clear(t);
	if (pgrp) {
		(void)!signal_send_group(pgrp, SIGHUP);
		(void)!signal_send_group(pgrp, SIGCONT);
	}
	signal_tree_unlock(taken, s);
}

/* There is room for input again: whoever waits to type may go on. */
static void
tell_drained(struct tty *t)
{
	if (t->driver->drained)
		t->driver->drained(t);
}

void
tty_hangup(struct tty *t)
{
	irqstate_t s = spin_lock_irq(&t->lock);

	t->generation++;
	t->stopped = false;
	tty_flush_input(t);
	spin_unlock_irq(&t->lock, s);
	session_end(t);
	tell_drained(t);
	wake_all(&t->read_wait);
	wake_all(&t->write_wait);
}

void
tty_session_exit(struct process *leader)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	struct tty *t = leader->tty;

	/*
	 * A leader can hold another session's terminal only until that is cleared.  In one hold of the lock: a
	 * pseudo terminal whose session is over may be made anew for somebody else.
	 */
	if (t && t->session == leader->sid)
		tty_hangup(t);
	spin_unlock_irq(&process_lock, s);
}

void
tty_vhangup_current(void)
{
	irqstate_t s = spin_lock_irq(&process_lock); /* it stays the process's meanwhile */
	struct tty *t = current->process->tty;

	if (t)
		tty_hangup(t);
	spin_unlock_irq(&process_lock, s);
}

static long
tty_set_controlling(struct tty *t, struct file *f, uint64_t steal)
{
	struct process *p = current->process;
	irqstate_t s = spin_lock_irq(&process_lock);
	long err = 0;

	if (is_hung_up(f->data)) /* since tty_ioctl looked: nobody would end the session again */
		err = -EIO;
	else if (p->pid == p->sid && t->session == p->sid)
		goto out;
	else if (p->pid != p->sid || p->tty)
		err = -EPERM;
	else if (t->session && (steal != 1 || !capable()))
		err = -EPERM;
	else if (!(f->mode & FILE_READ) && !capable())
		err = -EPERM;
	if (err)
		goto out;
	if (t->session)
		session_clear(t);
	session_set(t);
out:
	spin_unlock_irq(&process_lock, s);
	return err;
}

static long
tty_give_up(struct tty *t)
{
	struct process *p = current->process;

	if (READ_ONCE(p->tty) != t)
		return -ENOTTY;
	if (p->pid == p->sid)
		session_end(t);
	else
		WRITE_ONCE(p->tty, NULL);
	return 0;
}

static long
tty_set_foreground(struct tty *t, uaddr_t arg)
{
	struct process *p = current->process, *member;
	int err = check_foreground(t, SIGTTOU);
	int32_t pgrp;
	irqstate_t s;
	long r = -ESRCH;

	if (err)
		return err == -EIO ? -ENOTTY : err;
	if (READ_ONCE(p->tty) != t)
		return -ENOTTY;
	if (get_user(&pgrp, arg))
		return -EFAULT;
	if (pgrp < 0)
		return -EINVAL;
	s = spin_lock_irq(&process_lock);
	for_each_in_group(member, pgrp) {
		r = member->sid == p->sid ? 0 : -EPERM;
		break;
	}
	if (p->tty != t || t->session != p->sid)
		r = -ENOTTY;
	if (!r)
		t->pgrp = pgrp;
	spin_unlock_irq(&process_lock, s);
	return r;
}

/* ---- Open and release ---- */

int
tty_open_file(struct tty *t, struct file *f, bool may_control)
{
	struct tty_file *tf = kzalloc(sizeof(*tf));
	struct process *p = current->process;
	irqstate_t s;

	int err;

	if (!tf)
		return -ENOMEM;
	err = t->driver->open ? t->driver->open(t) : 0;
	if (err) {
		kfree(tf);
		return err;
	}
	tf->tty = t;
	tf->generation = READ_ONCE(t->generation);
	f->data = tf;
	f->ops = &tty_ops;
	if (may_control && !(f->flags & O_NOCTTY) && p && (f->mode & FILE_READ)) {
		s = spin_lock_irq(&process_lock);
		/* A hang-up that came meanwhile has ended the session, or waits for the lock to do so. */
		if (p->pid == p->sid && !p->tty && !t->session && !is_hung_up(tf))
			session_set(t);
		spin_unlock_irq(&process_lock, s);
	}
	return 0;
}

static void
tty_release(struct file *f)
{
	struct tty *t = ((struct tty_file *)f->data)->tty;

	kfree(f->data);
	if (t->driver->close)
		t->driver->close(t);
}

static int
tty_open(struct inode *inode unused, struct file *f)
{
	struct tty *t = f->data;
	int err;

	if (t)
		return tty_open_file(t, f, true);
	/* /dev/tty: whatever the process's own is */
	t = READ_ONCE(current->process->tty);
	err = t ? tty_open_file(t, f, false) : -ENXIO;
	/* After a hang-up a pseudo terminal may have become somebody else's before it was open. */
	if (!err && READ_ONCE(current->process->tty) != t) {
		tty_release(f);
		err = -ENXIO;
	}
	return err;
}

static int
console_open(struct inode *inode unused, struct file *f)
{
	int err = tty_open_file(f->data, f, false);

	if (!err)
		((struct tty_file *)f->data)->immortal = true;
	return err;
}

/* ---- Reading and writing ---- */

/* Where a read without ICANON stops waiting. */
struct read_limits {
	size_t enough;	   /* bytes after which it returns */
	uint64_t interval; /* ns: VTIME; 0: none */
};

/* What read and poll wait for, with interrupts on and no lock: a hint that is checked again. */
static bool
read_may_go_on(struct tty_file *tf)
{
	struct tty *t = tf->tty;
	irqstate_t s = spin_lock_irq(&t->lock);
	/* An end-of-file mark counts: it is a position in the ring like a byte. */
	bool ready = tty_available(t) != 0;

	spin_unlock_irq(&t->lock, s);
	return ready || is_hung_up(tf);
}

static ssize_t
tty_read(struct file *f, struct uio *u, uint64_t *pos unused)
{
	struct tty_file *tf = f->data;
	struct tty *t = tf->tty;
	uint64_t deadline = 0; /* set when first needed */
	ssize_t done = 0;

	if (u->left == 0)
		return 0;
	for (;;) {
		uint8_t buf[256];
		size_t n, enough = 1;
		uint64_t interval = 0;
		bool end, canonical, drained = false;
		irqstate_t s;
		int err;

		if (is_hung_up(tf))
			return done;
		err = check_foreground(t, SIGTTIN);
		if (err)
			return done ? done : err;
		s = spin_lock_irq(&t->lock);
		canonical = t->termios.lflag & ICANON;
		if (!canonical) {
			enough = t->termios.cc[VMIN];
			interval = t->termios.cc[VTIME] * 100 * NSEC_PER_MSEC;
		}
		n = tty_take(t, buf, MIN(u->left, sizeof(buf)), &end);
		drained = (n || end) && tty_input_room(t) > TTY_BUFFER / 2;
		spin_unlock_irq(&t->lock, s);
		if (drained)
			tell_drained(t);
		if (n) {
			ssize_t moved = uio_write_to(u, buf, n);

			if (moved != (ssize_t)n)
				return done ? done : -EFAULT;
			done += moved;
			deadline = 0;
		}
		if (end || u->left == 0)
			return done;
		if (n == sizeof(buf) && !signal_pending()) {
			cond_resched();
			continue; /* there may be more */
		}
		if (canonical ? done > 0 : (size_t)done >= enough && (done || !interval))
			return done;
		if (f->flags & O_NONBLOCK)
			return done ? done : -EAGAIN;
		/* VMIN 0: from the start of the read; else between bytes, from the first one on. */
		if (!interval || (enough && !done))
			deadline = NO_DEADLINE;
		else if (!deadline)
			deadline = clock_monotonic() + interval;
		err = wait_event_until(&t->read_wait, read_may_go_on(tf), deadline);
		if (err == -ETIMEDOUT)
			return done;
		if (err)
			return done ? done : err;
	}
}

/* Room for output: a stopped terminal has none. */
static bool
may_write(struct tty *t)
{
	return !READ_ONCE(t->stopped) && (!t->driver->room || t->driver->room(t) >= 8);
}

static ssize_t
tty_write(struct file *f, struct uio *u, uint64_t *pos unused)
{
	struct tty_file *tf = f->data;
	struct tty *t = tf->tty;
	uint8_t buf[256];
	ssize_t done = 0;
	int err = 0;

	if (READ_ONCE(t->termios.lflag) & TOSTOP) {
		err = check_foreground(t, SIGTTOU);
		if (err)
			return err;
	}
	mutex_lock(&t->write_mutex);
	while (u->left) {
		ssize_t n = uio_read_from(u, buf, MIN(u->left, sizeof(buf)));
		size_t out = 0;

		if (n <= 0) {
			err = -EFAULT;
			break;
		}
		for (;;) {
			irqstate_t s;

			if (is_hung_up(tf)) {
				err = -EIO;
				break;
			}
			s = spin_lock_irq(&t->lock);
			if (!t->stopped)
				out += tty_output(t, buf + out, (size_t)n - out);
			spin_unlock_irq(&t->lock, s);
			if (out == (size_t)n)
				break;
			if (f->flags & O_NONBLOCK) {
				err = -EAGAIN;
				break;
			}
			mutex_unlock(&t->write_mutex);
			err = wait_event_interruptible(&t->write_wait,
						       may_write(t) || is_hung_up(tf));
			mutex_lock(&t->write_mutex);
			if (err)
				break;
		}
		done += (ssize_t)out;
		if (err || signal_pending())
			break;
		cond_resched();
	}
	mutex_unlock(&t->write_mutex);
	return done ? done : err;
}

static unsigned
tty_poll(struct file *f, struct poll_table *pt)
{
	struct tty_file *tf = f->data;
	struct tty *t = tf->tty;
	unsigned mask = 0;
	size_t want = 1;
	irqstate_t s;

	poll_wait(pt, &t->read_wait);
	poll_wait(pt, &t->write_wait);
	if (is_hung_up(tf))
		return POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM;
	s = spin_lock_irq(&t->lock);
	if (!(t->termios.lflag & ICANON) && !t->termios.cc[VTIME] && t->termios.cc[VMIN])
		want = t->termios.cc[VMIN];
	if (tty_available(t) >= want)
		mask |= POLLIN | POLLRDNORM;
	spin_unlock_irq(&t->lock, s);
	if (may_write(t))
		mask |= POLLOUT | POLLWRNORM;
	return mask;
}

/* ---- ioctl ---- */

static long
set_termios(struct tty *t, uaddr_t arg, size_t size, bool flush)
{
	struct termios new, old;
	irqstate_t s;
	int err = check_foreground(t, SIGTTOU);

	if (err)
		return err;
	s = spin_lock_irq(&t->lock);
	new = t->termios; /* a short structure has no speeds */
	spin_unlock_irq(&t->lock, s);
	if (copy_from_user(&new, arg, size))
		return -EFAULT;
	/* Output is never queued here, so draining it (TCSETSW) takes no time. */
	s = spin_lock_irq(&t->lock);
	if (flush)
		tty_flush_input(t);
	old = t->termios;
	t->termios = new;
	tty_termios_changed(t, &old);
	spin_unlock_irq(&t->lock, s);
	if (flush)
		tell_drained(t);
	return 0;
}

static long
get_termios(struct tty *t, uaddr_t arg, size_t size)
{
	irqstate_t s = spin_lock_irq(&t->lock);
	struct termios now = t->termios;

	spin_unlock_irq(&t->lock, s);
	return copy_to_user(arg, &now, size);
}

void
tty_set_size(struct tty *t, const struct winsize *ws)
{
	irqstate_t s = spin_lock_irq(&t->lock);
	bool same = memcmp(&t->size, ws, sizeof(*ws)) == 0;

	t->size = *ws;
	spin_unlock_irq(&t->lock, s);
	if (!same && READ_ONCE(t->pgrp))
		(void)!signal_send_group(READ_ONCE(t->pgrp), SIGWINCH);
}

/* TCXONC: TCOOFF 0, TCOON 1, TCIOFF 2, TCION 3. */
static long
flow_control(struct tty *t, uint64_t how)
{
	irqstate_t s;
	uint8_t c;

	if (how > 3)
		return -EINVAL;
	s = spin_lock_irq(&t->lock);
	if (how < 2) {
		t->stopped = how == 0;
		if (!t->stopped)
			wake_all(&t->write_wait);
	} else {
		c = t->termios.cc[how == 2 ? VSTOP : VSTART];
		if (c)
			t->driver->write(t, (const char *)&c, 1);
	}
	spin_unlock_irq(&t->lock, s);
	return 0;
}

/* Those that background groups may not use. */
static long
tty_control(struct tty *t, unsigned cmd, uint64_t arg)
{
	int err = check_foreground(t, SIGTTOU);
	irqstate_t s;

	if (err)
		return err;
	switch (cmd) {
	case TCXONC:
		return flow_control(t, arg);
	case TCFLSH: /* TCIFLUSH 0, TCOFLUSH 1, TCIOFLUSH 2 */
		if (arg > 2)
			return -EINVAL;
		if (arg != 1) {
			s = spin_lock_irq(&t->lock);
			tty_flush_input(t);
			spin_unlock_irq(&t->lock, s);
			tell_drained(t);
		}
		return 0;
	default: /* TCSBRK, TCSBRKP: nothing is queued, and no line to break */
		return 0;
	}
}

/* A number that an ioctl reports. */
static long
put_int(uaddr_t arg, long value)
{
	int32_t n = (int32_t)value;

	return value < 0 ? value : put_user(arg, &n);
}

long
tty_common_ioctl(struct tty *t, unsigned cmd, uaddr_t arg)
{
	struct winsize ws;
	irqstate_t s;

	switch (cmd) {
	case TCGETS:
		return get_termios(t, arg, TERMIOS_SIZE);
	case TCGETS2:
		return get_termios(t, arg, sizeof(struct termios));
	case TCSETS:
	case TCSETSW:
	case TCSETSF:
		return set_termios(t, arg, TERMIOS_SIZE, cmd == TCSETSF);
	case TCSETS2:
	case TCSETSW2:
	case TCSETSF2:
		return set_termios(t, arg, sizeof(struct termios), cmd == TCSETSF2);
	case TCSBRK:
	case TCSBRKP:
	case TCXONC:
	case TCFLSH:
		return tty_control(t, cmd, arg.v);
	case TIOCGWINSZ:
		s = spin_lock_irq(&t->lock);
		ws = t->size;
		spin_unlock_irq(&t->lock, s);
		return put_user(arg, &ws);
	case TIOCSWINSZ:
		if (get_user(&ws, arg))
			return -EFAULT;
		tty_set_size(t, &ws);
		return 0;
	case TIOCGETD:
		return put_int(arg, 0);
	case TIOCSTI:
		/* Refused to all: a program that su or a container left its terminal could type
		 * commands into the shell that it came from. */
		return -EPERM;
	default:
		return -ENOTTY;
	}
}

static long
tty_ioctl(struct file *f, unsigned cmd, uaddr_t arg)
{
	struct tty_file *tf = f->data;
	struct tty *t = tf->tty;
	irqstate_t s;
	bool own;
	long n;

	if (is_hung_up(tf))
		return cmd == TIOCSPGRP ? -ENOTTY : -EIO;
	own = READ_ONCE(current->process->tty) == t;
	switch (cmd) {
	case TIOCSCTTY:
		return tty_set_controlling(t, f, arg.v);
	case TIOCNOTTY:
		return tty_give_up(t);
	case TIOCGPGRP:
		return put_int(arg, own ? READ_ONCE(t->pgrp) : -ENOTTY);
	case TIOCSPGRP:
		return tty_set_foreground(t, arg);
	case TIOCGSID:
		return put_int(arg, own && t->session ? READ_ONCE(t->session) : -ENOTTY);
	case FIONREAD:
		s = spin_lock_irq(&t->lock);
		n = (long)tty_available(t);
		spin_unlock_irq(&t->lock, s);
		return put_int(arg, n);
	case TIOCOUTQ:
		return put_int(arg, 0);
	default:
		return tty_common_ioctl(t, cmd, arg);
	}
}

const struct file_ops tty_ops = {
	.open = tty_open,
	.release = tty_release,
	.read = tty_read,
	.write = tty_write,
	.poll = tty_poll,
	.ioctl = tty_ioctl,
};

const struct file_ops console_ops = {
	.open = console_open,
};
