/*
 * The initramfs: unpacks "newc" cpio archives (magic 070701; 070702 with a checksum) into the root.
 * The archive comes from outside and is not trusted: every length and offset is checked.
 * Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
 */
#include "kernel/errno.h"
#include "kernel/fs/file.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/names.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"

#define HEADER_SIZE 110u
#define LINK_SLOTS  256u

enum { F_INO, F_MODE, F_UID, F_GID, F_NLINK, F_MTIME, F_SIZE, F_MAJOR, F_MINOR, F_RMAJOR, F_RMINOR,
       F_NAMESIZE, F_CHECK, FIELDS };

struct entry {
	uint32_t field[FIELDS];
	bool checked; /* 070702: F_CHECK is the sum of the data's bytes */
	const char *name;
	const uint8_t *data;
};

/* The first name of a file that has several. */
struct link {
	struct link *next;
	uint32_t ino, major, minor;
	char name[];
};

struct unpack {
	const uint8_t *data;
	size_t size, at;
	struct link *links[LINK_SLOTS];
	struct link *dirs; /* ino is the time: set at the end, since every new name changes it */
};

static bool
parse_hex(const uint8_t *s, uint32_t *out)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < 8; i++) {
		uint8_t c = s[i];

		if (c >= '0' && c <= '9')
			c -= '0';
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			c = (uint8_t)((c | 32) - 'a' + 10);
		else
			return false;
		v = v << 4 | c;
	}
	*out = v;
	return true;
}

/* Reads the header, name and data at u->at and steps behind them.  NULL, or what is wrong. */
static const char *
next_entry(struct unpack *u, struct entry *e)
{
	const uint8_t *h = u->data + u->at;
	size_t left = u->size - u->at, name_end, data_end;
	uint32_t name_size;

	if (left < HEADER_SIZE)
		return "it ends within a header";
	if (memcmp(h, "070701", 6) != 0 && memcmp(h, "070702", 6) != 0)
		return memcmp(h, "070707", 6) == 0 ? "old cpio format: make it with -H newc"
						   : "no cpio header where one is due";
	e->checked = h[5] == '2';
	for (unsigned i = 0; i < FIELDS; i++)
		if (!parse_hex(h + 6 + 8 * i, &e->field[i]))
			return "a header field is not a number";
	name_size = e->field[F_NAMESIZE];
	if (name_size == 0 || name_size > PATH_MAX || name_size > left - HEADER_SIZE)
		return "a name has a bad length";
	e->name = (const char *)h + HEADER_SIZE;
	if (e->name[name_size - 1] != '\0') /* some archivers pad the name with more NULs */
		return "a name does not end where its length says";
	/* Name and data are each padded to 4 bytes, counted from the header, which is aligned. */
	name_end = ALIGN_UP((size_t)HEADER_SIZE + name_size, 4ul);
	if (name_end > left)
		name_end = left;
	if (e->field[F_SIZE] > left - name_end)
		return "it ends within a file";
	e->data = h + name_end;
	data_end = name_end + ALIGN_UP((size_t)e->field[F_SIZE], 4ul);
	u->at += MIN(data_end, left);
	return NULL;
}

static int
write_data(struct file *f, const uint8_t *data, size_t size)
{
	uint64_t pos = 0;

	while (pos < size) {
		struct iovec iov;
		struct uio io;
		ssize_t n;

		uio_init_kernel(&io, &iov, (void *)(data + pos), size - pos);
		n = f->ops->write(f, &io, &pos);
		if (n < 0)
			return (int)n;
	}
	return 0;
}

static int
unpack_regular(const struct entry *e)
{
	struct file *f;
	int err = file_open(e->name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW,
			    e->field[F_MODE] & 07777, &f);

	if (err)
		return err;
	err = write_data(f, e->data, e->field[F_SIZE]);
	file_put(f);
	return err;
}

static struct link **
link_slot(struct unpack *u, const struct entry *e)
{
	struct link **l = &u->links[e->field[F_INO] % LINK_SLOTS];

	while (*l && ((*l)->ino != e->field[F_INO] || (*l)->major != e->field[F_MAJOR] ||
		      (*l)->minor != e->field[F_MINOR]))
		l = &(*l)->next;
	return l;
}

/* A file with several names: 1 if this was a further one, now made; 0 if it is the first. */
static int
unpack_link(struct unpack *u, const struct entry *e)
{
	struct link **slot = link_slot(u, e), *l = *slot;
	size_t n = strlen(e->name) + 1;
	struct path old;
	int err;

	if (!l) {
		l = kmalloc(sizeof(*l) + n);
		if (!l)
			return -ENOMEM;
		*l = (struct link){NULL, e->field[F_INO], e->field[F_MAJOR], e->field[F_MINOR]};
		memcpy(l->name, e->name, n);
		*slot = l;
		return 0;
	}
	err = path_lookup(l->name, false, &old);
	if (err)
		return err;
	(void)!names_remove(AT_FDCWD, e->name, false);
	err = names_link(&old, AT_FDCWD, e->name);
	/* The data comes with the last name. */
	if (!err && e->field[F_SIZE] && (e->field[F_MODE] & S_IFMT) == S_IFREG)
		err = unpack_regular(e);
	path_put(&old);
	return err ? err : 1;
}

/* Owner, permissions as they are in the archive, time. */
static int
set_attributes(const struct entry *e)
{
	struct timespec t = {e->field[F_MTIME], 0}, times[2] = {t, t};
	struct path p;
	int err = path_lookup(e->name, false, &p);

	if (err)
		return err;
	err = inode_chown(&p, e->field[F_UID], e->field[F_GID]);
	if (!err && (e->field[F_MODE] & S_IFMT) != S_IFLNK)
		err = inode_chmod(&p, e->field[F_MODE]);
	if (!err)
		err = inode_utimens(&p, times);
	path_put(&p);
	return err;
}

static int
remember_dir(struct unpack *u, const struct entry *e)
{
	size_t n = strlen(e->name) + 1;
	struct link *l = kmalloc(sizeof(*l) + n);

	if (!l)
		return -ENOMEM;
	*l = (struct link){.next = u->dirs, .ino = e->field[F_MTIME]};
	memcpy(l->name, e->name, n);
	u->dirs = l;
	return 0;
}

static void
set_dir_times(struct unpack *u)
{
	while (u->dirs) {
		struct link *l = u->dirs;
		struct timespec t = {l->ino, 0}, times[2] = {t, t};
		struct path p;

		if (path_lookup(l->name, false, &p) == 0) {
			(void)!inode_utimens(&p, times);
			path_put(&p);
		}
		u->dirs = l->next;
		kfree(l);
	}
}

static int
unpack_entry(struct unpack *u, const struct entry *e)
{
	uint32_t mode = e->field[F_MODE], type = mode & S_IFMT;
	char *target;
	int err = 0;

	if (!*e->name)
		return -EINVAL;
	if (type != S_IFDIR && e->field[F_NLINK] > 1) {
		err = unpack_link(u, e);
		if (err)
			return err < 0 ? err : set_attributes(e);
	}
	if (type != S_IFDIR && type != S_IFREG)
		(void)!names_remove(AT_FDCWD, e->name, false);
	switch (type) {
	case S_IFDIR:
		err = names_mkdir(AT_FDCWD, e->name, mode & 01777);
		if (err == -EEXIST)
			err = 0;
		if (!err)
			err = remember_dir(u, e);
		break;
	case S_IFREG:
		err = unpack_regular(e);
		break;
	case S_IFLNK:
		if (e->field[F_SIZE] == 0 || e->field[F_SIZE] >= PATH_MAX)
			return -EINVAL;
		target = kmalloc(e->field[F_SIZE] + 1);
		if (!target)
			return -ENOMEM;
		memcpy(target, e->data, e->field[F_SIZE]);
		target[e->field[F_SIZE]] = '\0';
		err = names_symlink(target, AT_FDCWD, e->name);
		kfree(target);
		break;
	default:
		err = names_mknod(AT_FDCWD, e->name, mode,
				  MKDEV(e->field[F_RMAJOR], e->field[F_RMINOR]));
	}
	return err ? err : set_attributes(e);
}

static void
forget_links(struct unpack *u)
{
	for (unsigned i = 0; i < LINK_SLOTS; i++)
		while (u->links[i]) {
			struct link *l = u->links[i];

			u->links[i] = l->next;
			kfree(l);
		}
}

static bool
sum_is_right(const struct entry *e)
{
	uint32_t sum = 0;

	if (!e->checked || (e->field[F_MODE] & S_IFMT) != S_IFREG)
		return true;
	for (uint32_t i = 0; i < e->field[F_SIZE]; i++)
		sum += e->data[i];
	return sum == e->field[F_CHECK];
}

static const char *
unpack_all(struct unpack *u)
{
	const char *bad = NULL;
	struct entry e;

	while (!bad && u->at < u->size) {
		int err;

		if (u->data[u->at] == 0) { /* padding between archives */
			u->at++;
			continue;
		}
		if (u->size - u->at >= 2 && u->data[u->at] == 0x1f && u->data[u->at + 1] == 0x8b)
			return "it is compressed with gzip: unpack it first";
		if (u->at % 4)
			return "an archive does not begin at a multiple of 4";
		bad = next_entry(u, &e);
		if (bad)
			break;
		if (strcmp(e.name, "TRAILER!!!") == 0) {
			forget_links(u); /* inode numbers of the next archive are its own */
			continue;
		}
		if (!sum_is_right(&e)) {
			kalert("initramfs: %s: wrong checksum\n", e.name);
			continue;
		}
		err = unpack_entry(u, &e);
		if (err == -ENOMEM || err == -ENOSPC)
			return "there is not enough memory for it";
		if (err)
			kalert("initramfs: %s: error %d\n", e.name, -err);
	}
	return bad;
}

int
initramfs_prepare(void)
{
	uint32_t mask = boot_fs.umask;
	int err;

	boot_fs.umask = 0;
	err = names_mkdir(AT_FDCWD, "/dev", 0755);
	if (!err)
		err = names_mknod(AT_FDCWD, "/dev/console", S_IFCHR | 0600, MKDEV(5, 1));
	if (!err)
		err = names_mkdir(AT_FDCWD, "/root", 0700);
	boot_fs.umask = mask;
	return err;
}

int
initramfs_unpack(const uint8_t *data, size_t size)
{
	struct unpack *u = kzalloc(sizeof(*u));
	uint32_t mask = boot_fs.umask;
	const char *bad;

	if (!u)
		return -ENOMEM;
	u->data = data;
	u->size = size;
	boot_fs.umask = 0;
	bad = unpack_all(u);
	set_dir_times(u);
	boot_fs.umask = mask;
	if (bad)
		kalert("initramfs: bad archive at byte %zu: %s\n", u->at, bad);
	forget_links(u);
	kfree(u);
	return bad ? -EINVAL : 0;
}
