/* The starter's code: it works, and user mode runs on the kernel's own tables.  Sections as cut names them. */

/* ==== arch/x86_64/mmu.c ==== */

/*
 * [In a window] Makes e, va's entry of level l, lead to new tables.
 *
 * To do: tables may be added while the process runs, on this CPU and on others.  Who else has to hear of it?
 */
static void
link_tables(const uint64_t *e, uint64_t va unused, unsigned l unused, uint64_t v)
{
	set_entry(e, v);
}

/*
 * Fills the root of a new address space, which has an empty user half and the kernel half of `kernel`.  There is room
 * for two roots, 8 KiB aligned to their size.
 *
 * To do: what does user mode need of the kernel half, so that the processor can come in?
 */
static void
make_roots(const uint64_t *pair, const uint64_t *kernel)
{
	struct table_window w = table_window_open();
	uint64_t *to = table_writable(pair);

	memset(to, 0, PAGE_SIZE / 2);
	memcpy(to + ENTRIES / 2, kernel + ENTRIES / 2, PAGE_SIZE / 2);
	memset(to + ENTRIES, 0, PAGE_SIZE);
	table_window_close(w);
}

/* To do: global translations outlive a change of CR3 (SDM 3A 4.10.2.4).  harden=-kpti (harden_wanted) keeps them. */
static uint64_t
kernel_global(void)
{
	return PTE_G;
}

/* To do: what CR3 is in user mode.  Without the row it is the root that the kernel runs on. */
static uint64_t
user_root(const struct arch_pt *pt)
{
	return pt->root.v;
}

/* ==== arch/aarch64/kpti.c ==== */

/* To do: each CPU calls it as it comes up.  With CPU_USER_VECTORS set, its way out leads through the trampoline. */
void
arch_kernel_hidden_enable(void)
{
}

/* ==== arch/aarch64/mmu.c ==== */

/* To do: a global entry is of every ASID (ARM D8.12).  harden=-kpti (harden_wanted) leaves them global. */
static uint64_t
kernel_ng(void)
{
	return 0;
}

/*
 * The page behind the kernel's root (a64_user_mode_root) is empty.
 *
 * To do: what does user mode need of the kernel half, so that an exception can be taken?  Where must that be in the
 * kernel's own tables?
 */
static void
make_user_mode_root(void)
{
}
