/*
 * Another process's registers.  The victim works with a secret in its vector registers, as encryption does,
 * and shows it to nobody.  The attacker waits on the same CPU, and looks at its own registers.
 */
#define _GNU_SOURCE
#include "user/attack/attack.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fpu.h"
#include "machine.h"
#include "user/cpu.h"

#define SIZE  (32 * VECTORS)
#define TRIES 200

/* The victim's alone: the attacker's process has zeros there. */
uint8_t attack_register_secret[SIZE];
uint8_t attack_register_loot[SIZE];

static void
victim(int ready)
{
	pid_t parent = getppid();

	if (getrandom(attack_register_secret, SIZE, 0) != SIZE)
		_exit(1);
	for (int i = 16; i < SIZE && !t_wide_vectors(); i += 32)
		memset(attack_register_secret + i, 0, 16);
	if (write(ready, "", 1) != 1)
		_exit(1);
	while (t_call(SYS_getppid, 0, 0) == parent) {
		load(attack_register_secret); /* for the next block that it encrypts */
		t_call(SYS_sched_yield, 0, 0);
	}
	_exit(0);
}

/* Whether the attacker's registers keep zeros over a system call; what they hold then goes to the loot. */
static bool
wait_with_zeros(long call)
{
	static const uint8_t zeros[SIZE];

	load(zeros);
	t_call(call, 0, 0);
	store(attack_register_loot);
	return memcmp(attack_register_loot, zeros, SIZE) == 0;
}

/* Random bytes are not zero 16 times in a row. */
static bool
in_every_vector(void)
{
	static const uint8_t zeros[16];
	int part = t_wide_vectors() ? 16 : 32;

	for (int i = 0; i < SIZE; i += part) {
		if (memcmp(attack_register_loot + i, zeros, 16) == 0)
			return false;
	}
	return true;
}

static void
run(void)
{
	int ready[2], tries = TRIES;
	pid_t child;
	char c;

	if (pin(0) < 0 || pipe(ready) < 0)
		give_up("sched_setaffinity, pipe");

	step("legal: the attacker's own registers survive a system call");
	while (!wait_with_zeros(SYS_getppid) && --tries > 0)
		;
	if (tries == 0)
		give_up("registers do not survive a system call");

	step("illegal: it lets the victim run, and looks at its registers again");
	child = fork();
	if (child < 0)
		give_up("fork");
	if (child == 0)
		victim(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		give_up("the victim does not begin");
	for (int i = 0; i < TRIES; i++) {
		if (!wait_with_zeros(SYS_sched_yield) && in_every_vector())
			return;
	}
	step("they hold what it left there");
	kill(child, SIGKILL);
	exit(1);
}

ATTACK(fpu) = {
	.name = "fpu",
	.what = "vector registers still hold what another process computed with",
	.needs_off_x86_64 = "fpu",
	.needs_off_aarch64 = "fpu",
	.run = run,
};
