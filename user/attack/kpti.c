/*
 * Meltdown: a kernel secret, read from user mode.  A MODEL: the flawed processor, which reads ahead of its
 * permission check through the tables of user mode, is played by /dev/vuln (kernel/dev/vuln_meltdown.c).
 * The plain load at the end is real.
 */
#include "user/attack/attack.h"

#include <fcntl.h>
#include <sys/ioctl.h>

/* What was read: compared from outside with the secret itself. */
volatile uint64_t attack_stolen;

static void
run(void)
{
	static volatile uint64_t mine = MAGIC;
	struct vuln_word secret = { 0, 0 }, word = { (uint64_t)&mine, 0 };
	int fd = open("/dev/vuln", O_RDWR | O_CLOEXEC);

	step("legal: the program's own memory is read ahead of the permission check");
	vuln(VULN_MELTDOWN, &word);
	if (word.value != MAGIC)
		give_up("the program's own page was not translated");

	step("illegal: so is the kernel's");
	vuln(VULN_MELTDOWN, &secret);
	attack_address = secret.address;
	if (ioctl(fd, VULN_MELTDOWN, &secret) == 0) {
		attack_stolen = secret.value;
		return;
	}
	step("the tables translate nothing there; a plain load is left");
	attack_stolen = *(volatile uint64_t *)secret.address;
}

ATTACK(kpti) = {
	.name = "kpti",
	.what = "Meltdown (a model of it): user mode's tables lead to a kernel secret",
	.needs_off_x86_64 = "kpti",
	.needs_off_aarch64 = "kpti",
	.run = run,
};
