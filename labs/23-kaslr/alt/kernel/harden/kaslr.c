/*
 * kaslr
 *
 * Threat:    Whoever has the kernel's image has the addresses of all that is in it.
 * Property:  Image, memory and stacks are mapped at random, each for itself.
 * Mechanism: Three windows, and a random number for each; all in steps of the first tables, 2 MiB.
 * Limit:     10 bits for the image, 23 for each of the others, and as many tables more; a leaked address gives
 *            what it is part of away.
 * Check:     grade/tests/test_kaslr.py; attack kaslr.
 */
#include "kernel/harden/kaslr.h"

#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"
#include "kernel/mm/page.h"

#define STEP	    (2ul << 20)
#define WINDOW	    ((uint64_t)ARCH_REGION_PLACES << 30)
#define FIRST_STACK (1ul << 30) /* what of their area is ever used */

/* A number below n, which has 32 bits at most: the upper half of a product is as even as n/2^64 is small. */
static uint64_t
any_of(uint64_t n)
{
	return (uint64_t)((unsigned __int128)random_u64() * n >> 64);
}

static uint64_t
image_pages(void)
{
	return ALIGN_UP(arch_kernel_image().size, STEP) / STEP;
}

/* The image counts from above: its end is at most where the last entry of the first tables begins. */
void
kaslr_choose(struct layout *l)
{
	uint64_t highest = (UINT64_MAX - ARCH_IMAGE_LINK) / STEP - image_pages();
	uint64_t moves = WINDOW / STEP - (1ul << 30) / STEP;

	l->direct_map += (1ul << 30) + any_of(moves) * STEP;
	l->kstack_area += (1ul << 30) + any_of(moves) * STEP;
	l->image_slide = (highest - any_of(highest - image_pages())) * STEP;
}

/* Where something was linked, and is not. */
struct gone {
	uint64_t from, size;
	bool really;
};

static void
what_is_gone(struct gone g[3])
{
	g[0] = (struct gone){ARCH_IMAGE_LINK, arch_kernel_image().size, image_slide != 0};
	g[1] = (struct gone){ARCH_DIRECT_MAP_LINK, page_count * PAGE_SIZE, direct_map_base != ARCH_DIRECT_MAP_LINK};
	g[2] = (struct gone){ARCH_KSTACK_AREA_LINK, FIRST_STACK, kstack_area_base != ARCH_KSTACK_AREA_LINK};
}

bool
kaslr_miss(uint64_t addr)
{
	struct gone g[3];

	what_is_gone(g);
	for (unsigned i = 0; i < ARRAY_LEN(g); i++) {
		if (g[i].really && addr >= g[i].from && addr - g[i].from < g[i].size)
			return true;
	}
	return false;
}

/* Something is mapped in a range. */
static void
find(void *arg, uint64_t va, uint64_t size, paddr_t pa unused, unsigned prot unused)
{
	struct gone *g = arg;

	for (unsigned i = 0; i < 3; i++) {
		if (va < g[i].from + g[i].size && g[i].from < va + size)
			g[i].really = false;
	}
}

static enum harden_state
probe(char *how, size_t size)
{
	struct gone g[3];
	unsigned gone = 0;

	what_is_gone(g);
	arch_kernel_walk(find, g);
	for (unsigned i = 0; i < ARRAY_LEN(g); i++)
		gone += g[i].really;
	snprintf(how, size, "nothing is mapped where %u of 3 parts were linked", gone);
	return gone == ARRAY_LEN(g) ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation kaslr_row = {
	"kaslr", "the kernel's addresses are drawn anew at each start", probe};
