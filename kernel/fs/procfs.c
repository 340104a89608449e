/*
 * The proc file system: inodes made from tables when a path leads to them, gone with their last
 * user.
 */
#include "kernel/fs/procfs.h"
#include "kernel/errno.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/vm.h"

#define PROC_MAGIC 0x9fa0
#define STORE_MAX  4096u

/* Positions in a directory: . and .., the names, and from here on the numbers. */
#define FIRST_NAME   2
#define FIRST_NUMBER 256

static const struct inode_ops node_ops, link_ops, text_link_ops;
static const struct file_ops file_ops, dir_ops;

static const struct proc_entry root_entry = {
	.mode = 0555,
	.names = procfs_system,
	.numbered = &procfs_process,
	.find = procfs_find_process,
	.next = procfs_next_process,
};

static uint32_t
entry_type(const struct proc_entry *e)
{
	if (e->names || e->numbered)
		return S_IFDIR;
	return e->readlink || e->follow ? S_IFLNK : S_IFREG;
}

static int
allowed(const struct proc_node *n)
{
	return !n->entry->restricted || procfs_may_inspect(n->process) ? 0 : -EACCES;
}

/* ---- Inodes ---- */

static void
node_destroy(struct inode *inode)
{
	struct proc_node *n = inode->data;

	if (n->process)
		process_put(n->process);
	kfree(n);
}

/* Descriptors and threads come and go, a process may change its owner: such names do not hold. */
static bool
node_stale(struct inode *inode)
{
	const struct proc_node *n = inode->data;
	uint32_t uid, gid;

	if (!n->process)
		return false;
	if (n->id >= 0 || READ_ONCE(n->process->state) == PROCESS_REAPED)
		return true;
	procfs_owner(n->process, &uid, &gid);
	return uid != inode->uid || gid != inode->gid;
}

/* Its own descriptors are a process's to look at, if root owns the directory too. */
static bool
node_admits(const struct inode *inode, unsigned may)
{
	const struct proc_node *n = inode->data;

	return n->process == current->process && inode->fops == &dir_ops && !(may & MAY_WRITE);
}

/* Permissions of /proc/PID/fd/N tell how the file is open. */
static uint32_t
node_mode(const struct proc_node *n)
{
	struct file *f;
	uint32_t mode = n->entry->mode;

	if (mode || !n->process)
		return mode;
	f = procfs_file(n->process, n->id, NULL);
	if (!f)
		return 0;
	mode = 0100 | (f->mode & FILE_READ ? 0400 : 0) | (f->mode & FILE_WRITE ? 0200 : 0);
	file_put(f);
	return mode;
}

/* An inode for *from, whose process reference it takes over on success. */
static int
node_inode(struct super *s, const struct proc_node *from, struct inode **out)
{
	struct proc_node *n = kmalloc(sizeof(*n));
	uint32_t type = entry_type(from->entry);
	struct inode *inode;
	int err;

	if (!n)
		return -ENOMEM;
	err = inode_alloc(s, type | node_mode(from), &inode);
	if (err) {
		kfree(n);
		return err;
	}
	*n = *from;
	inode->data = n;
	inode->uid = inode->gid = 0;
	if (n->process)
		procfs_owner(n->process, &inode->uid, &inode->gid);
	inode->ops = type != S_IFLNK ? &node_ops : n->entry->follow ? &link_ops : &text_link_ops;
	inode->fops = type == S_IFDIR ? &dir_ops : &file_ops;
	if (type == S_IFDIR)
		inode->nlink = 2;
	*out = inode;
	return 0;
}

/* A decimal number as readdir would write it; -1 if it is none. */
static int
parse_number(const char *s, size_t len)
{
	int n = 0;

	if (len == 0 || len > 9 || (s[0] == '0' && len > 1))
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -1;
		n = n * 10 + (s[i] - '0');
	}
	return n;
}

static int
proc_lookup(struct inode *dir, const char *name, size_t len, struct inode **out)
{
	const struct proc_node *parent = dir->data;
	const struct proc_entry *e = parent->entry;
	struct proc_node child = {.process = parent->process, .id = parent->id};
	int number = parse_number(name, len), err;

	for (const struct proc_entry *i = e->names; i && i->name && !child.entry; i++)
		if (strlen(i->name) == len && memcmp(i->name, name, len) == 0)
			child.entry = i;
	if (child.entry) {
		if (child.process)
			refcount_get(&child.process->refs);
	} else {
		if (number < 0 || !e->numbered)
			return -ENOENT;
		child.entry = e->numbered;
		err = e->find(parent, number, &child);
		if (err)
			return err;
	}
	err = node_inode(dir->super, &child, out);
	if (err && child.process)
		process_put(child.process);
	return err;
}

/* ---- Directories ---- */

/* The name at a position, which lseek lets the user choose; NULL: beyond the last one. */
static const struct proc_entry *
name_at(const struct proc_entry *names, uint64_t position)
{
	for (; names && names->name; names++)
		if (position-- == FIRST_NAME)
			return names;
	return NULL;
}

static int
proc_readdir(struct file *f, struct dir_context *d)
{
	const struct proc_node *n = f->inode->data;
	const struct proc_entry *e = n->entry;
	uint64_t ino = f->inode->ino;
	char name[12];
	int number;

	if (d->pos == 0) {
		if (!d->emit(d, ".", 1, ino, S_IFDIR, 1))
			return 0;
		d->pos = 1;
	}
	if (d->pos == 1) {
		if (!d->emit(d, "..", 2, f->path.dentry->parent->inode->ino, S_IFDIR, FIRST_NAME))
			return 0;
		d->pos = FIRST_NAME;
	}
	while (d->pos < FIRST_NUMBER) {
		const struct proc_entry *i = name_at(e->names, d->pos);

		if (!i) {
			d->pos = FIRST_NUMBER;
			break;
		}
		if (!d->emit(d, i->name, strlen(i->name), ino + d->pos, entry_type(i), d->pos + 1))
			return 0;
		d->pos++;
	}
	while (e->numbered && d->pos - FIRST_NUMBER < INT32_MAX) {
		number = e->next(n, (int)(d->pos - FIRST_NUMBER));
		if (number < 0)
			break;
		d->pos = (uint64_t)number + FIRST_NUMBER;
		snprintf(name, sizeof(name), "%d", number);
		if (!d->emit(d, name, strlen(name), d->pos, entry_type(e->numbered), d->pos + 1))
			return 0;
		d->pos++;
	}
	return 0;
}

static int64_t
proc_seek(struct file *f, int64_t offset, int whence)
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

static int
dir_open(struct inode *inode, struct file *f unused)
{
	return allowed(inode->data);
}

/* ---- Files ---- */

/* Tells the lives of a process between its execs apart; 0 is the system's, and that of the dead. */
static uint64_t
life_of(struct process *p)
{
	uint64_t life = 0;

	if (!p)
		return 0;
	spin_lock(&p->lock);
	if (p->vm)
		life = p->vm->serial;
	spin_unlock(&p->lock);
	return life;
}

/*
 * Who was allowed to look into a process when he opened the file is not for what it has executed
 * since:
 * that has no text.
 */
static int
generate(struct text *t, void *arg, uint64_t life)
{
	const struct proc_node *n = arg;
	int err = n->entry->show(t, n);

	if (n->entry->restricted && life_of(n->process) != life) {
		t->len = 0;
		return 0;
	}
	return err;
}

static ssize_t
node_write(struct file *f, struct uio *u, uint64_t *pos)
{
	const struct proc_node *n = f->inode->data;
	size_t len = u->left;
	char *s;
	int err;

	if (len >= STORE_MAX)
		return -EINVAL;
	s = kmalloc(len + 1);
	if (!s)
		return -ENOMEM;
	err = uio_read_from(u, s, len) == (ssize_t)len ? allowed(n) : -EFAULT;
	s[len] = '\0';
	if (!err)
		err = n->entry->store(n, s, len);
	kfree(s);
	if (err)
		return err;
	*pos += len;
	return (ssize_t)len;
}

static const struct file_ops write_ops = {
	.write = node_write,
	.seek = proc_seek,
};

static int
file_open_node(struct inode *inode, struct file *f)
{
	struct proc_node *n = inode->data;
	uint64_t life = life_of(n->process);
	int err = allowed(n);

	if (err)
		return err;
	if (f->mode & FILE_WRITE) {
		if (!n->entry->store)
			return -EACCES;
		f->ops = &write_ops;
		return 0;
	}
	return text_file_open(f, generate, n, life);
}

/* ---- Links ---- */

static ssize_t
text_readlink(struct inode *inode, char *buf, size_t size)
{
	const struct proc_node *n = inode->data;

	return n->entry->readlink(n, buf, size);
}

static int
link_follow(struct inode *inode, struct path *out)
{
	const struct proc_node *n = inode->data;
	int err = allowed(n);

	return err ? err : n->entry->follow(n, out);
}

static ssize_t
link_readlink(struct inode *inode, char *buf, size_t size)
{
	struct path p;
	char *s;
	ssize_t len = link_follow(inode, &p);

	if (len)
		return len;
	s = kmalloc(PATH_MAX);
	len = s ? path_to_string(&p, s, PATH_MAX) : -ENOMEM;
	path_put(&p);
	if (len > 0) {
		len = MIN(len, (ssize_t)size);
		memcpy(buf, s, (size_t)len);
	}
	kfree(s);
	return len;
}

static const struct inode_ops node_ops = {
	.lookup = proc_lookup,
	.stale = node_stale,
	.admits = node_admits,
	.destroy = node_destroy,
};

static const struct inode_ops link_ops = {
	.follow = link_follow,
	.readlink = link_readlink,
	.stale = node_stale,
	.destroy = node_destroy,
};

static const struct inode_ops text_link_ops = {
	.readlink = text_readlink,
	.stale = node_stale,
	.destroy = node_destroy,
};

static const struct file_ops file_ops = {
	.open = file_open_node,
};

static const struct file_ops dir_ops = {
	.open = dir_open,
	.readdir = proc_readdir,
	.seek = proc_seek,
};

/* ---- The file system ---- */

static int
proc_mount(const struct fs_type *type, const char *source unused, const char *options unused,
	   struct super **out)
{
	struct proc_node *n = kzalloc(sizeof(*n));
	int err;

	if (!n)
		return -ENOMEM;
	err = super_create(type, root_entry.mode, &node_ops, &dir_ops, false, out);
	if (err) {
		kfree(n);
		return err;
	}
	n->entry = &root_entry;
	n->id = -1;
	(*out)->root->inode->data = n;
	return 0;
}

static void
proc_statfs(struct super *s unused, uint64_t *blocks, uint64_t *free, uint64_t *magic)
{
	*blocks = *free = 0;
	*magic = PROC_MAGIC;
}

static struct fs_type proc_type = {
	.name = "proc",
	.nodev = true,
	.mount = proc_mount,
	.statfs = proc_statfs,
};

void
procfs_init(void)
{
	fs_register(&proc_type);
}
