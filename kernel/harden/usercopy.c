/*
 * usercopy
 *
 * Threat:    The size of a copy is the user's and larger than the object: it leaks the neighbour, or
 *            writes over it (CWE-126, CWE-787).  Or the kernel's pointer is not what it should be.
 * Property:  A copy of variable size stays inside one object of the heap (inside the part of it that its
 *            cache names), one frame on the current stack, one block of frames, or the kernel's data. It
 *            never reads text, tables or free memory, and never writes constants.
 * Mechanism: copy_to_user and copy_from_user ask here first; small questions behind one gate.
 * Limit:     Sizes that the compiler knows are compared with the object's type at build time, if it
 *            knows that; neighbours in one structure are one object; global variables have no bounds.
 * Check:     grade/tests/test_usercopy.py; attacks usercopy, usercopy-write.
 */
#include "kernel/harden/usercopy.h"

#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"
#include "kernel/mm/slab.h"
#include "kernel/oops.h"
#include "kernel/proc/sched.h"

static bool enabled ro_after_init;

extern char __text_start[], __text_end[], __data_start[], __data_end[];

void
usercopy_init(void)
{
	enabled = harden_wanted(HARDEN_USERCOPY);
}

/* Each check returns NULL, or what is wrong, in words. */

static always_inline const char *
check_slab_object(const struct page *page, const void *p, size_t n)
{
	const struct slab_cache *c = slab_cache_of(page);
	size_t off = slab_object_offset(c, p) - c->user_off; /* wraps below the part */

	return off <= c->user_len && n <= c->user_len - off ? NULL : "not in one heap object";
}

static always_inline const char *
check_block(const struct page *page, const void *p, size_t n)
{
	uint64_t size = PAGE_SIZE;
	const char *start = (const char *)ALIGN_DOWN((uint64_t)p, PAGE_SIZE);

	page = heap_big_block(page);
	if (page != NULL) {
		size = PAGE_SIZE << page->order;
		start = page_addr(page);
	}
	return n <= size - (size_t)((const char *)p - start) ? NULL : "not in one block of frames";
}

/* Memory of the direct map, by who owns the frame. */
static always_inline const char *
check_frame(const struct page *page, const void *p, size_t n)
{
	uint64_t left = PAGE_SIZE - ((uint64_t)p & PAGE_MASK);

	switch (page->type) {
	case PAGE_FILE:
	case PAGE_ANON:
		return n <= left ? NULL : "not in one frame";
	case PAGE_SLAB:
		return check_slab_object(page, p, n);
	case PAGE_KERNEL:
		return check_block(page, p, n);
	default: /* reserved: the image's other address */
		return "a free frame, a page table or reserved memory";
	}
}

/*
 * The current kernel stack: [p, p + n) must lie between two frame records that follow one another, so
 * that no return address is in it, and above this function's.
 */
static noinline const char *
check_stack(uint64_t p, size_t n)
{
	uint64_t record = arch_frame_pointer(), top = (uint64_t)arch_user_frame(current), next;

	if (p < record || p >= top)
		return "a part of the stack that is not in use";
	for (;; record = next) {
		next = *(const uint64_t *)record;
		if (next <= record || next >= top || !IS_ALIGNED(next, 8))
			next = top; /* the first function: the user's registers are above */
		if (p < next)
			break;
	}
	return p >= record + 16 && n <= next - p ? NULL : "not in one stack frame";
}

static noinline const char *
check_image(uint64_t p, size_t n, bool to_user)
{
	uint64_t lowest = (uint64_t)(to_user ? __text_end : __data_start);

	if (p < (uint64_t)__text_start || p >= (uint64_t)__data_end)
		return "no memory of the kernel's";
	return p >= lowest && n <= (uint64_t)__data_end - p ? NULL : "kernel text or constants";
}

static always_inline const char *
problem(const void *p, size_t n, bool to_user)
{
	const struct page *page = page_lookup(p);
	uint64_t stack;

	if (likely(page != NULL))
		return check_frame(page, p, n);
	stack = (uint64_t)current->kstack;
	if ((uint64_t)p - stack < KSTACK_SIZE)
		return check_stack((uint64_t)p, n);
	return check_image((uint64_t)p, n, to_user);
}

static noreturn noinline void
usercopy_report(const void *p, size_t n, bool to_user, const char *what)
{
	oops(NULL, "usercopy", "a copy %s user mode of %lu bytes at %016lx: %s",
	     to_user ? "to" : "from", n, (uint64_t)p, what);
}

void
usercopy_check(uint64_t at, size_t n, bool to_user)
{
	const void *p = (const void *)at;
	const char *what;

	if (unlikely(!enabled) || n == 0)
		return;
	what = problem(p, n, to_user);
	if (unlikely(what != NULL))
		usercopy_report(p, n, to_user, what);
}

/* ---- The probe: the gate is asked, and nothing is copied --------------------------------------- */

static noinline bool
refuses(uint64_t p, size_t n, bool to_user)
{
	return enabled && problem((const void *)p, n, to_user) != NULL;
}

static enum harden_state
probe(char *how, size_t size)
{
	char local[64];
	void *object = kmalloc(64);
	uint64_t o = (uint64_t)object, l = (uint64_t)local, t = (uint64_t)__text_start;
	bool legal, heap, stack, text;

	if (object == NULL) {
		snprintf(how, size, "no memory for the probe");
		return HARDEN_OFF;
	}
	legal = !refuses(o, 64, true) && !refuses(l, sizeof(local), false);
	heap = refuses(o, 65, true) && refuses(o + 1, 64, false);
	stack = refuses(l, KSTACK_SIZE / 2, false) && refuses(l - PAGE_SIZE, 8, true);
	text = refuses(t, 8, true) && refuses(t, 8, false);
	kfree(object);
	snprintf(how, size, "a byte too many is %s on the heap, a frame too many %s on the stack, text %s",
		 heap ? "refused" : "copied", stack ? "refused" : "copied",
		 text ? "refused" : "copied");
	return legal && heap && stack && text ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation usercopy_row = {"usercopy", "user copies stay inside one object", probe};
