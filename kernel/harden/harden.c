/*
 * The registry of mitigations.  `harden=` is parsed before the final tables are built; its flags are
 * read-only after start-up.  States are read back, never remembered.
 */
#include "kernel/harden/harden.h"

#include "arch/arch.h"
#include "kernel/cmdline.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/proc/call.h"
#include "kernel/proc/sched.h"

#define REPORTS_PER_SECOND 20 /* a user who provokes them must not flood the console */

const struct mitigation *const mitigations[HARDEN_ROWS] = {
#define TABLE_ROW(NAME, symbol) [HARDEN_##NAME] = &symbol##_row,
	HARDEN_LIST(TABLE_ROW)
#undef TABLE_ROW
};

static uint64_t unwanted ro_after_init; /* bit per row: switched off on the command line */

bool
harden_wanted(enum harden_row row)
{
	return !(unwanted & BIT(row));
}

/* One word of harden=: `all`, `none`, `-NAME` or `NAME`. */
static void
parse_word(const char *word)
{
	bool off = word[0] == '-';
	const char *name = word + off;

	if (strcmp(word, "all") == 0) {
		unwanted = 0;
		return;
	}
	if (strcmp(word, "none") == 0) {
		unwanted = BIT(HARDEN_ROWS) - 1;
		return;
	}
	for (unsigned i = 0; i < HARDEN_ROWS; i++) {
		if (strcmp(name, mitigations[i]->name) == 0) {
			unwanted = off ? unwanted | BIT(i) : unwanted & ~BIT(i);
			return;
		}
	}
	kalert("harden: there is no mitigation \"%s\"\n", name);
}

void
harden_parse(void)
{
	char value[256], *word = value;

	cmdline_get("harden", value, sizeof(value));
	while (*word) {
		char *comma = strchr(word, ',');

		if (comma)
			*comma = '\0';
		if (*word)
			parse_word(word);
		if (!comma)
			break;
		word = comma + 1;
	}
}

void
harden_cpu_init(void)
{
	wp_cpu_init();
	smep_cpu_init();
	smap_cpu_init();
	umip_cpu_init();
	asid_cpu_init();
	ibrs_cpu_init();
	stibp_cpu_init();
	ibpb_cpu_init();
	kpti_cpu_init();
}

/* ---- Evidence from every CPU ---- */

struct poll {
	bool (*active)(void);
	uint64_t on; /* atomic: CPUs that have it */
};

static void
poll_cpu(void *arg)
{
	struct poll *p = arg;

	if (p->active())
		__atomic_fetch_or(&p->on, BIT(arch_cpu_number()), __ATOMIC_RELAXED);
}

enum harden_state
harden_poll_cpus(bool (*supported)(void), bool (*active)(void), const char *bit, char *how,
		 size_t size)
{
	struct poll p = {.active = active};

	if (!supported()) {
		snprintf(how, size, "this CPU has no %s", bit);
		return HARDEN_ABSENT;
	}
	run_on_all_cpus(poll_cpu, &p);
	snprintf(how, size, "%s set on CPUs %#lx of %#lx", bit, p.on, cpus_online);
	return p.on == cpus_online ? HARDEN_ON : HARDEN_OFF;
}

/* ---- Reports ---- */

void
harden_report(const char *name, const char *fmt, ...)
{
	static uint64_t window, count; /* atomic, loosely: a few lines more do no harm */
	uint64_t now = clock_monotonic() / NSEC_PER_SEC;
	char text[256];
	va_list ap;

	if (__atomic_exchange_n(&window, now, __ATOMIC_RELAXED) != now)
		__atomic_store_n(&count, 0, __ATOMIC_RELAXED);
	if (__atomic_add_fetch(&count, 1, __ATOMIC_RELAXED) > REPORTS_PER_SECOND)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	kalert("harden: %s: %s\n", name, text);
}
