/* The starter's code: it works, and refuses nothing.  Each section takes the place of what cut names. */

/* ==== kernel/mm/vm.c ==== */

/* ---- Policy ---- */

/*
 * To do: 0 if an area may begin at addr, else -EPERM.  Below which address, and for whom?  harden=-null-guard
 * (harden_wanted) switches the row off.  Nobody asks yet.
 */
int
vm_check_low(uint64_t addr unused)
{
	return 0;
}

/* ---- Finding room ---- */

/* To do: a hint is a wish.  Which wishes does the kernel not grant, and what does it do instead? */
int
vm_find_free(struct vm *vm, uint64_t hint, uint64_t length, uint64_t *out)
{
	if (length > USER_END)
		return -ENOMEM;
	if (hint != 0) {
		hint = ALIGN_DOWN(hint, PAGE_SIZE);
		if (hint <= USER_END - length && range_is_free(vm, hint, length)) {
			*out = hint;
			return 0;
		}
	}
	if (find_below(vm, vm->mmap_top ? vm->mmap_top : USER_END, length, out) == 0)
		return 0;
	return find_below(vm, USER_END, length, out);
}

/* ---- mmap ---- */

/* To do: MAP_FIXED asks for an address, and gets it.  Who else calls this, and with which addresses? */
int
vm_mmap(struct vm *vm, uint64_t addr, uint64_t length, unsigned prot, unsigned flags,
	struct file *file, uint64_t offset, uint64_t *out)
{
	struct vma model = {.prot = prot & PROT_ACCESS, .offset = offset};
	struct vma *dead = NULL;
	int err;

	if (length == 0)
		return -EINVAL;
	if (flags & MAP_FIXED_NOREPLACE)
		flags |= MAP_FIXED;
	length = ALIGN_UP(length, PAGE_SIZE);
	if (length == 0)
		return -ENOMEM;
	if (!IS_ALIGNED(offset, PAGE_SIZE))
		return -EINVAL;
	if (offset + length < offset)
		return -EOVERFLOW;
	if (length > USER_END)
		return -ENOMEM;
	if (flags & MAP_FIXED) {
		if (addr > USER_END - length)
			return -ENOMEM;
		if (!IS_ALIGNED(addr, PAGE_SIZE))
			return -EINVAL;
	}
	model.end = length;
	if (flags & MAP_LOCKED) {
		if (rlimit(RLIMIT_MEMLOCK) == 0 && !capable())
			return -EPERM;
		model.flags |= VMA_LOCKED;
	}
	err = file ? prepare_file(&model, flags, file) : prepare_anonymous(&model, flags);
	if (err)
		return err;
	/* Shared memory without a file (or of /dev/zero) has a nameless one. */
	if (model.file == NULL && (model.flags & VMA_SHARED)) {
		if (length >> PAGE_SHIFT > page_total() && !(flags & MAP_NORESERVE))
			return -ENOMEM;
		model.offset = 0;
		err = shmem_file_create(length, &model.file);
		if (err)
			return err;
	}

	mutex_lock(&vm->lock);
	err = map_locked(vm, &model, addr, flags, &dead, out);
	mutex_unlock(&vm->lock);
	vma_free_list(dead);
	uncount_writer(&model); /* its file's mmap counted it: no seal came before the area */
	/* What is not the caller's was made for the area, which holds it now. */
	if (model.file != NULL && model.file != file)
		file_put(model.file);
	if (err == 0 && ((flags & MAP_POPULATE) || (model.flags & VMA_LOCKED)))
		(void)!vm_populate(vm, *out, length, (model.prot & PROT_WRITE) != 0);
	return err;
}

/* ==== kernel/mm/fault.c ==== */

/* ---- Stacks ---- */

/*
 * Lets the stack `a` grow down to the page of addr.  0 or -EFAULT.
 *
 * To do: how far?  No system call has asked for these pages.
 */
static int
grow_stack(struct vm *vm, struct vma *a, uint64_t addr)
{
	uint64_t start = ALIGN_DOWN(addr, PAGE_SIZE), npages = (a->start - start) >> PAGE_SHIFT;
	unsigned i = vm_index(vm, a->start);

	if (a->end - start > rlimit(RLIMIT_STACK))
		return -EFAULT;
	if (i > 0) {
		struct vma *below = vm->areas[i - 1];
		uint64_t gap = below->prot && !(below->flags & VMA_GROWSDOWN) ? STACK_GAP : 0;

		if (start < below->end || start - below->end < gap)
			return -EFAULT;
	}
	if (vm_check_limits(vm, npages, a->prot, a->flags) != 0)
		return -EFAULT;
	if (a->flags & VMA_LOCKED) {
		if (vm_check_locked(vm, npages) != 0)
			return -EFAULT;
		vm->locked_pages += npages;
	}
	a->start = start;
	vm->total_pages += npages;
	return 0;
}

/* ==== kernel/mm/remap.c ==== */

/* ---- mremap ---- */

/* To do: here is an address that mmap has never seen.  Refuse before anything is changed. */
static int
remap_locked(struct vm *vm, uint64_t addr, uint64_t old_length, uint64_t new_length, unsigned flags,
	     uint64_t new_addr, struct vma **dead, uint64_t *out)
{
	bool fixed = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP);
	struct vma *a = vm_find(vm, addr);
	uint64_t delta = new_length > old_length ? new_length - old_length : 0;
	int err;

	if (a == NULL || a->start > addr)
		return -EFAULT;
	if (flags & MREMAP_FIXED) {
		if (!IS_ALIGNED(new_addr, PAGE_SIZE) || new_length > USER_END ||
		    new_addr > USER_END - new_length)
			return -EINVAL;
		if (addr + old_length > new_addr && new_addr + new_length > addr)
			return -EINVAL;
	}
	if (old_length == 0) /* a second mapping of shared memory: not provided */
		return -EINVAL;
	if ((flags & MREMAP_DONTUNMAP) && (a->file != NULL || (a->flags & VMA_SHARED)))
		return -EINVAL;
	if (!fixed && new_length <= old_length) {
		*out = addr;
		return new_length == old_length
			       ? 0
			       : vm_unmap_locked(vm, addr + new_length, addr + old_length, dead);
	}
	if (old_length > a->end - addr)
		return -EFAULT;
	if (a->file != NULL && a->offset + (addr - a->start) + new_length < new_length)
		return -EINVAL;
	if ((a->flags & VMA_LOCKED) && vm_check_locked(vm, delta >> PAGE_SHIFT) != 0)
		return -EAGAIN;
	if (delta && vm_check_limits(vm, delta >> PAGE_SHIFT, a->prot, a->flags) != 0)
		return -ENOMEM;
	if (!fixed && old_length == a->end - addr && grow_in_place(vm, a, delta, dead)) {
		*out = addr;
		return 0;
	}
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;

	if (flags & MREMAP_FIXED) {
		err = vm_unmap_locked(vm, new_addr, new_addr + new_length, dead);
	} else {
		err = vm_find_free(vm, flags & MREMAP_DONTUNMAP ? new_addr : 0, new_length,
				   &new_addr);
	}
	if (err)
		return err;
	if (fixed && new_length < old_length) {
		err = vm_unmap_locked(vm, addr + new_length, addr + old_length, dead);
		if (err)
			return err;
		old_length = new_length;
	}
	err = vm_split_range(vm, addr, addr + old_length);
	if (err)
		return err;
	*out = new_addr;
	return move_area(vm, addr, old_length, new_addr, new_length, flags & MREMAP_DONTUNMAP,
			 dead);
}
