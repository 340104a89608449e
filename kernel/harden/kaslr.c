/*
 * kaslr
 *
 * Threat:    Whoever hijacks one kernel pointer must aim it: at a function of the image, at a forged object
 *            in the direct map, at a return address on a stack.  The image is public, so with everything at
 *            the addresses it was linked for, aiming takes no bug at all.
 * Property:  At each start the image, the direct map and the area of kernel stacks lie at addresses that
 *            are drawn apart from one another, and nothing that user mode can read names any of them.
 * Mechanism: Start-up runs at physical addresses, draws a slide and two bases from the random generator
 *            (processor, boot loader, jitter), relocates the image, and only then builds tables.
 * Limit:     About 10 bits for the image and 14 for each base: one leaked address gives one of them away,
 *            and whoever may crash the kernel a thousand times needs no leak.  Memory itself is not moved.
 * Check:     grade/tests/test_kaslr.py: many starts, and what user mode sees in one; attack kaslr.
 */
#include "kernel/harden/kaslr.h"

#include "arch/arch.h"
#include "arch/pte.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"
#include "kernel/mm/page.h"
#include "kernel/proc/thread.h"

/* 2 MiB: as the first tables map the image.  1 GiB: so that large pages stay large. */
#define IMAGE_STEP  (2ul << 20)
#define REGION_STEP (1ul << 30)

/* From first steps to one step below end, each as likely as another. */
static uint64_t
draw(uint64_t first, uint64_t end, uint64_t step)
{
	return (first + random_below(end - first)) * step;
}

/*
 * Each moves so far that nothing is left where it was linked.  The image's end stays below the last 2 MiB,
 * where error pointers are.
 */
void
kaslr_choose(struct layout *l)
{
	uint64_t size = ALIGN_UP(arch_kernel_image().size, IMAGE_STEP) / IMAGE_STEP;

	l->image_slide += draw(size, -ARCH_IMAGE_LINK / IMAGE_STEP - size, IMAGE_STEP);
	l->kstack_area += draw(1, ARCH_REGION_PLACES, REGION_STEP);
	l->direct_map += draw(1, ARCH_REGION_PLACES, REGION_STEP);
}

bool
kaslr_miss(uint64_t addr)
{
	return (image_slide && addr - ARCH_IMAGE_LINK < arch_kernel_image().size) ||
	       (direct_map_base != ARCH_DIRECT_MAP_LINK &&
		addr - ARCH_DIRECT_MAP_LINK < page_count << PAGE_SHIFT) ||
	       (kstack_area_base != ARCH_KSTACK_AREA_LINK &&
		addr - ARCH_KSTACK_AREA_LINK < REGION_STEP);
}

/* True if the tables lead from va, where it was linked to be, to the frame pa. */
static bool
still_at(uint64_t va, paddr_t pa)
{
	pte_t e = arch_pt_get(&kernel_pt, va);

	return pte_present(e) && pte_paddr(e).v == pa.v;
}

/* Whether each lies where it was linked; says nothing of where it is instead, for all may read this. */
static enum harden_state
probe(char *how, size_t size)
{
	paddr_t text = arch_kernel_text().base;
	bool image = still_at(ARCH_IMAGE_LINK, text);
	bool direct = still_at(ARCH_DIRECT_MAP_LINK + text.v, text);
	bool stacks = (uint64_t)current->kstack - ARCH_KSTACK_AREA_LINK < REGION_STEP;

	snprintf(how, size, "%u of 3 (image, direct map, stacks) are at their link addresses",
		 image + direct + stacks);
	return image || direct || stacks ? HARDEN_OFF : HARDEN_ON;
}

const struct mitigation kaslr_row = {
	"kaslr", "the kernel's addresses are drawn anew at each start", probe};
