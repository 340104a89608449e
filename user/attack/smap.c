/*
 * A forged object.  The kernel takes a handle for a pointer to one of its objects; this one lies in
 * the program's memory, and its slot leads wherever the attacker wants the value written.
 */
#include "user/attack/attack.h"

struct vuln_object attack_fake;

static void
run(void)
{
	struct vuln_places places = vuln_places();
	struct vuln_set set = { 0, 0 };

	step("legal: a new object takes a value");
	vuln(VULN_OBJECT_NEW, &set);
	set.value = 1;
	vuln(VULN_OBJECT_SET, &set);

	step("illegal: the handle is a user address, the object a forgery");
	attack_fake.slot = (uint64_t *)places.mark;
	set.handle = (uint64_t)&attack_fake;
	set.value = MAGIC;
	vuln(VULN_OBJECT_SET, &set);
}

ATTACK(smap) = {
	.name = "smap",
	.what = "a fake object in user memory is followed by the kernel",
	.needs_off_x86_64 = "smap",
	.needs_off_aarch64 = "smap",
	.run = run,
};
