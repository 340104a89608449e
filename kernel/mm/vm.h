/*
 * Address spaces: areas (vma) with permissions, filled on demand by page faults.
 */
#pragma once

#include "arch/arch.h"
#include "kernel/lib/list.h"
#include "kernel/lib/spinlock.h"
#include "kernel/proc/wait.h"
#include "kernel/types.h"

struct file;

/* vma flags */
#define VMA_SHARED    BIT(0) /* writes go to the object; else copy on write */
#define VMA_GROWSDOWN BIT(1) /* a stack */
#define VMA_STACK     BIT(2) /* the main stack, for /proc */
#define VMA_HEAP      BIT(3) /* brk, for /proc */
#define VMA_LOCKED    BIT(4)
#define VMA_WAS_WRITABLE BIT(5) /* may never become executable (see vm_mprotect) */
#define VMA_DONTFORK  BIT(6)

struct vma {
	uint64_t start, end; /* [vm.lock] page-aligned, [start, end) */
	unsigned prot;	     /* [vm.lock] PROT_READ | WRITE | EXEC */
	unsigned max_prot;   /* what mprotect may grant: limits of the file's open mode */
	unsigned flags;	     /* [vm.lock] VMA_* */
	struct file *file;   /* referenced, or NULL: anonymous */
	uint64_t offset;     /* byte offset in file of start */
};

struct vm {
	struct refcount refs;
	struct arch_pt pt; /* [lock] leaves; CPUs that use it are tracked inside */
	struct mutex lock;
	struct vma **areas; /* [lock] sorted by start, no overlap */
	unsigned count, capacity;
	struct list all; /* [vm_all_lock] vm_all */
	uint64_t brk_start, brk; /* [lock] */
	uint64_t mmap_top;  /* fixed at exec: mmap searches downwards from here */
	uint64_t stack_top; /* fixed at exec */
	uint64_t total_pages; /* [lock] mapped by areas */
	uint64_t rss;	      /* atomic: resident pages */
	uint64_t peak_rss;
	bool allow_wx; /* exempt from W^X (documented per-process exemption) */
	/* For /proc and prctl: */
	uint64_t start_code, end_code, start_data, end_data, arg_start, arg_end, env_start, env_end;
	uint64_t auxv[40]; /* saved at exec, for /proc/self/auxv */
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
