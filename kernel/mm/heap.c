/*
 * The kernel heap.
 *
 * A cache hands out objects of one size, cut from slabs: naturally aligned blocks of 1 to 8 frames.
 * Each CPU has a list of free objects of its own in front of the slabs, linked through their first
 * words, so that the common alloc and free take a few instructions and no lock, only interrupts off.
 * Lists are filled from and drained to the slabs in batches.
 * kmalloc rounds up to one of thirteen such caches; what is bigger gets a block of frames.
 *
 * What a free object's first word looks like, and what is checked when objects come and go, is
 * kernel/harden/heap.c's; without that row it is the plain address of the next free object.
 *
 * In a slab's struct page entries, private[0] is the cache; in the first one, private[1] is the list
 * of free objects and flags counts the objects that are not on it.
 */
#include "kernel/mm/heap.h"

#include "kernel/harden/heap.h"
#include "kernel/lib/string.h"
#include "kernel/mm/page.h"
#include "kernel/mm/slab.h"

#define EMPTY_KEPT 2 /* empty slabs that a cache keeps for the next time */

#define FLAG_BIG 0x6b6du /* page.flags of a block that kmalloc took whole */

#define SMALL_MAX 192u
#define SLAB_MAX  8192u

static struct slab_cache cache_cache; /* what slab_create allocates from */
static struct slab_cache classes[14]; /* 16 32 48 64 96 128 192, then powers of two */
static uint8_t small_class[SMALL_MAX / 16 + 1]; /* by size / 16, rounded up */
static uint64_t frames_held;			 /* atomic */

static const unsigned class_sizes[14] = {16,  32,  48,	64,   96,   128,  192,
					 256, 512, 1024, 2048, 4096, 8192, 0};
static const char *const class_names[14] = {
	"kmalloc-16",  "kmalloc-32",  "kmalloc-48",   "kmalloc-64",   "kmalloc-96",
	"kmalloc-128", "kmalloc-192", "kmalloc-256",  "kmalloc-512",  "kmalloc-1024",
	"kmalloc-2048", "kmalloc-4096", "kmalloc-8192", NULL};

static void
cache_init(struct slab_cache *c, const char *name, size_t size, size_t align)
{
	align = MAX(align, (size_t)16);
	assert((align & (align - 1)) == 0 && align <= PAGE_SIZE && size <= SLAB_MAX);
	memset(c, 0, sizeof(*c));
	c->name = name;
	c->size = (unsigned)ALIGN_UP(MAX(size, sizeof(struct object)), align);
	/* Eight objects or more a slab, unless that takes more than eight frames. */
	while (c->order < 3 && (PAGE_SIZE << c->order) / c->size < 8)
		c->order++;
	c->count = (unsigned)((PAGE_SIZE << c->order) / c->size);
	c->inverse = (uint32_t)((1ull << 32) / c->size + 1);
	c->secret = heap_secret();
	c->batch = c->size <= 256 ? 16 : c->size <= 1024 ? 8 : 4;
	spin_init(&c->lock);
	list_init(&c->partial);
	list_init(&c->empty);
}

void
heap_init(void)
{
	unsigned class = 0;

	cache_init(&cache_cache, "slab_cache", sizeof(struct slab_cache), 64);
	for (unsigned i = 0; class_sizes[i] != 0; i++) {
		unsigned align = class_sizes[i] & -class_sizes[i];

		cache_init(&classes[i], class_names[i], class_sizes[i], MIN(align, 4096u));
		classes[i].user_len = class_sizes[i];
	}
	for (unsigned i = 0; i <= SMALL_MAX / 16; i++) {
		if (i * 16 > class_sizes[class])
			class++;
		small_class[i] = (uint8_t)class;
	}
	heap_probe_init();
}

struct slab_cache *
slab_create_usercopy(const char *name, size_t size, size_t align, size_t off, size_t len)
{
	struct slab_cache *c = slab_alloc(&cache_cache);

	if (c == NULL)
		panic("no memory for slab cache %s", name);
	assert(off <= size && len <= size - off);
	cache_init(c, name, size, align);
	c->user_off = (unsigned)off;
	c->user_len = (unsigned)len;
	return c;
}

struct slab_cache *
slab_create(const char *name, size_t size, size_t align)
{
	return slab_create_usercopy(name, size, align, 0, 0);
}

/* ---- Links between free objects ---------------------------------------------------------------- */

static always_inline void
link_set(const struct slab_cache *c, struct object *o, struct object *next)
{
	if (likely(heap_hardened))
		heap_link_set(c, o, next);
	else
		o->link = (uint64_t)next;
}

/* False: it is damaged, and *next is NULL. */
static always_inline must_use bool
link_get(const struct slab_cache *c, const struct object *o, struct object **next)
{
	if (likely(heap_hardened))
		return heap_link_get(c, o, next);
	*next = (struct object *)o->link;
	return true;
}

/* ---- Slabs; each function is called with the cache's lock held -------------------------------- */

/* The first struct page of the slab that holds p, which must be an object of c. */
static struct page *
slab_of(struct slab_cache *c, void *p)
{
	struct page *page = page_of(virt_to_phys(p));
	uint64_t frame = (uint64_t)(page - pages) & ~((1ul << c->order) - 1);

	return &pages[frame];
}

/* Links the objects of a slab, in the order in which they will be given out: the first one. */
static struct object *
slab_link(const struct slab_cache *c, char *base)
{
	uint8_t order[SLAB_OBJECTS_MAX];
	struct object *list = NULL;

	for (unsigned i = 0; i < c->count; i++)
		order[i] = (uint8_t)(c->count - 1 - i);
	if (heap_hardened) {
		memset(base, 0, PAGE_SIZE << c->order);
		heap_shuffle(order, c->count);
	}
	for (unsigned i = 0; i < c->count; i++) {
		struct object *o = (struct object *)(base + (size_t)order[i] * c->size);

		link_set(c, o, list);
		list = o;
	}
	return list;
}

static bool
slab_new(struct slab_cache *c)
{
	struct page *page;

	if (page_alloc_order(c->order, PAGE_SLAB, &page) != 0)
		return false;
	for (unsigned i = 0; i < 1u << c->order; i++) {
		page[i].type = PAGE_SLAB;
		page[i].private[0] = (uint64_t)c;
	}
	page->private[1] = (uint64_t)slab_link(c, page_addr(page));
	page->flags = 0;
	list_push_front(&c->empty, &page->link);
	c->nempty++;
	__atomic_fetch_add(&frames_held, 1ul << c->order, __ATOMIC_RELAXED);
	return true;
}

static void
slab_destroy(struct slab_cache *c, struct page *page)
{
	for (unsigned i = 0; i < 1u << c->order; i++) {
		page[i].private[0] = 0;
		if (i > 0)
			page[i].type = PAGE_RESERVED;
	}
	__atomic_fetch_sub(&frames_held, 1ul << c->order, __ATOMIC_RELAXED);
	page_put(page);
}

/* A slab with a free object, on the list of partial ones; NULL: there is none. */
static struct page *
slab_usable(struct slab_cache *c)
{
	struct page *page;

	if (!list_empty(&c->partial))
		return list_first(&c->partial, struct page, link);
	if (list_empty(&c->empty) && !slab_new(c))
		return NULL;
	page = list_first(&c->empty, struct page, link);
	list_remove(&page->link);
	list_push_front(&c->partial, &page->link);
	c->nempty--;
	return page;
}

/*
 * Takes up to n objects from one slab; NULL: there is none.  Where a link is damaged the slab's list ends;
 * *bad is the object that it was found in, and what would have followed is never used again.
 */
static struct object *
slab_take(struct slab_cache *c, unsigned n, unsigned *got, struct object **bad)
{
	struct page *page = slab_usable(c);
	struct object *first, *last, *next;
	bool intact;

	if (page == NULL)
		return NULL;
	first = last = (struct object *)page->private[1];
	intact = link_get(c, last, &next);
	for (*got = 1; *got < n && next != NULL; ++*got) {
		last = next;
		intact = link_get(c, last, &next);
	}
	page->private[1] = (uint64_t)next;
	page->flags = (uint16_t)(intact ? page->flags + *got : UINT16_MAX); /* never empty again */
	if (!intact)
		*bad = last;
	if (next == NULL)
		list_remove(&page->link);
	link_set(c, last, NULL);
	return first;
}

static void
slab_give(struct slab_cache *c, struct object *o)
{
	struct page *page = slab_of(c, o);
	size_t offset = (size_t)((char *)o - (char *)page_addr(page));

	assert(page->private[0] == (uint64_t)c && page->flags > 0);
	assert(offset % c->size == 0 && offset / c->size < c->count);
	if (page->private[1] == 0)
		list_push_front(&c->partial, &page->link);
	link_set(c, o, (struct object *)page->private[1]);
	page->private[1] = (uint64_t)o;
	if (--page->flags > 0)
		return;
	list_remove(&page->link);
	if (c->nempty >= EMPTY_KEPT) {
		slab_destroy(c, page);
		return;
	}
	list_push_front(&c->empty, &page->link);
	c->nempty++;
}

/* ---- Per-CPU lists; interrupts are off --------------------------------------------------------- */

/* False: no memory. */
static noinline bool
cpu_list_refill(struct slab_cache *c, struct cpu_list *l)
{
	struct object *bad = NULL;

	l->n = 0;
	spin_lock(&c->lock);
	l->head = slab_take(c, c->batch, &l->n, &bad);
	spin_unlock(&c->lock);
	if (unlikely(bad != NULL))
		heap_report_link(c, bad);
	return l->head != NULL;
}

static noinline void
cpu_list_drain(struct slab_cache *c, struct cpu_list *l)
{
	struct object *bad = NULL;

	spin_lock(&c->lock);
	for (unsigned i = 0; i < c->batch && l->head != NULL; i++) {
		struct object *o = l->head;

		if (!link_get(c, o, &l->head))
			bad = o;
		slab_give(c, o);
		l->n--;
	}
	if (l->head == NULL)
		l->n = 0;
	spin_unlock(&c->lock);
	if (unlikely(bad != NULL))
		heap_report_link(c, bad);
}

static always_inline struct object *
plain_take(struct cpu_list *l)
{
	struct object *o = l->head;

	l->head = (struct object *)o->link;
	l->n--;
	return o;
}

static always_inline void
plain_give(struct cpu_list *l, struct object *o)
{
	o->link = (uint64_t)l->head;
	l->head = o;
	l->n++;
}

static always_inline void *
cache_alloc(struct slab_cache *c)
{
	irqstate_t s = arch_irq_save();
	struct cpu_list *l = &c->cpu[arch_cpu_number()];
	struct object *o = NULL;

	if (likely(l->head != NULL) || cpu_list_refill(c, l))
		o = likely(heap_hardened) ? heap_take(c, l) : plain_take(l);
	arch_irq_restore(s);
	return o;
}

static always_inline void
cache_free(struct slab_cache *c, void *p)
{
	irqstate_t s = arch_irq_save();
	struct cpu_list *l = &c->cpu[arch_cpu_number()];

	if (likely(heap_hardened))
		heap_give(c, l, p);
	else
		plain_give(l, p);
	if (unlikely(l->n > 2 * c->batch))
		cpu_list_drain(c, l);
	arch_irq_restore(s);
}

void *
slab_alloc(struct slab_cache *c)
{
	return cache_alloc(c);
}

void
slab_free(struct slab_cache *c, void *p)
{
	struct page *page = page_lookup(p);

	if (unlikely(page == NULL || page->type != PAGE_SLAB || slab_cache_of(page) != c))
		heap_report_foreign(c, p);
	cache_free(c, p);
}

static void *
big_alloc(size_t size)
{
	unsigned order = 0;
	struct page *page;

	if (size > KMALLOC_MAX)
		return NULL;
	while ((PAGE_SIZE << order) < size)
		order++;
	if (page_alloc_order(order, PAGE_KERNEL, &page) != 0)
		return NULL;
	for (unsigned i = 1; i < 1u << order; i++) {
		page[i].type = PAGE_KERNEL;
		page[i].flags = FLAG_BIG;
		page[i].private[0] = (uint64_t)page;
	}
	page->flags = FLAG_BIG;
	page->private[0] = (uint64_t)page;
	__atomic_fetch_add(&frames_held, 1ul << order, __ATOMIC_RELAXED);
	return page_addr(page);
}

static void
big_free(struct page *page, void *p)
{
	unsigned order = page->order;

	if (heap_hardened)
		memset(p, 0, PAGE_SIZE << order);
	page->flags = 0;
	for (unsigned i = 1; i < 1u << order; i++) {
		page[i].type = PAGE_RESERVED;
		page[i].flags = 0;
	}
	__atomic_fetch_sub(&frames_held, 1ul << order, __ATOMIC_RELAXED);
	page_put(page);
}

const struct page *
heap_big_block(const struct page *page)
{
	if (page->type != PAGE_KERNEL || page->flags != FLAG_BIG)
		return NULL;
	return (const struct page *)page->private[0];
}

/* A block that kmalloc took whole starts at p. */
static bool
is_big(const struct page *page, const void *p)
{
	return heap_big_block(page) == page && page_addr(page) == p;
}

void *
kmalloc(size_t size)
{
	if (likely(size <= SMALL_MAX))
		return cache_alloc(&classes[small_class[(size + 15) / 16]]);
	if (unlikely(size > SLAB_MAX))
		return big_alloc(size);
	/* Class 7 is 2^8: 193 .. 256, of which size - 1 has 8 bits. */
	return cache_alloc(&classes[7 + (64 - __builtin_clzl(size - 1)) - 8]);
}

void *
kzalloc(size_t size)
{
	void *p = kmalloc(size);

	if (likely(p != NULL))
		memset(p, 0, size);
	return p;
}

void
kfree(void *p)
{
	struct page *page;

	if (p == NULL)
		return;
	page = page_lookup(p);
	if (likely(page != NULL && page->type == PAGE_SLAB)) {
		cache_free(slab_cache_of(page), p);
	} else {
		if (unlikely(page == NULL || !is_big(page, p))) {
			heap_report_foreign(NULL, p);
			panic("kfree: nothing was allocated at %016lx", (uint64_t)p);
		}
		big_free(page, p);
	}
}

uint64_t
heap_bytes(void)
{
	return READ_ONCE(frames_held) << PAGE_SHIFT;
}
