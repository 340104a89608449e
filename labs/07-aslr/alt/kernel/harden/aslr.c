/*
 * aslr
 *
 * Threat:    Whoever bends a program's flow knows from his own copy of it where everything lies.
 * Property:  Each exec places every part anew, and independently.
 * Mechanism: One region from the top down: each part lies a drawn distance below room that is left for the
 *            one before, the program a drawn distance above its usual base.  A draw a part.
 * Limit:     What two leaked parts are apart tells what was drawn between them, and no more.
 * Check:     make grade; attack aslr.
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"
#include "kernel/lib/string.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/thread.h"

#define GIB	   (1ul << 30)
#define DRAW_PAGES (1ul << 28)
#define STACK_ROOM (1ul << 43)

_Static_assert(USER_END - PAGE_SIZE - 3 * (DRAW_PAGES * PAGE_SIZE) - STACK_ROOM - DRAW_PAGES * ARCH_ELF_ALIGN -
		       64 * GIB > ARCH_PIE_BASE + DRAW_PAGES * ARCH_ELF_ALIGN + 1024 * GIB, "they meet");

static void
usual_places(struct exec_layout *l)
{
	uint64_t room = MIN(MAX(rlimit(RLIMIT_STACK), 128ul << 20), USER_END / 6 * 5);

	memset(l, 0, sizeof(*l));
	l->stack_top = USER_END - PAGE_SIZE;
	l->mmap_top = ALIGN_DOWN(USER_END - room - (1ul << 20), PAGE_SIZE);
	l->pie = ARCH_PIE_BASE;
}

/* One of n places of that size. */
static uint64_t
one_of(uint64_t n, uint64_t size)
{
	return random_below(n) * size;
}

void
aslr_layout(struct exec_layout *l, bool fixed)
{
	uint64_t at = USER_END - PAGE_SIZE;

	if (fixed || !harden_wanted(HARDEN_ASLR)) {
		usual_places(l);
		return;
	}
	at -= one_of(DRAW_PAGES * PAGE_SIZE / 16, 16);
	l->stack_top = at;
	at = ALIGN_DOWN(at, PAGE_SIZE) - STACK_ROOM - one_of(DRAW_PAGES, PAGE_SIZE);
	l->vdso = at;
	at = ALIGN_DOWN(at - 16 * GIB, ARCH_ELF_ALIGN) - one_of(DRAW_PAGES, ARCH_ELF_ALIGN);
	l->interpreter = at;
	at -= 16 * GIB + one_of(DRAW_PAGES, PAGE_SIZE);
	l->mmap_top = at;
	l->pie = ARCH_PIE_BASE + one_of(DRAW_PAGES, ARCH_ELF_ALIGN);
	l->brk_gap = one_of(1ul << 18, PAGE_SIZE);
}

/* ---- /proc/harden: does anything of four layouts come twice? ---- */

#define TRIES 4

static bool
same_part(const struct exec_layout *a, const struct exec_layout *b)
{
	return a->stack_top == b->stack_top || a->mmap_top == b->mmap_top || a->interpreter == b->interpreter ||
	       a->vdso == b->vdso || a->pie == b->pie;
}

static enum harden_state
probe(char *how, size_t size)
{
	struct exec_layout l[TRIES];
	unsigned same = 0;

	for (unsigned i = 0; i < TRIES; i++) {
		aslr_layout(&l[i], false);
		for (unsigned j = 0; j < i; j++)
			same += same_part(&l[i], &l[j]);
	}
	snprintf(how, size, "of %u layouts %u pairs have a part in the same place", TRIES, same);
	return same ? HARDEN_OFF : HARDEN_ON;
}

const struct mitigation aslr_row = {"aslr", "each program's parts lie elsewhere at each exec", probe};
