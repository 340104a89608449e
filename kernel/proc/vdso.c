/*
 * Lends the vDSO to programs (kernel/vdso/vdso.c is its code).  Its frames are the kernel image's own,
 * mapped as pages of a file, so that fork, munmap and /proc treat them as any other: the code lies in a
 * section that is read-only in every kernel mapping from start-up on, the data page is the kernel's to
 * write and the users' to read.
 */
#include "kernel/proc/vdso.h"

#include "arch/arch.h"
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/lib/print.h"
#include "kernel/mm/page.h"
#include "kernel/mm/vm.h"

__asm__(".pushsection .vdso, \"a\"\n"
	".incbin \"vdso.so\"\n"
	".popsection\n");

extern const char __image_start[], __vdso_start[], __vdso_end[]; /* kernel.lds */

#define ELF_ENTRY 24 /* where the ELF header has the entry point */

union vdso_page vdso_page aligned(PAGE_SIZE);

static struct file *file ro_after_init;

static struct page *
image_page(const void *p)
{
	uint64_t offset = (uint64_t)((const char *)p - __image_start);

	return page_of(PADDR(arch_kernel_image().base.v + offset));
}

/* Page 0 is [vvar], those from 1 on are [vdso]. */
static int
get_page(struct inode *inode unused, uint64_t index, struct page **out)
{
	const char *code = __vdso_start + (index - 1) * PAGE_SIZE;

	if (index > 0 && index - 1 >= (uint64_t)(__vdso_end - __vdso_start) / PAGE_SIZE)
		return -ENOENT;
	*out = image_page(index ? code : (const char *)&vdso_page);
	page_get(*out);
	return 0;
}

/* Nobody's copy of it ever becomes writable. */
static int
restrict_area(struct file *f unused, struct vma *a)
{
	a->max_prot &= ~PROT_WRITE;
	return 0;
}

void
vdso_init(void)
{
	static const struct inode_ops inode_ops = {.get_page = get_page};
	static const struct file_ops file_ops = {.mmap = restrict_area};
	struct page *p;

	arch_user_clock(&vdso_page.data.count_base, &vdso_page.data.ns_mult);
	if (file_create_anonymous("[vdso]", &file_ops, NULL, O_RDONLY, &file))
		panic("vdso: no memory");
	file->inode->ops = &inode_ops;
	/* The image's reference: the last mapping's end must not free them. */
	for (uint64_t i = 0; i <= (uint64_t)(__vdso_end - __vdso_start) / PAGE_SIZE; i++) {
		p = image_page(i ? __vdso_start + (i - 1) * PAGE_SIZE : (const char *)&vdso_page);
		p->type = PAGE_FILE;
		refcount_init(&p->refs);
	}
}

int
vdso_map(struct vm *vm, uint64_t hint)
{
	uint64_t size = (uint64_t)(__vdso_end - __vdso_start), at;
	int err = vm_mmap(vm, hint, PAGE_SIZE + size, PROT_READ, MAP_PRIVATE, file, 0, &at);

	if (err)
		return err;
	err = vm_mmap(vm, at + PAGE_SIZE, size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, file,
		      PAGE_SIZE, &vm->vdso);
	vm->sigreturn = vm->vdso + *(const uint64_t *)(__vdso_start + ELF_ENTRY);
	return err;
}

const char *
vdso_area_name(const struct vma *a)
{
	if (!file || a->file != file)
		return NULL;
	return a->prot & PROT_EXEC ? "[vdso]" : "[vvar]";
}
