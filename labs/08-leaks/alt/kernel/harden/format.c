/*
 * format
 *
 * Threat:    A string that a user chose becomes a format, and every honest %p tells an address.
 * Property:  Formats are literals.  %p prints whether a pointer is NULL, and nothing else.
 * Mechanism: The compiler refuses what is no literal; the printer looks into which section a format lies.
 * Limit:     %lx prints what it is given.  Two lines of a log cannot be said to speak of one object.
 * Check:     make grade; attack format.
 */
#include "kernel/harden/format.h"

#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"

extern const char __rodata_start[], __rodata_end[];

#define SOME_POINTER 1

static bool
in_rodata(const char *s)
{
	return (uint64_t)(s - __rodata_start) < (uint64_t)(__rodata_end - __rodata_start);
}

const char *
format_literal(const char *fmt)
{
	if (in_rodata(fmt) || !harden_wanted(HARDEN_FORMAT))
		return fmt;
	harden_report("format", "a string that is no literal came as a format");
	return "(no literal)";
}

/* There is no key to draw. */
void
format_init(void)
{
}

uint64_t
format_pointer(const void *p)
{
	return harden_wanted(HARDEN_FORMAT) && p ? SOME_POINTER : (uint64_t)p;
}

const char *
format_string(const char *str)
{
	if (!str)
		return "(null)";
	if (harden_wanted(HARDEN_FORMAT) && direct_map_base && (uint64_t)str < USER_END)
		return "(not a kernel string)";
	return str;
}

static enum harden_state
probe(char *how, size_t size)
{
	bool told = format_pointer(how) == (uint64_t)how, taken = format_literal(how) == how;

	snprintf(how, size, "pointers are%s told, other formats%s taken", told ? "" : " not", taken ? "" : " not");
	return told || taken ? HARDEN_OFF : HARDEN_ON;
}

const struct mitigation format_row = {
	"format", "formats are literals, and printed pointers do not tell addresses", probe};
