/*
 * System calls: memory.
 */
#include "arch/pte.h"
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/mm/mman.h"
#include "kernel/mm/page.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/sys/syscall.h"
#include "kernel/sys/syscalls.h"

#define MAP_EXECUTABLE 0x1000
#define MAP_NONBLOCK   0x10000
#define MAP_HUGETLB    0x40000
/* What a kernel before MAP_SHARED_VALIDATE knew. */
#define MAP_LEGACY (MAP_TYPE | MAP_FIXED | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_DENYWRITE | \
		    MAP_EXECUTABLE | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | \
		    MAP_STACK | MAP_HUGETLB | MAP_FIXED_NOREPLACE | ARCH_MAP_32BIT)

long
sys_mmap(struct trapframe *tf)
{
	uint64_t addr = arg_u64(tf, 0), length = arg_u64(tf, 1), offset = arg_u64(tf, 5), out;
	unsigned prot = arg_uint(tf, 2), flags = arg_uint(tf, 3);
	struct file *file = NULL;
	int err;

	if (offset & PAGE_MASK)
		return -EINVAL;
	if (!(flags & MAP_ANONYMOUS)) {
		file = fd_get(arg_int(tf, 4));
		if (file == NULL)
			return -EBADF;
	}
	if (file != NULL && (flags & MAP_TYPE) == MAP_SHARED_VALIDATE &&
	    (flags & ~(unsigned)MAP_LEGACY))
		err = -EOPNOTSUPP;
	else if (flags & MAP_HUGETLB)
		err = file ? -EINVAL : -ENOMEM; /* there are no huge pages */
	else
		err = vm_mmap(current->vm, addr, length, prot, flags, file, offset, &out);
	if (file != NULL)
		file_put(file);
	return err ? err : (long)out;
}

long
sys_munmap(struct trapframe *tf)
{
	return vm_munmap(current->vm, arg_u64(tf, 0), arg_u64(tf, 1));
}

/* The start of the stack that addr is in, for PROT_GROWSDOWN. */
static int
grows_down_start(struct vm *vm, uint64_t *addr)
{
	struct vma *a;
	int err = 0;

	mutex_lock(&vm->lock);
	a = vm_find(vm, *addr);
	if (a == NULL)
		err = -ENOMEM;
	else if (!(a->flags & VMA_GROWSDOWN))
		err = -EINVAL;
	else
		*addr = a->start;
	mutex_unlock(&vm->lock);
	return err;
}

long
sys_mprotect(struct trapframe *tf)
{
	uint64_t addr = arg_u64(tf, 0), length = arg_u64(tf, 1), start = addr;
	unsigned prot = arg_uint(tf, 2) & ~PROT_SEM;
	int err;

	if (prot & PROT_GROWSUP)
		return -EINVAL;
	if (!(prot & PROT_GROWSDOWN))
		return vm_mprotect(current->vm, addr, length, prot);
	prot &= ~PROT_GROWSDOWN;
	if (addr & PAGE_MASK)
		return -EINVAL;
	if (length == 0)
		return 0;
	if (length > USER_END || addr + length < addr)
		return -ENOMEM;
	err = grows_down_start(current->vm, &start);
	if (err)
		return err;
	if (start > addr)
		return -ENOMEM;
	return vm_mprotect(current->vm, start, length + (addr - start), prot);
}

long
sys_brk(struct trapframe *tf)
{
	return (long)vm_brk(current->vm, arg_u64(tf, 0));
}

long
sys_mremap(struct trapframe *tf)
{
	uint64_t out;
	int err = vm_mremap(current->vm, arg_u64(tf, 0), arg_u64(tf, 1), arg_u64(tf, 2),
			    arg_u64(tf, 3) >> 32 ? UINT32_MAX : arg_uint(tf, 3), arg_u64(tf, 4),
			    &out);

	return err ? err : (long)out;
}

long
sys_madvise(struct trapframe *tf)
{
	return vm_madvise(current->vm, arg_u64(tf, 0), arg_u64(tf, 1), arg_int(tf, 2));
}

/* Nothing to write back: what is shared is the page cache itself. */
long
sys_msync(struct trapframe *tf)
{
	uint64_t addr = arg_u64(tf, 0), length = arg_u64(tf, 1), end, at;
	unsigned flags = arg_uint(tf, 2);
	struct vm *vm = current->vm;
	int err = 0;

	if (flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC))
		return -EINVAL;
	if (addr & PAGE_MASK)
		return -EINVAL;
	if ((flags & MS_ASYNC) && (flags & MS_SYNC))
		return -EINVAL;
	end = addr + ALIGN_UP(length, PAGE_SIZE);
	if (end < addr)
		return -ENOMEM;
	mutex_lock(&vm->lock);
	for (at = addr; at < end && err == 0;) {
		struct vma *a = vm_find(vm, at);

		if (a == NULL || a->start > at)
			err = -ENOMEM;
		else if ((flags & MS_INVALIDATE) && (a->flags & VMA_LOCKED))
			err = -EBUSY;
		else
			at = a->end;
	}
	mutex_unlock(&vm->lock);
	return err;
}

/* Is the page of va, in area a, in memory? */
static bool
page_resident(struct vm *vm, struct vma *a, uint64_t va)
{
	struct inode *inode = a->file ? a->file->inode : NULL;
	struct page *p;

	if (pte_present(arch_pt_get(&vm->pt, va)))
		return true;
	if (inode == NULL || inode->ops == NULL || inode->ops->peek_page == NULL ||
	    inode->ops->peek_page(inode, (a->offset + (va - a->start)) >> PAGE_SHIFT, &p) != 0)
		return false;
	page_put(p);
	return true;
}

long
sys_mincore(struct trapframe *tf)
{
	uint64_t addr = arg_u64(tf, 0), length = arg_u64(tf, 1), npages;
	uaddr_t vec = arg_user(tf, 2);
	struct vm *vm = current->vm;
	uint8_t buf[256];

	if (addr & PAGE_MASK)
		return -EINVAL;
	if (!user_range_ok(UADDR(addr), length))
		return -ENOMEM;
	npages = ALIGN_UP(length, PAGE_SIZE) >> PAGE_SHIFT;
	if (!user_range_ok(vec, npages))
		return -EFAULT;
	while (npages > 0) {
		unsigned n = (unsigned)MIN(npages, sizeof(buf)), i;

		mutex_lock(&vm->lock);
		for (i = 0; i < n; i++, addr += PAGE_SIZE) {
			struct vma *a = vm_find(vm, addr);

			if (a == NULL || a->start > addr)
				break;
			buf[i] = page_resident(vm, a, addr);
		}
		mutex_unlock(&vm->lock);
		if (i > 0 && copy_to_user(vec, buf, i) != 0)
			return -EFAULT;
		if (i < n)
			return -ENOMEM;
		vec = uaddr_add(vec, n);
		npages -= n;
		if (signal_killed())
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static long
lock_range(uint64_t addr, uint64_t length, bool lock)
{
	uint64_t start = ALIGN_DOWN(addr, PAGE_SIZE);

	if (lock && rlimit(RLIMIT_MEMLOCK) == 0 && !capable())
		return -EPERM;
	length = ALIGN_UP(length + (addr & PAGE_MASK), PAGE_SIZE);
	if (start + length < start)
		return -EINVAL;
	return vm_mlock(current->vm, start, length, lock);
}

long
sys_mlock(struct trapframe *tf)
{
	return lock_range(arg_u64(tf, 0), arg_u64(tf, 1), true);
}

long
sys_mlock2(struct trapframe *tf)
{
	if (arg_uint(tf, 2) & ~MLOCK_ONFAULT)
		return -EINVAL;
	/* Locking more than was asked for (now, not on the first fault) is within the contract. */
	return lock_range(arg_u64(tf, 0), arg_u64(tf, 1), true);
}

long
sys_munlock(struct trapframe *tf)
{
	return lock_range(arg_u64(tf, 0), arg_u64(tf, 1), false);
}

long
sys_mlockall(struct trapframe *tf)
{
	unsigned flags = arg_uint(tf, 0);

	if (flags == 0 || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) ||
	    flags == MCL_ONFAULT)
		return -EINVAL;
	if (rlimit(RLIMIT_MEMLOCK) == 0 && !capable())
		return -EPERM;
	return vm_mlockall(current->vm, flags & MCL_CURRENT, flags & MCL_FUTURE, true);
}

long
sys_munlockall(unused struct trapframe *tf)
{
	return vm_mlockall(current->vm, true, false, false);
}
