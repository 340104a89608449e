/*
 * Pipes and FIFOs.  A pipe is a ring of bytes in pages that come when they are first needed; it
 * belongs to an inode and lives while a file has it open.  When it runs empty it starts again at its
 * first page, so that a conversation of short messages stays in one.
 */
#include "kernel/fs/pipe.h"
#include "kernel/errno.h"
#include "kernel/fs/poll.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/process.h"
#include "kernel/proc/thread.h"

#define FIONREAD 0x541bu

struct pipe {
	struct mutex lock;
	union { /* [lock] bytes written and read so far; read anywhere, both in one access */
		struct {
			uint32_t head, tail;
		};
		uint64_t ends;
	};
	uint32_t size;	     /* [lock] capacity, a power of two of pages */
	void **pages;	     /* [lock] size / PAGE_SIZE; NULL: not needed yet */
	struct wait_queue readers_wait, writers_wait;
	struct wait_queue open_wait; /* FIFOs: opens that wait for the other side */

	/* [pipes_lock] */
	unsigned readers, writers;	     /* open files; read anywhere */
	unsigned reader_opens, writer_opens; /* opens so far: a peer that came and went counts */
};

/* Guards inode.data of FIFOs, and the counts of every pipe.  Never held while sleeping. */
static struct spinlock pipes_lock = SPINLOCK_INIT;

static struct pipe *
pipe_alloc(void)
{
	struct pipe *p = kzalloc(sizeof(*p));

	if (!p)
		return NULL;
	p->size = PIPE_SIZE;
	p->pages = kzalloc(p->size / PAGE_SIZE * sizeof(void *));
	if (!p->pages) {
		kfree(p);
		return NULL;
	}
	mutex_init(&p->lock);
	wait_queue_init(&p->readers_wait);
	wait_queue_init(&p->writers_wait);
	wait_queue_init(&p->open_wait);
	return p;
}

static void
pages_free(void **table, uint32_t size)
{
	for (uint32_t i = 0; i < size / PAGE_SIZE; i++) {
		if (table[i])
			page_put(page_of(virt_to_phys(table[i])));
	}
	kfree(table);
}

static void
pipe_free(struct pipe *p)
{
	pages_free(p->pages, p->size);
	kfree(p);
}

static inline uint32_t
pipe_used(const struct pipe *p)
{
	union {
		uint64_t ends;
		struct {
			uint32_t head, tail;
		};
	} now = {READ_ONCE(p->ends)};

	return now.head - now.tail;
}

/* The bytes from ring position pos to the end of its page; NULL: the page has never been needed. */
static inline char *
pipe_at(const struct pipe *p, uint32_t pos, uint32_t *room)
{
	uint32_t off = pos & (p->size - 1);
	char *page = p->pages[off >> PAGE_SHIFT];

	*room = (uint32_t)(PAGE_SIZE - (off & PAGE_MASK));
	return page ? page + (off & PAGE_MASK) : NULL;
}

static ssize_t
pipe_read(struct file *f, struct uio *u, uint64_t *pos unused)
{
	struct pipe *p = f->data;
	ssize_t done = 0;
	bool was_tight;
	int err;

	if (u->left == 0)
		return 0;
	for (;;) {
		mutex_lock(&p->lock);
		if (p->head != p->tail)
			break;
		mutex_unlock(&p->lock);
		if (!READ_ONCE(p->writers)) {
			/* The last writer may have written and gone since the look at the ring. */
			if (pipe_used(p))
				continue;
			return 0;
		}
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(&p->readers_wait,
					       pipe_used(p) || !READ_ONCE(p->writers));
		if (err)
			return err;
	}
	was_tight = p->size - pipe_used(p) < PIPE_BUF;
	while (u->left && p->head != p->tail) {
		uint32_t room;
		char *from = pipe_at(p, p->tail, &room);
		ssize_t n;

		room = MIN(room, p->head - p->tail);
		n = uio_write_to(u, from, MIN((size_t)room, u->left));
		if (n <= 0) {
			if (!done)
				done = -EFAULT;
			break;
		}
		done += n;
		WRITE_ONCE(p->tail, p->tail + (uint32_t)n);
	}
	if (p->head == p->tail)
		WRITE_ONCE(p->ends, 0);
	mutex_unlock(&p->lock);
	if (was_tight && done > 0)
		wake_all(&p->writers_wait);
	return done;
}

/* Nobody can read any more: SIGPIPE, also to who has written a part already. */
static ssize_t
broken_pipe(ssize_t written)
{
	struct siginfo info = {.signo = SIGPIPE, .code = SI_USER};

	info.rt.pid = current->process->pid;
	info.rt.uid = cred()->uid;
	signal_send_thread(current, &info);
	return written ? written : -EPIPE;
}

/* Copies what fits now; caller holds p->lock.  Bytes, -EFAULT or -ENOMEM if none. */
static ssize_t
pipe_fill(struct pipe *p, struct uio *u)
{
	ssize_t done = 0;

	while (u->left && pipe_used(p) < p->size) {
		uint32_t room;
		char *to = pipe_at(p, p->head, &room);
		ssize_t n;

		if (!to) {
			struct page *page;

			if (page_alloc(PAGE_KERNEL, &page))
				return done ? done : -ENOMEM;
			to = page_addr(page);
			p->pages[(p->head & (p->size - 1)) >> PAGE_SHIFT] = to;
			to += p->head & PAGE_MASK;
		}
		room = MIN(room, p->size - pipe_used(p));
		n = uio_read_from(u, to, MIN((size_t)room, u->left));
		if (n <= 0)
			return done ? done : -EFAULT;
		done += n;
		WRITE_ONCE(p->head, p->head + (uint32_t)n);
	}
	return done;
}

static ssize_t
pipe_write(struct file *f, struct uio *u, uint64_t *pos unused)
{
	struct pipe *p = f->data;
	ssize_t total = 0;

	if (u->left == 0)
		return 0;
	for (;;) {
		uint32_t need = u->left <= PIPE_BUF && !total ? (uint32_t)u->left : 1;
		ssize_t n = 0;
		int err;

		mutex_lock(&p->lock);
		if (!READ_ONCE(p->readers)) {
			mutex_unlock(&p->lock);
			return broken_pipe(total);
		}
		if (p->size - pipe_used(p) >= need)
			n = pipe_fill(p, u);
		mutex_unlock(&p->lock);
		if (n > 0)
			wake_all(&p->readers_wait);
		if (n < 0)
			return total ? total : n;
		total += n;
		if (u->left == 0)
			return total;
		if (f->flags & O_NONBLOCK)
			return total ? total : -EAGAIN;
		/* A long write goes on only when there is room worth waking up for. */
		need = (uint32_t)MIN(u->left, (size_t)PIPE_BUF);
		err = wait_event_interruptible(&p->writers_wait,
					       READ_ONCE(p->size) - pipe_used(p) >= need ||
						       !READ_ONCE(p->readers));
		if (err)
			return total ? total : err;
	}
}

static unsigned
pipe_poll(struct file *f, struct poll_table *pt)
{
	struct pipe *p = f->data;
	unsigned acc = f->flags & O_ACCMODE, mask = 0;

	if (acc != O_WRONLY) {
		poll_wait(pt, &p->readers_wait);
		if (pipe_used(p))
			mask |= POLLIN | POLLRDNORM;
		/* A FIFO that never had a writer is silent; one whose writers left is at its end. */
		if (!READ_ONCE(p->writers) && READ_ONCE(p->writer_opens))
			mask |= POLLHUP;
	}
	if (acc != O_RDONLY) {
		poll_wait(pt, &p->writers_wait);
		if (READ_ONCE(p->size) - pipe_used(p) >= PIPE_BUF)
			mask |= POLLOUT | POLLWRNORM;
		if (!READ_ONCE(p->readers))
			mask |= POLLERR;
	}
	return mask;
}

static long
pipe_ioctl(struct file *f, unsigned cmd, uaddr_t arg)
{
	int32_t n;

	if (cmd != FIONREAD)
		return -ENOTTY;
	n = (int32_t)pipe_used(f->data);
	return put_user(arg, &n);
}

/* Counts f, whose access mode is set, in.  Caller holds pipes_lock. */
static void
pipe_attach(struct pipe *p, unsigned flags)
{
	if ((flags & O_ACCMODE) != O_WRONLY) {
		p->readers++;
		p->reader_opens++;
	}
	if ((flags & O_ACCMODE) != O_RDONLY) {
		p->writers++;
		p->writer_opens++;
	}
}

static void
pipe_detach(struct inode *inode, struct pipe *p, unsigned flags)
{
	bool last;

	spin_lock(&pipes_lock);
	if ((flags & O_ACCMODE) != O_WRONLY)
		p->readers--;
	if ((flags & O_ACCMODE) != O_RDONLY)
		p->writers--;
	last = !p->readers && !p->writers;
	if (last)
		inode->data = NULL;
	/*
	 * The other side may wait for what can no longer come.  Under the lock, for whoever is last
	 * frees the pipe.
	 */
	if (!last && !p->writers)
		wake_all(&p->readers_wait);
	if (!last && !p->readers)
		wake_all(&p->writers_wait);
	spin_unlock(&pipes_lock);
	if (last)
		pipe_free(p);
}

static void
pipe_release(struct file *f)
{
	pipe_detach(f->inode, f->data, f->flags);
}

/* Waits until the other side of a FIFO has been opened since *opens was `seen`. */
static int
fifo_wait(struct pipe *p, const unsigned *peers, const unsigned *opens, unsigned seen)
{
	return wait_event_interruptible(&p->open_wait,
					READ_ONCE(*peers) || READ_ONCE(*opens) != seen);
}

static int
fifo_open(struct inode *inode, struct file *f)
{
	struct pipe *fresh = pipe_alloc(), *p;
	unsigned acc = f->flags & O_ACCMODE, seen_readers, seen_writers;
	/* A pipe without a name, reached through /proc: nobody who is yet to come could be its other side. */
	bool named = !(f->path.dentry->flags & DENTRY_ANONYMOUS), await_writer, await_reader;
	int err = 0;

	if (!fresh)
		return -ENOMEM;
	if (acc > O_RDWR) {
		pipe_free(fresh);
		return -EINVAL;
	}
	spin_lock(&pipes_lock);
	p = inode->data;
	if (!p) {
		p = inode->data = fresh;
		fresh = NULL;
	}
	seen_readers = p->reader_opens;
	seen_writers = p->writer_opens;
	/* Decided here: a peer that is there now may have done its work and gone before this one waits. */
	await_writer = named && acc == O_RDONLY && !(f->flags & O_NONBLOCK) && !p->writers;
	await_reader = named && acc == O_WRONLY && !p->readers;
	if (await_reader && (f->flags & O_NONBLOCK))
		err = -ENXIO;
	else
		pipe_attach(p, f->flags);
	if (err && !p->writers) {
		inode->data = NULL;
		fresh = p;
	}
	spin_unlock(&pipes_lock);
	if (fresh)
		pipe_free(fresh);
	if (err)
		return err;
	f->data = p;
	wake_all(&p->open_wait);
	if (await_writer)
		err = fifo_wait(p, &p->writers, &p->writer_opens, seen_writers);
	else if (await_reader)
		err = fifo_wait(p, &p->readers, &p->reader_opens, seen_readers);
	if (err)
		pipe_detach(inode, p, f->flags);
	return err;
}

const struct file_ops fifo_ops = {
	.open = fifo_open,
	.release = pipe_release,
	.read = pipe_read,
	.write = pipe_write,
	.poll = pipe_poll,
	.ioctl = pipe_ioctl,
};

int
pipe_create(unsigned flags, struct file **reader, struct file **writer)
{
	struct pipe *p = pipe_alloc();
	int err;

	if (!p)
		return -ENOMEM;
	err = file_create_anonymous("pipe", &fifo_ops, p, O_RDONLY | flags, reader);
	if (err) {
		pipe_free(p);
		return err;
	}
	(*reader)->inode->mode = S_IFIFO | 0600;
	(*reader)->inode->fops = &fifo_ops;
	(*reader)->inode->data = p;
	pipe_attach(p, O_RDONLY); /* nobody else knows p yet */
	err = file_create_on(&(*reader)->path, &fifo_ops, p, O_WRONLY | flags, writer);
	if (err) {
		file_put(*reader);
		return err;
	}
	spin_lock(&pipes_lock);
	pipe_attach(p, O_WRONLY);
	spin_unlock(&pipes_lock);
	return 0;
}

/* Gives p a ring of size bytes.  Caller holds p->lock. */
static long
pipe_resize(struct pipe *p, uint32_t size)
{
	uint32_t used = pipe_used(p), done = 0;
	struct pipe to = {.size = size};

	if (size < used)
		return -EBUSY;
	to.pages = kzalloc(size / PAGE_SIZE * sizeof(void *));
	if (!to.pages)
		return -ENOMEM;
	for (uint32_t i = 0; i < (used + PAGE_MASK) / PAGE_SIZE; i++) {
		struct page *page;

		if (page_alloc(PAGE_KERNEL, &page)) {
			pages_free(to.pages, size);
			return -ENOMEM;
		}
		to.pages[i] = page_addr(page);
	}
	while (done < used) {
		uint32_t n, room;
		char *src = pipe_at(p, p->tail + done, &n);
		char *dst = pipe_at(&to, done, &room);

		n = MIN(n, room);
		n = MIN(n, used - done);
		memcpy(dst, src, n);
		done += n;
	}
	pages_free(p->pages, p->size);
	p->pages = to.pages;
	to.head = used;
	WRITE_ONCE(p->ends, to.ends);
	WRITE_ONCE(p->size, size);
	return size;
}

long
pipe_fcntl(struct file *f, unsigned cmd, uint64_t arg)
{
	struct pipe *p = f->data;
	uint64_t size = PAGE_SIZE;
	long r;

	if (f->ops != &fifo_ops)
		return -EBADF;
	if (cmd == F_GETPIPE_SZ)
		return READ_ONCE(p->size);
	if (arg > BIT(31))
		return -EINVAL;
	while (size < arg)
		size *= 2;
	if (size > PIPE_MAX_SIZE && !capable() && size > READ_ONCE(p->size))
		return -EPERM;
	if (size / PAGE_SIZE * sizeof(void *) > KMALLOC_MAX)
		return -ENOMEM;
	mutex_lock(&p->lock);
	r = pipe_resize(p, (uint32_t)size);
	mutex_unlock(&p->lock);
	if (r > 0)
		wake_all(&p->writers_wait);
	return r;
}
