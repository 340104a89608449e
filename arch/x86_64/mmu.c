/*
 * Translation tables: 4-level paging (SDM 3A 4.5).  All roots share the kernel half's top-level
 * entries, which are made once, here; but those that user mode runs on have one of them alone.
 * What is done with tables whatever their entries mean stands in arch/tables.c.
 *
 * Kernel half:  the direct map (RW-, never executable; the image's text and rodata R--),
 *               the stack area, the image (text R-X, rodata R--, data RW-), and the entry area.
 */
#include "arch/tables.h"
#include "kernel/errno.h"
#include "kernel/harden/harden.h"
#include "kernel/harden/ro_pgtable.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/page.h"
#include "kernel/proc/call.h"
#include "kernel/proc/thread.h"
#include "cpu.h"

struct arch_pt kernel_pt;
uint64_t x86_user_nx ro_after_init = PTE_NX;
uint64_t x86_kernel_global ro_after_init = PTE_G;

#define FLUSH_BY_PAGE_MAX 32 /* beyond it the whole address space is flushed */

/* The entry for va in the table of the given level, NULL if a level above is missing. */
static const uint64_t *
find_entry(paddr_t root, uint64_t va, unsigned level)
{
	const uint64_t *table = phys_to_virt(root);

	for (unsigned l = 4; l > level; l--) {
		uint64_t e = table[INDEX(va, l)];

		if (!(e & PTE_P))
			return NULL;
		table = table_at(e);
	}
	return &table[INDEX(va, level)];
}

/* [In a window] Makes e, va's entry of level l, lead to new tables.  The user half is that of both roots. */
static void
link_tables(const uint64_t *e, uint64_t va, unsigned l, uint64_t v)
{
	set_entry(e, v);
	if (l == 4 && va < USER_END)
		set_entry(e + ENTRIES, v);
}

int
make_tables(const uint64_t *e, uint64_t va, unsigned l, unsigned level)
{
	unsigned n = l - level;
	uint64_t bits = PTE_P | PTE_W | (va < USER_END ? PTE_U : 0);
	struct table_window w;
	paddr_t frames[3];
	int err = pgtable_alloc_all(frames, n);

	if (err)
		return err;
	w = table_window_open();
	for (unsigned i = n; i-- > 0;) { /* whole before it is linked */
		memset(table_writable(phys_to_virt(frames[i])), 0, PAGE_SIZE);
		if (i + 1 < n)
			set_entry((uint64_t *)phys_to_virt(frames[i]) + INDEX(va, l - 1 - i),
				  frames[i + 1].v | bits);
	}
	link_tables(e, va, l, frames[0].v | bits);
	table_window_close(w);
	return 0;
}

/* ---- The first tables: 2 MiB pages in tables of the image, on physical addresses until the end ---- */

static uint64_t
boot_link(unsigned table)
{
	return (uint64_t)boot_tables[table] | PTE_P | PTE_W;
}

/* The image where it goes: text R-X, the rest RW- (rodata too: it is not relocated yet). */
static void
early_map_image(void)
{
	struct boot_range image = arch_kernel_image();
	uint64_t va = ARCH_IMAGE_LINK + image_slide, *pd = boot_tables[BOOT_PD_IMAGE];

	boot_tables[BOOT_PML4][INDEX(va, 4)] = boot_link(BOOT_PDPT_IMAGE);
	boot_tables[BOOT_PDPT_IMAGE][ENTRIES - 2] = boot_link(BOOT_PD_IMAGE);
	boot_tables[BOOT_PDPT_IMAGE][ENTRIES - 1] = boot_link(BOOT_PD_IMAGE + 1);
	for (uint64_t at = 0; at < image.size; at += LEVEL_SIZE(2))
		pd[(va + at) >> LEVEL_SHIFT(2) & (2 * ENTRIES - 1)] =
			(image.base.v + at) | PTE_P | PTE_PS | (at ? PTE_W | PTE_NX : 0);
}

/* Physical memory below 4 GiB: the tables of the low half once more, and nothing executable. */
static void
early_map_direct(void)
{
	unsigned first = INDEX(direct_map_base, 4);

	for (unsigned i = 0; i < 4; i++) {
		uint64_t va = direct_map_base + i * LEVEL_SIZE(3);
		unsigned table = BOOT_PDPT_DIRECT + (INDEX(va, 4) - first);

		boot_tables[BOOT_PML4][INDEX(va, 4)] = boot_link(table);
		boot_tables[table][INDEX(va, 3)] = boot_link(BOOT_PD_LOW + i) | PTE_NX;
	}
}

void
x86_early_map(void)
{
	early_map_image();
	early_map_direct();
}

void
x86_early_unmap(void)
{
	boot_tables[BOOT_PML4][0] = 0;
	x86_write_cr3(x86_read_cr3());
}

/* ---- The kernel half, at start-up ---- */

/* The tables on which the other CPUs turn on paging: made in time for an address of 32 bits. */
static paddr_t bringup_root ro_after_init;

/* Maps [va, va + size) to pa in the largest pages that fit. */
static void
map_kernel(uint64_t va, uint64_t pa, uint64_t size, unsigned prot)
{
	uint64_t bits = x86_pte_bits(prot);

	while (size) {
		bool large = IS_ALIGNED(va | pa, LEVEL_SIZE(2)) && size >= LEVEL_SIZE(2);
		uint64_t step = large ? LEVEL_SIZE(2) : PAGE_SIZE;
		const uint64_t *e;

		if (make_entry(kernel_pt.root, va, large ? 2 : 1, &e))
			panic("mmu: no memory for the kernel's tables");
		set_entry(e, pa | bits | (large ? PTE_PS : 0)); /* start-up alone: no window yet */
		va += step;
		pa += step;
		size -= step;
	}
}

/* Splits the 2 MiB page at va, so that its 4 KiB pages can differ. */
static void
split_large(uint64_t va)
{
	const uint64_t *e = find_entry(kernel_pt.root, va, 2), *table;
	uint64_t old = *e;
	struct table_window w;
	paddr_t frame;

	if (!(old & PTE_PS))
		return;
	if (pgtable_alloc(0, &frame))
		panic("mmu: no memory for the kernel's tables");
	table = phys_to_virt(frame);
	w = table_window_open();
	for (unsigned i = 0; i < ENTRIES; i++)
		set_entry(&table[i], (old & ~PTE_PS) + i * PAGE_SIZE);
	set_entry(e, frame.v | PTE_P | PTE_W);
	table_window_close(w);
}

/* Sets the permissions of present kernel mappings. */
static void
protect_kernel(uint64_t va, uint64_t size, unsigned prot)
{
	for (uint64_t end = va + size; va < end; va += PAGE_SIZE) {
		const uint64_t *e;

		split_large(va);
		e = find_entry(kernel_pt.root, va, 1);
		write_entry(e, (*e & PTE_FRAME) | x86_pte_bits(prot));
		x86_invlpg(va);
	}
}

static uint64_t
image_phys(const char *p)
{
	return KERNEL_LOAD_BASE + (uint64_t)(p - __image_start);
}

static void
map_section(const char *start, const char *end, unsigned prot)
{
	map_kernel((uint64_t)start, image_phys(start), (uint64_t)(end - start), prot);
}

static uint64_t
direct(uint64_t pa)
{
	return direct_map_base + pa;
}

/* One decision for every permission of the kernel's own pages: row wx. */
static unsigned
kernel_prot(unsigned prot)
{
	if (harden_wanted(HARDEN_WX))
		return prot;
	return PROT_READ | PROT_WRITE | PROT_EXEC;
}

void
arch_table_block(paddr_t block)
{
	const uint64_t *e = find_entry(kernel_pt.root, direct(block.v), 2);
	struct table_window w = table_window_open();

	set_entry(e, block.v | x86_pte_bits(pgtable_prot()) | PTE_PS);
	table_window_add(block);
	table_window_close(w);
}

/*
 * An address space has a pair of roots, 8 KiB aligned to their size: the kernel's, which maps all, and
 * above it user mode's, whose kernel half is the entry area alone (row kpti).
 */
static void
make_roots(const uint64_t *pair, const uint64_t *kernel)
{
	unsigned entry = INDEX(ENTRY_AREA_BASE, 4);
	struct table_window w = table_window_open();
	uint64_t *to = table_writable(pair);

	memset(to, 0, PAGE_SIZE / 2);
	memcpy(to + ENTRIES / 2, kernel + ENTRIES / 2, PAGE_SIZE / 2);
	memset(to + ENTRIES, 0, PAGE_SIZE);
	to[ENTRIES + entry] = kernel[entry];
	table_window_close(w);
}

/* Whether the TLB may keep the kernel's translations when CR3 changes: not on the way to user mode. */
static uint64_t
kernel_global(void)
{
	return harden_wanted(HARDEN_KPTI) ? 0 : PTE_G;
}

/* What CR3 is in user mode. */
static uint64_t
user_root(const struct arch_pt *pt)
{
	return pt->root.v + (harden_wanted(HARDEN_KPTI) ? PAGE_SIZE : 0);
}

static void
map_entry_area(void)
{
	map_kernel(ENTRY_AREA_BASE, image_phys((const char *)x86_idt), PAGE_SIZE, PROT_READ);
	for (unsigned i = 0; i < MAX_CPUS; i++) {
		uint64_t va = x86_entry_area(i);
		uint64_t size = (uint64_t)(__entry_text_end - __entry_text_start);

		map_kernel(va, image_phys(__entry_text_start), size,
			   kernel_prot(PROT_READ | PROT_EXEC));
		map_kernel(va + size, image_phys((const char *)&x86_entry_data[i]), PAGE_SIZE,
			   kernel_prot(PROT_READ | PROT_WRITE));
	}
}

static void
map_image(void)
{
	uint64_t text_size = (uint64_t)(__text_end - __text_start);
	uint64_t rodata_size = (uint64_t)(__rodata_end - __rodata_start);

	map_section(__text_start, __text_end, kernel_prot(PROT_READ | PROT_EXEC));
	map_section(__rodata_start, __rodata_end, kernel_prot(PROT_READ));
	map_section(__ro_after_init_start, __ro_after_init_end,
		    kernel_prot(PROT_READ | PROT_WRITE));
	map_section(__vdso_start, __vdso_end, kernel_prot(PROT_READ));
	map_section(__data_start, __data_end, kernel_prot(PROT_READ | PROT_WRITE));

	/* Text and rodata have a second address in the direct map; so has the bring-up code. */
	protect_kernel(direct(image_phys(__text_start)), text_size, kernel_prot(PROT_READ));
	/* Each alone: GRUB may have put an initramfs between them, and then that is memory like other. */
	protect_kernel(direct(image_phys(__rodata_start)), rodata_size, kernel_prot(PROT_READ));
	protect_kernel(direct(image_phys(__vdso_start)), (uint64_t)(__vdso_end - __vdso_start),
		       kernel_prot(PROT_READ));
	protect_kernel(direct(TRAMPOLINE_CODE), PAGE_SIZE, kernel_prot(PROT_READ));
}

void
arch_vm_init(void)
{
	const uint64_t *e, *root;

	if (!harden_wanted(HARDEN_NX))
		x86_user_nx = 0;
	x86_kernel_global = kernel_global();
	if (pgtable_alloc(1, &kernel_pt.root) || pgtable_alloc(1, &bringup_root))
		panic("mmu: no memory for the kernel's tables");
	root = phys_to_virt(kernel_pt.root);
	memset(phys_to_virt(kernel_pt.root), 0, PAGE_SIZE);
	for (unsigned i = 0; i < boot_info.nram; i++) {
		struct boot_range *r = &boot_info.ram[i];

		map_kernel(direct(r->base.v), r->base.v, r->size,
			   kernel_prot(PROT_READ | PROT_WRITE));
	}
	map_kernel(direct(acpi_info.lapic), acpi_info.lapic, PAGE_SIZE,
		   PROT_READ | PROT_WRITE | PROT_DEVICE);
	if (acpi_info.ioapic)
		map_kernel(direct(acpi_info.ioapic), acpi_info.ioapic, PAGE_SIZE,
			   PROT_READ | PROT_WRITE | PROT_DEVICE);

	map_image();

	/* Make the stack area's top-level entries now: every root copies them. */
	if (make_entry(kernel_pt.root, kstack_area_base, 3, &e) ||
	    make_entry(kernel_pt.root, kstack_area_base + KSTACK_AREA_SIZE - 1, 3, &e))
		panic("mmu: no memory for the kernel's tables");
	map_entry_area();
	make_roots(root, root);
	table_window_init();
	pgtable_seal_early();
	arch_pt_activate(&kernel_pt);
	table_window_ready();

	/* From here on the processor finds them there. */
	x86_entry_area_ready();
	x86_idt_init(x86_entry_text(&cpus[0], x86_vectors));
	x86_entry_init(&cpus[0]);
	x86_cpu_init(&cpus[0]);
}

/* Start-up's code writes control registers without a check (row pin). */
static void
retire_start_up(void)
{
	protect_kernel((uint64_t)__text_start, (uint64_t)(__text_boot_end - __text_start), PROT_READ);
	arch_tlb_flush(&kernel_pt, (uint64_t)__text_start, (uint64_t)__text_boot_end);
}

void
arch_protect_init_data(void)
{
	uint64_t size = (uint64_t)(__ro_after_init_end - __ro_after_init_start);

	retire_start_up();
	protect_kernel((uint64_t)__ro_after_init_start, size, kernel_prot(PROT_READ));
	protect_kernel(direct(image_phys(__ro_after_init_start)), size, kernel_prot(PROT_READ));
	arch_tlb_flush(&kernel_pt, (uint64_t)__ro_after_init_start,
		       (uint64_t)__ro_after_init_end);
	arch_tlb_flush(&kernel_pt, direct(image_phys(__ro_after_init_start)),
		       direct(image_phys(__ro_after_init_end)));
}

paddr_t
x86_bringup_begin(void)
{
	const uint64_t *e;

	make_roots(phys_to_virt(bringup_root), phys_to_virt(kernel_pt.root));
	if (make_entry(bringup_root, TRAMPOLINE_CODE, 1, &e) || bringup_root.v >> 32)
		panic("mmu: no memory to start the other CPUs");
	write_entry(e, TRAMPOLINE_CODE | PTE_P);
	write_entry(e + 1, TRAMPOLINE_DATA | PTE_P | PTE_W | PTE_NX);
	return bringup_root;
}

void
x86_walk_kernel_half(paddr_t top, void (*fn)(void *arg, uint64_t va, uint64_t size, paddr_t pa, unsigned prot),
		     void *arg)
{
	const uint64_t *root = phys_to_virt(top);

	for (unsigned i = ENTRIES / 2; i < ENTRIES; i++) {
		uint64_t va = 0xffff000000000000ul | (uint64_t)i << LEVEL_SHIFT(4);

		if (root[i] & PTE_P)
			walk_tables(table_at(root[i]), 3, va, fn, arg);
	}
}

void
arch_kernel_walk(void (*fn)(void *arg, uint64_t va, uint64_t size, paddr_t pa, unsigned prot),
		 void *arg)
{
	x86_walk_kernel_half(kernel_pt.root, fn, arg);
}

struct boot_range
arch_kernel_text(void)
{
	return (struct boot_range){PADDR(image_phys(__text_start)),
				   (uint64_t)(__text_end - __text_start)};
}

/* ---- Address spaces ---- */

int
arch_pt_create(struct arch_pt *pt)
{
	int err = pgtable_alloc(1, &pt->root);

	if (err)
		return err;
	make_roots(phys_to_virt(pt->root), phys_to_virt(kernel_pt.root));
	pt->cpus = 0;
	return 0;
}

/* An idle CPU may still have the tables loaded: it runs on whatever was there. */
static void
leave_lazy(void *arg)
{
	struct arch_pt *pt = arg;

	if (this_cpu()->pt == pt)
		arch_pt_activate(&kernel_pt);
}

void
arch_pt_destroy(struct arch_pt *pt)
{
	uint64_t lazy = __atomic_load_n(&pt->cpus, __ATOMIC_ACQUIRE);

	if (lazy)
		run_on_cpus(lazy, leave_lazy, pt);
	assert(pt->cpus == 0);
	free_tables(phys_to_virt(pt->root), 4, ENTRIES / 2);
	pgtable_free(pt->root, 1);
	pt->root = PADDR(0);
}

/* A CPU that answers too late finds no tables: the root stays, empty. */
void
x86_bringup_end(void)
{
	struct table_window w;

	free_tables(phys_to_virt(bringup_root), 4, ENTRIES / 2);
	w = table_window_open();
	memset(table_writable(phys_to_virt(bringup_root)), 0, 2 * PAGE_SIZE);
	table_window_close(w);
}

int
arch_pt_map(struct arch_pt *pt, uint64_t va, pte_t pte)
{
	const uint64_t *e;
	int err = make_entry(pt->root, va, 1, &e);

	if (!err)
		write_entry(e, pte.v);
	return err;
}

static void
load_tables(struct arch_pt *pt)
{
	irqstate_t s = arch_irq_save();
	struct cpu *c = this_cpu();
	struct arch_pt *old = c->pt; /* read here: a flush may make the CPU leave it until then */

	/* The bit first: a flush that does not see it is one that this load makes needless. */
	__atomic_fetch_or(&pt->cpus, BIT(c->number), __ATOMIC_SEQ_CST);
	c->pt = pt;
	x86_pcid_activate(pt->root.v, user_root(pt));
	if (old && old != pt)
		__atomic_fetch_and(&old->cpus, ~BIT(c->number), __ATOMIC_SEQ_CST);
	arch_irq_restore(s);
}

void
arch_pt_activate(struct arch_pt *pt)
{
	if (this_cpu()->pt != pt) /* an idle CPU has kept it, and forgot what it was told to */
		load_tables(pt);
}

/* ---- TLB ---- */

struct flush_range {
	struct arch_pt *pt;
	uint64_t start, end;
};

static void
flush_here(void *arg)
{
	const struct flush_range *r = arg;
	bool kernel = r->pt == &kernel_pt;

	if (!kernel && this_cpu()->pt != r->pt)
		return;
	if (!kernel && !current->vm) { /* kept out of laziness: the next flushes need not come here */
		arch_pt_activate(&kernel_pt);
		return;
	}
	if (r->end - r->start <= FLUSH_BY_PAGE_MAX * PAGE_SIZE) {
		for (uint64_t va = r->start; va < r->end; va += PAGE_SIZE)
			x86_pcid_forget_page(va);
	} else if (kernel) { /* global pages go when CR4.PGE changes (SDM 3A 4.10.4.1) */
		uint64_t cr4 = x86_read_cr4();

		x86_write_cr4(cr4 & ~CR4_PGE);
		x86_write_cr4(cr4);
	} else {
		x86_pcid_forget_all();
	}
}

void
arch_tlb_flush(struct arch_pt *pt, uint64_t start, uint64_t end)
{
	struct flush_range r = {pt, start, end};
	uint64_t cpus_mask;

	/* The table writes before this call are visible before the mask is read. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	cpus_mask = pt == &kernel_pt ? x86_cpus_online()
				     : __atomic_load_n(&pt->cpus, __ATOMIC_SEQ_CST);
	run_on_cpus(cpus_mask, flush_here, &r);
}

void
arch_tlb_flush_local(uint64_t va)
{
	x86_pcid_forget_page(va);
}
