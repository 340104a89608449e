/* What /proc/cpuinfo says of a processor, as Linux words it. */
#include "kernel/fs/seqfile.h"
#include "cpu.h"

/* By bit of AT_HWCAP. */
static const char *const names[32] = {
	"fp",	   "asimd",  NULL,   "aes",   "pmull",	  "sha1",    "sha2",  "crc32",
	"atomics", "fphp",   "asimdhp", NULL,  "asimdrdm", "jscvt",   "fcma",  "lrcpc",
	"dcpop",   "sha3",   "sm3",  "sm4",   "asimddp",  "sha512",  NULL,    "asimdfhm",
	"dit",	   "uscat",  "ilrcpc", "flagm", NULL,	  "sb",	     NULL,    NULL,
};

/* The processors are alike: what this one says holds for all. */
void
arch_cpuinfo_print(struct text *t, unsigned cpu)
{
	uint64_t midr = READ_SYSREG(midr_el1);
	uint64_t hz = READ_SYSREG(cntfrq_el0);

	text_printf(t, "processor\t: %u\nBogoMIPS\t: %lu.%02lu\nFeatures\t:", cpu, hz / 500000,
		    hz / 5000 % 100);
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (names[i] && (arch_hwcap() & BIT(i)))
			text_printf(t, " %s", names[i]);
	}
	text_printf(t, "\nCPU implementer\t: 0x%02lx\nCPU architecture: 8\n", midr >> 24 & 0xff);
	text_printf(t, "CPU variant\t: 0x%lx\nCPU part\t: 0x%03lx\nCPU revision\t: %lu\n\n",
		    midr >> 20 & 15, midr >> 4 & 0xfff, midr & 15);
}
