/*
 * Address spaces: areas (vma) with permissions, filled on demand by page faults.
 */
#pragma once

#include "arch/arch.h"
#include "kernel/harden/refcount.h"
#include "kernel/lib/list.h"
#include "kernel/lib/spinlock.h"
#include "kernel/proc/wait.h"
#include "kernel/types.h"

struct file;
struct inode;

/* vma flags */
#define VMA_SHARED    BIT(0) /* writes go to the object; else copy on write */
#define VMA_GROWSDOWN BIT(1) /* a stack */
#define VMA_STACK     BIT(2) /* the main stack, for /proc */
#define VMA_HEAP      BIT(3) /* brk, for /proc */
#define VMA_LOCKED    BIT(4)
#define VMA_ANON_PAGES BIT(5) /* private pages of its own may be mapped in it: fork must look */
#define VMA_DONTFORK  BIT(6)
#define VMA_WIPEONFORK BIT(7) /* the child gets it empty */
#define VMA_WRITER    BIT(8) /* one of its inode's `mapped_writers` */

struct vma {
	uint64_t start, end; /* [vm.lock] page-aligned, [start, end) */
	unsigned prot;	     /* [vm.lock] PROT_READ | WRITE | EXEC */
	unsigned max_prot;   /* what mprotect may grant: limits of the file's open mode */
	unsigned flags;	     /* [vm.lock] VMA_* */
	struct file *file;   /* referenced, or NULL: anonymous */
	uint64_t offset;     /* byte offset in file of start */
	struct vma *dead_next; /* [own thread] unlinked areas, to be freed after vm.lock */
};

struct vm {
	struct refcount refs;
	struct arch_pt pt; /* [lock] leaves; CPUs that use it are tracked inside */
	struct mutex lock;
	struct vma **areas; /* [lock] sorted by start, no overlap */
	unsigned count, capacity;
	unsigned hint; /* [lock] index that vm_find returned last */
	unsigned lock_future; /* [lock] VMA_LOCKED after mlockall(MCL_FUTURE), else 0 */
	uint64_t locked_pages; /* [lock] in areas with VMA_LOCKED */
	struct list all; /* [vm_all_lock] vm_all */
	uint64_t serial; /* fixed; no other address space has ever had it, and it is not 0 */
	uint64_t brk_start, brk; /* [lock] */
	uint64_t mmap_top;  /* fixed at exec: mmap searches downwards from here */
	uint64_t stack_top; /* fixed at exec */
	uint64_t vdso;	    /* fixed at exec: its ELF header */
	uint64_t sigreturn; /* fixed at exec: what signal handlers return to */
	uint64_t total_pages; /* [lock] mapped by areas */
	uint64_t rss;	      /* [lock] resident pages; read anywhere */
	uint64_t rss_file;    /* [lock] those of them that are in the page cache */
	uint64_t peak_rss;    /* [lock] */
	bool in_use;   /* a process has it, or had it: not one that fork or exec is still making */
	bool dying;    /* [vm_all_lock] its processes were killed for want of memory */
	bool allow_wx; /* exempt from W^X (documented per-process exemption) */
	bool exempt;   /* fixed: began so; what it mapped then stays writable and executable (PR_SET_MDWE) */
	/* For /proc and prctl: */
	uint64_t start_code, end_code, start_data, end_data, arg_start, arg_end, env_start, env_end;
	uint64_t auxv[42]; /* saved at exec, for /proc/self/auxv */
};

extern struct list vm_all; /* every user address space, by vm.all */
extern struct spinlock vm_all_lock;

#define MMAP_MIN_ADDR 65536ul

/* mmap flags (Linux, asm-generic/mman.h) */
#define MAP_SHARED	    0x01
#define MAP_PRIVATE	    0x02
#define MAP_SHARED_VALIDATE 0x03
#define MAP_TYPE	    0x0f
#define MAP_FIXED	    0x10
#define MAP_ANONYMOUS	    0x20
#define MAP_GROWSDOWN	    0x0100
#define MAP_DENYWRITE	    0x0800
#define MAP_LOCKED	    0x2000
#define MAP_NORESERVE	    0x4000
#define MAP_POPULATE	    0x8000
#define MAP_STACK	    0x20000
#define MAP_FIXED_NOREPLACE 0x100000

void vm_init(void);

/* A new, empty address space with one reference. */
must_use int vm_create(struct vm **out);
/* A copy-on-write copy of the current process's address space. */
must_use int vm_fork(struct vm *parent, struct vm **out);
void vm_get(struct vm *vm);
/* Drops a reference; the last one frees every mapping.  The caller's CPU must not have it active. */
void vm_put(struct vm *vm);
/* Makes vm the current thread's address space (NULL: none) on this CPU; moves no references. */
void vm_switch(struct vm *vm);

/*
 * As mmap(2) with everything checked; addr and length any values; *out gets the address.
 * file NULL for MAP_ANONYMOUS.  Takes its own reference of file.
 */
must_use int vm_mmap(struct vm *vm, uint64_t addr, uint64_t length, unsigned prot, unsigned flags,
		     struct file *file, uint64_t offset, uint64_t *out);
must_use int vm_munmap(struct vm *vm, uint64_t addr, uint64_t length);
must_use int vm_mprotect(struct vm *vm, uint64_t addr, uint64_t length, unsigned prot);
must_use int vm_madvise(struct vm *vm, uint64_t addr, uint64_t length, int advice);
must_use int vm_mremap(struct vm *vm, uint64_t addr, uint64_t old_length, uint64_t new_length,
		       unsigned flags, uint64_t new_addr, uint64_t *out);
/* Sets the break to addr if that can be; returns the break as it is then. */
uint64_t vm_brk(struct vm *vm, uint64_t addr);
/*
 * Sets (or clears) VMA_LOCKED on every area in the range, and fills it.  0, -ENOMEM (a hole, or pages that no
 * access would get), -EAGAIN (no memory for them).
 */
must_use int vm_mlock(struct vm *vm, uint64_t addr, uint64_t length, bool lock);
/* Every area now, areas to come, or both (lock), or undoes both.  0 or -ENOMEM. */
must_use int vm_mlockall(struct vm *vm, bool now, bool future, bool lock);
/* Maps in every page of the range that an access allows, so that no fault comes later. */
must_use int vm_populate(struct vm *vm, uint64_t addr, uint64_t length, bool write);

/* Maps the stack area for exec: [top - rlimit .. top) grows down on demand.  */
must_use int vm_map_stack(struct vm *vm, uint64_t top, uint64_t initial_size);

/*
 * Writes to another (or a new, not yet active) address space through the direct map, faulting pages
 * in: for exec's argument pages and /proc/PID/cmdline reads.  Bytes moved or -EFAULT.
 */
must_use ssize_t vm_access(struct vm *vm, uint64_t addr, void *buf, size_t n, bool write);

/*
 * A user-mode access, or a user copy's, to addr failed: access is PROT_READ, PROT_WRITE or
 * PROT_EXEC.  0: mapped now, try again; else a signal in *signo with *code:
 * SIGSEGV MAPERR / ACCERR, SIGBUS ADRERR, or SIGKILL (out of memory).  Interrupts on; sleeps.
 */
must_use int vm_fault(struct vm *vm, uint64_t addr, unsigned access, int *signo, int *code);

/* The area that contains addr, or the next above it, or NULL.  Caller holds vm->lock. */
struct vma *vm_find(struct vm *vm, uint64_t addr);

/*
 * Takes the file's pages of the bytes [from, to) (page-aligned) out of all address spaces: copies, when
 * a file shrinks (to: UINT64_MAX), private areas' own copies too; else, for a hole, those stay.
 * The file must no longer have the pages; may be called with inode->lock.
 */
void vm_unmap_file_range(struct inode *inode, uint64_t from, uint64_t to, bool copies);

/* ---- For /proc ---- */
/* A copy of the first area that ends above addr, its file referenced (the caller puts it).  0 or
 * -ENOENT. */
must_use int vm_describe(struct vm *vm, uint64_t addr, struct vma *copy);

struct vm_usage { /* in pages */
	uint64_t total, rss, peak_rss, rss_file, locked;
	uint64_t text, data, stack; /* of areas: executable; private and writable; stack */
};
void vm_usage(struct vm *vm, struct vm_usage *out);
/* Resident pages of [start, end): all of them, and those shared with nobody. */
void vm_resident(struct vm *vm, uint64_t start, uint64_t end, uint64_t *rss, uint64_t *own);
/* The next user address space after vm (NULL: the first), referenced; puts vm's reference. */
struct vm *vm_next(struct vm *vm);

/*
 * Out of memory: sends SIGKILL to the processes of the largest address space but init's, unless an
 * earlier victim is still dying, and waits a little.  -ENOMEM if the current thread has to die, else 0.
 */
must_use int oom_kill(void);
