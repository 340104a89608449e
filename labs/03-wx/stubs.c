/* The starter's code: it works, and everything may be written and executed.  Sections as cut names them. */

/* ==== kernel/harden/wp.c ==== */

/*
 * To do: each CPU calls it as it comes up.  There was write protection when it started; who took it away, and
 * what has the kernel written since where it should not have?
 */
void
wp_cpu_init(void)
{
	arch_write_protect_set(false);
}

/* ==== kernel/mm/vm.c ==== */

/*
 * To do: 0 or -EACCES, for memory of vm's that has old_prot and is to have new_prot.  What is never both, and
 * what does not become executable any more?  vm->allow_wx and harden=-wx (harden_wanted) are excused.  Nobody
 * asks yet.
 */
int
vm_check_wx(const struct vm *vm unused, unsigned old_prot unused, unsigned new_prot unused)
{
	return 0;
}

/* To do: every new area comes by here, an exempt program's too.  Which of them must not be? */
static int
map_locked(struct vm *vm, struct vma *model, uint64_t addr, unsigned flags, struct vma **dead,
	   uint64_t *out)
{
	uint64_t length = model->end - model->start, npages = length >> PAGE_SHIFT;
	struct vma *a;
	int err;

	if (!(flags & MAP_FIXED)) {
		err = flags & ARCH_MAP_32BIT ? find_low(vm, length, &addr) : vm_find_free(vm, addr, length, &addr);
		if (err)
			return err;
	} else if (flags & MAP_FIXED_NOREPLACE) {
		unsigned i = vm_index(vm, addr);

		if (i < vm->count && vm->areas[i]->start < addr + length)
			return -EEXIST;
	}
	model->start = addr;
	model->end = addr + length;
	model->flags |= vm->lock_future;
	if (model->flags & VMA_LOCKED) {
		err = vm_check_locked(vm, npages - vm_pages_within(vm, addr, addr + length, VMA_LOCKED));
		if (err)
			return err;
	}
	err = check_limits(vm, addr, npages, model->prot, model->flags, !(flags & MAP_NORESERVE));
	if (err)
		return err;
	/* Three: two that unmapping may split off, and the new one. */
	if (vm_reserve(vm, 3) != 0 || (a = vma_clone(model)) == NULL)
		return -ENOMEM;
	err = vm_unmap_locked(vm, addr, addr + length, dead);
	if (err) {
		bury(a, dead);
		return err;
	}
	vm_insert(vm, a, dead);
	*out = addr;
	return 0;
}

/* ==== kernel/mm/remap.c ==== */

/* To do: mprotect asks for each area that it comes to.  Which rights does the area not get? */
static int
check_protect(struct vm *vm, const struct vma *a, uint64_t npages, unsigned prot)
{
	int err = 0;

	if (prot & ~a->max_prot)
		return -EACCES;
	if (vma_is_private_writable(prot, a->flags) && !vma_is_private_writable(a->prot, a->flags)) {
		vm->total_pages -= npages; /* they are counted already */
		err = vm_check_limits(vm, npages, prot, a->flags);
		vm->total_pages += npages;
	}
	return err;
}

/* ==== arch/x86_64/mmu.c ==== */

/* To do: what a page of the kernel's asks for, and what it gets.  With harden=-wx it gets everything. */
static unsigned
kernel_prot(unsigned prot unused)
{
	return PROT_READ | PROT_WRITE | PROT_EXEC;
}

/*
 * To do: which rights does each section need, from here on and after start-up?  All of RAM is mapped already,
 * the image and the code that other CPUs start with (TRAMPOLINE_CODE) too.
 */
static void
map_image(void)
{
	unsigned prot = kernel_prot(PROT_READ | PROT_WRITE | PROT_EXEC);

	map_section(__text_start, __text_end, prot);
	map_section(__rodata_start, __rodata_end, prot);
	map_section(__ro_after_init_start, __ro_after_init_end, prot);
	map_section(__vdso_start, __vdso_end, prot);
	map_section(__data_start, __data_end, prot);
}

/* To do: start-up is over, the other CPUs run.  What will never be written again, and by which addresses? */
void
arch_protect_init_data(void)
{
	retire_start_up();
}

/* ==== arch/aarch64/mmu.c ==== */

/*
 * To do: what a page of the kernel's asks for, and what it gets.  With harden=-wx it gets everything; with
 * harden=-wp what is not code is writable, for there is no bit that makes the kernel ignore read-only pages.
 */
static unsigned
kernel_prot(unsigned prot unused)
{
	return PROT_READ | PROT_WRITE | PROT_EXEC;
}

/* To do: a part of the image at its link address, and its second address in the direct map. */
static void
map_section(const char *start, const char *end, unsigned prot)
{
	uint64_t size = (uint64_t)(end - start), pa = a64_image_phys(start);

	map_kernel((uint64_t)start, pa, size, kernel_prot(prot));
	map_kernel(direct(pa), pa, size, kernel_prot(PROT_READ | PROT_WRITE));
}

/* To do: which rights does each section need, from here on and after start-up? */
static void
map_image(void)
{
	unsigned prot = PROT_READ | PROT_WRITE | PROT_EXEC;

	map_section(__text_start, __text_end, prot);
	map_section(__rodata_start, __rodata_end, prot);
	map_section(__ro_after_init_start, __ro_after_init_end, prot);
	map_section(__vdso_start, __vdso_end, prot);
	map_section(__data_start, __data_end, prot);
}

/* To do: start-up is over, the other CPUs run.  What will never be written again, and by which addresses? */
void
arch_protect_init_data(void)
{
	retire_start_up();
}

/*
 * To do: this CPU comes to a program that is exempt from W^X (off), or leaves it.  If a bit of SCTLR_EL1 is set
 * on this CPU, it must not be while such a program runs; it may be cached in the TLB (ARM D8.4.2).
 */
static void
set_wxn(struct cpu *c, bool off)
{
	c->wxn_off = off;
}

/* ==== arch/aarch64/cpu.c ==== */

/* To do: each CPU, first of all.  Which bit of SCTLR_EL1 makes writable pages not executable, whatever they say? */
void
a64_cpu_init(struct cpu *c)
{
	uint64_t sctlr = READ_SYSREG(sctlr_el1) | SCTLR_UMA;

	/* Everything open that row umip closes, and PAN clear until row smap sets it. */
	WRITE_SYSREG(cntkctl_el1, 3);
	if (a64_has_pmu())
		WRITE_SYSREG(pmuserenr_el0, 1);
	if (arch_user_access_guard_supported())
		WRITE_SYSREG(S3_0_C4_C2_3, 0);
	if (!harden_wanted(HARDEN_STACK_GUARD))
		c->vectors = (uint64_t)a64_vectors_unchecked;
	WRITE_SYSREG(vbar_el1, c->vectors);
	a64_write_sctlr(sctlr);
}
