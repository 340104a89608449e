/*
 * Numbers of threads, processes, process groups and sessions: one table, indexed by number, says
 * what each number is in use for.  Everything here is called with process_lock held.
 */
#pragma once

#include "kernel/proc/process.h"

#define PID_MAX 32768 /* numbers are below this */

/* A number that nothing uses, which stays free until one of the calls below takes it.  -EAGAIN. */
must_use int pid_alloc(void);

/* Says which thread / process has the number (NULL: none any more). */
void pid_set_thread(int id, struct thread *t);
void pid_set_process(int id, struct process *p);

/* Moves p to another group / session; 0: to none (p is new, or is being reaped). */
void process_set_group(struct process *p, int pgid);
void process_set_session(struct process *p, int sid);

/* ---- What the files of this room share ---- */

/* Starts the thread that frees threads which no one waits for. */
must_use int reaper_start(void);
/* An empty process with one reference (the table's), in no list.  0 or -ENOMEM. */
must_use int process_alloc(struct process **out);
/* A sighand with the given one's actions (NULL: all default).  0 or -ENOMEM. */
must_use int sighand_create(const struct sighand *from, struct sighand **out);
void sighand_put(struct sighand *h);

/*
 * Gives t a number and a place in p, and p (if it is new) a number and a place in the tree.  Caller
 * holds process_lock.  0 or -EAGAIN.
 */
must_use int process_link(struct process *p, struct thread *t);

/* Threads of user processes whose stacks take memory, dead ones too, and the most that it allows. */
extern unsigned thread_total; /* atomic */
extern unsigned threads_created; /* [process_lock] since start-up */
extern unsigned thread_limit;
/* Threads of the processes whose real user is uid.  Takes process_lock. */
unsigned process_count_user(uint32_t uid);

/* Releases the parent that waits in vfork.  Takes process_lock. */
void process_vfork_done(struct process *p);
/* Takes a zombie out of the tree and the tables; caller holds process_lock, then process_release.
 * */
void process_unlink(struct process *p);
/* Frees an unlinked process with its last thread.  Sleeps. */
void process_release(struct process *p);

/* What wait4 and waitid look for. */
struct child_wait {
	enum { WAIT_ANY, WAIT_PID, WAIT_GROUP } which;
	int id;
	unsigned options; /* W* */
	/* Result, if child_wait returned > 0: */
	int pid;
	uint32_t uid;
	int status; /* as wait4 gives it */
	int code;   /* CLD_* */
	uint64_t utime, stime, min_flt, maj_flt, maxrss, nvcsw, nivcsw;
};
#define WNOHANG	   0x00000001u
#define WUNTRACED  0x00000002u
#define WEXITED	   0x00000004u
#define WCONTINUED 0x00000008u
#define WNOWAIT	   0x01000000u
#define WNOTHREAD  0x20000000u
#define WALL	   0x40000000u
#define WCLONE	   0x80000000u

/* Waits for a child.  Its pid, 0 (WNOHANG and none is ready), -ECHILD, -ERESTARTSYS. */
must_use int child_wait(struct child_wait *w);
/* CPU time of p's threads, ended ones included.  Caller holds process_lock. */
void process_times(struct process *p, uint64_t *utime, uint64_t *stime);

/* ---- exec ---- */

struct exec_layout {
	uint64_t stack_top;   /* of the strings, to 16 bytes */
	uint64_t mmap_top;    /* mmap searches downwards from here */
	uint64_t interpreter; /* where PT_INTERP goes; 0: below mmap_top */
	uint64_t vdso;	      /* the same for [vvar] and [vdso] */
	uint64_t pie;	      /* where a position-independent program goes */
	uint64_t brk_gap;     /* between the end of bss and the heap */
};

/* A loaded program. */
struct elf_image {
	uint64_t entry; /* where to start: the interpreter's, if there is one */
	uint64_t program_entry, phdr, phnum, base;
	uint64_t brk, start_code, end_code, start_data, end_data;
};
/* Maps the program f, whose first n bytes are header, and its interpreter into vm. 0 or -errno. */
must_use int elf_load(struct vm *vm, struct file *f, const void *header, size_t n,
		      const struct exec_layout *l, struct elf_image *out);
/*
 * Opens a program for execution: a regular file that the caller may execute, on a mount that allows
 * it; counts it as running (ETXTBSY for writers).  exec_close undoes both.
 */
must_use int exec_open(int dirfd, const char *name, unsigned flags, struct file **out);
void exec_close(struct file *f);
/* A reference to a running program for a forked process. */
void exec_share(struct file *f);

/* Strings for a new program: from user memory, or (init) from the kernel. */
struct exec_source {
	uaddr_t argv, envp;
	const char *const *kargv, *const *kenvp; /* used if kargv is not NULL */
};
/* Replaces the current process's program.  On success tf starts the new one. */
must_use int exec(struct trapframe *tf, int dirfd, const char *path, unsigned flags,
		  const struct exec_source *src);
