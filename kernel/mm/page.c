/*
 * Physical frames.
 *
 * Start-up takes frames from boot_info.ram with page_alloc_early.  page_init then builds one struct
 * page a frame and gives all that is left to a buddy allocator: free blocks of 2^order frames, each
 * aligned to its size, on one list an order; a freed block joins its buddy when that is free too.
 * In front of it each CPU keeps a small cache of single frames, so that the common case takes no lock.
 * A cache belongs to its CPU alone: the kernel is not preempted, and interrupts never come here but
 * through the heap, whose frames (PAGE_SLAB, and larger blocks) bypass the caches.
 */
#include "kernel/mm/page.h"

#include "kernel/harden/ro_pgtable.h"
#include "kernel/lib/print.h"
#include "kernel/lib/spinlock.h"
#include "kernel/lib/string.h"

struct page *pages ro_after_init;
uint64_t page_count ro_after_init;
uint64_t page_first ro_after_init;

#define CACHE_MAX   64 /* frames that a CPU's cache holds at most */
#define CACHE_BATCH 16 /* frames moved between a cache and the buddy allocator at once */

#define FLAG_IN_BUDDY 1u /* page.flags of the first frame of a block on a free list */

static struct frame_cache {
	unsigned n;
	struct page *frames[CACHE_MAX];
	int64_t in_use[PAGE_TYPES]; /* frames allocated minus frames freed on this CPU */
} aligned(64) caches[MAX_CPUS];

static struct spinlock buddy_lock = SPINLOCK_INIT; /* interrupts off: the heap takes it anywhere */
static struct list free_lists[PAGE_MAX_ORDER + 1]; /* [buddy_lock] */
static uint64_t free_frames;			   /* [buddy_lock] on free_lists */
static uint64_t total_frames;			   /* [buddy_lock] ever released to the allocator */
static uint64_t reserve;			   /* kept back from user memory */

/* ---- Start-up --------------------------------------------------------------------------------- */

#define EARLY_LIMIT (1ul << 30) /* the early tables map this much of physical memory */
#define EARLY_MAX   32

/* What is taken: the first MiB, kernel image, initramfs, then what page_alloc_early gave away. */
static struct boot_range taken[EARLY_MAX];
static unsigned ntaken;

static void
take_range(uint64_t base, uint64_t size)
{
	struct boot_range *last = ntaken > 0 ? &taken[ntaken - 1] : NULL;
	uint64_t end = ALIGN_UP(base + size, PAGE_SIZE);

	if (size == 0)
		return;
	base = ALIGN_DOWN(base, PAGE_SIZE);
	/* Beyond the three fixed entries, successive allocations are mostly neighbours. */
	if (ntaken > 3 && last->base.v + last->size == base) {
		last->size += end - base;
		return;
	}
	if (ntaken == EARLY_MAX)
		panic("too many early allocations");
	taken[ntaken++] = (struct boot_range){PADDR(base), end - base};
}

static void
take_fixed_ranges(void)
{
	struct boot_range image = arch_kernel_image();

	take_range(0, 1 << 20);
	take_range(image.base.v, image.size);
	take_range(boot_info.initrd.base.v, boot_info.initrd.size);
}

/* The taken range with the lowest start that overlaps [base, end), or NULL. */
static const struct boot_range *
first_taken(uint64_t base, uint64_t end)
{
	const struct boot_range *found = NULL;

	for (unsigned i = 0; i < ntaken; i++) {
		const struct boot_range *t = &taken[i];

		if (t->base.v < end && t->base.v + t->size > base &&
		    (found == NULL || t->base.v < found->base.v))
			found = t;
	}
	return found;
}

/* First fit below limit, at a multiple of align; false if there is none. */
static bool
early_find(uint64_t size, uint64_t align, uint64_t limit, uint64_t *out)
{
	for (unsigned i = 0; i < boot_info.nram; i++) {
		const struct boot_range *r = &boot_info.ram[i];
		uint64_t base = ALIGN_UP(r->base.v, align);
		uint64_t end = MIN(ALIGN_DOWN(r->base.v + r->size, PAGE_SIZE), limit);

		while (base < end && size <= end - base) {
			const struct boot_range *t = first_taken(base, base + size);

			if (t == NULL) {
				*out = base;
				return true;
			}
			base = ALIGN_UP(t->base.v + t->size, align);
		}
	}
	return false;
}

paddr_t
page_alloc_early_aligned(size_t frames, size_t align)
{
	uint64_t size = (uint64_t)frames << PAGE_SHIFT;
	uint64_t base;

	assert(pages == NULL);
	if (ntaken == 0)
		take_fixed_ranges();
	if (!early_find(size, align, EARLY_LIMIT, &base) && !early_find(size, align, UINT64_MAX, &base))
		panic("no memory for %zu early frames", frames);
	take_range(base, size);
	memset(phys_to_virt(PADDR(base)), 0, size);
	return PADDR(base);
}

paddr_t
page_alloc_early(size_t frames)
{
	return page_alloc_early_aligned(frames, PAGE_SIZE);
}

/* ---- The buddy allocator ---------------------------------------------------------------------- */

static void
buddy_insert(struct page *p, unsigned order)
{
	p->refs.n = 0;
	p->type = PAGE_FREE;
	p->order = (uint8_t)order;
	p->flags = FLAG_IN_BUDDY;
	list_push_front(&free_lists[order], &p->link);
	free_frames += 1ul << order;
}

static void
buddy_remove(struct page *p)
{
	list_remove(&p->link);
	p->flags = 0;
	free_frames -= 1ul << p->order;
}

/* Frees 2^order frames from p on, joining buddies.  Caller holds buddy_lock. */
static void
buddy_free(struct page *p, unsigned order)
{
	uint64_t frame = (uint64_t)(p - pages);

	while (order < PAGE_MAX_ORDER) {
		uint64_t other = frame ^ (1ul << order);
		struct page *b = &pages[other];

		if (other < page_first || other >= page_count || b->flags != FLAG_IN_BUDDY || b->type != PAGE_FREE ||
		    b->order != order)
			break;
		buddy_remove(b);
		frame &= other;
		order++;
	}
	buddy_insert(&pages[frame], order);
}

/* A block of 2^order frames, or NULL.  Caller holds buddy_lock. */
static struct page *
buddy_alloc(unsigned order)
{
	unsigned have = order;
	struct page *p;

	while (have <= PAGE_MAX_ORDER && list_empty(&free_lists[have]))
		have++;
	if (have > PAGE_MAX_ORDER)
		return NULL;
	p = list_first(&free_lists[have], struct page, link);
	buddy_remove(p);
	/* Give the upper halves back until the block has the size that was asked for. */
	while (have > order) {
		have--;
		buddy_insert(p + (1ul << have), have);
	}
	p->order = (uint8_t)order;
	return p;
}

void
page_release(paddr_t base, uint64_t size)
{
	uint64_t frame = ALIGN_UP(base.v, PAGE_SIZE) >> PAGE_SHIFT;
	uint64_t end = (base.v + size) >> PAGE_SHIFT;
	irqstate_t s = spin_lock_irq(&buddy_lock);

	while (frame < end) {
		unsigned order = frame ? (unsigned)__builtin_ctzl(frame) : PAGE_MAX_ORDER;

		order = MIN(order, (unsigned)PAGE_MAX_ORDER);
		while ((1ul << order) > end - frame)
			order--;
		assert(pages[frame].type == PAGE_RESERVED);
		buddy_free(&pages[frame], order);
		total_frames += 1ul << order;
		frame += 1ul << order;
	}
	spin_unlock_irq(&buddy_lock, s);
}

void
page_init(void)
{
	const struct boot_range *r = &boot_info.ram[boot_info.nram - 1];
	uint64_t frames = (r->base.v + r->size) >> PAGE_SHIFT;
	size_t bytes;

	for (unsigned i = 0; i <= PAGE_MAX_ORDER; i++)
		list_init(&free_lists[i]);
	/* RAM may begin far above 0: there are no structures for what is below. */
	page_first = boot_info.ram[0].base.v >> PAGE_SHIFT;
	bytes = (frames - page_first) * sizeof(struct page);
	pages = phys_to_virt(page_alloc_early(ALIGN_UP(bytes, PAGE_SIZE) >> PAGE_SHIFT));
	pages -= page_first;
	page_count = frames;

	for (unsigned i = 0; i < boot_info.nram; i++) {
		uint64_t base, end;

		r = &boot_info.ram[i];
		base = ALIGN_UP(r->base.v, PAGE_SIZE);
		end = ALIGN_DOWN(r->base.v + r->size, PAGE_SIZE);
		while (base < end) {
			const struct boot_range *t = first_taken(base, end);
			uint64_t stop = t ? MAX(t->base.v, base) : end;

			page_release(PADDR(base), stop - base);
			base = t ? t->base.v + t->size : end;
		}
	}
	total_frames += pgtable_init();
	reserve = MAX(total_frames / 64, 64ul);
}

/* ---- Allocation ------------------------------------------------------------------------------- */

/* Fills the cache from the buddy allocator.  False: out of memory, or type may not have the rest. */
static noinline bool
cache_refill(struct frame_cache *c, enum page_type type)
{
	irqstate_t s = spin_lock_irq(&buddy_lock);
	struct page *p;

	/* The last frames are the kernel's, so that there is memory to kill a process with. */
	if ((type == PAGE_ANON || type == PAGE_FILE) && free_frames < reserve) {
		spin_unlock_irq(&buddy_lock, s);
		return false;
	}
	while (c->n < CACHE_BATCH && (p = buddy_alloc(0)) != NULL)
		c->frames[c->n++] = p;
	spin_unlock_irq(&buddy_lock, s);
	return c->n > 0;
}

static noinline void
cache_drain(struct frame_cache *c)
{
	irqstate_t s = spin_lock_irq(&buddy_lock);

	for (unsigned i = 0; i < CACHE_BATCH; i++)
		buddy_free(c->frames[--c->n], 0);
	spin_unlock_irq(&buddy_lock, s);
}

int
page_alloc(enum page_type type, struct page **out)
{
	struct frame_cache *c = &caches[arch_cpu_number()];
	struct page *p;

	if (unlikely(c->n == 0) && !cache_refill(c, type))
		return -ENOMEM;
	p = c->frames[--c->n];
	refcount_init(&p->refs);
	p->type = (uint8_t)type;
	c->in_use[type]++;
	*out = p;
	return 0;
}

int
page_alloc_zero(enum page_type type, struct page **out)
{
	int err = page_alloc(type, out);

	if (likely(err == 0))
		memset(page_addr(*out), 0, PAGE_SIZE);
	return err;
}

/*
 * May tables have n frames more?  Not the last ones, for who needs a table can kill for it while there is memory
 * to do so with; nor the half of memory that others live on, for the pool gives nothing back.
 * Caller holds buddy_lock.
 */
static bool
tables_may_have(uint64_t n)
{
	return free_frames >= reserve + n && pgtable_count() + pgtable_free_count() + n <= total_frames / 2;
}

int
page_alloc_order(unsigned order, enum page_type type, struct page **out)
{
	struct page *p;
	irqstate_t s;

	if (order == 0 && type != PAGE_SLAB)
		return page_alloc(type, out);
	if (order > PAGE_MAX_ORDER)
		return -ENOMEM;
	s = spin_lock_irq(&buddy_lock);
	p = type != PAGE_TABLE || tables_may_have(1ul << order) ? buddy_alloc(order) : NULL;
	spin_unlock_irq(&buddy_lock, s);
	if (p == NULL)
		return -ENOMEM;
	refcount_init(&p->refs);
	p->type = (uint8_t)type;
	caches[arch_cpu_number()].in_use[type] += 1l << order;
	*out = p;
	return 0;
}

/* The last reference is gone. */
static void
page_free(struct page *p)
{
	struct frame_cache *c = &caches[arch_cpu_number()];
	irqstate_t s;
	bool cached;

	assert(p->type != PAGE_RESERVED && p->type != PAGE_FREE);
	c->in_use[p->type] -= 1l << p->order;
	cached = p->order == 0 && p->type != PAGE_SLAB;
	p->type = PAGE_FREE;
	p->flags = 0;
	if (likely(cached)) {
		if (unlikely(c->n == CACHE_MAX))
			cache_drain(c);
		c->frames[c->n++] = p;
		return;
	}
	s = spin_lock_irq(&buddy_lock);
	buddy_free(p, p->order);
	spin_unlock_irq(&buddy_lock, s);
}

void
page_get(struct page *p)
{
	refcount_get(&p->refs);
}

void
page_put(struct page *p)
{
	if (refcount_put(&p->refs))
		page_free(p);
}

uint64_t
page_total(void)
{
	return READ_ONCE(total_frames);
}

uint64_t
page_free_count(void)
{
	uint64_t n = READ_ONCE(free_frames) + pgtable_free_count();

	for (unsigned i = 0; i < MAX_CPUS; i++)
		n += READ_ONCE(caches[i].n);
	return n;
}

uint64_t
page_type_count(enum page_type type)
{
	int64_t n = 0;

	for (unsigned i = 0; i < MAX_CPUS; i++)
		n += READ_ONCE(caches[i].in_use[type]);
	return n > 0 ? (uint64_t)n : 0;
}
