/*
 * The name space: file system types, instances (supers), and mounts, which put an instance's tree on
 * a directory of another.
 */
#include "kernel/fs/mount.h"
#include "kernel/errno.h"
#include "kernel/fs/file.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/seqfile.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"

struct fs_type *fs_types;
struct mount *root_mount, *internal_mount;
static struct list mounts = LIST_INIT(mounts); /* [vfs_lock] attached, in order of age */
static struct mutex mount_mutex = MUTEX_INIT(mount_mutex); /* one change of the name space at a time */
static uint32_t next_dev = 1;				   /* atomic */
static int next_id = 20;				   /* atomic */

/* ---- Supers ---- */

void
fs_register(struct fs_type *type)
{
	struct fs_type **t = &fs_types;

	while (*t)
		t = &(*t)->next;
	*t = type;
}

int
super_create(const struct fs_type *type, uint32_t mode, const struct inode_ops *ops,
	     const struct file_ops *fops, bool pinned, struct super **out)
{
	struct super *s = kzalloc(sizeof(*s));
	struct inode *root;
	int err;

	if (!s)
		return -ENOMEM;
	s->type = type;
	s->next_ino = 1;
	s->pinned = pinned;
	s->dev = MKDEV(0, __atomic_fetch_add(&next_dev, 1, __ATOMIC_RELAXED));
	err = inode_alloc(s, S_IFDIR | mode, &root);
	if (err)
		goto fail;
	root->ops = ops;
	root->fops = fops;
	root->nlink = 2;
	err = dentry_alloc(NULL, "/", 1, root, &s->root);
	if (!err) {
		*out = s;
		return 0;
	}
	root->ops = NULL;
	inode_put(root);
fail:
	kfree(s);
	return err;
}

/* Unpins every name below the root, leaves first.  Nobody uses the file system any more. */
void
super_destroy(struct super *s)
{
	struct dentry *d = s->root;

	while (s->pinned) {
		struct dentry *parent = d->parent;

		spin_lock(&vfs_lock);
		if (!list_empty(&d->children)) {
			d = list_first(&d->children, struct dentry, sibling);
			spin_unlock(&vfs_lock);
			continue;
		}
		spin_unlock(&vfs_lock);
		if (d == s->root)
			break;
		dentry_delete(d);
		d = parent;
	}
	dentry_put(s->root);
	if (s->type->unmount)
		s->type->unmount(s);
	kfree(s);
}

/* ---- Mounts ---- */

/* A detached mount of a super's tree (or a part of it) with one reference. */
static int
mount_alloc(struct super *s, struct dentry *root, unsigned flags, const char *source,
	    struct mount **out)
{
	struct mount *m = kzalloc(sizeof(*m));

	if (!m)
		return -ENOMEM;
	refcount_init(&m->refs);
	m->id = __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
	m->flags = flags;
	m->super = s;
	m->root = root;
	dentry_get(root);
	list_init(&m->all);
	strlcpy(m->source, source && *source ? source : "none", sizeof(m->source));
	spin_lock(&vfs_lock);
	s->mounts++;
	spin_unlock(&vfs_lock);
	*out = m;
	return 0;
}

void
mount_get(struct mount *m)
{
	refcount_get(&m->refs);
}

void
mount_put(struct mount *m)
{
	struct super *s;
	bool last;

	if (!refcount_put(&m->refs))
		return;
	s = m->super;
	dentry_put(m->root);
	spin_lock(&vfs_lock);
	last = --s->mounts == 0;
	spin_unlock(&vfs_lock);
	if (last)
		super_destroy(s);
	kfree(m);
}

struct mount *
mount_on(const struct mount *parent, const struct dentry *d)
{
	struct mount *m, *found = NULL;

	list_for_each(m, &mounts, all)
		if (m->parent == parent && m->mountpoint == d)
			found = m;
	return found;
}

/* Puts m on at, which the caller has referenced: the references become m's.  vfs_lock held. */
static void
attach(struct mount *m, const struct path *at)
{
	m->parent = at->mount;
	m->mountpoint = at->dentry;
	at->dentry->mounted++;
	refcount_get(&m->refs);
	list_push_back(&mounts, &m->all);
}

/* Takes m off its place, which goes to *was to be put later.  vfs_lock held. */
static void
detach(struct mount *m, struct path *was)
{
	*was = (struct path){m->parent, m->mountpoint};
	m->mountpoint->mounted--;
	m->parent = NULL;
	m->mountpoint = NULL;
	list_remove(&m->all);
}

static bool
has_children(const struct mount *parent)
{
	struct mount *m;

	list_for_each(m, &mounts, all)
		if (m->parent == parent)
			return true;
	return false;
}

static bool
same_path(const struct path *a, const struct path *b)
{
	return a->dentry == b->dentry && a->mount == b->mount;
}

/* Attaches m at path; both must still be in the name space. */
static int
mount_attach(struct mount *m, const struct path *path)
{
	struct path at = *path;
	int err = 0;

	path_get(&at);
	spin_lock(&vfs_lock);
	if (at.dentry->flags & DENTRY_DELETED)
		err = -ENOENT;
	else if (at.mount != root_mount && list_empty(&at.mount->all))
		err = -EINVAL; /* a place that is no longer in the name space */
	else if ((at.dentry->inode->mode ^ m->root->inode->mode) & S_IFMT &&
		 ((at.dentry->inode->mode & S_IFMT) == S_IFDIR ||
		  (m->root->inode->mode & S_IFMT) == S_IFDIR))
		err = -ENOTDIR;
	else
		attach(m, &at);
	spin_unlock(&vfs_lock);
	if (err)
		path_put(&at);
	return err;
}

static const struct fs_type *
find_type(const char *name)
{
	for (struct fs_type *t = fs_types; t; t = t->next)
		if (strcmp(t->name, name) == 0)
			return t;
	return NULL;
}

int
mount_new(const char *type, const char *source, const struct path *at, unsigned flags,
	  const char *options)
{
	const struct fs_type *t = find_type(type);
	struct super *s;
	struct mount *m;
	int err;

	if (!t || !t->mount)
		return -ENODEV;
	err = t->mount(t, source, options, &s);
	if (err)
		return err;
	err = mount_alloc(s, s->root, flags, source, &m);
	if (err) {
		if (s->mounts == 0)
			super_destroy(s);
		return err;
	}
	mutex_lock(&mount_mutex);
	err = mount_attach(m, at);
	mutex_unlock(&mount_mutex);
	mount_put(m);
	return err;
}

int
mount_bind(const struct path *from, const struct path *at)
{
	struct mount *m;
	int err = mount_alloc(from->mount->super, from->dentry, from->mount->flags,
			      from->mount->source, &m);

	if (err)
		return err;
	mutex_lock(&mount_mutex);
	err = mount_attach(m, at);
	mutex_unlock(&mount_mutex);
	mount_put(m);
	return err;
}

int
mount_remount(const struct path *at, unsigned flags)
{
	int err = 0;

	spin_lock(&vfs_lock);
	if (at->dentry != at->mount->root)
		err = -EINVAL;
	else
		WRITE_ONCE(at->mount->flags, (at->mount->flags & MNT_INTERNAL) | flags);
	spin_unlock(&vfs_lock);
	return err;
}

/* True if m is `above` or sits somewhere below it.  vfs_lock held. */
static bool
mount_is_below(const struct mount *m, const struct mount *above)
{
	for (; m; m = m->parent)
		if (m == above)
			return true;
	return false;
}

int
mount_move(const struct path *from, const struct path *at)
{
	struct mount *m = from->mount;
	struct path was = {NULL, NULL}, to = *at;
	int err = 0;

	path_get(&to);
	mutex_lock(&mount_mutex);
	spin_lock(&vfs_lock);
	if (from->dentry != m->root || !m->parent)
		err = -EINVAL;
	else if ((to.dentry->inode->mode ^ m->root->inode->mode) & S_IFMT)
		err = -ENOTDIR;
	else if (to.dentry->flags & DENTRY_DELETED)
		err = -ENOENT;
	else if (mount_is_below(to.mount, m))
		err = -ELOOP;
	if (!err) {
		detach(m, &was);
		attach(m, &to);
		(void)!refcount_put(&m->refs); /* attach's: it had one already; from has another */
	}
	spin_unlock(&vfs_lock);
	mutex_unlock(&mount_mutex);
	path_put(err ? &to : &was);
	return err;
}

int
mount_unmount(const struct path *at, bool lazily)
{
	struct mount *m = at->mount, *child;
	struct path was;
	int err = 0;

	mutex_lock(&mount_mutex);
	spin_lock(&vfs_lock);
	if (at->dentry != m->root || !m->parent)
		err = -EINVAL;
	else if (!lazily && (has_children(m) || refcount_read(&m->refs) > 2)) /* its place's, at's */
		err = -EBUSY;
	while (!err) {
		/* The youngest below m first, m last. */
		struct mount *next = m;

		list_for_each(child, &mounts, all)
			if (mount_is_below(child, m))
				next = child;
		detach(next, &was);
		spin_unlock(&vfs_lock);
		path_put(&was);
		mount_put(next);
		if (next == m)
			goto out;
		spin_lock(&vfs_lock);
	}
	spin_unlock(&vfs_lock);
out:
	mutex_unlock(&mount_mutex);
	return err;
}

/* ---- Roots and working directories ---- */

void
fs_set_path(struct path *which, const struct path *to)
{
	struct fs_context *fs = fs_current();
	struct path old;

	path_get(to);
	spin_lock(&vfs_lock);
	spin_lock(&fs->lock);
	old = *which;
	*which = *to;
	spin_unlock(&fs->lock);
	spin_unlock(&vfs_lock);
	if (old.dentry)
		path_put(&old);
}

/* The process with the lowest number above pid, referenced, or NULL. */
static struct process *
process_after(int pid)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	struct process *p, *found = NULL;

	list_for_each(p, &process_all, all)
		if (p->pid > pid && (!found || p->pid < found->pid))
			found = p;
	if (found)
		refcount_get(&found->refs);
	spin_unlock_irq(&process_lock, s);
	return found;
}

static void
move_context(struct fs_context *fs, const struct path *from, const struct path *to)
{
	struct path *const places[] = {&fs->root, &fs->cwd};

	spin_lock(&vfs_lock);
	spin_lock(&fs->lock);
	for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
		if (!same_path(places[i], from))
			continue;
		path_get(to);
		*places[i] = *to;
		/* Not the last references: the caller has its own. */
		(void)!refcount_put(&from->mount->refs);
		(void)!refcount_put(&from->dentry->refs);
	}
	spin_unlock(&fs->lock);
	spin_unlock(&vfs_lock);
}

/* Every process whose root or cwd is the old root goes to the new one. */
static void
move_roots(const struct path *from, const struct path *to)
{
	struct process *p;
	int pid = 0;

	while ((p = process_after(pid))) {
		struct fs_context *fs;

		pid = p->pid;
		spin_lock(&p->lock);
		fs = p->fs;
		if (fs)
			refcount_get(&fs->refs);
		spin_unlock(&p->lock);
		if (fs) {
			move_context(fs, from, to);
			fs_context_put(fs);
		}
		process_put(p);
	}
}

int
mount_pivot(const struct path *new_root, const struct path *put_old)
{
	struct fs_context *fs = fs_current();
	struct mount *m = new_root->mount;
	struct path root, was = {NULL, NULL}, at = *put_old;
	int err = 0;

	path_get(&at);
	mutex_lock(&mount_mutex);
	spin_lock(&vfs_lock);
	root = fs->root;
	path_get(&root);
	if (new_root->dentry->flags & DENTRY_DELETED)
		err = -ENOENT;
	else if (m == root.mount || put_old->mount == root.mount)
		err = -EBUSY;
	else if (root.dentry != root.mount->root || new_root->dentry != m->root || !m->parent ||
		 !root.mount->parent)
		err = -EINVAL; /* the initial root cannot be moved, as in Linux */
	else if (!mount_is_below(put_old->mount, m) || !mount_is_below(m, root.mount))
		err = -EINVAL; /* above the root, it would come to lie below itself */
	if (!err) {
		struct path place;

		detach(m, &was);
		detach(root.mount, &place);
		attach(m, &place);
		attach(root.mount, &at);
		(void)!refcount_put(&m->refs);
		(void)!refcount_put(&root.mount->refs);
	}
	spin_unlock(&vfs_lock);
	mutex_unlock(&mount_mutex);
	if (!err)
		move_roots(&root, new_root);
	path_put(&root);
	path_put(err ? &at : &was);
	return err;
}

/* ---- /proc/mounts ---- */

static void
print_escaped(struct text *t, const char *s)
{
	for (; *s; s++) {
		if (*s == ' ' || *s == '\t' || *s == '\n' || *s == '\\')
			text_printf(t, "\\%03o", (unsigned)(uint8_t)*s);
		else
			text_append(t, s, 1);
	}
}

static void
print_flags(struct text *t, unsigned flags)
{
	text_printf(t, "%s%s%s%s%s", flags & MNT_READONLY ? "ro" : "rw",
		    flags & MNT_NOSUID ? ",nosuid" : "", flags & MNT_NODEV ? ",nodev" : "",
		    flags & MNT_NOEXEC ? ",noexec" : "", flags & MNT_NOATIME ? ",noatime" : ",relatime");
}

static void
print_mount(struct text *t, const struct mount *m, const char *place, bool info)
{
	if (info) {
		unsigned dev = m->super->dev;
		int parent;

		spin_lock(&vfs_lock); /* it may be unmounted meanwhile, and the parent go */
		parent = m->parent ? m->parent->id : 1;
		spin_unlock(&vfs_lock);
		text_printf(t, "%d %d %u:%u / ", m->id, parent, dev >> 8 & 0xfff,
			    (dev & 0xff) | (dev >> 12 & 0xfff00));
		print_escaped(t, place);
		text_printf(t, " ");
		print_flags(t, m->flags);
		text_printf(t, " - %s ", m->super->type->name);
		print_escaped(t, m->source);
		text_printf(t, " %s\n", m->flags & MNT_READONLY ? "ro" : "rw");
		return;
	}
	print_escaped(t, m->source);
	text_printf(t, " ");
	print_escaped(t, place);
	text_printf(t, " %s ", m->super->type->name);
	print_flags(t, m->flags);
	text_printf(t, " 0 0\n");
}

void
mounts_print(struct text *t, bool info)
{
	char *place = kmalloc(PATH_MAX);
	struct mount *m, *prev = root_mount;

	if (!place) {
		t->failed = true;
		return;
	}
	/* One at a time, with a reference: building a path takes the lock itself. */
	for (bool first = true;; first = false) {
		struct path p, root;

		spin_lock(&vfs_lock);
		m = first ? root_mount : NULL;
		if (!first) {
			struct mount *i;
			int after = prev == root_mount ? 0 : prev->id;

			list_for_each(i, &mounts, all)
				if (i->id > after && (!m || i->id < m->id))
					m = i;
		}
		if (m)
			mount_get(m);
		root = fs_current()->root;
		spin_unlock(&vfs_lock);
		if (!first)
			mount_put(prev);
		if (!m)
			break;
		prev = m;
		p = (struct path){m, m->root};
		/* Under chroot only what is below the root shows. */
		spin_lock(&vfs_lock);
		if (!mount_is_below(m, root.mount)) {
			spin_unlock(&vfs_lock);
			continue;
		}
		spin_unlock(&vfs_lock);
		if (path_to_string(&p, place, PATH_MAX) >= 0)
			print_mount(t, m, place, info);
	}
	kfree(place);
}

/* ---- Start-up ---- */

int
vfs_mount(const char *type, const char *target, unsigned flags, const char *options)
{
	struct path at;
	int err = path_lookup(target, true, &at);

	if (err)
		return err;
	err = mount_new(type, type, &at, flags, options);
	path_put(&at);
	return err;
}

static struct fs_type internal_type = {.name = "internal", .nodev = true};

void
vfs_init(void)
{
	struct super *s;
	int err;

	dentry_init();
	file_init();
	tmpfs_init();
	/* The root, as Linux's: never unmounted, never moved. */
	err = tmpfs_mount(&tmpfs_type, "rootfs", "mode=755", &s);
	if (!err)
		err = mount_alloc(s, s->root, 0, "rootfs", &root_mount);
	if (err)
		panic("no memory for the root file system");
	boot_fs.root = boot_fs.cwd = (struct path){root_mount, root_mount->root};
	path_get(&boot_fs.root);
	path_get(&boot_fs.cwd);

	err = tmpfs_mount(&tmpfs_type, NULL, "size=0", &s);
	if (!err)
		err = mount_alloc(s, s->root, MNT_INTERNAL, NULL, &internal_mount);
	if (err)
		panic("no memory for the internal file system");
	s->type = &internal_type;
}
