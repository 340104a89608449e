/* The starter's code: it works as long as nobody has a second thread.  Sections as cut names them. */

/* ==== kernel/mm/space.c ==== */

/* To do: no leaf leads to these frames any more.  Who may write to them all the same, and until when? */
void
tlb_batch_flush(struct tlb_batch *b)
{
	if (b->end == 0)
		return;
	for (unsigned i = 0; i < b->n; i++)
		page_put(b->frames[i]);
	arch_tlb_flush(&b->vm->pt, b->start, b->end);
	tlb_batch_init(b, b->vm);
}

/* ==== kernel/mm/remap.c ==== */

/* To do: the leaves are as they should be. */
static void
protect_area(struct vm *vm, struct vma *a, unsigned prot)
{
	struct protect p = {.prot = prot, .private = !(a->flags & VMA_SHARED)};

	a->prot = prot;
	arch_pt_update(&vm->pt, a->start, a->end, protect_pte, &p);
	for (uint64_t va = a->start; p.changed && va < a->end; va += PAGE_SIZE)
		arch_tlb_flush_local(va);
}

/*
 * Moves area [addr, addr + old_length), one whole area, to new_addr, where nothing is.
 *
 * To do: when may the old addresses mean something else, or nothing?
 */
static int
move_area(struct vm *vm, uint64_t addr, uint64_t old_length, uint64_t new_addr, uint64_t new_length,
	  bool keep_old, struct vma **dead)
{
	struct vma *a = vm->areas[vm_index(vm, addr)], *b;
	uint64_t moved, back;
	int err;

	if (vm_reserve(vm, 1) != 0 || (b = vma_clone(a)) == NULL)
		return -ENOMEM;
	b->start = new_addr;
	b->end = new_addr + new_length;
	err = move_pages(vm, addr, new_addr, old_length, &moved);
	if (err) {
		(void)!move_pages(vm, new_addr, addr, moved, &back);
		b->dead_next = *dead;
		*dead = b;
		return err;
	}
	for (uint64_t at = 0; at < old_length; at += PAGE_SIZE)
		arch_tlb_flush_local(addr + at);
	/* Its boundaries are an area's: nothing is split, so this cannot fail. */
	if (!keep_old)
		(void)!vm_unmap_locked(vm, addr, addr + old_length, dead);
	vm_insert(vm, b, dead);
	return 0;
}

/* ==== arch/x86_64/mmu.c ==== */

/*
 * A thread of the address space is about to run here, and the CPU forgets all that it knew of it: another one may
 * have changed it meanwhile.
 *
 * To do: once everybody is told what to forget, is that needed where the tables are still loaded?
 */
void
arch_pt_activate(struct arch_pt *pt)
{
	load_tables(pt);
}

/*
 * To do: the kernel's own pages are forgotten by every CPU, a user's by this one.  Which others may know them?  You
 * may ask all, or keep a list; pt->cpus is one, and load_tables writes it.
 */
void
arch_tlb_flush(struct arch_pt *pt, uint64_t start, uint64_t end)
{
	struct flush_range r = {pt, start, end};

	run_on_cpus(pt == &kernel_pt ? x86_cpus_online() : BIT(arch_cpu_number()), flush_here, &r);
}

/* ==== arch/aarch64/mmu.c ==== */

/*
 * A thread of the address space is about to run here, and the CPU forgets all that it knew: another one may have
 * changed the space meanwhile.
 *
 * To do: once everybody is told what to forget, is that needed?  Is anything where the tables are still loaded?
 */
void
arch_pt_activate(struct arch_pt *pt)
{
	load_tables(pt);
	__asm__ volatile("tlbi vmalle1" : : : "memory");
	a64_dsb(nsh);
	a64_isb();
}

/*
 * To do: the kernel's own pages are forgotten by every CPU, a user's by this one.  TLBI can reach the others by
 * itself; when may it be left out, for it costs them time?
 */
void
arch_tlb_flush(struct arch_pt *pt, uint64_t start, uint64_t end)
{
	uint64_t asid = asid_number(pt);

	a64_dsb(ish);
	if (pt == &kernel_pt) {
		flush_kernel(start, end);
	} else {
		flush_asid(asid, start, end, true);
		if (harden_wanted(HARDEN_KPTI))
			flush_asid(asid + 1, start, end, true);
	}
	a64_dsb(nsh);
	a64_isb();
}
