/*
 * Translation tables, whatever their entries mean (tables.h): reading, walking, changing and freeing them.
 */
#include "arch/tables.h"
#include "kernel/errno.h"
#include "kernel/harden/ro_pgtable.h"
#include "kernel/lib/print.h"
#include "kernel/mm/page.h"

void
write_entry(const uint64_t *e, uint64_t v)
{
	struct table_window w = table_window_open();

	set_entry(e, v);
	table_window_close(w);
}

void
walk_tables(const uint64_t *table, unsigned level, uint64_t va,
	    void (*fn)(void *arg, uint64_t va, uint64_t size, paddr_t pa, unsigned prot), void *arg)
{
	for (unsigned i = 0; i < ENTRIES; i++, va += LEVEL_SIZE(level)) {
		uint64_t e = table[i];

		if (!entry_valid(e))
			continue;
		if (level > 1 && entry_is_table(e))
			walk_tables(table_at(e), level - 1, va, fn, arg);
		else
			fn(arg, va, LEVEL_SIZE(level), pte_paddr((pte_t){e}), pte_prot((pte_t){e}));
	}
}

/* Tables are sparse: most of their entries are passed over in eights. */
static bool
eight_are_empty(const uint64_t *e)
{
	return !(e[0] | e[1] | e[2] | e[3] | e[4] | e[5] | e[6] | e[7]);
}

void
free_tables(const uint64_t *table, unsigned level, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (i % 8 == 0 && eight_are_empty(&table[i])) {
			i += 7;
			continue;
		}
		if (!entry_valid(table[i]))
			continue;
		if (level > 2)
			free_tables(table_at(table[i]), level - 1, ENTRIES);
		pgtable_free(pte_paddr((pte_t){table[i]}), 0);
	}
}

/* In the root's frame; start-up's tables, which have no frames yet, nobody asks for. */
void
count_tables(paddr_t root, unsigned n)
{
	if (likely(pages))
		WRITE_ONCE(page_of(root)->private[0], page_of(root)->private[0] + n);
}

uint64_t
arch_pt_tables(const struct arch_pt *pt)
{
	return READ_ONCE(page_of(pt->root)->private[0]);
}

/* ---- Leaves ---- */

pte_t
arch_pt_get(struct arch_pt *pt, uint64_t va)
{
	paddr_t root = root_of(pt, va);
	const uint64_t *table = phys_to_virt(root);
	uint64_t e;

	if (!root.v)
		return pte_none();
	for (unsigned l = 4;; l--) {
		e = table[INDEX(va, l)];
		if (l == 1)
			return (pte_t){e};
		if (!entry_valid(e))
			return pte_none();
		if (!entry_is_table(e)) /* kernel only */
			return entry_piece(e, va & (LEVEL_SIZE(l) - 1) & ~PAGE_MASK);
		table = table_at(e);
	}
}

int
arch_pt_map_all(struct arch_pt *pt, const struct pt_leaf *leaves, unsigned n)
{
	const uint64_t *entries[PT_BATCH] __attribute__((uninitialized));
	struct table_window w;

	assert(n <= PT_BATCH);
	for (unsigned i = 0; i < n; i++) {
		int err = make_entry(root_of(pt, leaves[i].va), leaves[i].va, 1, &entries[i]);

		if (err)
			return err;
		leaf_comes(leaves[i].pte);
	}
	__atomic_thread_fence(__ATOMIC_RELEASE); /* what the frames hold before the way to them */
	w = table_window_open();
	for (unsigned i = 0; i < n; i++)
		set_entry(entries[i], leaves[i].pte.v);
	table_window_close(w);
	return 0;
}

/* Entries and what they become. */
struct changes {
	unsigned n;
	const uint64_t *entries[PT_BATCH];
	uint64_t values[PT_BATCH];
};

static void
make_changes(const struct changes *c)
{
	struct table_window w;

	if (c->n == 0)
		return;
	w = table_window_open();
	for (unsigned i = 0; i < c->n; i++)
		set_entry(c->entries[i], c->values[i]);
	table_window_close(w);
}

uint64_t
arch_pt_update_some(struct arch_pt *pt, uint64_t start, uint64_t end,
		    pte_t (*fn)(void *arg, uint64_t va, pte_t old), void *arg)
{
	struct changes c __attribute__((uninitialized));
	paddr_t root = root_of(pt, start);
	uint64_t va = start;

	c.n = 0;
	while (va < end && c.n < PT_BATCH) {
		const uint64_t *table = phys_to_virt(root);
		unsigned l;

		for (l = 4; l > 1; l--) {
			uint64_t e = table[INDEX(va, l)];

			if (!entry_valid(e))
				break;
			table = table_at(e);
		}
		if (l > 1) { /* nothing below this entry */
			va = ALIGN_DOWN(va, LEVEL_SIZE(l)) + LEVEL_SIZE(l);
			continue;
		}
		do {
			pte_t old = {table[INDEX(va, 1)]}, new;

			if (pte_present(old)) {
				new = fn(arg, va, old);
				if (!pte_equal(new, old)) {
					leaf_comes(new);
					c.entries[c.n] = &table[INDEX(va, 1)];
					c.values[c.n++] = new.v;
				}
			}
			va += PAGE_SIZE;
		} while (va < end && INDEX(va, 1) && c.n < PT_BATCH);
	}
	make_changes(&c);
	return MIN(va, end);
}
