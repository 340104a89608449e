/*
 * Code that the kernel lends to user mode (arch_user_code): what signal handlers return to.  It is a
 * file of one page, mapped R-X into every program, so that fork, munmap and /proc treat it as any other.
 */
#include "kernel/fs/shmem.h"
#include "kernel/fs/vfs.h"
#include "kernel/lib/print.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/exec.h"

static struct file *file ro_after_init; /* NULL: this architecture has no such code */

void
user_code_init(void)
{
	const void *code;
	size_t size = arch_user_code(&code);
	struct iovec iov;
	struct uio u;
	uint64_t pos = 0;

	if (!size)
		return;
	uio_init_kernel(&u, &iov, (void *)code, size);
	if (shmem_nameless_file("[sigpage]", PAGE_SIZE, &file) ||
	    file->ops->write(file, &u, &pos) != (ssize_t)size)
		panic("exec: no memory for user mode's code");
}

int
user_code_map(struct vm *vm)
{
	if (!file)
		return 0;
	return vm_mmap(vm, 0, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0,
		       &vm->user_code);
}
