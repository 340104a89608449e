/*
 * File descriptors: the table of a process (or of several: clone's CLONE_FILES), and cwd, root, umask.
 */
#include "kernel/errno.h"
#include "kernel/fs/fdtable.h"
#include "kernel/fs/namei.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"

#define FIRST_SIZE 64u
#define MAX_FDS	   (1u << 20)

/* ---- The table ---- */

static bool
bit_test(const uint64_t *map, unsigned n)
{
	return map[n / 64] >> (n % 64) & 1;
}

static void
bit_set(uint64_t *map, unsigned n)
{
	map[n / 64] |= BIT(n % 64);
}

static void
bit_clear(uint64_t *map, unsigned n)
{
	map[n / 64] &= ~BIT(n % 64);
}

/* One block: the pointers, then both bitmaps. */
static struct file **
table_alloc(unsigned capacity)
{
	return kzalloc(capacity * sizeof(struct file *) + capacity / 4);
}

static void
table_place(struct files *fs, struct file **table, unsigned capacity)
{
	fs->fd = table;
	fs->used = (uint64_t *)(table + capacity);
	fs->cloexec = fs->used + capacity / 64;
	fs->capacity = capacity;
}

static int
files_alloc(unsigned capacity, struct files **out)
{
	struct files *fs = kzalloc(sizeof(*fs));
	struct file **table = table_alloc(capacity);

	if (!fs || !table) {
		kfree(fs);
		kfree(table);
		return -ENOMEM;
	}
	refcount_init(&fs->refs);
	spin_init(&fs->lock);
	table_place(fs, table, capacity);
	*out = fs;
	return 0;
}

int
files_create(struct files **out)
{
	return files_alloc(FIRST_SIZE, out);
}

/* Slots needed for the highest open descriptor.  lock held. */
static unsigned
slots_used(const struct files *fs)
{
	for (unsigned w = fs->capacity / 64; w > 1; w--)
		if (fs->used[w - 1])
			return w * 64;
	return FIRST_SIZE;
}

int
files_fork(struct files *from, struct files **out)
{
	struct files *fs;
	unsigned n;
	int err;

	spin_lock(&from->lock);
	n = slots_used(from);
	spin_unlock(&from->lock);
again:
	err = files_alloc(n, &fs);
	if (err)
		return err;
	spin_lock(&from->lock);
	if (slots_used(from) > n) {
		n = slots_used(from);
		spin_unlock(&from->lock);
		files_put(fs);
		goto again;
	}
	for (unsigned w = 0; w < n / 64; w++) {
		for (uint64_t bits = from->used[w]; bits; bits &= bits - 1) {
			unsigned i = w * 64 + (unsigned)__builtin_ctzll(bits);
			struct file *f = from->fd[i];

			if (!f) /* reserved by an open under way */
				continue;
			file_get(f);
			fs->fd[i] = f;
			bit_set(fs->used, i);
		}
		fs->cloexec[w] = from->cloexec[w] & fs->used[w];
	}
	spin_unlock(&from->lock);
	*out = fs;
	return 0;
}

void
files_get(struct files *fs)
{
	refcount_get(&fs->refs);
}

/* Ends f's time in the table fs: record locks of this owner go, as POSIX wants. */
static void
file_closed(struct files *fs, struct file *f)
{
	if (unlikely(READ_ONCE(f->inode->locks) != NULL) && !(f->flags & O_PATH))
		flock_release(f, fs);
	file_put(f);
}

void
files_put(struct files *fs)
{
	if (!refcount_put(&fs->refs))
		return;
	for (unsigned w = 0; w < fs->capacity / 64; w++)
		for (uint64_t bits = fs->used[w]; bits; bits &= bits - 1) {
			struct file *f = fs->fd[w * 64 + (unsigned)__builtin_ctzll(bits)];

			if (f)
				file_closed(fs, f);
		}
	kfree(fs->fd);
	kfree(fs);
}

/* Takes descriptor i out of the table.  lock held. */
static struct file *
take_out(struct files *fs, unsigned i)
{
	struct file *f = fs->fd[i];

	fs->fd[i] = NULL;
	bit_clear(fs->used, i);
	bit_clear(fs->cloexec, i);
	if (i < fs->first_free)
		fs->first_free = i;
	return f;
}

void
files_close_on_exec(struct files *fs)
{
	for (unsigned w = 0; w < fs->capacity / 64; w++)
		while (fs->cloexec[w]) {
			unsigned i = w * 64 + (unsigned)__builtin_ctzll(fs->cloexec[w]);
			struct file *f;

			spin_lock(&fs->lock);
			f = take_out(fs, i);
			spin_unlock(&fs->lock);
			if (f)
				file_closed(fs, f);
		}
}

/* Makes the table hold more than `want` slots.  lock held; it is dropped meanwhile. */
static int
grow(struct files *fs, unsigned want)
{
	unsigned capacity = fs->capacity, old_capacity;
	struct file **table, **old;

	while (capacity <= want)
		capacity *= 2;
	spin_unlock(&fs->lock);
	table = table_alloc(capacity);
	spin_lock(&fs->lock);
	if (!table)
		return -ENOMEM;
	if (fs->capacity >= capacity) {
		kfree(table);
		return 0;
	}
	old = fs->fd;
	old_capacity = fs->capacity;
	memcpy(table, old, old_capacity * sizeof(*old));
	memcpy(table + capacity, fs->used, old_capacity / 8);
	memcpy((char *)(table + capacity) + capacity / 8, fs->cloexec, old_capacity / 8);
	table_place(fs, table, capacity);
	kfree(old);
	return 0;
}

/* Finds a free slot >= min.  lock held. */
static unsigned
find_free(struct files *fs, unsigned min)
{
	unsigned i = MAX(min, fs->first_free);

	for (unsigned w = i / 64; w < fs->capacity / 64; w++) {
		uint64_t bits = ~fs->used[w];

		if (w == i / 64)
			bits &= ~0ull << (i % 64);
		if (bits)
			return w * 64 + (unsigned)__builtin_ctzll(bits);
	}
	return MAX(i, fs->capacity);
}

int
fd_reserve(unsigned flags, int min)
{
	struct files *fs = current->process->files;
	uint64_t limit = MIN(rlimit(RLIMIT_NOFILE), (uint64_t)MAX_FDS);
	unsigned i;

	spin_lock(&fs->lock);
	for (;;) {
		int err;

		i = find_free(fs, (unsigned)min);
		if (i >= limit) {
			spin_unlock(&fs->lock);
			return -EMFILE;
		}
		if (i < fs->capacity)
			break;
		err = grow(fs, i);
		if (err) {
			spin_unlock(&fs->lock);
			return err;
		}
	}
	bit_set(fs->used, i);
	if (flags & O_CLOEXEC)
		bit_set(fs->cloexec, i);
	else
		bit_clear(fs->cloexec, i);
	if ((unsigned)min <= fs->first_free)
		fs->first_free = i + 1;
	spin_unlock(&fs->lock);
	return (int)i;
}

void
fd_install(int fd, struct file *f)
{
	struct files *fs = current->process->files;

	spin_lock(&fs->lock);
	assert((unsigned)fd < fs->capacity && !fs->fd[fd]);
	fs->fd[fd] = f;
	spin_unlock(&fs->lock);
}

void
fd_cancel(int fd)
{
	struct files *fs = current->process->files;

	spin_lock(&fs->lock);
	(void)take_out(fs, (unsigned)fd);
	spin_unlock(&fs->lock);
}

int
fd_alloc(struct file *f, unsigned flags, int min)
{
	int fd = fd_reserve(flags, min);

	if (fd >= 0)
		fd_install(fd, f);
	return fd;
}

int
fd_close(int fd)
{
	struct files *fs = current->process->files;
	struct file *f = NULL;

	spin_lock(&fs->lock);
	if ((unsigned)fd < fs->capacity && fs->fd[fd])
		f = take_out(fs, (unsigned)fd);
	spin_unlock(&fs->lock);
	if (!f)
		return -EBADF;
	file_closed(fs, f);
	return 0;
}

struct file *
files_file(struct files *fs, int fd, bool *cloexec)
{
	struct file *f = NULL;

	spin_lock(&fs->lock);
	if ((unsigned)fd < fs->capacity)
		f = fs->fd[(unsigned)fd & arch_index_mask((unsigned)fd, fs->capacity)];
	if (f)
		file_get(f);
	if (f && cloexec)
		*cloexec = bit_test(fs->cloexec, (unsigned)fd);
	spin_unlock(&fs->lock);
	return f;
}

int
files_next(struct files *fs, int fd)
{
	int found = -1;

	spin_lock(&fs->lock);
	for (unsigned i = fd < 0 ? 0 : (unsigned)fd; i < fs->capacity && found < 0; i++)
		if (fs->fd[i])
			found = (int)i;
	spin_unlock(&fs->lock);
	return found;
}

struct file *
fd_get(int fd)
{
	return files_file(current->process->files, fd, NULL);
}

struct fd_use
fd_use_shared(int fd, unsigned refused)
{
	struct file *f = fd_get(fd);

	if (f && (f->flags & refused)) {
		file_put(f);
		f = NULL;
	}
	return (struct fd_use){f, f != NULL};
}

int
fd_cloexec(int fd, int set)
{
	struct files *fs = current->process->files;
	int err = -EBADF;

	spin_lock(&fs->lock);
	if ((unsigned)fd < fs->capacity && fs->fd[fd]) {
		err = bit_test(fs->cloexec, (unsigned)fd);
		if (set > 0)
			bit_set(fs->cloexec, (unsigned)fd);
		else if (set == 0)
			bit_clear(fs->cloexec, (unsigned)fd);
	}
	spin_unlock(&fs->lock);
	return err;
}

int
fd_replace(int fd, struct file *f, unsigned flags)
{
	struct files *fs = current->process->files;
	struct file *old;
	int err = 0;

	if ((unsigned)fd >= MIN(rlimit(RLIMIT_NOFILE), (uint64_t)MAX_FDS))
		return -EBADF;
	spin_lock(&fs->lock);
	while (!err && (unsigned)fd >= fs->capacity)
		err = grow(fs, (unsigned)fd);
	if (err)
		goto out;
	old = fs->fd[fd];
	if (!old && bit_test(fs->used, (unsigned)fd)) {
		err = -EBUSY; /* an open under way will have it */
		goto out;
	}
	file_get(f);
	fs->fd[fd] = f;
	bit_set(fs->used, (unsigned)fd);
	if (flags & O_CLOEXEC)
		bit_set(fs->cloexec, (unsigned)fd);
	else
		bit_clear(fs->cloexec, (unsigned)fd);
	spin_unlock(&fs->lock);
	if (old)
		file_closed(fs, old);
	return fd;
out:
	spin_unlock(&fs->lock);
	return err;
}

void
fd_close_range(unsigned first, unsigned last, bool only_mark)
{
	struct files *fs = current->process->files;

	spin_lock(&fs->lock);
	for (unsigned i = first; i <= last && i < fs->capacity; i++) {
		struct file *f = fs->fd[i];

		if (!f)
			continue;
		if (only_mark) {
			bit_set(fs->cloexec, i);
			continue;
		}
		(void)take_out(fs, i);
		spin_unlock(&fs->lock);
		file_closed(fs, f);
		spin_lock(&fs->lock);
	}
	spin_unlock(&fs->lock);
}

/* ---- cwd, root, umask ---- */

struct fs_context boot_fs = {REFCOUNT_INIT, SPINLOCK_INIT, {NULL, NULL}, {NULL, NULL}, 022};

struct fs_context *
fs_current(void)
{
	return likely(current->process && current->process->fs) ? current->process->fs : &boot_fs;
}

int
fs_context_create(struct fs_context **out)
{
	return fs_context_fork(&boot_fs, out);
}

int
fs_context_fork(struct fs_context *from, struct fs_context **out)
{
	struct fs_context *fs = kzalloc(sizeof(*fs));

	if (!fs)
		return -ENOMEM;
	refcount_init(&fs->refs);
	spin_init(&fs->lock);
	spin_lock(&from->lock);
	fs->cwd = from->cwd;
	fs->root = from->root;
	fs->umask = from->umask;
	path_get(&fs->cwd);
	path_get(&fs->root);
	spin_unlock(&from->lock);
	*out = fs;
	return 0;
}

void
fs_context_put(struct fs_context *fs)
{
	if (!refcount_put(&fs->refs))
		return;
	path_put(&fs->cwd);
	path_put(&fs->root);
	kfree(fs);
}
