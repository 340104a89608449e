/*
 * heap
 *
 * Threat:    A bug frees an object twice, or writes to a freed one.  Free objects hold the allocator's
 *            links: who chooses one chooses where the kernel puts its next object (CWE-415, CWE-416).
 * Property:  Links are unreadable, and damaged ones are noticed before they are followed; nothing but an
 *            object in use can be freed, once; the order of objects in a slab cannot be foretold; an
 *            object is zeroed when it is freed.
 * Mechanism: A link is xored with its cache's secret and its own address, bytes swapped, and must lead to
 *            a free object of the cache.  One bit for each 16 bytes of memory says "an object in use
 *            begins here": free clears it, and reports if it was clear.
 * Limit:     A write to a freed object past its first word; a stale pointer to an object that is in use
 *            again; frames that are not the heap's (kernel stacks, pipes) are not zeroed when freed.
 * Check:     grade/tests/test_heap.py walks all slabs; attacks heap, heap-double.
 */
#include "kernel/harden/heap.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/slab.h"
#include "kernel/oops.h"

#define GRAIN_SHIFT 4 /* objects begin at multiples of 16 bytes */

bool heap_hardened ro_after_init;
static uint64_t *heap_in_use ro_after_init; /* [atomic words] by physical address / 16 */

void
heap_map_init(void)
{
	const struct boot_range *last = &boot_info.ram[boot_info.nram - 1];
	uint64_t first = boot_info.ram[0].base.v >> PAGE_SHIFT;
	uint64_t frames = ((last->base.v + last->size) >> PAGE_SHIFT) - first;
	size_t words_a_frame = PAGE_SIZE >> GRAIN_SHIFT >> 6, bytes = frames * words_a_frame * 8;

	heap_hardened = harden_wanted(HARDEN_HEAP);
	if (!heap_hardened)
		return;
	heap_in_use = phys_to_virt(page_alloc_early(ALIGN_UP(bytes, PAGE_SIZE) >> PAGE_SHIFT));
	heap_in_use -= first * words_a_frame;
}

uint64_t
heap_secret(void)
{
	return random_u64();
}

/* Fisher and Yates, from the end; a byte a draw is bias enough to be seen by nobody. */
void
heap_shuffle(uint8_t *order, unsigned n)
{
	uint8_t draws[SLAB_OBJECTS_MAX];

	random_bytes(draws, n);
	for (unsigned i = n; i-- > 1;) {
		unsigned j = draws[i] * (i + 1) >> 8;
		uint8_t swap = order[i];

		order[i] = order[j];
		order[j] = swap;
	}
}

/* ---- Objects in use ---------------------------------------------------------------------------- */

static always_inline uint64_t
grain(const void *o)
{
	return virt_to_phys(o).v >> GRAIN_SHIFT;
}

static always_inline bool
object_in_use(const void *o)
{
	return READ_ONCE(heap_in_use[grain(o) / 64]) >> grain(o) % 64 & 1;
}

/* Neighbours may be other CPUs': atomic.  Each returns what it was. */
static always_inline bool
mark_used(const void *o)
{
	uint64_t bit = BIT(grain(o) % 64);

	return __atomic_fetch_or(&heap_in_use[grain(o) / 64], bit, __ATOMIC_RELAXED) & bit;
}

static always_inline bool
mark_free(const void *o)
{
	uint64_t bit = BIT(grain(o) % 64);

	return __atomic_fetch_and(&heap_in_use[grain(o) / 64], ~bit, __ATOMIC_RELAXED) & bit;
}

/* ---- Links ------------------------------------------------------------------------------------- */

/* Its own inverse.  The address's bytes are swapped so that its known high half hides the low one. */
static always_inline uint64_t
link_mask(const struct slab_cache *c, const struct object *o)
{
	return c->secret ^ __builtin_bswap64((uint64_t)o);
}

/* Whether a link may lead to o: the start of an object of c that is not in use. */
static always_inline bool
link_valid(const struct slab_cache *c, const struct object *o)
{
	const struct page *page = page_lookup(o);

	return page && page->type == PAGE_SLAB && slab_cache_of(page) == c &&
	       slab_object_offset(c, o) == 0 && !object_in_use(o);
}

void
heap_link_set(const struct slab_cache *c, struct object *o, struct object *next)
{
	o->link = (uint64_t)next ^ link_mask(c, o);
}

bool
heap_link_get(const struct slab_cache *c, const struct object *o, struct object **next)
{
	struct object *n = (struct object *)(o->link ^ link_mask(c, o));

	*next = n;
	if (likely(n == NULL || link_valid(c, n)))
		return true;
	*next = NULL;
	return false;
}

/* ---- Reports ----------------------------------------------------------------------------------- */

noreturn void
heap_report_link(const struct slab_cache *c, const void *o)
{
	oops(NULL, "heap", "%s: the free object at %016lx was written to", c->name, (uint64_t)o);
}

static noreturn noinline void
report_free(const struct slab_cache *c, const void *p)
{
	const char *what = "freed, but never allocated, or freed before";

	if (slab_object_offset(c, p) != 0)
		what = "freed, but no object begins there";
	oops(NULL, "heap", "%s: %016lx is %s", c->name, (uint64_t)p, what);
}

void
heap_report_foreign(const struct slab_cache *c, const void *p)
{
	if (heap_hardened)
		oops(NULL, "heap", "%s: %016lx is freed, and was never allocated there",
		     c ? c->name : "kmalloc", (uint64_t)p);
}

/* ---- A CPU's list ------------------------------------------------------------------------------ */

struct object *
heap_take(const struct slab_cache *c, struct cpu_list *l)
{
	struct object *o = l->head, *next;

	if (unlikely(!heap_link_get(c, o, &next)) || unlikely(mark_used(o))) {
		/* The rest of the list is lost; what is left of the heap is sound. */
		l->head = NULL;
		l->n = 0;
		heap_report_link(c, o);
	}
	l->head = next;
	l->n--;
	o->link = 0;
	return o;
}

void
heap_give(const struct slab_cache *c, struct cpu_list *l, void *p)
{
	if (unlikely(!IS_ALIGNED((uint64_t)p, 1ul << GRAIN_SHIFT)) || unlikely(!mark_free(p)))
		report_free(c, p);
	memset(p, 0, c->size);
	heap_link_set(c, p, l->head);
	l->head = p;
	l->n++;
}

/* ---- The probe --------------------------------------------------------------------------------- */

/* A slab of a cache of its own, which nobody else uses: 16 objects in one frame. */
#define TRIAL_SIZE  256u
#define TRIAL_COUNT (PAGE_SIZE / TRIAL_SIZE)

static struct slab_cache *trial ro_after_init;

void
heap_probe_init(void)
{
	trial = slab_create("heap-probe", TRIAL_SIZE, 64);
}

struct findings {
	bool linked;   /* a free object's first word is no pointer to an object */
	bool zeroed;   /* the rest of it is zero */
	bool once;     /* freeing it again, or from its middle, would be refused */
	bool shuffled; /* a slab's objects do not come in the order of their addresses */
};

static void
look_at_free_object(const uint64_t *o, struct findings *f)
{
	uint64_t rest = 0;

	for (unsigned i = 1; i < TRIAL_SIZE / 8; i++)
		rest |= READ_ONCE(o[i]);
	f->zeroed = rest == 0;
	f->linked = o[0] != 0 && page_lookup((void *)o[0]) == NULL;
	/* What free would ask. The answer "no" changes nothing. */
	f->once = heap_in_use && !mark_free(o) && !mark_free(o + 2);
}

/* Empties a slab and fills it again, the other way round, so that the next probe finds it as it was. */
static bool
try_slab(struct findings *f)
{
	uint64_t *o[TRIAL_COUNT];
	unsigned n = 0;

	while (n < TRIAL_COUNT && (o[n] = slab_alloc(trial)) != NULL) {
		memset(o[n], 0xa5, TRIAL_SIZE);
		f->shuffled |= n > 0 && o[n] < o[n - 1];
		n++;
	}
	for (unsigned i = n; i-- > 0;)
		slab_free(trial, o[i]);
	if (n == TRIAL_COUNT)
		look_at_free_object(o[0], f);
	return n == TRIAL_COUNT;
}

static enum harden_state
probe(char *how, size_t size)
{
	static struct spinlock lock;
	struct findings f = {0};
	irqstate_t s = spin_lock_irq(&lock);
	bool tried = try_slab(&f);

	spin_unlock_irq(&lock, s);
	if (!tried) {
		snprintf(how, size, "no memory for the probe");
		return HARDEN_OFF;
	}
	snprintf(how, size, "links %s, second free %s, order %s, freed objects %s",
		 f.linked ? "encoded" : "plain", f.once ? "refused" : "taken",
		 f.shuffled ? "random" : "ascending", f.zeroed ? "zeroed" : "kept");
	return f.linked && f.once && f.shuffled && f.zeroed ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation heap_row = {
	"heap", "free objects' links are encoded, each is freed once and zeroed", probe};
