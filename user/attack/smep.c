/*
 * ret2usr.  A kernel function pointer is overwritten with the address of code in this program, and
 * the kernel is made to call it.
 */
#include "user/attack/attack.h"

static void
run(void)
{
	struct vuln_places places = vuln_places();
	uint64_t mine = 0;

	step("legal: the program runs its own code; the kernel calls its own handler");
	attack_payload(&mine);
	vuln_call_legally();

	step("illegal: the kernel's handler becomes the program's code");
	vuln_write(places.handler, (uint64_t)attack_payload);
	vuln_call(places.mark);

	vuln_write(places.handler, places.victim);
}

ATTACK(smep) = {
	.name = "smep",
	.what = "ret2usr: a hijacked kernel pointer runs a user page",
	.needs_off_x86_64 = "smep",
	.needs_off_aarch64 = "smep",
	.run = run,
};
