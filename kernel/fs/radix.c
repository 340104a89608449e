/*
 * A radix tree: which page of a file is where.
 */
#include "kernel/fs/radix.h"
#include "kernel/errno.h"
#include "kernel/mm/heap.h"

#define BITS  6u
#define SLOTS (1u << BITS)

struct radix_node {
	void *slot[SLOTS];
	unsigned used;
};

static bool
fits(const struct radix *r, uint64_t index)
{
	return r->height * BITS >= 64 || index >> (r->height * BITS) == 0;
}

static unsigned
slot_of(uint64_t index, unsigned level)
{
	return (unsigned)(index >> (level * BITS)) & (SLOTS - 1);
}

void *
radix_get(const struct radix *r, uint64_t index)
{
	void *p = r->root;

	if (!fits(r, index))
		return NULL;
	for (unsigned level = r->height; level-- > 0 && p;)
		p = ((struct radix_node *)p)->slot[slot_of(index, level)];
	return p;
}

int
radix_set(struct radix *r, uint64_t index, void *p)
{
	struct radix_node *n;

	while (!r->root || !fits(r, index)) {
		n = kzalloc(sizeof(*n));
		if (!n)
			return -ENOMEM;
		if (r->root) {
			n->slot[0] = r->root;
			n->used = 1;
		}
		r->root = n;
		r->height++;
	}
	n = r->root;
	for (unsigned level = r->height - 1; level > 0; level--) {
		void **s = &n->slot[slot_of(index, level)];

		if (!*s) {
			*s = kzalloc(sizeof(*n));
			if (!*s)
				return -ENOMEM; /* empty nodes above do no harm */
			n->used++;
		}
		n = *s;
	}
	n->slot[slot_of(index, 0)] = p;
	n->used++;
	return 0;
}

void *
radix_remove(struct radix *r, uint64_t index)
{
	struct radix_node *path[64 / BITS + 1], *n = r->root;
	void *p;

	if (!n || !fits(r, index))
		return NULL;
	for (unsigned level = r->height - 1; level > 0; level--) {
		path[level] = n;
		n = n->slot[slot_of(index, level)];
		if (!n)
			return NULL;
	}
	path[0] = n;
	p = n->slot[slot_of(index, 0)];
	if (!p)
		return NULL;
	for (unsigned level = 0; level < r->height; level++) {
		n = path[level];
		n->slot[slot_of(index, level)] = NULL;
		if (--n->used)
			return p;
		kfree(n);
	}
	r->root = NULL;
	r->height = 0;
	return p;
}

/* The first entry at or after *index below n, whose slots stand at the given level. */
static void *
next_below(const struct radix_node *n, unsigned level, uint64_t *index)
{
	unsigned first = slot_of(*index, level);

	for (unsigned i = first; i < SLOTS; i++) {
		uint64_t below = ~(~0ull << (level * BITS));
		void *p = n->slot[i];

		if (!p)
			continue;
		if (i != first) /* a later subtree: from its beginning */
			*index = (*index & ~(below | (uint64_t)(SLOTS - 1) << (level * BITS))) |
				 (uint64_t)i << (level * BITS);
		if (level == 0)
			return p;
		p = next_below(p, level - 1, index);
		if (p)
			return p;
		*index |= below; /* nothing more in this subtree; the next slot sets it anew */
	}
	return NULL;
}

void *
radix_next(const struct radix *r, uint64_t *index)
{
	if (!r->root || !fits(r, *index))
		return NULL;
	return next_below(r->root, r->height - 1, index);
}

static void
free_below(struct radix_node *n, unsigned level)
{
	for (unsigned i = 0; level > 0 && i < SLOTS; i++)
		if (n->slot[i])
			free_below(n->slot[i], level - 1);
	kfree(n);
}

void
radix_free(struct radix *r)
{
	if (r->root)
		free_below(r->root, r->height - 1);
	*r = (struct radix){0};
}
