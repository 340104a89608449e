/* The starter's code: it works, and whatever a program may read it may run.  Sections as cut names them. */

/* ==== arch/x86_64/entries.h ==== */

/*
 * What an entry allows.
 *
 * To do: of a user's page it says PROT_EXEC whatever the entry has.  Who makes a new entry from what this one says?
 */
static inline unsigned
pte_prot(pte_t e)
{
	if (!(e.v & PTE_P))
		return e.v & PTE_U ? PROT_USER : 0;
	return PROT_READ | (e.v & PTE_W ? PROT_WRITE : 0) |
	       ((e.v & (PTE_U | PTE_NX)) == PTE_NX ? 0 : PROT_EXEC) |
	       (e.v & PTE_U ? PROT_USER : 0) | (e.v & PTE_PCD ? PROT_DEVICE : 0);
}

/*
 * The bits of an entry, beside its frame.
 *
 * To do: a user's page is executable, whatever was asked for.  Which bit says no (SDM 3A 4.5.4), and what is it worth
 * while EFER.NXE is clear?  With harden=-nx it is to stay so: see x86_user_nx.
 */
static inline uint64_t
x86_pte_bits(unsigned prot)
{
	uint64_t bits = PTE_A;

	if (prot & PROT_USER) {
		bits |= PTE_U;
		if (!(prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
			return bits | PTE_HIDDEN;
	} else {
		bits |= x86_kernel_global;
		if (!(prot & PROT_EXEC))
			bits |= PTE_NX;
	}
	if (prot & PROT_WRITE)
		bits |= PTE_W;
	if (prot & PROT_DEVICE)
		bits |= PTE_PCD | PTE_PWT;
	return bits | PTE_P;
}

/* ==== arch/aarch64/entries.h ==== */

/*
 * What an entry allows.
 *
 * To do: of a user's page it says PROT_EXEC whatever the entry has.  Who makes a new entry from what this one says?
 */
static inline unsigned
pte_prot(pte_t e)
{
	if (!(e.v & PTE_VALID))
		return e.v & PTE_USER ? PROT_USER : 0;
	return PROT_READ | (e.v & PTE_RO ? 0 : PROT_WRITE) |
	       (e.v & PTE_USER || !(e.v & PTE_PXN) ? PROT_EXEC : 0) |
	       (e.v & PTE_USER ? PROT_USER : 0) | (e.v & PTE_DEVICE ? PROT_DEVICE : 0);
}

/*
 * The bits of an entry, beside its frame.
 *
 * To do: a user's page is executable, whatever was asked for.  There are two bits that say no (Arm ARM D8.4): which is
 * whose?  With harden=-nx it is to stay so: see a64_user_uxn.
 */
static inline uint64_t
a64_pte_bits(unsigned prot)
{
	uint64_t bits = PTE_TABLE | PTE_SH | PTE_AF;

	if (prot & PROT_USER) {
		bits |= PTE_USER | PTE_NG | a64_user_pxn;
		if (!(prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
			return bits | PTE_HIDDEN;
	} else {
		bits |= PTE_UXN | a64_kernel_ng;
		if (!(prot & PROT_EXEC))
			bits |= PTE_PXN;
	}
	if (!(prot & PROT_WRITE))
		bits |= PTE_RO;
	if (prot & PROT_DEVICE)
		bits |= PTE_DEVICE;
	return bits | PTE_VALID;
}

/* ==== kernel/mm/remap.c ==== */

/* To do: with what is taken away here, who still believes the old entry?  To execute is more than to read. */
static pte_t
protect_pte(void *arg, unused uint64_t va, pte_t old)
{
	struct protect *p = arg;
	unsigned prot = p->prot | PROT_USER;
	pte_t e = pte_with_prot(old, p->private ? cow_protect(old, prot) : prot);

	if (pte_prot(old) & ~pte_prot(e) & (PROT_READ | PROT_WRITE))
		p->changed = true;
	return e;
}

/* ==== kernel/proc/elf.c ==== */

/* To do: a program has more kinds of segments than two. */
static int
map_segment(struct vm *vm, const struct elf *e, const struct elf_segment *s, uint64_t bias)
{
	uint64_t start = ALIGN_DOWN(s->vaddr, PAGE_SIZE) + bias;
	uint64_t file_end = s->vaddr + s->filesz + bias;
	uint64_t end = ALIGN_UP(s->vaddr + s->memsz, PAGE_SIZE) + bias;
	uint64_t anonymous = s->filesz ? ALIGN_UP(file_end, PAGE_SIZE) : start, got;
	unsigned prot = PROT_READ | (s->flags & PF_W ? PROT_WRITE : PROT_EXEC) |
			(s->flags & PF_X ? PROT_EXEC : 0);
	int err;

	if (s->filesz) {
		err = vm_mmap(vm, start, anonymous - start, prot,
			      MAP_PRIVATE | MAP_FIXED | MAP_DENYWRITE, e->file,
			      ALIGN_DOWN(s->offset, PAGE_SIZE), &got);
		if (err)
			return err;
		/* What lies behind the file's part is bss, and not the file's next bytes. */
		if (s->memsz > s->filesz && (prot & PROT_WRITE)) {
			err = clear_tail(vm, file_end);
			if (err)
				return err;
		}
	}
	if (anonymous >= end)
		return 0;
	return vm_mmap(vm, anonymous, end - anonymous, prot,
		       MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, NULL, 0, &got);
}
