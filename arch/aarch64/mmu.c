/*
 * Translation tables: 4 levels of 4 KiB pages (ARM D8.3).  TTBR1 holds the kernel half, one table for
 * all, and the ASID (asid.c), so that entries of others may stay in the TLB; TTBR0 the user half of the
 * active address space.  In user mode TTBR1 is a root that has nothing but the trampoline (row kpti).
 *
 * Kernel half:  the direct map (RW-, never executable; the image's text and rodata R--),
 *               the stack area, and the image (text R-X, rodata R--, data RW-).
 *
 * What is done with tables whatever their entries mean stands in arch/tables.c.
 *
 * Order of table writes.  A new table is filled before it is linked (dmb ishst): walkers of other
 * CPUs follow the link.  A new entry of the kernel is visible to walkers (dsb ishst) and to what this
 * CPU does next (isb) before it is used; one of a user may be missed once: the fault that follows finds
 * it present and tries again.  Removed entries are gone everywhere after arch_tlb_flush.
 */
#include "arch/tables.h"
#include "kernel/errno.h"
#include "kernel/harden/harden.h"
#include "kernel/harden/ro_pgtable.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/page.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/call.h"
#include "kernel/proc/sched.h"
#include "cpu.h"

struct arch_pt kernel_pt;
uint64_t a64_user_pxn ro_after_init = PTE_PXN;
uint64_t a64_user_uxn ro_after_init = PTE_UXN;
uint64_t a64_kernel_ng ro_after_init = PTE_NG;

#define FLUSH_BY_PAGE_MAX 32 /* beyond it the whole address space is flushed */

/* What TTBR0 walks when no user may: empty, and a constant as every table is. */
static const uint64_t empty_table[ENTRIES] aligned(PAGE_SIZE);

static uint64_t
link_to(paddr_t table)
{
	return table.v | PTE_VALID | PTE_TABLE;
}

int
make_tables(const uint64_t *e, uint64_t va, unsigned l, unsigned level)
{
	unsigned n = l - level;
	struct table_window w;
	paddr_t frames[3];
	int err = pgtable_alloc_all(frames, n);

	if (err)
		return err;
	w = table_window_open();
	for (unsigned i = n; i-- > 0;) {
		memset(table_writable(phys_to_virt(frames[i])), 0, PAGE_SIZE);
		if (i + 1 < n)
			set_entry((uint64_t *)phys_to_virt(frames[i]) + INDEX(va, l - 1 - i),
				  link_to(frames[i + 1]));
	}
	a64_dmb(ishst); /* what is in them before the link to them */
	set_entry(e, link_to(frames[0]));
	table_window_close(w);
	return 0;
}

/* ---- The first tables ---- */

#define EARLY_TABLES 12

/* The address of a table that an entry leads to: of the image, so it has one already. */
static uint64_t *
early_table(uint64_t e)
{
	return (uint64_t *)(__image_start + ((e & PTE_FRAME) - a64_image_phys(__image_start)));
}

/* The 2 MiB at pa begin with the image, by pages, and e leads to them: what is left of them, to be read. */
static void
map_behind_image(uint64_t e, uint64_t pa)
{
	uint64_t *table = early_table(e);

	for (unsigned i = 0; i < ENTRIES; i++) {
		if (!(table[i] & PTE_VALID))
			table[i] = (pa + i * PAGE_SIZE) | a64_pte_bits(PROT_READ);
	}
}

/* Physical memory in blocks of 2 MiB; those that hold the image are read-only. */
void
a64_early_map(uint64_t pa, uint64_t size, unsigned prot)
{
	static uint64_t tables[EARLY_TABLES][ENTRIES] aligned(PAGE_SIZE);
	static unsigned used;
	struct boot_range image = arch_kernel_image();
	uint64_t end = pa + size;

	for (pa = ALIGN_DOWN(pa, LEVEL_SIZE(2)); pa < end; pa += LEVEL_SIZE(2)) {
		uint64_t va = direct_map_base + pa;
		uint64_t *table = boot_tables[va < USER_END ? BOOT_ROOT_LOW : BOOT_ROOT_HIGH];
		bool overlap = pa < image.base.v + image.size && image.base.v < pa + LEVEL_SIZE(2);

		for (unsigned l = 4; l > 2; l--) {
			uint64_t *e = &table[INDEX(va, l)];

			if (!(*e & PTE_VALID)) {
				if (used == EARLY_TABLES)
					panic("boot: memory is too scattered for the first tables");
				*e = link_to(PADDR(a64_image_phys(tables[used++])));
			}
			table = early_table(*e);
		}
		/* A block that is there stays: it would have to be broken before it is made anew. */
		if (!(table[INDEX(va, 2)] & PTE_VALID))
			table[INDEX(va, 2)] =
				pa | (a64_pte_bits(overlap ? PROT_READ : prot) & ~PTE_TABLE);
		else if (table[INDEX(va, 2)] & PTE_TABLE)
			map_behind_image(table[INDEX(va, 2)], pa);
	}
	a64_dsb(ishst);
	a64_isb();
}

void
a64_early_map_image(void)
{
	uint64_t va = ARCH_IMAGE_LINK + image_slide;

	/* Consecutive pages: two tables of 1 GiB, and those that the low half has for the image. */
	for (unsigned i = 0; i < 2; i++)
		boot_tables[BOOT_PUD_HIGH][ENTRIES - 2 + i] =
			a64_image_phys(boot_tables[BOOT_PMD_HIGH + i]) | PTE_VALID | PTE_TABLE;
	for (unsigned i = 0; i < IMAGE_TABLES; i++)
		boot_tables[BOOT_PMD_HIGH][(va >> LEVEL_SHIFT(2) & (2 * ENTRIES - 1)) + i] =
			a64_image_phys(boot_tables[BOOT_PTES + i]) | PTE_VALID | PTE_TABLE;
	a64_dmb(ishst);
	boot_tables[BOOT_ROOT_HIGH][INDEX(va, 4)] =
		a64_image_phys(boot_tables[BOOT_PUD_HIGH]) | PTE_VALID | PTE_TABLE;
	a64_dsb(ishst);
	a64_isb();
}

/* ---- The kernel half, at start-up ---- */

/* Maps [va, va + size) to pa in the largest pages that fit. */
static void
map_kernel(uint64_t va, uint64_t pa, uint64_t size, unsigned prot)
{
	uint64_t bits = a64_pte_bits(prot);

	while (size) {
		bool large = IS_ALIGNED(va | pa, LEVEL_SIZE(2)) && size >= LEVEL_SIZE(2);
		uint64_t step = large ? LEVEL_SIZE(2) : PAGE_SIZE;
		const uint64_t *e;

		if (make_entry(kernel_pt.root, va, large ? 2 : 1, &e))
			panic("mmu: no memory for the kernel's tables");
		set_entry(e, pa | (large ? bits & ~PTE_TABLE : bits)); /* start-up alone: no window yet */
		va += step;
		pa += step;
		size -= step;
	}
}

/* Sets the permissions of present 4 KiB mappings of the kernel; the caller flushes. */
static void
protect_kernel(uint64_t va, uint64_t size, unsigned prot)
{
	for (uint64_t end = va + size; va < end; va += PAGE_SIZE) {
		const uint64_t *e;

		if (make_entry(kernel_pt.root, va, 1, &e))
			panic("mmu: no memory for the kernel's tables");
		write_entry(e, (*e & PTE_FRAME) | a64_pte_bits(prot));
	}
}

static uint64_t
direct(uint64_t pa)
{
	return direct_map_base + pa;
}

/* One decision for every permission of the kernel's own pages: rows wx and wp. */
static unsigned
kernel_prot(unsigned prot)
{
	if (!harden_wanted(HARDEN_WX))
		return PROT_READ | PROT_WRITE | PROT_EXEC;
	/* There is no bit that makes the kernel ignore read-only pages, so they are not. */
	if (!harden_wanted(HARDEN_WP) && !(prot & PROT_EXEC))
		return PROT_READ | PROT_WRITE;
	return prot;
}

void
arch_table_block(paddr_t block)
{
	struct table_window w;
	const uint64_t *e;

	if (make_entry(kernel_pt.root, direct(block.v), 2, &e)) /* it is there */
		panic("mmu: no memory for the kernel's tables");
	assert(!entry_valid(*e) || !entry_is_table(*e)); /* a block of usable memory is mapped as one */
	w = table_window_open();
	set_entry(e, block.v | (a64_pte_bits(pgtable_prot()) & ~PTE_TABLE));
	table_window_add(block);
	table_window_close(w);
}

/* Whether the kernel's translations are of its ASID, so that user mode does not find them in the TLB. */
static uint64_t
kernel_ng(void)
{
	return harden_wanted(HARDEN_KPTI) ? PTE_NG : 0;
}

/* User mode's root has the trampoline alone, and so has the kernel's. */
static void
make_user_mode_root(void)
{
	const uint64_t *from, *e;
	uint64_t *to;

	if (!harden_wanted(HARDEN_KPTI))
		return;
	if (make_entry(a64_user_mode_root(), TRAMPOLINE, 1, &e))
		panic("mmu: no memory for the trampoline");
	/* The same for all, whatever the ASID. */
	set_entry(e, a64_image_phys(a64_trampoline) | (a64_pte_bits(PROT_READ | PROT_EXEC) & ~PTE_NG));
	from = phys_to_virt(a64_user_mode_root());
	to = phys_to_virt(kernel_pt.root);
	to[INDEX(TRAMPOLINE, 4)] = from[INDEX(TRAMPOLINE, 4)];
}

/* Maps a part of the image at its link address, and its second address in the direct map. */
static void
map_section(const char *start, const char *end, unsigned prot)
{
	uint64_t size = (uint64_t)(end - start), pa = a64_image_phys(start);

	map_kernel((uint64_t)start, pa, size, kernel_prot(prot));
	map_kernel(direct(pa), pa, size, kernel_prot(prot & ~PROT_EXEC));
}

static void
map_device(struct boot_range r)
{
	uint64_t base = ALIGN_DOWN(r.base.v, PAGE_SIZE);

	if (r.size)
		map_kernel(direct(base), base, ALIGN_UP(r.base.v + r.size, PAGE_SIZE) - base,
			   PROT_READ | PROT_WRITE | PROT_DEVICE);
}

/* A range of RAM without the image, whose pages have permissions of their own. */
static void
map_ram(struct boot_range r)
{
	struct boot_range image = arch_kernel_image();
	unsigned prot = kernel_prot(PROT_READ | PROT_WRITE);
	uint64_t end = r.base.v + r.size, image_end = image.base.v + image.size;

	if (image.base.v >= r.base.v && image_end <= end) {
		map_kernel(direct(r.base.v), r.base.v, image.base.v - r.base.v, prot);
		map_kernel(direct(image_end), image_end, end - image_end, prot);
	} else {
		map_kernel(direct(r.base.v), r.base.v, r.size, prot);
	}
}

static void
map_image(void)
{
	map_section(__text_start, __text_end, PROT_READ | PROT_EXEC);
	map_section(__rodata_start, __rodata_end, PROT_READ);
	map_section(__ro_after_init_start, __ro_after_init_end, PROT_READ | PROT_WRITE);
	map_section(__vdso_start, __vdso_end, PROT_READ);
	map_section(__data_start, __data_end, PROT_READ | PROT_WRITE);
}

/* The roots of the kernel and of user mode (row kpti): neighbours, so that one bit tells them apart. */
static void
make_kernel_roots(void)
{
	if (pgtable_alloc(1, &kernel_pt.root))
		panic("mmu: no memory for the kernel's tables");
	memset(phys_to_virt(kernel_pt.root), 0, 2 * PAGE_SIZE);
	a64_kernel_ng = kernel_ng();
	make_user_mode_root();
}

void
arch_vm_init(void)
{
	const struct firmware_info *f = &firmware_info;

	if (!harden_wanted(HARDEN_NX))
		a64_user_uxn = 0;
	if (!harden_wanted(HARDEN_SMEP))
		a64_user_pxn = 0;
	asid_init();
	make_kernel_roots();
	for (unsigned i = 0; i < boot_info.nram; i++)
		map_ram(boot_info.ram[i]);
	map_image();
	map_device(f->gicd);
	map_device(f->gicc);
	for (unsigned i = 0; i < MAX_GIC_REGIONS; i++)
		map_device(f->gicr[i]);
	map_device(f->uart);
	map_device(f->rtc);

	/*
	 * From the first tables to these: both map the code that runs here alike, so that the change
	 * needs no detour; what differs elsewhere is forgotten before it is used.
	 */
	table_window_init();
	pgtable_seal_early();
	a64_dsb(ishst);
	arch_pt_activate(&kernel_pt);
	__asm__ volatile("tlbi vmalle1" : : : "memory");
	a64_dsb(nsh);
	a64_isb();
	table_window_ready();
}

/* Start-up's code writes SCTLR_EL1 without a check (row pin). */
static void
retire_start_up(void)
{
	protect_kernel((uint64_t)__text_start, (uint64_t)(__text_boot_end - __text_start), PROT_READ);
	arch_tlb_flush(&kernel_pt, (uint64_t)__text_start, (uint64_t)__text_boot_end);
}

void
arch_protect_init_data(void)
{
	uint64_t start = (uint64_t)__ro_after_init_start, end = (uint64_t)__ro_after_init_end;
	uint64_t alias = direct(a64_image_phys(__ro_after_init_start));

	retire_start_up();
	protect_kernel(start, end - start, kernel_prot(PROT_READ));
	protect_kernel(alias, end - start, kernel_prot(PROT_READ));
	arch_tlb_flush(&kernel_pt, start, end);
	arch_tlb_flush(&kernel_pt, alias, alias + (end - start));
}

static paddr_t bringup_root;

paddr_t
a64_bringup_begin(void)
{
	uint64_t pa = a64_image_phys(__text_start);
	struct arch_pt pt;
	const uint64_t *e;

	if (arch_pt_create(&pt))
		panic("mmu: no memory to start the other CPUs");
	bringup_root = pt.root;
	for (; pa < a64_image_phys(__text_boot_end); pa += PAGE_SIZE) {
		if (make_entry(bringup_root, pa, 1, &e))
			panic("mmu: no memory to start the other CPUs");
		write_entry(e, pa | a64_pte_bits(PROT_READ | PROT_EXEC));
	}
	a64_dsb(ish); /* a CPU whose caches are off walks them next */
	return bringup_root;
}

void
arch_kernel_walk(void (*fn)(void *arg, uint64_t va, uint64_t size, paddr_t pa, unsigned prot),
		 void *arg)
{
	walk_tables(phys_to_virt(kernel_pt.root), 4, KERNEL_HALF, fn, arg);
}

struct boot_range
arch_kernel_text(void)
{
	return (struct boot_range){PADDR(a64_image_phys(__text_start)),
				   (uint64_t)(__text_end - __text_start)};
}

/* ---- Address spaces ---- */

int
arch_pt_create(struct arch_pt *pt)
{
	struct table_window w;
	int err = pgtable_alloc(0, &pt->root);

	if (err)
		return err;
	w = table_window_open();
	memset(table_writable(phys_to_virt(pt->root)), 0, PAGE_SIZE);
	table_window_close(w);
	pt->asid = 0;
	pt->cpus = 0;
	return 0;
}

/* An idle CPU may still have the tables loaded: it runs on whatever was there. */
static void
leave_lazy(void *arg)
{
	if (this_cpu()->pt == arg)
		arch_pt_activate(&kernel_pt);
}

/*
 * No CPU walks with this ASID again before all of it is forgotten (asid.c); but walks that began earlier,
 * speculative ones too, may be on their way through the tables, and the flush waits for them.
 */
void
arch_pt_destroy(struct arch_pt *pt)
{
	uint64_t lazy = 0;

	for (unsigned i = 0; i < MAX_CPUS; i++) {
		if (__atomic_load_n(&cpus[i].pt, __ATOMIC_ACQUIRE) == pt)
			lazy |= BIT(i);
	}
	if (lazy)
		run_on_cpus(lazy, leave_lazy, pt);
	arch_tlb_flush(pt, 0, USER_END);
	free_tables(phys_to_virt(pt->root), 4, ENTRIES);
	pgtable_free(pt->root, 0);
	pt->root = PADDR(0);
}

/* A CPU that answers too late finds no tables: the root stays, empty. */
void
a64_bringup_end(void)
{
	const uint64_t *e = (uint64_t *)phys_to_virt(bringup_root) + INDEX(a64_image_phys(__text_start), 4);
	paddr_t table = pte_paddr((pte_t){*e});

	write_entry(e, 0);
	arch_tlb_flush(&kernel_pt, 0, UINT64_MAX);
	free_tables(phys_to_virt(table), 3, ENTRIES);
	pgtable_free(table, 0);
}

/* ---- Instruction caches ---- */

/*
 * What was written to a frame through the direct map becomes what is fetched from it: data caches are
 * cleaned and instruction caches made to forget, to the point where the two meet (ARM D7.5.6).  Once a
 * frame, until it is written again (page_written): the flag says so.
 */
void
a64_make_fetchable(paddr_t pa)
{
	struct page *p = page_of(pa);
	uint64_t ctr = READ_SYSREG(ctr_el0), start = (uint64_t)phys_to_virt(pa);
	uint64_t dline = 4ul << (ctr >> 16 & 15), iline = 4ul << (ctr & 15);

	if (__atomic_load_n(&p->flags, __ATOMIC_ACQUIRE) & PAGE_FETCHABLE)
		return;
	if (!(ctr & BIT(28))) { /* CTR_EL0.IDC: cleaning is not needed */
		for (uint64_t at = start; at < start + PAGE_SIZE; at += dline)
			__asm__ volatile("dc cvau, %0" : : "r"(at) : "memory");
	}
	a64_dsb(ish); /* cleaned (or written, with IDC) before anything is forgotten */
	if (!(ctr & BIT(29))) { /* CTR_EL0.DIC: forgetting is not needed */
		/* By address only where the cache finds it by any alias; else all of it. */
		if ((ctr >> 14 & 3) == 3) {
			for (uint64_t at = start; at < start + PAGE_SIZE; at += iline)
				__asm__ volatile("ic ivau, %0" : : "r"(at) : "memory");
		} else {
			__asm__ volatile("ic ialluis" : : : "memory");
		}
		a64_dsb(ish); /* forgotten on every CPU before the page is mapped */
	}
	__atomic_fetch_or(&p->flags, (uint16_t)PAGE_FETCHABLE, __ATOMIC_RELEASE);
}

/* ---- Entries ---- */

int
arch_pt_map(struct arch_pt *pt, uint64_t va, pte_t pte)
{
	const uint64_t *e;
	int err = make_entry(root_of(pt, va), va, 1, &e);

	if (err)
		return err;
	leaf_comes(pte);
	/*
	 * Another frame in the place of one that is there: two CPUs must not see both.  Break before
	 * make (ARM D8.13.1); who comes in between faults and waits for the lock that the caller holds.
	 */
	if ((*e & PTE_VALID) && (*e ^ pte.v) & PTE_FRAME) {
		write_entry(e, 0);
		arch_tlb_flush(pt, va, va + PAGE_SIZE);
	}
	a64_dmb(ishst); /* what the frame holds before the way to it, for the process's other threads */
	write_entry(e, pte.v);
	if (va >= KERNEL_HALF) {
		a64_dsb(ishst);
		a64_isb();
	}
	return 0;
}

/*
 * Exempt programs may write where they execute, which WXN would forbid them.  It may be cached in TLBs
 * (ARM D8.4.2), so the whole TLB of this CPU goes with it.
 */
static void
set_wxn(struct cpu *c, bool off)
{
	uint64_t sctlr = READ_SYSREG(sctlr_el1);

	c->wxn_off = off;
	if (!harden_wanted(HARDEN_WX))
		return;
	a64_write_sctlr(off ? sctlr & ~SCTLR_WXN : sctlr | SCTLR_WXN);
	__asm__ volatile("tlbi vmalle1" : : : "memory");
	a64_dsb(nsh);
	a64_isb();
}

/* Neither table is ever walked under the other's ASID: an empty one is there while that changes. */
void
a64_set_tables(paddr_t user, uint64_t asid)
{
	WRITE_SYSREG(ttbr0_el1, a64_image_phys(empty_table));
	a64_isb();
	WRITE_SYSREG(ttbr1_el1, kernel_pt.root.v | asid << TTBR_ASID_SHIFT);
	a64_isb();
	if (user.v) {
		WRITE_SYSREG(ttbr0_el1, user.v);
		a64_isb(); /* user copies below translate by the new tables */
	}
}

static void
load_tables(struct arch_pt *pt)
{
	irqstate_t s = arch_irq_save();
	struct cpu *c = this_cpu();
	bool exempt = false;

	if (pt != &kernel_pt)
		exempt = container_of(pt, struct vm, pt)->exempt;
	if (pt == &kernel_pt)
		a64_set_tables(PADDR(0), 0);
	else
		a64_set_tables(pt->root, asid_activate(pt));
	/* Only now: whoever destroys the old ones may have waited for it. */
	__atomic_store_n(&c->pt, pt, __ATOMIC_RELEASE);
	if (unlikely(exempt != c->wxn_off))
		set_wxn(c, exempt);
	arch_irq_restore(s);
}

void
arch_pt_activate(struct arch_pt *pt)
{
	if (this_cpu()->pt != pt) /* an idle CPU has kept it, and forgot what it was told to */
		load_tables(pt);
}

bool
a64_user_pages_pxn(void)
{
	struct arch_pt *pt = this_cpu()->pt;
	const uint64_t *tables[5];
	unsigned index[5] = {0}, l = 4;

	if (!pt || pt == &kernel_pt)
		return true;
	tables[4] = phys_to_virt(pt->root);
	for (;;) {
		uint64_t e;

		if (index[l] == ENTRIES) {
			if (++l > 4)
				return true;
			continue;
		}
		e = READ_ONCE(tables[l][index[l]++]);
		if (!(e & PTE_VALID))
			continue;
		if (l > 1) {
			tables[--l] = table_at(e);
			index[l] = 0;
		} else if (!(e & PTE_PXN)) {
			return false;
		}
	}
}

/* ---- TLB ---- */

/* By address: operand is an ASID and the page number. */
#define TLBI(op, operand) __asm__ volatile("tlbi " #op ", %0" : : "r"(operand) : "memory")
#define VA_OPERAND(va)	  ((va) >> PAGE_SHIFT & ((1ul << 44) - 1))

static void
flush_kernel(uint64_t start, uint64_t end)
{
	if (end - start <= FLUSH_BY_PAGE_MAX * PAGE_SIZE) {
		for (uint64_t va = start; va < end; va += PAGE_SIZE)
			TLBI(vaale1is, VA_OPERAND(va));
	} else {
		__asm__ volatile("tlbi vmalle1is" : : : "memory");
	}
	a64_dsb(ish);
}

/* Entries of user pages under one ASID; the caller waits. */
static void
flush_asid(uint64_t asid, uint64_t start, uint64_t end, bool local)
{
	asid <<= TTBR_ASID_SHIFT;
	if (end - start > FLUSH_BY_PAGE_MAX * PAGE_SIZE) {
		if (local)
			TLBI(aside1, asid);
		else
			TLBI(aside1is, asid);
		return;
	}
	for (uint64_t va = start; va < end; va += PAGE_SIZE) {
		if (local)
			TLBI(vale1, asid | VA_OPERAND(va));
		else
			TLBI(vale1is, asid | VA_OPERAND(va));
	}
}

/*
 * TLBI reaches the other CPUs by itself: no interrupts are sent.  The dsb before makes table writes
 * visible to every walker, the one after waits until every CPU has forgotten, and the accesses that
 * used the old entries are over.
 */
void
arch_tlb_flush(struct arch_pt *pt, uint64_t start, uint64_t end)
{
	uint64_t asid, cpus_mask;
	bool local;

	if (pt == &kernel_pt) {
		a64_dsb(ishst);
		flush_kernel(start, end);
		a64_isb();
		return;
	}
	a64_dsb(ish); /* also: table writes before ASID and mask are read, see asid_activate */
	asid = asid_number(pt);
	cpus_mask = __atomic_load_n(&pt->cpus, __ATOMIC_RELAXED);
	if (!cpus_mask)
		return; /* it never ran under this ASID */
	local = cpus_mask == BIT(arch_cpu_number());
	flush_asid(asid, start, end, local);
	if (harden_wanted(HARDEN_KPTI))
		flush_asid(asid + 1, start, end, local);
	if (local)
		a64_dsb(nsh);
	else
		a64_dsb(ish);
	a64_isb();
}

void
arch_tlb_flush_local(uint64_t va)
{
	uint64_t asid = asid_number(this_cpu()->pt);

	a64_dsb(nshst);
	flush_asid(asid, va, va + 1, true);
	if (harden_wanted(HARDEN_KPTI))
		flush_asid(asid + 1, va, va + 1, true);
	a64_dsb(nsh);
	a64_isb();
}
