/*
 * format
 *
 * Threat:    A string that a user chose becomes a format: %x and %p read out registers and stack, %s reads
 *            through whatever they hold, %n writes through it.  And every honest %p tells an address.
 * Property:  Formats are literals.  %p tells pointers apart without telling them.  There is no %n.
 * Mechanism: The compiler refuses what is no literal (-Wformat=2 with -Werror, printf_like everywhere); the
 *            printer, too, takes formats only from the image's read-only data.  %p prints 32 bits of SipHash
 *            under a key of this start.  %s follows only kernel addresses.
 * Limit:     %lx prints what it is given, which reports of faults need.  A name may be guessed for 32 bits.
 * Check:     grade/tests/test_format.py; attack format.
 */
#include "kernel/harden/format.h"

#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"
#include "kernel/lib/string.h"
#include "kernel/proc/thread.h"

extern const char __rodata_start[], __rodata_end[];

static uint64_t key[2] ro_after_init;

static bool
is_refused(const char *fmt)
{
	bool literal = fmt >= __rodata_start && fmt < __rodata_end;

	return !literal && harden_wanted(HARDEN_FORMAT);
}

const char *
format_literal(const char *fmt)
{
	if (likely(!is_refused(fmt)))
		return fmt;
	harden_report("format", "%s[%d] came with a format that is no literal: refused",
		      current->name, current->tid);
	return "";
}

static uint64_t
rotl(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static void
sip_round(uint64_t v[4])
{
	v[0] += v[1], v[1] = rotl(v[1], 13) ^ v[0], v[0] = rotl(v[0], 32);
	v[2] += v[3], v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3], v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1], v[1] = rotl(v[1], 17) ^ v[2], v[2] = rotl(v[2], 32);
}

/* SipHash-2-4 of eight bytes (Aumasson and Bernstein 2012). */
static uint64_t
siphash(uint64_t m, const uint64_t k[2])
{
	uint64_t v[4] = {k[0] ^ 0x736f6d6570736575, k[1] ^ 0x646f72616e646f6d,
			 k[0] ^ 0x6c7967656e657261, k[1] ^ 0x7465646279746573};
	const uint64_t words[2] = {m, 8ul << 56};

	for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
		v[3] ^= words[i];
		sip_round(v);
		sip_round(v);
		v[0] ^= words[i];
	}
	v[2] ^= 0xff;
	for (unsigned i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void
format_init(void)
{
	random_bytes(key, sizeof(key));
}

uint64_t
format_pointer(const void *p)
{
	if (!p || !harden_wanted(HARDEN_FORMAT))
		return (uint64_t)p;
	return (uint32_t)siphash((uint64_t)p, key);
}

const char *
format_string(const char *str)
{
	if (!str)
		return "(null)";
	/* While start-up runs at physical addresses, its strings lie there. */
	if ((uint64_t)str < USER_END && direct_map_base && harden_wanted(HARDEN_FORMAT))
		return "(not a kernel string)";
	return str;
}

/* Prints a pointer, and offers a writable format. */
static enum harden_state
probe(char *how, size_t size)
{
	char raw[24], printed[24];
	bool told, taken = !is_refused(how);

	snprintf(raw, sizeof(raw), "%#lx", (uint64_t)how);
	snprintf(printed, sizeof(printed), "%p", (void *)how);
	told = strcmp(raw, printed) == 0;
	snprintf(how, size, "%%p %s the address, formats that are no literals are %s",
		 told ? "tells" : "does not tell", taken ? "taken" : "refused");
	return told || taken ? HARDEN_OFF : HARDEN_ON;
}

const struct mitigation format_row = {
	"format", "formats are literals, and printed pointers do not tell addresses", probe};
