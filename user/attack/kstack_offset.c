/*
 * Yesterday's stack.  A kernel function looks at a local that it never set.  What it finds is what the
 * call before left there, if the two begin at the same place of the stack.
 */
#include "user/attack/attack.h"

#include <stdlib.h>

/*
 * A door that opens after VULN_KNOCKS right knocks in a row, each with another key: what older notes left fits no
 * more.  With 32 places to begin at, it opens once in 32^8, which is 10^12, tries; without, a try fails only where
 * an interrupt came between.
 */
#define TRIES 16

static uint64_t turn; /* how much the next key is above the first */

static int
knock(void)
{
	struct vuln_word note = { 0, MAGIC + turn }, none = { 0, 0 };
	int right;

	vuln(VULN_LEAVE, &note);
	right = vuln(VULN_KNOCK, &none);
	turn = none.value;
	return right;
}

static void
run(void)
{
	struct vuln_word other = { 0, 1 }, none = { 0, 0 };

	step("legal: a note is left; a knock without a key is counted as none");
	vuln(VULN_LEAVE, &other);
	if (vuln(VULN_KNOCK, &none) != 0)
		give_up("the door counts any knock");
	turn = none.value;

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
