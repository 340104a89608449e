/* The starter's code: it works, and copies whatever it is asked for.  Sections as cut names them. */

/* ==== kernel/harden/usercopy.c ==== */

/*
 * usercopy
 *
 * Threat:    The size of a copy is the user's and larger than the object: it leaks the neighbour, or
 *            writes over it (CWE-126, CWE-787).  Or the kernel's pointer is not what it should be.
 * Property:  A copy of variable size stays inside one object of the heap (inside the part of it that its
 *            cache names), one frame on the current stack, one block of frames, or the kernel's data. It
 *            never reads text, tables or free memory, and never writes constants.
 * Mechanism: Yours, behind one gate that copy_to_user and copy_from_user ask first.
 * Limit:     Yours: which neighbours does nobody see?
 * Check:     make grade; attacks usercopy, usercopy-write.
 */

/* To do: where does the object begin that p points into, and which part of it may be copied? */
static always_inline const char *
check_slab_object(const struct page *page unused, const void *p unused, size_t n unused)
{
	return NULL;
}

/* To do: kmalloc takes whole frames for what no slab holds.  p may point into any of them; where do they end? */
static always_inline const char *
check_block(const struct page *page unused, const void *p unused, size_t n unused)
{
	return NULL;
}

/* To do: who owns the frame (enum page_type), and which of them are anybody's to copy? */
static always_inline const char *
check_frame(const struct page *page, const void *p, size_t n)
{
	switch (page->type) {
	case PAGE_SLAB:
		return check_slab_object(page, p, n);
	case PAGE_KERNEL:
		return check_block(page, p, n);
	default:
		return NULL;
	}
}

/* To do: what of the stack is in use, and by whom?  What lies between one function's variables and the next one's? */
static noinline const char *
check_stack(uint64_t p unused, size_t n unused)
{
	return NULL;
}

/* To do: text, constants, variables, and nothing at all: which may be read, and which written? */
static noinline const char *
check_image(uint64_t p unused, size_t n unused, bool to_user unused)
{
	return NULL;
}
