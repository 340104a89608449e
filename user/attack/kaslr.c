/*
 * A hard-coded gadget.  Code reuse needs no page of its own and no leak, as long as the kernel runs
 * where its public image was linked: the address of every function is in the image's symbol table.
 */
#include "user/attack/attack.h"

static void
run(void)
{
	struct vuln_symbol gadget = { "vuln_gadget", 0 };
	struct vuln_word call = { 0, 41 };

	step("legal: the kernel calls the function that its cookie stands for");
	vuln(VULN_COOKIE, &call);
	if (call.value != 41)
		give_up("the kernel's own function does not work");

	step("illegal: the cookie becomes an address out of the image's symbol table");
	vuln(VULN_LINKED, &gadget);
	attack_address = gadget.address;
	call.address = gadget.address;
	vuln(VULN_COOKIE, &call);
}

ATTACK(kaslr) = {
	.name = "kaslr",
	.what = "hard-coded gadget: the kernel is where its image was linked",
	.needs_off_x86_64 = "kaslr",
	.needs_off_aarch64 = "kaslr",
	.run = run,
};
