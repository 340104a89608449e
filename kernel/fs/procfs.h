/*
 * The rooms of /proc: procfs.c walks the tables, procfs_info.c says what the system is like,
 * procfs_pid.c what a process is like.
 */
#pragma once

#include "kernel/fs/seqfile.h"
#include "kernel/fs/vfs.h"

struct proc_node;

/* One name, as a table lists it; what it is follows from which members are set. */
struct proc_entry {
	const char *name;
	uint32_t mode; /* permissions */
	bool restricted; /* only for who may look into the process: see procfs_may_inspect */

	/* A file: writes its text.  0 or -errno.  May sleep. */
	int (*show)(struct text *t, const struct proc_node *n);
	/* If it can be written to: n bytes, NUL-terminated.  0 or -errno. */
	int (*store)(const struct proc_node *n, char *s, size_t len);

	/* A symbolic link with a text: its length or -errno. */
	ssize_t (*readlink)(const struct proc_node *n, char *buf, size_t size);
	/* A symbolic link to what something is: the path, referenced.  0 or -errno. */
	int (*follow)(const struct proc_node *n, struct path *out);

	/* A directory: these names (ending in one without a name) ... */
	const struct proc_entry *names;
	/* ... and numbers: what a number is, and how to find it.  Neither sleeps. */
	const struct proc_entry *numbered;
	/* Fills child's process and id for the number.  0 or -ENOENT. */
	int (*find)(const struct proc_node *n, int number, struct proc_node *child);
	/* The lowest number >= from that there is, or -1. */
	int (*next)(const struct proc_node *n, int from);
};

/* One inode of /proc. */
struct proc_node {
	const struct proc_entry *entry;
	struct process *process; /* referenced; NULL: the system's */
	int id;			 /* thread or descriptor number, or -1 */
};

extern const struct proc_entry procfs_system[]; /* names in /proc */
extern const struct proc_entry procfs_process;	/* /proc/PID */

int procfs_find_process(const struct proc_node *n, int pid, struct proc_node *child);
int procfs_next_process(const struct proc_node *n, int from);

/* The file of p's descriptor fd with a reference, and (unless NULL) whether it is closed on exec; or NULL. */
must_use struct file *procfs_file(struct process *p, int fd, bool *cloexec);
/* May the current process see p's memory map, environment, files: its owner, or root. */
bool procfs_may_inspect(struct process *p);
/* Who owns p's files in /proc: p's user, or root if p's memory is not its user's to see. */
void procfs_owner(struct process *p, uint32_t *uid, uint32_t *gid);
/* Registers the file system "proc".  Once, during start-up, after the VFS. */
void procfs_init(void);
