/*
 * Files whose text is generated when it is read from its beginning.
 */
#include "kernel/fs/seqfile.h"
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"

/* Makes room for n more bytes; false (and failed) if there is no memory. */
static bool
text_reserve(struct text *t, size_t n)
{
	size_t cap = MAX(t->cap * 2, (size_t)512);
	char *buf;

	if (t->failed)
		return false;
	if (n <= t->cap - t->len)
		return true;
	cap = MAX(cap, t->len + n);
	buf = cap <= KMALLOC_MAX ? kmalloc(cap) : NULL;
	if (!buf) {
		t->failed = true;
		return false;
	}
	if (t->len)
		memcpy(buf, t->buf, t->len);
	kfree(t->buf);
	t->buf = buf;
	t->cap = cap;
	return true;
}

void
text_append(struct text *t, const void *data, size_t n)
{
	if (!text_reserve(t, n))
		return;
	memcpy(t->buf + t->len, data, n);
	t->len += n;
}

void
text_printf(struct text *t, const char *fmt, ...)
{
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	if (n > 0 && text_reserve(t, (size_t)n + 1)) {
		vsnprintf(t->buf + t->len, (size_t)n + 1, fmt, again);
		t->len += (size_t)n;
	}
	va_end(again);
	va_end(ap);
}

void
text_free(struct text *t)
{
	kfree(t->buf);
	*t = (struct text){0};
}

/* An open file's text, and where it comes from. */
struct text_file {
	struct mutex lock;
	struct text text; /* [lock] */
	text_fn generate;
	void *arg;
	uint64_t stamp;
};

/* Caller holds tf->lock. */
static int
text_generate(struct text_file *tf)
{
	int err;

	tf->text.len = 0;
	tf->text.failed = false;
	err = tf->generate(&tf->text, tf->arg, tf->stamp);
	return !err && tf->text.failed ? -ENOMEM : err;
}

static ssize_t
text_read(struct file *f, struct uio *u, uint64_t *pos)
{
	struct text_file *tf = f->data;
	const struct text *t = &tf->text;
	ssize_t n = 0;

	mutex_lock(&tf->lock);
	if (*pos == 0 || !t->buf)
		n = text_generate(tf);
	if (!n && *pos < t->len)
		n = uio_write_to(u, t->buf + *pos, t->len - *pos);
	mutex_unlock(&tf->lock);
	if (n > 0)
		*pos += (uint64_t)n;
	return n;
}

static int64_t
text_seek(struct file *f, int64_t offset, int whence)
{
	if (whence == 1)
		offset += (int64_t)f->pos;
	else if (whence != 0)
		return -EINVAL;
	if (offset < 0)
		return -EINVAL;
	f->pos = (uint64_t)offset;
	return offset;
}

static void
text_release(struct file *f)
{
	struct text_file *tf = f->data;

	text_free(&tf->text);
	kfree(tf);
}

static const struct file_ops text_ops = {
	.read = text_read,
	.seek = text_seek,
	.release = text_release,
};

int
text_file_open(struct file *f, text_fn generate, void *arg, uint64_t stamp)
{
	struct text_file *tf = kzalloc(sizeof(*tf));

	if (!tf)
		return -ENOMEM;
	mutex_init(&tf->lock);
	tf->generate = generate;
	tf->arg = arg;
	tf->stamp = stamp;
	f->ops = &text_ops;
	f->data = tf;
	return 0;
}
