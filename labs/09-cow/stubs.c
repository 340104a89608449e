/* The starter's code: it works, shares nothing that may be written, and believes mprotect.  Sections as cut names them. */

/* ==== kernel/harden/cow.c ==== */

/*
 * cow
 *
 * Threat:    Memory that is shared for thrift is written by one of those who share it: another process's memory
 *            changes, or a file that the writer may only read.
 * Property:  What a program writes to private memory is seen by nobody else.
 * Mechanism: Yours.
 * Limit:     Yours: who holds a frame without mapping it?
 * Check:     make grade; user/attack/cow.c.
 */

/* To do: p is about to be the child's, too.  What does the child hold, and what may either leaf allow from now on? */
pte_t
cow_share(struct page *p unused, pte_t leaf)
{
	return leaf;
}

/* To do: a mapping of p was written to.  Does anybody else have p?  Who may come to have it while you look? */
bool
cow_sole(const struct page *p unused)
{
	return true;
}

/*
 * To do: the area is private, and gets prot; the leaf is one that it has already.  What does the area's permission
 * say of the frame that lies there?  harden=-cow (harden_wanted) believes the area.
 */
unsigned
cow_protect(pte_t leaf unused, unsigned prot)
{
	return prot;
}

/* ==== kernel/mm/fault.c ==== */

/*
 * A private copy of src's contents, mapped with the area's permissions.  replace: over `src`.
 *
 * To do: so far nothing is there yet when we come here.  When something is: what has to be undone, and when may
 * the frame that it was be given back?
 */
static int
fill_copy(struct vm *vm, struct vma *a, uint64_t va, struct page *src, bool replace unused)
{
	struct page *p;

	if (unlikely(page_alloc(PAGE_ANON, &p) != 0))
		return -ENOMEM;
	memcpy(page_addr(p), page_addr(src), PAGE_SIZE);
	a->flags |= VMA_ANON_PAGES;
	return map_new(vm, va, p, a->prot);
}

/*
 * A page of a file is missing.
 *
 * To do: whoever may write to it gets a copy, though most never do: every program copies all of its data.
 */
static int
fill_file(struct vm *vm, struct vma *a, uint64_t va, unsigned access unused)
{
	struct inode *inode = a->file->inode;
	struct page *p;
	int err = inode->ops->get_page(inode, file_index(a, va), &p);

	if (err)
		return err;
	if ((a->prot & PROT_WRITE) && !(a->flags & VMA_SHARED)) {
		err = fill_copy(vm, a, va, p, false);
		page_put(p);
		return err;
	}
	return map_around(vm, a, va, p);
}

/*
 * A write to a present page that is mapped read-only, in an area that allows it.
 *
 * To do: why was it read-only?
 */
static int
write_protected(struct vm *vm, struct vma *a, uint64_t va, pte_t old)
{
	/* Cannot fail: the leaf is there. */
	(void)!arch_pt_map(&vm->pt, va, pte_with_prot(old, a->prot | PROT_USER));
	arch_tlb_flush_local(va);
	return 0;
}

/* ==== kernel/mm/space.c ==== */

/*
 * Called for each leaf of the parent's private areas; what is returned is the parent's leaf from then on.
 *
 * To do: every page is copied, though most children call exec and never look.
 */
static pte_t
copy_pte(void *arg, uint64_t va, pte_t old)
{
	struct copy *c = arg;
	struct page *p = page_of(pte_paddr(old));

	/* The child finds what is in the page cache by itself. */
	if (p->type == PAGE_ANON && !c->err && !copy_page(c, va, p, old))
		c->err = -ENOMEM;
	return old;
}

/* To do: all leaves have been gone through, and the locks are held.  Who may not know yet what has become of them? */
static void
flush_protected(struct vm *parent unused, const struct copy *c unused)
{
}
