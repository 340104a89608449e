/*
 * Address spaces as a whole: creation, fork, switching, teardown, and taking pages out of them.
 */
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/harden/cow.h"
#include "kernel/lib/string.h"
#include "kernel/mm/area.h"
#include "kernel/mm/heap.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"

int
vm_create(struct vm **out)
{
	static uint64_t last_serial; /* [vm_all_lock] */
	struct vm *vm = kzalloc(sizeof(*vm));

	if (vm == NULL)
		return -ENOMEM;
	if (arch_pt_create(&vm->pt) != 0) {
		kfree(vm);
		return -ENOMEM;
	}
	refcount_init(&vm->refs);
	mutex_init(&vm->lock);
	spin_lock(&vm_all_lock);
	vm->serial = ++last_serial;
	list_push_back(&vm_all, &vm->all);
	spin_unlock(&vm_all_lock);
	*out = vm;
	return 0;
}

void
vm_get(struct vm *vm)
{
	refcount_get(&vm->refs);
}

void
vm_put(struct vm *vm)
{
	struct tlb_batch batch;

	if (!refcount_put(&vm->refs))
		return;
	/* No CPU has it active, so the batches put frames without interrupting anyone. */
	tlb_batch_init(&batch, vm);
	for (unsigned i = 0; i < vm->count; i++) {
		struct vma *a = vm->areas[i];

		vm_zap(&batch, a->start, a->end);
		/* No frame is kept over a sleep: others may be short of memory. */
		if (unlikely(READ_ONCE(current->work) & WORK_RESCHED)) {
			tlb_batch_flush(&batch);
			schedule();
		}
	}
	tlb_batch_flush(&batch);
	assert(vm->rss == 0);
	spin_lock(&vm_all_lock);
	list_remove(&vm->all);
	spin_unlock(&vm_all_lock);
	for (unsigned i = 0; i < vm->count; i++)
		vma_free(vm->areas[i]);
	kfree(vm->areas);
	arch_pt_destroy(&vm->pt);
	kfree(vm);
}

void
vm_switch(struct vm *vm)
{
	current->vm = vm;
	arch_pt_activate(vm ? &vm->pt : &kernel_pt);
}

/* ---- Taking pages out ------------------------------------------------------------------------- */

void
tlb_batch_flush(struct tlb_batch *b)
{
	if (b->end == 0)
		return;
	arch_tlb_flush(&b->vm->pt, b->start, b->end);
	for (unsigned i = 0; i < b->n; i++)
		page_put(b->frames[i]);
	tlb_batch_init(b, b->vm);
}

static pte_t
zap_pte(void *arg, uint64_t va, pte_t old)
{
	struct tlb_batch *b = arg;
	struct page *p = page_of(pte_paddr(old));

	b->start = MIN(b->start, va);
	b->end = MAX(b->end, va + PAGE_SIZE);
	b->frames[b->n++] = p;
	rss_sub(b->vm, p);
	return pte_none();
}

/* The same for what is in the page cache: copies stay. */
static pte_t
zap_cached_pte(void *arg, uint64_t va, pte_t old)
{
	return page_of(pte_paddr(old))->type == PAGE_ANON ? old : zap_pte(arg, va, old);
}

static void
zap(struct tlb_batch *b, uint64_t start, uint64_t end, pte_t (*fn)(void *arg, uint64_t va, pte_t old))
{
	while (start < end) {
		/* Between two steps the leaves of all frames in the batch are cleared. */
		if (unlikely(b->n > TLB_BATCH - PT_BATCH))
			tlb_batch_flush(b);
		start = arch_pt_update_some(&b->vm->pt, start, end, fn, b);
	}
}

void
vm_zap(struct tlb_batch *b, uint64_t start, uint64_t end)
{
	zap(b, start, end, zap_pte);
}

struct vm *
vm_next(struct vm *vm)
{
	struct list *l;
	struct vm *next = NULL;

	spin_lock(&vm_all_lock);
	for (l = vm ? vm->all.next : vm_all.next; l != &vm_all; l = l->next) {
		struct vm *candidate = list_entry(l, struct vm, all);

		/* One whose last reference is gone is being taken apart. */
		if (refcount_get_unless_dead(&candidate->refs)) {
			next = candidate;
			break;
		}
	}
	spin_unlock(&vm_all_lock);
	if (vm != NULL)
		vm_put(vm);
	return next;
}

/* Unmaps the pages of inode from number `first` on. */
static void
unmap_file_in(struct vm *vm, struct inode *inode, uint64_t first, uint64_t end, bool copies)
{
	struct tlb_batch batch;

	tlb_batch_init(&batch, vm);
	mutex_lock(&vm->lock);
	for (unsigned i = 0; i < vm->count; i++) {
		struct vma *a = vm->areas[i];
		uint64_t start = a->start, stop = a->end, index = a->offset >> PAGE_SHIFT;

		if (a->file == NULL || a->file->inode != inode || end <= index)
			continue;
		if (end - index < (stop - start) >> PAGE_SHIFT)
			stop = start + ((end - index) << PAGE_SHIFT);
		if (first > index) {
			if (first - index >= (a->end - a->start) >> PAGE_SHIFT)
				continue;
			start += (first - index) << PAGE_SHIFT;
		}
		if (start < stop)
			zap(&batch, start, stop, copies ? zap_pte : zap_cached_pte);
	}
	tlb_batch_flush(&batch);
	mutex_unlock(&vm->lock);
}

void
vm_unmap_file_range(struct inode *inode, uint64_t from, uint64_t to, bool copies)
{
	/* An area that is made later finds the new size, which was written before. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&inode->mapped, __ATOMIC_SEQ_CST) == 0)
		return;
	for (struct vm *vm = vm_next(NULL); vm != NULL; vm = vm_next(vm))
		unmap_file_in(vm, inode, from >> PAGE_SHIFT, to >> PAGE_SHIFT, copies);
}

/* ---- fork ------------------------------------------------------------------------------------- */

struct copy {
	struct vm *child;
	int err;
	bool protected; /* a leaf of the parent lost its write permission */
	uint64_t eager; /* page to copy at once; 0: none */
	unsigned n;
	struct pt_leaf leaves[PT_BATCH]; /* the child's next, whose frames are referenced already */
};

/*
 * The page that the stack pointer is in: both will write to it first thing, so a copy now is cheaper
 * than two faults.  0 if another thread could write to it meanwhile.
 */
static uint64_t
page_to_copy(struct vm *parent)
{
	struct process *p = current->process;

	if (p->vm != parent || READ_ONCE(p->live) != 1 || refcount_read(&parent->refs) != 1)
		return 0;
	return ALIGN_DOWN(tf_sp(arch_user_frame(current)), PAGE_SIZE);
}

/* Maps what was gathered for the child. */
static void
map_gathered(struct copy *c)
{
	int err = arch_pt_map_all(&c->child->pt, c->leaves, c->n);

	for (unsigned i = 0; i < c->n; i++) {
		struct page *p = page_of(pte_paddr(c->leaves[i].pte));

		if (err)
			page_put(p);
		else
			rss_add(c->child, p);
	}
	if (err)
		c->err = err;
	c->n = 0;
}

static void
gather(struct copy *c, uint64_t va, pte_t pte)
{
	c->leaves[c->n++] = (struct pt_leaf){va, pte};
	if (c->n == PT_BATCH)
		map_gathered(c);
}

/* Gives the child a frame of its own with p's contents.  False: there is none. */
static bool
copy_page(struct copy *c, uint64_t va, struct page *p, pte_t old)
{
	struct page *q;

	if (page_alloc(PAGE_ANON, &q) != 0)
		return false;
	memcpy(page_addr(q), page_addr(p), PAGE_SIZE);
	gather(c, va, pte_make(page_paddr(q), pte_prot(old)));
	return true;
}

/* Gives the child the parent's private frame, read-only in both. */
static pte_t
copy_pte(void *arg, uint64_t va, pte_t old)
{
	struct copy *c = arg;
	struct page *p = page_of(pte_paddr(old));
	pte_t e;

	/* The child finds what is in the page cache by itself. */
	if (p->type != PAGE_ANON || c->err)
		return old;
	if (va == c->eager && (pte_prot(old) & PROT_WRITE) && copy_page(c, va, p, old))
		return old;
	e = cow_share(p, old);
	gather(c, va, e);
	c->protected |= !pte_equal(e, old);
	return e;
}

/*
 * Other threads of the parent may write through their TLBs until here: the child, which has not run
 * yet, sees that as written before the fork.
 */
static void
flush_protected(struct vm *parent, const struct copy *c)
{
	if (c->protected)
		arch_tlb_flush(&parent->pt, 0, USER_END);
}

/* A copy of area a, and of its private pages, for the child. */
static int
fork_area(struct vm *parent, struct vm *child, struct vma *a, struct copy *c)
{
	struct vma *b;

	if (a->flags & VMA_DONTFORK)
		return 0;
	b = vma_clone(a);
	if (b == NULL)
		return -ENOMEM;
	b->flags &= ~VMA_LOCKED; /* locks are not inherited (mlock(2)) */
	child->areas[child->count++] = b;
	child->total_pages += (a->end - a->start) >> PAGE_SHIFT;
	if (a->flags & VMA_WIPEONFORK)
		return 0;
	if (!(a->flags & VMA_SHARED) && (a->file == NULL || (a->flags & VMA_ANON_PAGES)))
		arch_pt_update(&parent->pt, a->start, a->end, copy_pte, c);
	return c->err;
}

int
vm_fork(struct vm *parent, struct vm **out)
{
	struct copy c __attribute__((uninitialized));
	struct vm *child;
	int err = vm_create(&child);

	if (err)
		return err;
	c.child = child;
	c.err = 0;
	c.protected = false;
	c.eager = page_to_copy(parent);
	c.n = 0;
	mutex_lock(&parent->lock);
	mutex_lock(&child->lock); /* vm_next may have shown it to others already */
	child->brk_start = parent->brk_start;
	child->brk = parent->brk;
	child->mmap_top = parent->mmap_top;
	child->stack_top = parent->stack_top;
	child->vdso = parent->vdso;
	child->sigreturn = parent->sigreturn;
	child->allow_wx = parent->allow_wx;
	child->exempt = parent->exempt;
	child->start_code = parent->start_code;
	child->end_code = parent->end_code;
	child->start_data = parent->start_data;
	child->end_data = parent->end_data;
	child->arg_start = parent->arg_start;
	child->arg_end = parent->arg_end;
	child->env_start = parent->env_start;
	child->env_end = parent->env_end;
	memcpy(child->auxv, parent->auxv, sizeof(child->auxv));

	err = parent->count ? vm_reserve(child, parent->count) : 0;
	for (unsigned i = 0; i < parent->count && err == 0; i++)
		err = fork_area(parent, child, parent->areas[i], &c);
	map_gathered(&c);
	err = err ? err : c.err;
	flush_protected(parent, &c);
	mutex_unlock(&child->lock);
	mutex_unlock(&parent->lock);
	if (err) {
		vm_put(child);
		return err;
	}
	*out = child;
	return 0;
}

/* ---- For /proc -------------------------------------------------------------------------------- */

int
vm_describe(struct vm *vm, uint64_t addr, struct vma *copy)
{
	struct vma *a;

	mutex_lock(&vm->lock);
	a = vm_find(vm, addr);
	if (a != NULL) {
		*copy = *a;
		if (copy->file != NULL)
			file_get(copy->file);
	}
	mutex_unlock(&vm->lock);
	return a ? 0 : -ENOENT;
}

void
vm_usage(struct vm *vm, struct vm_usage *out)
{
	*out = (struct vm_usage){0};
	mutex_lock(&vm->lock);
	out->total = vm->total_pages;
	out->rss = vm->rss;
	out->peak_rss = vm->peak_rss;
	out->rss_file = vm->rss_file;
	out->locked = vm->locked_pages;
	for (unsigned i = 0; i < vm->count; i++) {
		struct vma *a = vm->areas[i];
		uint64_t n = (a->end - a->start) >> PAGE_SHIFT;

		if (a->flags & VMA_GROWSDOWN)
			out->stack += n;
		else if (vma_is_private_writable(a->prot, a->flags))
			out->data += n;
		else if (a->prot & PROT_EXEC)
			out->text += n;
	}
	mutex_unlock(&vm->lock);
}

struct count {
	uint64_t rss, own;
};

static pte_t
count_pte(void *arg, unused uint64_t va, pte_t old)
{
	struct count *c = arg;
	struct page *p = page_of(pte_paddr(old));

	c->rss++;
	c->own += p->type == PAGE_ANON && refcount_read(&p->refs) == 1;
	return old;
}

void
vm_resident(struct vm *vm, uint64_t start, uint64_t end, uint64_t *rss, uint64_t *own)
{
	struct count c = {0};

	mutex_lock(&vm->lock);
	arch_pt_update(&vm->pt, start, MIN(end, USER_END), count_pte, &c);
	mutex_unlock(&vm->lock);
	*rss = c.rss;
	*own = c.own;
}
