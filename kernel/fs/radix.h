/*
 * A radix tree from a 64-bit index to a pointer, 64 slots a node.  The caller locks.  {0} is empty.
 */
#pragma once

#include "kernel/types.h"

struct radix_node;
struct radix {
	struct radix_node *root;
	unsigned height; /* levels; a tree of height h holds indices below 64^h */
};

void *radix_get(const struct radix *r, uint64_t index);
/* index must be empty, p not NULL.  0 or -ENOMEM.  Never sleeps. */
must_use int radix_set(struct radix *r, uint64_t index, void *p);
/* Empties the slot, frees nodes without entries; what was there, or NULL. */
void *radix_remove(struct radix *r, uint64_t index);
/* The first entry at or after *index, which is set to its place; NULL: none. */
void *radix_next(const struct radix *r, uint64_t *index);
/* Frees the nodes, not the entries. */
void radix_free(struct radix *r);
