/* What /proc/cpuinfo says of a processor (SDM 2A CPUID). */
#include "kernel/fs/seqfile.h"
#include "kernel/lib/string.h"
#include "cpu.h"

struct flag {
	const char *name;
	uint32_t leaf;
	uint8_t reg, bit; /* reg: 0 EAX .. 3 EDX */
};

static const struct flag flags[] = {
	{"fpu", 1, 3, 0},	{"tsc", 1, 3, 4},	  {"msr", 1, 3, 5},
	{"pae", 1, 3, 6},	{"cx8", 1, 3, 8},	  {"apic", 1, 3, 9},
	{"sep", 1, 3, 11},	{"pge", 1, 3, 13},	  {"cmov", 1, 3, 15},
	{"pat", 1, 3, 16},	{"clflush", 1, 3, 19},	  {"mmx", 1, 3, 23},
	{"fxsr", 1, 3, 24},	{"sse", 1, 3, 25},	  {"sse2", 1, 3, 26},
	{"syscall", 0x80000001, 3, 11}, {"nx", 0x80000001, 3, 20},
	{"pdpe1gb", 0x80000001, 3, 26}, {"lm", 0x80000001, 3, 29},
	{"pni", 1, 2, 0},	{"pclmulqdq", 1, 2, 1},	  {"ssse3", 1, 2, 9},
	{"fma", 1, 2, 12},	{"cx16", 1, 2, 13},	  {"pcid", 1, 2, 17},
	{"sse4_1", 1, 2, 19},	{"sse4_2", 1, 2, 20},	  {"x2apic", 1, 2, 21},
	{"movbe", 1, 2, 22},	{"popcnt", 1, 2, 23},	  {"aes", 1, 2, 25},
	{"xsave", 1, 2, 26},	{"avx", 1, 2, 28},	  {"f16c", 1, 2, 29},
	{"rdrand", 1, 2, 30},	{"hypervisor", 1, 2, 31}, {"fsgsbase", 7, 1, 0},
	{"bmi1", 7, 1, 3},	{"avx2", 7, 1, 5},	  {"smep", 7, 1, 7},
	{"bmi2", 7, 1, 8},	{"erms", 7, 1, 9},	  {"invpcid", 7, 1, 10},
	{"rdseed", 7, 1, 18},	{"adx", 7, 1, 19},	  {"smap", 7, 1, 20},
	{"umip", 7, 2, 2},	{"pku", 7, 2, 3},	  {"la57", 7, 2, 16},
};

static bool
has(const struct flag *f)
{
	struct cpuid c = x86_cpuid(f->leaf & 0x80000000, 0);
	uint32_t r[4];

	if (c.a < f->leaf)
		return false;
	c = x86_cpuid(f->leaf, 0);
	r[0] = c.a;
	r[1] = c.b;
	r[2] = c.c;
	r[3] = c.d;
	return r[f->reg] & BIT(f->bit);
}

/* The processors are alike: what this one says holds for all. */
void
arch_cpuinfo_print(struct text *t, unsigned cpu)
{
	struct cpuid c = x86_cpuid(0, 0), one = x86_cpuid(1, 0);
	uint32_t family = one.a >> 8 & 15, model = one.a >> 4 & 15, brand[13] = {0};
	char vendor[13] = {0};

	memcpy(vendor, &c.b, 4);
	memcpy(vendor + 4, &c.d, 4);
	memcpy(vendor + 8, &c.c, 4);
	if (family == 6 || family == 15)
		model |= one.a >> 12 & 0xf0;
	if (family == 15)
		family += one.a >> 20 & 0xff;
	for (uint32_t i = 0; i < 3 && x86_cpuid(0x80000000, 0).a >= 0x80000004; i++) {
		c = x86_cpuid(0x80000002 + i, 0);
		memcpy(&brand[i * 4], &c, 16);
	}
	text_printf(t, "processor\t: %u\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\n", cpu,
		    vendor, family, model);
	text_printf(t, "model name\t: %s\nstepping\t: %u\nflags\t\t:", (const char *)brand,
		    one.a & 15);
	for (unsigned i = 0; i < ARRAY_LEN(flags); i++)
		if (has(&flags[i]))
			text_printf(t, " %s", flags[i].name);
	text_printf(t, "\n\n");
}
