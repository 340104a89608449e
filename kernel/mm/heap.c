/*
 * The kernel heap.
 *
 * A cache hands out objects of one size, cut from slabs: naturally aligned blocks of 1 to 8 frames.
 * Each CPU has a list of free objects of its own in front of the slabs, linked through their first
 * words, so that the common alloc and free take a few instructions and no lock, only interrupts off.
 * Lists are filled from and drained to the slabs in batches.
 * kmalloc rounds up to one of thirteen such caches; what is bigger gets a block of frames.
 *
 * In a slab's struct page entries, private[0] is the cache; in the first one, private[1] is the list
 * of free objects and flags counts the objects that are not on it.
 */
#include "kernel/mm/heap.h"

#include "kernel/lib/string.h"
#include "kernel/mm/page.h"

#define EMPTY_KEPT 2 /* empty slabs that a cache keeps for the next time */

struct object {
	struct object *next;
};

struct cpu_list {
	struct object *head;
	unsigned n;
};

struct slab_cache {
	struct cpu_list cpu[MAX_CPUS];
	unsigned size;	/* bytes of an object */
	unsigned batch; /* objects moved between a CPU's list and the slabs at once */
	unsigned order; /* of a slab */
	unsigned count; /* objects in a slab */
	const char *name;
	struct spinlock lock;
	struct list partial; /* [lock] slabs with some objects free */
	struct list empty;   /* [lock] slabs with all objects free */
	unsigned nempty;     /* [lock] */
};

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
	}
	for (unsigned i = 0; i <= SMALL_MAX / 16; i++) {
		if (i * 16 > class_sizes[class])
			class++;
		small_class[i] = (uint8_t)class;
	}
}

struct slab_cache *
slab_create(const char *name, size_t size, size_t align)
{
	struct slab_cache *c = slab_alloc(&cache_cache);

	if (c == NULL)
		panic("no memory for slab cache %s", name);
	cache_init(c, name, size, align);
	return c;
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

static bool
slab_new(struct slab_cache *c)
{
	struct object *list = NULL;
	struct page *page;
	char *base;

	if (page_alloc_order(c->order, PAGE_SLAB, &page) != 0)
		return false;
	base = page_addr(page);
	for (unsigned i = c->count; i-- > 0;) {
		struct object *o = (struct object *)(base + (size_t)i * c->size);

		o->next = list;
		list = o;
	}
	for (unsigned i = 0; i < 1u << c->order; i++) {
		page[i].type = PAGE_SLAB;
		page[i].private[0] = (uint64_t)c;
	}
	page->private[1] = (uint64_t)list;
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

/* Takes up to n objects from one slab; NULL: there is none. */
static struct object *
slab_take(struct slab_cache *c, unsigned n, unsigned *got)
{
	struct page *page;
	struct object *first, *last;

	if (!list_empty(&c->partial)) {
		page = list_first(&c->partial, struct page, link);
	} else {
		if (list_empty(&c->empty) && !slab_new(c))
			return NULL;
		page = list_first(&c->empty, struct page, link);
		list_remove(&page->link);
		list_push_front(&c->partial, &page->link);
		c->nempty--;
	}
	first = last = (struct object *)page->private[1];
	for (*got = 1; *got < n && last->next != NULL; ++*got)
		last = last->next;
	page->private[1] = (uint64_t)last->next;
	page->flags = (uint16_t)(page->flags + *got);
	if (last->next == NULL)
		list_remove(&page->link);
	last->next = NULL;
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
	o->next = (struct object *)page->private[1];
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

static noinline struct object *
cpu_list_refill(struct slab_cache *c, struct cpu_list *l)
{
	struct object *o;
	unsigned got = 0;

	spin_lock(&c->lock);
	o = slab_take(c, c->batch, &got);
	spin_unlock(&c->lock);
	if (o == NULL)
		return NULL;
	l->head = o->next;
	l->n = got - 1;
	return o;
}

static noinline void
cpu_list_drain(struct slab_cache *c, struct cpu_list *l)
{
	spin_lock(&c->lock);
	for (unsigned i = 0; i < c->batch; i++) {
		struct object *o = l->head;

		l->head = o->next;
		slab_give(c, o);
	}
	spin_unlock(&c->lock);
	l->n -= c->batch;
}

static always_inline void *
cache_alloc(struct slab_cache *c)
{
	irqstate_t s = arch_irq_save();
	struct cpu_list *l = &c->cpu[arch_cpu_number()];
	struct object *o = l->head;

	if (likely(o != NULL)) {
		l->head = o->next;
		l->n--;
	} else {
		o = cpu_list_refill(c, l);
	}
	arch_irq_restore(s);
	return o;
}

static always_inline void
cache_free(struct slab_cache *c, void *p)
{
	irqstate_t s = arch_irq_save();
	struct cpu_list *l = &c->cpu[arch_cpu_number()];
	struct object *o = p;

	assert(o != l->head); /* freed twice in a row */
	o->next = l->head;
	l->head = o;
	if (unlikely(++l->n > 2 * c->batch))
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
	struct page *page = page_of(virt_to_phys(p));

	assert(page->type == PAGE_SLAB && page->private[0] == (uint64_t)c);
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
	page->flags = FLAG_BIG;
	page->private[0] = size;
	__atomic_fetch_add(&frames_held, 1ul << order, __ATOMIC_RELAXED);
	return page_addr(page);
}

static void
big_free(struct page *page, void *p)
{
	assert(page->type == PAGE_KERNEL && page->flags == FLAG_BIG && page_addr(page) == p);
	page->flags = 0;
	__atomic_fetch_sub(&frames_held, 1ul << page->order, __ATOMIC_RELAXED);
	page_put(page);
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
	page = page_of(virt_to_phys(p));
	if (likely(page->type == PAGE_SLAB))
		cache_free((struct slab_cache *)page->private[0], p);
	else
		big_free(page, p);
}

uint64_t
heap_bytes(void)
{
	return READ_ONCE(frames_held) << PAGE_SHIFT;
}
