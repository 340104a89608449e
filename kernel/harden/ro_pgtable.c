/*
 * ro-pgtable
 *
 * Threat:    A kernel write primitive flips one bit of a page-table entry: a file that may be read becomes
 *            one that may be written, a page of the kernel one of the program's.
 * Property:  No mapping that stands writes a page table: none in any root that is loaded while that CPU's
 *            count of windows is 0.
 * Mechanism: Tables come from a pool of 2 MiB blocks that are read-only in the direct map.  They are written
 *            in windows: for a few stores this CPU, interrupts off, loads a root of its own that maps the
 *            pool writable in the low half (arch/NAME/ro_pgtable.c).
 * Limit:     Pointers to tables are data like any other; so is what the kernel is about to write, and code
 *            that opens a window can be jumped to.  Blocks stay in the pool for good: half of memory at most
 *            (page.c); then, or when it is too scattered for another one, a table is not to be had.
 * Check:     grade/tests/test_ro_pgtable.py looks for writable mappings of every table of every address
 *            space, at moments that the seed draws; attack ro-pgtable.
 */
#include "kernel/harden/ro_pgtable.h"

#include "kernel/errno.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/spinlock.h"
#include "kernel/mm/page.h"

#define BLOCK_ORDER  9u
#define BLOCK_FRAMES (1u << BLOCK_ORDER)
#define EARLY_BLOCKS 16u /* the tables of 4 TiB */

/* Pairs, and frames whose neighbour of a pair is in use. */
static struct spinlock lock; /* interrupts off */
static struct list free_lists[2] = {LIST_INIT(free_lists[0]), LIST_INIT(free_lists[1])}; /* [lock] by order */
static uint64_t total, used;								  /* [lock] frames */

/* Start-up's blocks, of the last of which early_used frames are in use. */
static paddr_t early[EARLY_BLOCKS] ro_after_init;
static unsigned nearly ro_after_init, early_used ro_after_init;

unsigned
pgtable_prot(void)
{
	return harden_wanted(HARDEN_RO_PGTABLE) ? PROT_READ : PROT_READ | PROT_WRITE;
}

bool
pgtable_owns(const void *p)
{
	const struct page *frame = pages ? page_lookup(p) : NULL;

	return frame && (frame->flags & PAGE_POOL);
}

/* ---- Start-up: frames in order, and none comes back ---- */

static paddr_t
alloc_early(unsigned order)
{
	unsigned n = 1u << order;
	paddr_t pa;

	early_used = ALIGN_UP(early_used, n); /* what is left out counts as in use */
	if (nearly == 0 || early_used + n > BLOCK_FRAMES) {
		if (nearly == EARLY_BLOCKS)
			panic("pgtable: too much memory for the tables of start-up");
		early[nearly++] = page_alloc_early_aligned(BLOCK_FRAMES, PGTABLE_BLOCK);
		early_used = 0;
	}
	pa = PADDR(early[nearly - 1].v + early_used * PAGE_SIZE);
	early_used += n;
	return pa;
}

void
pgtable_seal_early(void)
{
	for (unsigned i = 0; i < nearly; i++)
		arch_table_block(early[i]);
}

/* ---- The pool ---- */

static void
put_free(struct page *p, unsigned order)
{
	p->refs.n = 0;
	p->type = PAGE_FREE;
	p->order = (uint8_t)order;
	list_push_front(&free_lists[order], &p->link);
}

static struct page *
take_free(unsigned order)
{
	struct page *p;

	if (list_empty(&free_lists[order]))
		return NULL;
	p = list_first(&free_lists[order], struct page, link);
	list_remove(&p->link);
	return p;
}

static void
mark_used(struct page *p, unsigned order)
{
	refcount_init(&p->refs);
	p->type = PAGE_TABLE;
	p->order = (uint8_t)order;
	p->private[0] = 0;
}

/* The frames of a sealed block, but for the first `taken`, can be had from now on. */
static void
add_block(struct page *block, unsigned taken)
{
	irqstate_t s = spin_lock_irq(&lock);

	for (unsigned i = 0; i < BLOCK_FRAMES; i++)
		block[i].flags = PAGE_POOL;
	for (unsigned i = 0; i < taken; i++)
		mark_used(&block[i], 0);
	if (taken % 2)
		put_free(&block[taken], 0);
	for (unsigned i = ALIGN_UP(taken, 2u); i < BLOCK_FRAMES; i += 2) {
		put_free(&block[i], 1);
		block[i + 1].type = PAGE_FREE;
	}
	total += BLOCK_FRAMES;
	used += taken;
	spin_unlock_irq(&lock, s);
}

uint64_t
pgtable_init(void)
{
	for (unsigned i = 0; i < nearly; i++)
		add_block(page_of(early[i]), i + 1 < nearly ? BLOCK_FRAMES : early_used);
	return total;
}

/* One block more.  Its frames become tables only when no CPU can write them by what its TLB remembers. */
static noinline int
grow(void)
{
	struct page *block;
	uint64_t va;
	int err = page_alloc_order(BLOCK_ORDER, PAGE_TABLE, &block);

	if (err)
		return err;
	va = (uint64_t)page_addr(block);
	arch_table_block(page_paddr(block));
	arch_tlb_flush(&kernel_pt, va, va + PGTABLE_BLOCK);
	add_block(block, 0);
	return 0;
}

static struct page *
take(unsigned order)
{
	irqstate_t s = spin_lock_irq(&lock);
	struct page *p = take_free(order);

	if (!p && order == 0 && (p = take_free(1)))
		put_free(p + 1, 0);
	if (p) {
		mark_used(p, order);
		used += 1ul << order;
	}
	spin_unlock_irq(&lock, s);
	return p;
}

int
pgtable_alloc(unsigned order, paddr_t *out)
{
	struct page *p;

	if (!pages) {
		*out = alloc_early(order);
		return 0;
	}
	while (unlikely(!(p = take(order)))) {
		int err = grow();

		if (err)
			return err;
	}
	*out = page_paddr(p);
	return 0;
}

int
pgtable_alloc_all(paddr_t *out, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int err = pgtable_alloc(0, &out[i]);

		if (err) {
			while (i--)
				pgtable_free(out[i], 0);
			return err;
		}
	}
	return 0;
}

void
pgtable_free(paddr_t pa, unsigned order)
{
	struct page *p = page_of(pa), *other = &pages[(uint64_t)(p - pages) ^ 1];
	irqstate_t s = spin_lock_irq(&lock);

	assert(p->type == PAGE_TABLE && p->order == order);
	used -= 1ul << order;
	if (order == 0 && other->type == PAGE_FREE) {
		list_remove(&other->link);
		p->type = PAGE_FREE;
		p = MIN(p, other);
		order = 1;
	}
	put_free(p, order);
	spin_unlock_irq(&lock, s);
}

uint64_t
pgtable_count(void)
{
	return READ_ONCE(used);
}

uint64_t
pgtable_free_count(void)
{
	return READ_ONCE(total) - READ_ONCE(used);
}

/* ---- The row ---- */

/* A writable mapping of the kernel's: does any of it belong to the pool? */
static void
look(void *arg, uint64_t va unused, uint64_t size, paddr_t pa, unsigned prot)
{
	unsigned *writable = arg;

	if (!(prot & PROT_WRITE))
		return;
	for (uint64_t at = pa.v; at < pa.v + size; at += PAGE_SIZE)
		*writable += pgtable_owns(phys_to_virt(PADDR(at)));
}

static enum harden_state
probe(char *how, size_t size)
{
	unsigned writable = 0;

	arch_kernel_walk(look, &writable);
	snprintf(how, size, "%u of %lu frames for page tables are writable where the kernel maps them", writable,
		 READ_ONCE(total));
	return writable ? HARDEN_OFF : HARDEN_ON;
}

const struct mitigation ro_pgtable_row = {
	"ro-pgtable", "page tables are read-only but for the moment of a change", probe};
