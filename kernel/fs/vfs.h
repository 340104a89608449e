/*
 * The virtual file system: inodes, names (dentries), mounts, open files.
 *
 * Reference rules: a dentry holds its inode and its parent; a struct path holds a mount and a
 * dentry; an open file holds its path.  Lock order: rename_lock, inode.lock of the parent, inode.lock of the
 * child, vfs_lock (a spin lock: names, mounts, cwd and root).
 */
#pragma once

#include "kernel/harden/refcount.h"
#include "kernel/lib/list.h"
#include "kernel/lib/spinlock.h"
#include "kernel/proc/process.h"
#include "kernel/proc/time.h"
#include "kernel/proc/wait.h"
#include "kernel/types.h"

struct page;
struct vma;
struct inode;
struct dentry;
struct mount;
struct file;
struct fs_type;

#define NAME_MAX 255
#define PATH_MAX 4096

/* File types and mode bits (Linux's S_*). */
#define S_IFMT	 0170000u
#define S_IFSOCK 0140000u
#define S_IFLNK	 0120000u
#define S_IFREG	 0100000u
#define S_IFBLK	 0060000u
#define S_IFDIR	 0040000u
#define S_IFCHR	 0020000u
#define S_IFIFO	 0010000u
#define S_ISUID	 0004000u
#define S_ISGID	 0002000u
#define S_ISVTX	 0001000u

/* open flags (x86_64's values equal asm-generic's but for those that machine.h overrides) */
#define O_ACCMODE   00000003u
#define O_RDONLY    00000000u
#define O_WRONLY    00000001u
#define O_RDWR	    00000002u
#define O_CREAT	    00000100u
#define O_EXCL	    00000200u
#define O_NOCTTY    00000400u
#define O_TRUNC	    00001000u
#define O_APPEND    00002000u
#define O_NONBLOCK  00004000u
#define O_DSYNC	    00010000u
#define O_ASYNC	    00020000u
#define O_SYNC	    04010000u
#define O_DIRECT    ARCH_O_DIRECT
#define O_LARGEFILE ARCH_O_LARGEFILE
#define O_DIRECTORY ARCH_O_DIRECTORY
#define O_NOFOLLOW  ARCH_O_NOFOLLOW
#define O_NOATIME   01000000u
#define O_CLOEXEC   02000000u
#define O_PATH	    010000000u
#define O_TMPFILE   020000000u

#define AT_FDCWD	    (-100)
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_REMOVEDIR	    0x200
#define AT_SYMLINK_FOLLOW   0x400
#define AT_EACCESS	    0x200
#define AT_EMPTY_PATH	    0x1000

/* Permission bits that inode_permission checks. */
#define MAY_EXEC  1u
#define MAY_WRITE 2u
#define MAY_READ  4u

/* poll events (Linux's) */
#define POLLIN	   0x0001u
#define POLLPRI	   0x0002u
#define POLLOUT	   0x0004u
#define POLLERR	   0x0008u
#define POLLHUP	   0x0010u
#define POLLNVAL   0x0020u
#define POLLRDNORM 0x0040u
#define POLLWRNORM 0x0100u
#define POLLRDHUP  0x2000u

struct iovec {
	uint64_t base; /* a user address, or a kernel pointer if the uio is a kernel one */
	uint64_t len;
};

/* Where the bytes of a read go, or those of a write come from.  Advanced by uio_read / uio_write. */
struct uio {
	const struct iovec *iov; /* a kernel copy, already checked */
	unsigned niov;
	size_t offset; /* into iov[0] */
	size_t left;   /* bytes not yet moved, over all */
	bool kernel;   /* the addresses are kernel pointers */
};

/*
 * For a write at pos: cuts it at RLIMIT_FSIZE.  0, or -EFBIG (SIGXFSZ is sent) if nothing may be
 * written.
 */
struct file;
must_use ssize_t uio_limit_write(struct file *f, struct uio *u, uint64_t pos);
void uio_init_kernel(struct uio *u, struct iovec *iov, void *buf, size_t n);
void uio_init_user(struct uio *u, struct iovec *iov, uaddr_t buf, size_t n);
/* Moves up to n bytes from the kernel's buf into the uio (a read).  Bytes moved, or -EFAULT if none. */
must_use ssize_t uio_write_to(struct uio *u, const void *buf, size_t n);
/* Moves up to n bytes out of the uio (a write) into buf.  Bytes moved, or -EFAULT if none. */
must_use ssize_t uio_read_from(struct uio *u, void *buf, size_t n);
/* Moves n zero bytes into the uio. */
must_use ssize_t uio_zero(struct uio *u, size_t n);

struct path {
	struct mount *mount;
	struct dentry *dentry;
};

struct stat_info { /* what getattr fills; sys/stat.c turns it into the ABI's structures */
	uint64_t ino, size, blocks;
	uint32_t dev, rdev, mode, nlink, uid, gid, blksize;
	struct timespec atime, mtime, ctime, btime;
};

/*
 * A name in a directory.  File systems with super.pinned (tmpfs) keep each of theirs: there the tree
 * of dentries is the directory tree, and a name that is not cached does not exist.  Others are asked
 * by lookup, and their dentries go with the last reference.
 */
#define DENTRY_HASHED	 1u /* a path walk finds it */
#define DENTRY_DELETED	 2u /* its name is gone (unlink), or it never had one (O_TMPFILE) */
#define DENTRY_ANONYMOUS 4u /* of a file without a name: pipes and their like */
#define DENTRY_INLINE	 40

struct dentry {
	struct refcount refs; /* a hashed one never has 0: the last put takes vfs_lock */
	uint32_t flags;	      /* [vfs_lock] DENTRY_* */
	uint32_t hash;	      /* [vfs_lock] of parent and name */
	uint32_t mounted;     /* [vfs_lock] mounts that sit on it, in any mount */
	struct dentry *hash_next; /* [vfs_lock] */
	struct dentry *parent;	  /* [vfs_lock] referenced; a root's is itself, without a reference */
	struct inode *inode;	  /* referenced, fixed */
	struct list children;	  /* [vfs_lock] dentry.sibling, in order of cookie */
	struct list sibling;
	uint64_t cookie;      /* [vfs_lock] position in its directory, never used twice */
	uint64_t next_cookie; /* [vfs_lock] for its next child */
	uint32_t len;	      /* [vfs_lock] */
	char *name;	      /* [vfs_lock] NUL-terminated; inline_name if it is short */
	char inline_name[DENTRY_INLINE];
};

/* A file system's place in the name space. */
#define MNT_READONLY 1u /* the values of mount(2)'s MS_ flags */
#define MNT_NOSUID   2u
#define MNT_NODEV    4u
#define MNT_NOEXEC   8u
#define MNT_NOATIME  1024u
#define MNT_INTERNAL BIT(31) /* pipes, memfd: nowhere in the name space */

struct mount {
	struct refcount refs; /* its users, and one while it is attached */
	int id;
	unsigned flags;		   /* [vfs_lock] MNT_* */
	struct super *super;	   /* fixed */
	struct dentry *root;	   /* fixed, referenced */
	struct mount *parent;	   /* [vfs_lock] referenced; NULL: the root, or detached */
	struct dentry *mountpoint; /* [vfs_lock] in parent; referenced */
	struct list all;	   /* [vfs_lock] every attached mount, in order of age */
	char source[64];	   /* fixed: the name for /proc/mounts */
};

extern struct spinlock vfs_lock;

struct poll_table; /* kernel/fs/poll.c */
/* Registers the poller on q; NULL table: only asks for the present state. */
void poll_wait(struct poll_table *pt, struct wait_queue *q);

/* Directory reader: emit returns false when its buffer is full.  emit never sleeps. */
struct dir_context {
	bool (*emit)(struct dir_context *d, const char *name, size_t len, uint64_t ino,
		     uint32_t mode, uint64_t next_pos);
	uint64_t pos; /* where to go on; 0 and 1 are . and .. */
};

struct file_ops {
	int (*open)(struct inode *inode, struct file *f); /* after permission checks; may set f->ops */
	void (*release)(struct file *f);		  /* the last reference is gone */
	/* *pos is advanced by the callee; O_NONBLOCK is in f->flags.  Bytes or -errno. */
	ssize_t (*read)(struct file *f, struct uio *u, uint64_t *pos);
	ssize_t (*write)(struct file *f, struct uio *u, uint64_t *pos);
	int64_t (*seek)(struct file *f, int64_t offset, int whence); /* NULL: -ESPIPE */
	int (*readdir)(struct file *f, struct dir_context *d);
	unsigned (*poll)(struct file *f, struct poll_table *pt); /* NULL: always ready */
	long (*ioctl)(struct file *f, unsigned cmd, uaddr_t arg); /* NULL: -ENOTTY */
	/* Checks and adjusts a new mapping before it is linked.  NULL: inode pages if it has any. */
	int (*mmap)(struct file *f, struct vma *vma);
};

struct inode_ops {
	/* Directories; the caller holds dir->lock.  lookup: 0 with a referenced inode, or -ENOENT. */
	int (*lookup)(struct inode *dir, const char *name, size_t len, struct inode **out);
	int (*create)(struct inode *dir, const char *name, size_t len, uint32_t mode, uint32_t rdev,
		      struct inode **out); /* any type by S_IFMT but directory and symlink */
	int (*mkdir)(struct inode *dir, const char *name, size_t len, uint32_t mode,
		     struct inode **out);
	int (*symlink)(struct inode *dir, const char *name, size_t len, const char *target,
		       struct inode **out);
	int (*link)(struct inode *dir, const char *name, size_t len, struct inode *target);
	int (*unlink)(struct inode *dir, struct dentry *victim);
	int (*rmdir)(struct inode *dir, struct dentry *victim);
	int (*rename)(struct inode *from, struct dentry *old, struct inode *to, struct dentry *new,
		      unsigned flags);
	/* Copies a symlink's target, at most size bytes, no NUL: its length or -errno. */
	ssize_t (*readlink)(struct inode *inode, char *buf, size_t size);
	/* Symbolic links that are not text (/proc/PID/fd/N): the path they lead to, referenced. */
	int (*follow)(struct inode *inode, struct path *out);
	/* True if a cached name of the inode no longer holds (a process that is gone): it is looked up
	 * again.  Called with vfs_lock held: takes no locks.  NULL: names hold. */
	bool (*stale)(struct inode *inode);
	/* May the current process do it, though the mode says no?  Takes no locks.  NULL: no. */
	bool (*admits)(const struct inode *inode, unsigned may);
	/* Undoes create, mkdir, symlink or link, whose new name found no memory.  NULL: nothing to undo. */
	void (*forget)(struct inode *dir, struct inode *inode);
	int (*truncate)(struct inode *inode, uint64_t size); /* inode->lock held */
	/* On top of what the inode says; never sleeps.  NULL: the inode is right. */
	void (*getattr)(struct inode *inode, struct stat_info *st);
	/* mode as in fallocate(2), already checked; inode->lock held.  NULL: -EOPNOTSUPP */
	int (*fallocate)(struct inode *inode, unsigned mode, uint64_t from, uint64_t length);
	/*
	 * The page cache's page of a regular file, page number index, with a reference for the caller.
	 * -ENOENT: beyond the end of the file, -ENOMEM.  Holes are filled.  May sleep.
	 */
	int (*get_page)(struct inode *inode, uint64_t index, struct page **out);
	/* As get_page, but -ENOENT unless it is there already; never sleeps or allocates. */
	int (*peek_page)(struct inode *inode, uint64_t index, struct page **out);
	void (*destroy)(struct inode *inode); /* no links, no references: free the data */
};

struct inode {
	struct refcount refs;
	uint32_t mode; /* [lock] type (fixed) and permissions */
	uint32_t uid, gid; /* [lock] */
	uint32_t nlink;	   /* [lock of the directories involved] */
	uint32_t rdev;
	bool linkable; /* linkat may give it a first name (O_TMPFILE) */
	uint64_t ino;
	uint64_t blocks; /* atomic: 512-byte units */
	uint64_t size; /* [lock] written; read anywhere */
	uint32_t mapped; /* atomic: areas of address spaces that map it (kernel/mm/vm.c) */
	uint32_t mapped_writers; /* atomic: those of them with VMA_WRITER, which may write to it (shmem.c) */
	struct timespec atime, mtime, ctime, btime; /* [lock], loosely */
	const struct inode_ops *ops;
	const struct file_ops *fops;
	struct super *super;
	struct mutex lock;
	int32_t writers; /* atomic: > 0 opens for writing, < 0 running programs (ETXTBSY) */
	void *data;	 /* the file system's, or the pipe of a FIFO */
	struct flock_list *locks; /* kernel/fs/flock.c; NULL: none */
};

/* One mounted instance of a file system. */
struct super {
	const struct fs_type *type;
	struct dentry *root;
	uint32_t dev;
	uint64_t next_ino;
	void *data;
	unsigned mounts; /* [vfs_lock] how often it is mounted */
	bool pinned;	 /* its dentries are the file system: see struct dentry */
};

struct fs_type {
	const char *name;
	bool nodev; /* for /proc/filesystems */
	int (*mount)(const struct fs_type *type, const char *source, const char *options,
		     struct super **out);
	void (*unmount)(struct super *s); /* every dentry is gone; frees s->data.  NULL: nothing */
	void (*statfs)(struct super *s, uint64_t *blocks, uint64_t *free, uint64_t *magic);
	struct fs_type *next;
};
void fs_register(struct fs_type *type);
extern struct fs_type *fs_types; /* for /proc/filesystems; written during start-up only */
/* A super with a root directory of the given permissions; ops may be tmpfs's or one's own. */
must_use int super_create(const struct fs_type *type, uint32_t mode, const struct inode_ops *ops,
			  const struct file_ops *fops, bool pinned, struct super **out);
/* Ends a super that is not (any more) mounted; calls type->unmount. */
void super_destroy(struct super *s);

/* What an open file may do, decided at open. */
#define FILE_READ   1u
#define FILE_WRITE  2u
#define FILE_STREAM 4u /* no position: reads and writes take no pos_lock */
#define FILE_WRITER 8u /* counted in inode.writers */

struct file {
	struct refcount refs;
	unsigned flags; /* O_*; fcntl F_SETFL replaces some, atomically */
	unsigned mode;	/* FILE_*; open may change it, then fixed */
	const struct file_ops *ops;
	struct path path;    /* an anonymous file (pipe, eventfd) has one too, of the internal mount */
	struct inode *inode; /* = path.dentry's */
	uint64_t pos;	     /* [pos_lock] */
	struct mutex pos_lock;
	void *data; /* the driver's */
	struct list epoll_items; /* kernel/fs/epoll.c: who watches it; empty at creation */
	bool watched;		 /* somebody has: only ever set */
};

/* Opens path for the kernel (exec, the console), relative to the current root and cwd. */
must_use int file_open(const char *path, unsigned flags, uint32_t mode, struct file **out);
/*
 * A file without a name: an inode of its own on the internal mount, with ops and data.  name is shown
 * by readlink of /proc/PID/fd/N: "pipe" as pipe:[ino], "[eventfd]" as anon_inode:[eventfd], and a
 * name that begins with a slash as it is.
 */
must_use int file_create_anonymous(const char *name, const struct file_ops *ops, void *data,
				   unsigned flags, struct file **out);
/* Another open file of the same inode and name (the other end of a pipe).  open is not called. */
must_use int file_create_on(const struct path *path, const struct file_ops *ops, void *data,
			    unsigned flags, struct file **out);
/* Opens what path leads to, as open(2) would after its walk; flags without O_CREAT. */
must_use int file_open_path(const struct path *path, unsigned flags, struct file **out);
/*
 * Opens name relative to dfd (AT_FDCWD) to be executed: a regular file with permission to run it, on
 * a mount that allows it.  flags: AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW.  The kernel may read it.
 */
must_use int file_open_exec(int dfd, const char *name, unsigned flags, struct file **out);
void file_get(struct file *f);
void file_put(struct file *f);
/* Reads at pos into a kernel buffer; bytes read (short only at the end) or -errno. */
must_use ssize_t file_read_kernel(struct file *f, void *buf, size_t n, uint64_t pos);

/* May the current process access the inode so (MAY_*)?  0, -EACCES or -EROFS. */
must_use int inode_permission(struct inode *inode, unsigned may);
void inode_get(struct inode *inode);
void inode_put(struct inode *inode);
/* Running programs are not written, files open for writing not run: -ETXTBSY. */
must_use int inode_deny_write(struct inode *inode);
void inode_allow_write(struct inode *inode);
must_use int inode_get_write(struct inode *inode);
void inode_put_write(struct inode *inode);
/* The current time as inodes keep it. */
struct timespec inode_now(void);
/* A fresh inode of s: refs 1, nlink 1, times now, owner the current process (root during boot). */
must_use int inode_alloc(struct super *s, uint32_t mode, struct inode **out);

/* Mount and name space. */
void vfs_init(void); /* mounts the root tmpfs; needs the heap */
/* Mounts a file system of the named type on a path, for the kernel. */
must_use int vfs_mount(const char *type, const char *target, unsigned flags, const char *options);
/* Gives the mounts that the current process can see, as /proc/mounts does (info: as mountinfo). */
struct text;
void mounts_print(struct text *t, bool info);
void path_get(const struct path *p);
void path_put(const struct path *p);
/* Resolves a kernel string; follow: also the last symlink.  0 or -errno. */
must_use int path_lookup(const char *name, bool follow, struct path *out);
/*
 * Writes the absolute path as the current process sees it, NUL-terminated: its length, or -ERANGE.
 * A name that is gone ends in " (deleted)".
 */
must_use ssize_t path_to_string(const struct path *p, char *buf, size_t size);

/*
 * What the root holds before any archive, as Linux's does: /dev, /dev/console, /root.  So process 1 of an
 * archive that has no devices finds its console.  0 or -ENOMEM.
 */
must_use int initramfs_prepare(void);
/* Unpacks a newc archive into the root.  Bad archives: a clear message and -EINVAL. */
must_use int initramfs_unpack(const uint8_t *data, size_t size);

/* A file of memory without a name (shared anonymous mappings): size bytes, all zero. */
must_use int shmem_file_create(uint64_t size, struct file **out);

/* ---- File descriptors (kernel/fs/fdtable.c) ---- */
struct files {
	struct refcount refs;
	struct spinlock lock;
	struct file **fd;	 /* [lock; read without by the only thread that can change it] */
	uint64_t *used, *cloexec; /* [lock] bitmaps */
	unsigned capacity;	 /* [lock] slots, a multiple of 64 */
	unsigned first_free;	 /* [lock] no lower one is free */
};

must_use int files_create(struct files **out);
must_use int files_fork(struct files *from, struct files **out);
void files_get(struct files *fs);
void files_put(struct files *fs);
/* The current process's table, which no one else shares (exec makes sure). */
void files_close_on_exec(struct files *fs);
/* For /proc/PID/fd: the file of fd with a reference, or NULL; the lowest open one >= fd, or -1. */
must_use struct file *files_file(struct files *fs, int fd, bool *cloexec);
int files_next(struct files *fs, int fd);

/* The file of fd with a reference, or NULL: -EBADF.  Files open with O_PATH count. */
must_use struct file *fd_get(int fd);
/* A descriptor >= min for f, whose reference it takes over on success; flags: O_CLOEXEC. */
must_use int fd_alloc(struct file *f, unsigned flags, int min);
/* In two steps: a reserved descriptor is neither free nor open.  fd_install takes over f's reference. */
must_use int fd_reserve(unsigned flags, int min);
void fd_install(int fd, struct file *f);
void fd_cancel(int fd);
must_use int fd_close(int fd);

/*
 * The file of fd for the time of one system call, without counting where no one else can close it.
 * file NULL: not open, or O_PATH.  fd_done ends it.
 */
struct fd_use {
	struct file *file;
	bool counted;
};
struct fd_use fd_use_shared(int fd, unsigned refused);

static always_inline struct fd_use
fd_use_any(int fd, unsigned refused)
{
	struct process *p = current->process;
	struct files *fs = p->files;
	struct file *f;

	if (unlikely(p->nthreads != 1 || refcount_read(&fs->refs) != 1))
		return fd_use_shared(fd, refused);
	if (unlikely((unsigned)fd >= fs->capacity))
		return (struct fd_use){NULL, false};
	f = fs->fd[(unsigned)fd & arch_index_mask((unsigned)fd, fs->capacity)];
	if (unlikely(f && (f->flags & refused)))
		f = NULL;
	return (struct fd_use){f, false};
}

/* As above; the second one serves O_PATH files too. */
static always_inline struct fd_use
fd_use(int fd)
{
	return fd_use_any(fd, O_PATH);
}

static always_inline struct fd_use
fd_use_path(int fd)
{
	return fd_use_any(fd, 0);
}

static always_inline void
fd_done(struct fd_use u)
{
	if (unlikely(u.counted))
		file_put(u.file);
}

/* cwd, root, umask */
struct fs_context {
	struct refcount refs;
	struct spinlock lock;
	struct path cwd, root; /* [vfs_lock and lock, in this order, to write; either to read] */
	uint32_t umask;
};
must_use int fs_context_create(struct fs_context **out); /* root and cwd = the name space's root */
must_use int fs_context_fork(struct fs_context *from, struct fs_context **out);
void fs_context_put(struct fs_context *fs);
/* ---- character devices (kernel/fs/devfs.c) ---- */
/* Registers ops for character device (major, minor) and its name in /dev. */
void chrdev_register(unsigned major, unsigned minor, const char *name, uint32_t mode,
		     const struct file_ops *ops, void *data);
#define MKDEV(major, minor) ((uint32_t)((((major)&0xfffu) << 8) | ((minor)&0xffu) | (((minor)&~0xffu) << 12)))

/* ---- hooks of the I/O rooms, called by the open-file code ---- */
/* pipe.c: opened S_IFIFO inodes; fcntl F_GETPIPE_SZ and F_SETPIPE_SZ, -EBADF if f is no pipe. */
extern const struct file_ops fifo_ops;
long pipe_fcntl(struct file *f, unsigned cmd, uint64_t arg);
/* devfs.c: opens a character device by inode->rdev; -ENXIO if there is none. */
must_use int chrdev_open(struct inode *inode, struct file *f);
/* epoll.c: the last reference of f is gone.  Call before ops->release. */
void epoll_release(struct file *f);
static inline void
epoll_file_released(struct file *f)
{
	/* Not whether the list is empty: who empties it may not be done with f. */
	if (unlikely(f->watched))
		epoll_release(f);
}
/*
 * flock.c: F_GETLK, F_SETLK, F_SETLKW and their OFD kin; flock(2).  flock_release drops the POSIX
 * locks that owner has on f's inode (a descriptor was closed), or with owner NULL the flock and OFD
 * locks of f (its last reference is gone).  Cheap when inode->locks is NULL; flock_free_inode frees
 * that at the inode's end.
 */
long flock_fcntl(struct file *f, int fd, unsigned cmd, uaddr_t arg);
long flock_apply(struct file *f, int op);
void flock_release(struct file *f, struct files *owner);
void flock_free_inode(struct inode *inode);
