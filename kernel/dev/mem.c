/*
 * The devices without hardware: null, zero, full, random, urandom, kmsg.  There is no mem, kmem or
 * port: nothing here shows memory.
 */
#include "kernel/dev/mem.h"
#include "kernel/errno.h"
#include "kernel/fs/poll.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"

#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2

static ssize_t
null_read(struct file *f unused, struct uio *u unused, uint64_t *pos unused)
{
	return 0;
}

static ssize_t
null_write(struct file *f unused, struct uio *u, uint64_t *pos unused)
{
	ssize_t n = (ssize_t)u->left;

	u->left = 0;
	return n;
}

/* As Linux's null_lseek: any seek succeeds and leads nowhere. */
static int64_t
null_seek(struct file *f unused, int64_t offset unused, int whence unused)
{
	return 0;
}

static ssize_t
zero_read(struct file *f unused, struct uio *u, uint64_t *pos unused)
{
	ssize_t done = 0;

	while (u->left) {
		ssize_t n = uio_zero(u, MIN(u->left, (size_t)65536));

		if (n <= 0)
			return done ? done : n;
		done += n;
		if (!u->left)
			break;
		if (n < 65536)
			break; /* a fault ended it early */
		if (signal_pending())
			break;
		cond_resched();
	}
	return done;
}

static ssize_t
full_write(struct file *f unused, struct uio *u unused, uint64_t *pos unused)
{
	return -ENOSPC;
}

/* Memory without a file: the VM gives a shared mapping a nameless one of its own. */
static int
zero_mmap(struct file *f unused, struct vma *vma)
{
	vma->file = NULL;
	vma->offset = 0;
	return 0;
}

static ssize_t
random_read(struct file *f unused, struct uio *u, uint64_t *pos unused)
{
	uint8_t buf[256];
	ssize_t done = 0;

	while (u->left) {
		size_t n = MIN(u->left, sizeof(buf));
		ssize_t moved;

		random_bytes(buf, n);
		moved = uio_write_to(u, buf, n);
		if (moved <= 0) {
			done = done ? done : moved;
			break;
		}
		done += moved;
		if (moved < (ssize_t)n || signal_pending())
			break;
		cond_resched();
	}
	memset(buf, 0, sizeof(buf));
	return done;
}

static ssize_t
random_write(struct file *f unused, struct uio *u, uint64_t *pos unused)
{
	uint8_t buf[256];
	ssize_t done = 0;

	while (u->left) {
		ssize_t n = uio_read_from(u, buf, MIN(u->left, sizeof(buf)));

		if (n <= 0)
			return done ? done : n;
		random_add(buf, (size_t)n);
		done += n;
		if (signal_pending())
			break;
		cond_resched();
	}
	return done;
}

/* The log tells where things are and what went wrong: root's to read, as dmesg_restrict has it. */
static int
kmsg_open(struct inode *inode unused, struct file *f)
{
	if ((f->mode & FILE_READ) && !capable())
		return -EPERM;
	f->mode &= ~FILE_STREAM; /* readers have a position */
	return 0;
}

/* The log as a stream of text; the end of the log is the end of the file. */
static ssize_t
kmsg_read(struct file *f unused, struct uio *u, uint64_t *pos)
{
	char buf[512];
	ssize_t done = 0;

	while (u->left) {
		uint64_t at = *pos;
		size_t n = klog_read(buf, MIN(u->left, sizeof(buf)), &at);
		ssize_t moved;

		if (n == 0)
			break;
		moved = uio_write_to(u, buf, n);
		if (moved != (ssize_t)n)
			return done ? done : -EFAULT;
		*pos = at;
		done += moved;
	}
	return done;
}

#define KMSG_LINE_MAX 976 /* as Linux: longer lines are refused */

static ssize_t
kmsg_write(struct file *f unused, struct uio *u, uint64_t *pos unused)
{
	size_t n = u->left;
	char *line, *s;

	if (n > KMSG_LINE_MAX)
		return -EINVAL;
	line = kmalloc(n + 1);
	if (!line)
		return -ENOMEM;
	if (uio_read_from(u, line, n) != (ssize_t)n) {
		kfree(line);
		return -EFAULT;
	}
	line[n] = '\0';
	s = line;
	if (*s == '<') { /* a priority, which this log does not keep */
		char *end = s + 1;

		while (*end >= '0' && *end <= '9')
			end++;
		if (*end == '>' && end > s + 1)
			s = end + 1;
	}
	if (n && line[n - 1] == '\n')
		line[n - 1] = '\0';
	kprintf("%s\n", s); /* one line, whatever is in it */
	kfree(line);
	return (ssize_t)n;
}

static int64_t
kmsg_seek(struct file *f, int64_t offset, int whence)
{
	if (offset)
		return -ESPIPE;
	switch (whence) {
	case SEEK_SET:
		f->pos = 0;
		return 0;
	case SEEK_END:
		f->pos = klog_end();
		return 0;
	default:
		return -EINVAL;
	}
}

static const struct file_ops null_ops = {
	.read = null_read,
	.write = null_write,
	.seek = null_seek,
};

static const struct file_ops zero_ops = {
	.read = zero_read,
	.write = null_write,
	.seek = null_seek,
	.mmap = zero_mmap,
};

static const struct file_ops full_ops = {
	.read = zero_read,
	.write = full_write,
	.seek = null_seek,
};

static const struct file_ops random_ops = {
	.read = random_read,
	.write = random_write,
	.seek = null_seek,
};

static const struct file_ops kmsg_ops = {
	.open = kmsg_open,
	.read = kmsg_read,
	.write = kmsg_write,
	.seek = kmsg_seek,
};

void
mem_devices_init(void)
{
	chrdev_register(1, 3, "null", 0666, &null_ops, NULL);
	chrdev_register(1, 5, "zero", 0666, &zero_ops, NULL);
	chrdev_register(1, 7, "full", 0666, &full_ops, NULL);
	chrdev_register(1, 8, "random", 0666, &random_ops, NULL);
	chrdev_register(1, 9, "urandom", 0666, &random_ops, NULL);
	chrdev_register(1, 11, "kmsg", 0644, &kmsg_ops, NULL);
}
