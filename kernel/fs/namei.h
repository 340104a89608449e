/*
 * Walking paths, for the files of kernel/fs and kernel/sys that do: everyone else uses path_lookup.
 */
#pragma once

#include "kernel/fs/tmpfs.h"
#include "kernel/fs/vfs.h"

#define WALK_FOLLOW    1u /* also follow a symbolic link in the last place */
#define WALK_PARENT    2u /* stop before the last name: see struct walk */
#define WALK_EMPTY     4u /* an empty name means dfd itself */
#define WALK_REAL_ID   8u /* permissions of the real user, as access(2) wants */
#define WALK_DIRECTORY 16u /* the result must be a directory */

#define MAX_LINKS 40

/* Whose permissions count. */
struct subject {
	uint32_t uid, gid;
	const struct cred *cred; /* for the groups */
};

enum walk_last { LAST_NAME, LAST_DOT, LAST_DOTDOT, LAST_NONE /* only slashes, or a magic link */ };

/*
 * A walk under way.  While vfs_lock is held, cur needs no reference; before it is dropped, cur becomes
 * `held`, which has one.
 */
struct walk {
	struct path cur;
	struct path held;
	struct fs_context *fs;
	struct fd_use base;
	const char *rest; /* what is still to walk */
	char *heap;	  /* where rest points into after a symbolic link */
	unsigned flags, links;
	struct subject who;
	/* After WALK_PARENT: cur is the directory, and the last name is */
	const char *last;
	unsigned last_len;
	uint32_t last_hash;
	enum walk_last last_type;
	bool last_slash; /* slashes follow it */
};

/*
 * Walks name from dfd; on success walk_result or walk_end must follow, on failure nothing.  On return
 * w->cur is referenced by w->held and no lock is held.
 */
must_use int walk(struct walk *w, int dfd, const char *name, unsigned flags);
/* After WALK_PARENT: link (referenced) was found in the last place; goes on through it. */
must_use int walk_through(struct walk *w, struct dentry *link);
/* The dentry of the last name, referenced; -ENOENT.  The directory's inode->lock is held. */
must_use int walk_last(struct walk *w, struct dentry **out);
/* Where the walk arrived (mounts crossed), with a reference; ends the walk. */
void walk_result(struct walk *w, struct path *out);
void walk_end(struct walk *w);

/* A path name copied from the user.  Small ones live in the structure. */
struct name {
	char *s;
	char buf[232];
};
/* Declares a struct name without clearing it. */
#define NAME(n) struct name n __attribute__((uninitialized))
must_use int name_get(struct name *n, uaddr_t path);
void name_put(struct name *n);

must_use int path_at(int dfd, const char *name, unsigned flags, struct path *out);
must_use int user_path_at(int dfd, uaddr_t name, unsigned flags, struct path *out);
/* As user_path_at, then fills st, without a reference where it can. */
must_use int user_stat_at(int dfd, uaddr_t name, unsigned flags, struct stat_info *st);

/* kernel/fs/inode.c */
struct subject subject_current(bool real);
bool in_group(const struct subject *who, uint32_t gid);
must_use int permission_of(const struct subject *who, const struct inode *inode, unsigned may);
void inode_stat(struct inode *inode, struct stat_info *st);
/* May the current process change modes and times: it owns the inode, or is capable. */
bool inode_owner_or_capable(const struct inode *inode);
must_use int inode_truncate(struct inode *inode, uint64_t size);
must_use int inode_chmod(const struct path *p, uint32_t mode);
must_use int inode_chown(const struct path *p, uint32_t uid, uint32_t gid);
/* times[0], [1] are new access and modification times; NULL: both now. */
#define UTIME_NOW  0x3fffffff
#define UTIME_OMIT 0x3ffffffe
must_use int inode_utimens(const struct path *p, const struct timespec *times);
/* After a write by someone without privilege: drops set-user-ID and set-group-ID. */
void inode_drop_suid(struct inode *inode);
void inode_touch_mtime(struct inode *inode);
void inode_touch_atime(const struct file *f);

/* kernel/fs/dentry.c; those marked [v] want vfs_lock held */
void dentry_init(void);
must_use int dentry_alloc(struct dentry *parent, const char *name, size_t len, struct inode *inode,
			  struct dentry **out);
uint32_t dentry_hash(const struct dentry *parent, const char *name, size_t len); /* pure */
struct dentry *dentry_find(const struct dentry *parent, const char *name, size_t len,
			   uint32_t hash);			 /* [v] no reference taken */
void dentry_add(struct dentry *d);				 /* [v] gives d its name */
void dentry_unhash(struct dentry *d);				 /* [v] */
void dentry_move(struct dentry *d, struct dentry *parent, const char *name, size_t len,
		 char *long_name); /* [v] */
void dentry_exchange(struct dentry *a, struct dentry *b);	 /* [v] */
/* Makes a long name's memory for dentry_move; short ones need none.  0 or -ENOMEM. */
must_use int dentry_long_name(const char *name, size_t len, char **out);
void dentry_get(struct dentry *d);
void dentry_put(struct dentry *d);
bool dentry_is_below(const struct dentry *d, const struct dentry *ancestor); /* [v] */
/* Unnames the removed d (its directory is locked) and gives back the pin. */
void dentry_delete(struct dentry *d);
/* Readdir of pinned directories. */
must_use int dentry_readdir(struct file *f, struct dir_context *d);
extern const struct file_ops dentry_dir_ops;

/* kernel/fs/names.c */
extern struct mutex rename_lock;
/*
 * Begins to make the name where w leads (after WALK_PARENT): locks the directory, refuses what exists.
 * On success create_end(w) follows the call of the file system.
 */
must_use int create_begin(struct walk *w, int dfd, const char *name, bool directory);
/* Gives the new inode (reference taken over; NULL after err) its name and unlocks.  0 or -errno. */
must_use int create_end(struct walk *w, int err, struct inode *inode, struct dentry **out);
must_use int may_delete(struct walk *w, struct dentry *victim, bool directory);

/* kernel/fs/mount.c; [v] as above */
extern struct mount *root_mount, *internal_mount;
extern struct fs_context boot_fs;
void mount_init(void);
struct mount *mount_on(const struct mount *parent, const struct dentry *d); /* [v] or NULL */
void mount_get(struct mount *m);
void mount_put(struct mount *m);
struct fs_context *fs_current(void);

static inline bool
mount_readonly(const struct mount *m)
{
	return READ_ONCE(m->flags) & MNT_READONLY;
}

/* kernel/fs/tmpfs.c */
extern struct fs_type tmpfs_type;
extern const struct inode_ops tmpfs_dir_ops;
void tmpfs_init(void);
/* A nameless regular file of dir's file system, for O_TMPFILE. */
must_use int tmpfs_tmpfile(struct inode *dir, uint32_t mode, struct inode **out);
must_use int memfd_create_file(const char *name, bool sealable, struct file **out);
/* fcntl F_ADD_SEALS, F_GET_SEALS. */
long memfd_seals(struct file *f, unsigned cmd, unsigned seals);
