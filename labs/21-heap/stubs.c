/* The starter's code: it works, and believes whatever it reads and is given.  Sections as cut names them. */

/* ==== kernel/harden/heap.c ==== */

/*
 * heap
 *
 * Threat:    A bug frees an object twice, or writes to a freed one.  Free objects hold the allocator's
 *            links: who chooses one chooses where the kernel puts its next object (CWE-415, CWE-416).
 * Property:  Links are unreadable, and damaged ones are noticed before they are followed; nothing but an
 *            object in use can be freed, once; the order of objects in a slab cannot be foretold; an
 *            object is zeroed when it is freed.
 * Mechanism: Yours.
 * Limit:     Yours: what may a stale pointer still do?
 * Check:     make grade; attacks heap, heap-double.
 */
#include "kernel/harden/heap.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/slab.h"
#include "kernel/oops.h"

bool heap_hardened ro_after_init;

/*
 * The allocator asks this file while the row is on: harden=-heap takes it out.
 *
 * To do: do you keep anything beside the objects?  Memory by the frame is to be had here and not later
 * (page_alloc_early), and which memory there is says boot_info.ram.
 */
void
heap_map_init(void)
{
	heap_hardened = harden_wanted(HARDEN_HEAP);
}

/* To do: each new cache asks once, and keeps the answer in c->secret.  Who must not know it? */
uint64_t
heap_secret(void)
{
	return 0;
}

/* To do: the numbers below n, in the order in which a new slab's objects are to be given out; they come descending. */
void
heap_shuffle(uint8_t *order unused, unsigned n unused)
{
}

/* ---- Links ------------------------------------------------------------------------------------- */

/* To do: what may he learn who reads it in a freed object, and who reads it in two? */
void
heap_link_set(const struct slab_cache *c unused, struct object *o, struct object *next)
{
	o->link = (uint64_t)next;
}

/* To do: where may a link lead, and where not? */
bool
heap_link_get(const struct slab_cache *c unused, const struct object *o, struct object **next)
{
	*next = (struct object *)o->link;
	return true;
}

/* ---- Reports ----------------------------------------------------------------------------------- */

noreturn void
heap_report_link(const struct slab_cache *c, const void *o)
{
	oops(NULL, "heap", "%s: the free object at %016lx was written to", c->name, (uint64_t)o);
}

void
heap_report_foreign(const struct slab_cache *c, const void *p)
{
	if (heap_hardened)
		oops(NULL, "heap", "%s: %016lx is freed, and was never allocated there",
		     c ? c->name : "kmalloc", (uint64_t)p);
}

/* ---- A CPU's list ------------------------------------------------------------------------------ */

/* To do: is it free?  What if its link is damaged: what becomes of the list, before you report it? */
struct object *
heap_take(const struct slab_cache *c, struct cpu_list *l)
{
	struct object *o = l->head, *next;

	if (heap_link_get(c, o, &next))
		l->head = next;
	l->n--;
	return o;
}

/* To do: is it an object, and in use?  What does its next owner find in it? */
void
heap_give(const struct slab_cache *c, struct cpu_list *l, void *p)
{
	heap_link_set(c, p, l->head);
	l->head = p;
	l->n++;
}

/* ---- The probe --------------------------------------------------------------------------------- */

/* To do: a cache that nobody else uses (slab_create) is a good place to try things in; see other rows' probes. */
void
heap_probe_init(void)
{
}

static enum harden_state
probe(char *how, size_t size)
{
	snprintf(how, size, "links are plain, and everything is taken back");
	return HARDEN_OFF;
}

const struct mitigation heap_row = {
	"heap", "free objects' links are encoded, each is freed once and zeroed", probe};
