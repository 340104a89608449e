/*
 * Yesterday's stack.  A kernel function looks at a local that it never set.  What it finds is what the
 * call before left there, if the two begin at the same place of the stack.
 */
#include "user/attack/attack.h"

#include <stdlib.h>

/*
 * A door that opens after VULN_KNOCKS right knocks in a row.  With 32 places to begin at, it opens once in
 * 32^8, which is 10^12, tries; without, a try fails only where an interrupt came between.
 */
#define TRIES 16

static int
knock(void)
{
	struct vuln_word note = { 0, MAGIC }, none = { 0, 0 };

	vuln(VULN_LEAVE, &note);
	return vuln(VULN_KNOCK, &none);
}

static void
run(void)
{
	struct vuln_word other = { 0, 1 };

	step("legal: a note is left; a knock without a key is counted as none");
	vuln(VULN_LEAVE, &other);
	if (vuln(VULN_KNOCK, &other) != 0)
		give_up("the door counts any knock");

	step("illegal: the note is the key, and the next call finds it on its stack");
	for (int i = 0; i < TRIES; i++) {
		int right = knock();

		while (right != 0 && right < VULN_KNOCKS)
			right = knock();
		if (right == VULN_KNOCKS)
			return;
	}
	step("the door stayed shut");
	exit(1);
}

ATTACK(kstack_offset) = {
	.name = "kstack-offset",
	.what = "a local that is not set holds what the call before left",
	.needs_off_x86_64 = "kstack-offset",
	.needs_off_aarch64 = "kstack-offset",
	.run = run,
};
