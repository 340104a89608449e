/*
 * The device tree (Devicetree Specification 0.4, chapter 5): memory, processors, interrupt
 * controller, console, clock, power control.  Read once at start-up, in one pass; every offset and
 * length is checked against the block that holds it.
 */
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "cpu.h"

struct firmware_info firmware_info ro_after_init;

#define FDT_MAGIC      0xd00dfeed
#define FDT_VERSION    17 /* the oldest that we can read, and the newest that there is */
#define FDT_BEGIN_NODE 1
#define FDT_END_NODE   2
#define FDT_PROP       3
#define FDT_NOP	       4
#define FDT_END	       9
#define VIRT_UART      0x09000000 /* where QEMU's virt has its console: for the panic if the tree is of no use */
#define DEPTH_MAX      8 /* what we look for is at most three deep */

#define GIC_PPI	      1 /* first cell of an interrupt: a processor's own; else shared */
#define TIMER_VIRTUAL 2 /* index of the virtual timer's interrupt */

struct bytes {
	const uint8_t *p;
	uint32_t n;
};

/* What is known of a node when its properties are over. */
struct node {
	uint32_t address_cells, size_cells; /* for its children's reg */
	struct bytes name, compatible, device_type, reg, interrupts, method, enable_method, status;
};

static struct bytes structure, strings;

static uint32_t
be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/*
 * A number of one or two cells at *at, which moves on.  False if it is not there; one of no cells never is, or a
 * list of them would have no end.
 */
static bool
take_cells(struct bytes *b, uint32_t cells, uint64_t *out)
{
	if (cells == 0 || cells > 2 || b->n < 4 * cells)
		return false;
	*out = 0;
	for (uint32_t i = 0; i < cells; i++)
		*out = *out << 32 | be32(b->p + 4 * i);
	b->p += 4 * cells;
	b->n -= 4 * cells;
	return true;
}

/* True if b, a list of strings each with its NUL, contains s. */
static bool
has_string(struct bytes b, const char *s)
{
	size_t len = strlen(s) + 1;

	while (b.n) {
		const uint8_t *nul = memchr(b.p, '\0', b.n);
		size_t n = nul ? (size_t)(nul - b.p) + 1 : b.n;

		if (n == len && memcmp(b.p, s, len) == 0)
			return true;
		b.p += n;
		b.n -= (uint32_t)n;
	}
	return false;
}

static bool
is_named(struct bytes name, const char *s)
{
	size_t len = strlen(s);

	return name.n >= len && memcmp(name.p, s, len) == 0 &&
	       (name.n == len || name.p[len] == '@' || name.p[len] == '\0');
}

/* ---- Memory ---- */

/* Banks that touch become one: what straddles them is as good as other memory. */
static void
add_ram(uint64_t base, uint64_t size)
{
	uint64_t start = ALIGN_UP(base, PAGE_SIZE), end = ALIGN_DOWN(base + size, PAGE_SIZE);
	struct boot_range *r = boot_info.ram;
	unsigned first = 0, behind;

	/* What the direct map cannot hold is left alone. */
	if (base + size < base || end > DIRECT_MAP_MAX || start >= end)
		return;
	while (first < boot_info.nram && r[first].base.v + r[first].size < start)
		first++;
	for (behind = first; behind < boot_info.nram && r[behind].base.v <= end; behind++) {
		start = MIN(start, r[behind].base.v);
		end = MAX(end, r[behind].base.v + r[behind].size);
	}
	if (behind == first && boot_info.nram == ARRAY_LEN(boot_info.ram))
		return;
	memmove(&r[first + 1], &r[behind], (boot_info.nram - behind) * sizeof(*r));
	boot_info.nram = boot_info.nram - (behind - first) + 1;
	r[first] = (struct boot_range){PADDR(start), end - start};
}

/* Takes [base, base + size) out of what is usable. */
static void
reserve(uint64_t base, uint64_t size)
{
	uint64_t start = ALIGN_DOWN(base, PAGE_SIZE), end = ALIGN_UP(base + size, PAGE_SIZE);

	if (base + size < base || size == 0)
		return;
	for (unsigned i = 0; i < boot_info.nram; i++) {
		struct boot_range *r = &boot_info.ram[i];
		uint64_t r_end = r->base.v + r->size;

		if (end <= r->base.v || start >= r_end)
			continue;
		r->size = start > r->base.v ? start - r->base.v : 0;
		if (r->size == 0) {
			for (unsigned k = i--; k + 1 < boot_info.nram; k++)
				boot_info.ram[k] = boot_info.ram[k + 1];
			boot_info.nram--;
		}
		if (end < r_end) {
			add_ram(end, r_end - end);
			return; /* nothing behind overlaps: the ranges did not */
		}
	}
}

/* Children of /reserved-memory (3.5): kept until all of memory is known. */
#define KEPT_MAX 32
static struct boot_range kept_ranges[KEPT_MAX];
static unsigned nkept; /* as they were found: a tree with more than are kept is refused */

static void
keep(struct boot_range r)
{
	if (nkept < KEPT_MAX)
		kept_ranges[nkept] = r;
	nkept++;
}

/* ---- Nodes ---- */

static bool
take_reg(const struct node *parent, struct bytes *reg, struct boot_range *out)
{
	return take_cells(reg, parent->address_cells, &out->base.v) &&
	       take_cells(reg, parent->size_cells, &out->size);
}

/* The number of interrupt `index` of a list of three cells each (Linux's arm,gic.yaml); 0: none. */
static uint32_t
interrupt(struct bytes b, uint32_t index)
{
	uint32_t number;

	if (b.n / 12 <= index)
		return 0;
	number = be32(b.p + 12 * index + 4);
	if (number >= 988)
		return 0;
	return be32(b.p + 12 * index) == GIC_PPI ? 16 + (number & 15) : 32 + number;
}

static void
take_cpu(const struct node *parent, const struct node *n)
{
	struct firmware_info *f = &firmware_info;
	struct bytes reg = n->reg;
	uint64_t mpidr;

	if (!take_cells(&reg, parent->address_cells, &mpidr) || f->ncpus == 0)
		return;
	if (mpidr == f->mpidr[0])
		return; /* the one that runs */
	if (!has_string(n->enable_method, "psci"))
		return;
	if (f->ncpus < MAX_CPUS)
		f->mpidr[f->ncpus] = mpidr;
	f->ncpus++;
}

static void
take_node(const struct node *parent, const struct node *n)
{
	struct firmware_info *f = &firmware_info;
	struct boot_range range;
	struct bytes reg = n->reg;

	if (n->status.n && !has_string(n->status, "okay") && !has_string(n->status, "ok"))
		return;
	if (is_named(parent->name, "reserved-memory")) {
		while (take_reg(parent, &reg, &range))
			keep(range);
	} else if (has_string(n->device_type, "memory")) {
		while (take_reg(parent, &reg, &range))
			add_ram(range.base.v, range.size);
	} else if (has_string(n->device_type, "cpu")) {
		take_cpu(parent, n);
	} else if (has_string(n->compatible, "arm,psci-0.2") ||
		   has_string(n->compatible, "arm,psci-1.0")) {
		f->psci = true;
		f->psci_smc = has_string(n->method, "smc");
	} else if (has_string(n->compatible, "arm,cortex-a15-gic") ||
		   has_string(n->compatible, "arm,gic-400")) {
		if (take_reg(parent, &reg, &f->gicd) && take_reg(parent, &reg, &f->gicc))
			f->gic_version = 2;
	} else if (has_string(n->compatible, "arm,gic-v3")) {
		if (take_reg(parent, &reg, &f->gicd))
			f->gic_version = 3;
		for (unsigned i = 0; i < MAX_GIC_REGIONS && take_reg(parent, &reg, &f->gicr[i]); i++)
			;
	} else if (has_string(n->compatible, "arm,pl011") && !f->uart.size) {
		if (take_reg(parent, &reg, &f->uart))
			f->uart_irq = interrupt(n->interrupts, 0);
	} else if (has_string(n->compatible, "arm,pl031") && !f->rtc.size) {
		if (!take_reg(parent, &reg, &f->rtc))
			f->rtc.size = 0;
	} else if (has_string(n->compatible, "arm,armv8-timer")) {
		f->timer_irq = interrupt(n->interrupts, TIMER_VIRTUAL);
	}
}

/* ---- Properties ---- */

static uint64_t initrd_start, initrd_end;

static void
take_chosen(const char *name, struct bytes value)
{
	struct bytes v = value;

	if (strcmp(name, "bootargs") == 0) {
		size_t n = MIN((size_t)value.n, sizeof(boot_info.cmdline) - 1);

		memcpy(boot_info.cmdline, value.p, n);
	} else if (strcmp(name, "linux,initrd-start") == 0) {
		if (!take_cells(&v, value.n / 4, &initrd_start))
			initrd_start = 0;
	} else if (strcmp(name, "linux,initrd-end") == 0) {
		if (!take_cells(&v, value.n / 4, &initrd_end))
			initrd_end = 0;
	} else if (strcmp(name, "rng-seed") == 0) {
		memcpy(boot_info.seed, value.p, MIN((size_t)value.n, sizeof(boot_info.seed) - 8));
	} else if (strcmp(name, "kaslr-seed") == 0 && value.n == 8) {
		memcpy(boot_info.seed + sizeof(boot_info.seed) - 8, value.p, 8);
	}
}

static void
take_property(struct node *n, const char *name, struct bytes value)
{
	static const struct {
		const char *name;
		size_t offset;
	} kept[] = {
		{"compatible", offsetof(struct node, compatible)},
		{"device_type", offsetof(struct node, device_type)},
		{"reg", offsetof(struct node, reg)},
		{"interrupts", offsetof(struct node, interrupts)},
		{"method", offsetof(struct node, method)},
		{"enable-method", offsetof(struct node, enable_method)},
		{"status", offsetof(struct node, status)},
	};

	if (is_named(n->name, "chosen"))
		take_chosen(name, value);
	if (strcmp(name, "#address-cells") == 0 && value.n == 4)
		n->address_cells = be32(value.p);
	if (strcmp(name, "#size-cells") == 0 && value.n == 4)
		n->size_cells = be32(value.p);
	for (unsigned i = 0; i < ARRAY_LEN(kept); i++) {
		if (strcmp(name, kept[i].name) == 0)
			memcpy((char *)n + kept[i].offset, &value, sizeof(value));
	}
}

/* ---- The structure block ---- */

/* Takes n bytes and the padding behind them. */
static bool
take(struct bytes *b, uint32_t n, const uint8_t **out)
{
	uint32_t padded = ALIGN_UP(n, 4u);

	if (padded < n || padded > b->n)
		return false;
	*out = b->p;
	b->p += padded;
	b->n -= padded;
	return true;
}

static bool
walk_property(struct bytes *b, struct node *n)
{
	const uint8_t *header;
	struct bytes value;
	uint32_t name;

	if (!take(b, 8, &header))
		return false;
	value.n = be32(header);
	name = be32(header + 4);
	if (!take(b, value.n, &value.p) || name >= strings.n ||
	    !memchr(strings.p + name, '\0', strings.n - name))
		return false;
	take_property(n, (const char *)strings.p + name, value);
	return true;
}

/* One pass over all nodes.  False if the tree is damaged. */
static bool
walk(void)
{
	struct node nodes[DEPTH_MAX] = {0};
	struct bytes b = structure;
	unsigned depth = 0; /* of the current node; 0: outside the root */
	bool open = false;  /* properties of the current node may follow */
	const uint8_t *p;

	while (take(&b, 4, &p)) {
		uint32_t token = be32(p);

		if (token == FDT_NOP)
			continue;
		if (token == FDT_END)
			return depth == 0;
		if (open && token != FDT_PROP) { /* all of it is known */
			if (depth < DEPTH_MAX)
				take_node(&nodes[depth - 1], &nodes[depth]);
			open = false;
		}
		if (token == FDT_BEGIN_NODE) {
			const uint8_t *nul = memchr(b.p, '\0', b.n);
			uint32_t len;

			if (!nul)
				return false;
			len = (uint32_t)(nul - b.p);
			if (!take(&b, len + 1, &p))
				return false;
			depth++;
			open = true;
			/* 2.3.5: without the properties, two cells of address and one of size */
			if (depth < DEPTH_MAX)
				nodes[depth] = (struct node){
					.address_cells = 2, .size_cells = 1, .name = {p, len}};
		} else if (token == FDT_END_NODE) {
			if (depth-- == 0)
				return false;
		} else if (token == FDT_PROP) {
			struct node ignored = {0};

			if (!open || !walk_property(&b, depth < DEPTH_MAX ? &nodes[depth] : &ignored))
				return false;
		} else {
			return false;
		}
	}
	return false;
}

/* A block at an offset that the header gives. */
static bool
block(const uint8_t *tree, uint32_t total, uint32_t offset, uint32_t n, struct bytes *out)
{
	if (offset > total || n > total - offset || (offset & 3 && n == 0))
		return false;
	*out = (struct bytes){tree + offset, n};
	return true;
}

/* The list of memory that the firmware keeps: pairs of 64 bits, ended by a pair of zeros. */
static void
take_reservations(struct bytes b)
{
	uint64_t base, size;

	while (take_cells(&b, 2, &base) && take_cells(&b, 2, &size) && (base | size))
		reserve(base, size);
}

static bool
inside_ram(uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < boot_info.nram; i++) {
		const struct boot_range *r = &boot_info.ram[i];

		if (start >= r->base.v && end <= r->base.v + r->size)
			return true;
	}
	return false;
}

bool
firmware_init(const void *dtb, size_t mapped)
{
	struct firmware_info *f = &firmware_info;
	const uint8_t *tree = dtb;
	struct bytes reserved;
	uint32_t total = be32(tree + 4), version = be32(tree + 20), oldest = be32(tree + 24);
	bool whole;

	/* Affinity fields of MPIDR_EL1: what `reg` of a processor holds. */
	f->mpidr[0] = cpus[0].mpidr;
	f->ncpus = 1;
	whole = be32(tree) == FDT_MAGIC && total <= mapped && total >= 40 && version >= FDT_VERSION &&
		oldest <= FDT_VERSION &&
		block(tree, total, be32(tree + 8), be32(tree + 36), &structure) &&
		block(tree, total, be32(tree + 12), be32(tree + 32), &strings) &&
		block(tree, total, be32(tree + 16), total - MIN(total, be32(tree + 16)), &reserved) &&
		walk() && nkept <= KEPT_MAX;
	if (whole) {
		take_reservations(reserved);
		for (unsigned i = 0; i < nkept; i++)
			reserve(kept_ranges[i].base.v, kept_ranges[i].size);
	}
	if ((!whole || boot_info.nram == 0) && !f->uart.size)
		f->uart = (struct boot_range){PADDR(VIRT_UART), PAGE_SIZE};
	if (f->ncpus > MAX_CPUS) {
		kprintf("firmware: %u CPUs, of which %u are used\n", f->ncpus, MAX_CPUS);
		f->ncpus = MAX_CPUS;
	}
	if (initrd_end > initrd_start && inside_ram(initrd_start, initrd_end))
		boot_info.initrd =
			(struct boot_range){PADDR(initrd_start), initrd_end - initrd_start};
	else if (initrd_end | initrd_start)
		kprintf("firmware: the initrd, %lx to %lx, is in no memory, and not used\n", initrd_start,
			initrd_end);
	return whole;
}

/* ---- Power ---- */

#define PSCI_SYSTEM_OFF	  0x84000008
#define PSCI_SYSTEM_RESET 0x84000009

int64_t
a64_psci(uint64_t function, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t x0 __asm__("x0") = function;
	register uint64_t x1 __asm__("x1") = a;
	register uint64_t x2 __asm__("x2") = b;
	register uint64_t x3 __asm__("x3") = c;

	if (!firmware_info.psci)
		return -1;
	/* SMC Calling Convention (Arm DEN 0028): x4 to x17 may be lost */
	if (firmware_info.psci_smc)
		__asm__ volatile("smc #0"
				 : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
				 :
				 : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
				   "x14", "x15", "x16", "x17", "memory");
	else
		__asm__ volatile("hvc #0"
				 : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
				 :
				 : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
				   "x14", "x15", "x16", "x17", "memory");
	return (int64_t)x0;
}

noreturn void
arch_poweroff(void)
{
	a64_psci(PSCI_SYSTEM_OFF, 0, 0, 0);
	kalert("power: this machine does not switch itself off\n");
	arch_halt();
}

noreturn void
arch_reboot(void)
{
	a64_psci(PSCI_SYSTEM_RESET, 0, 0, 0);
	arch_halt();
}
