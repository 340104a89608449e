/*
 * Smashing the kernel's stack.  A kernel function copies a string to its stack without a look at the
 * length; the string goes on over the function's canary, which the attacker takes for the one that he
 * knows, to a return address.
 */
#include "user/attack/attack.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The buffer; the canary and what may lie beside it; whatever there is up to the return address. */
#define BUFFER (VULN_STRING_SIZE / 8)
#define KNOWN  2
#define SPRAY  4

static void
run(void)
{
	uint64_t words[BUFFER + KNOWN + SPRAY] = { MAGIC };
	struct vuln_string string = { (uint64_t)words, VULN_STRING_SIZE, 0 };
	pid_t child;
	int status;

	step("legal: a string that fits");
	vuln(VULN_STRING, &string);

	step("illegal: one that goes on to the return address, with zeros where the canary is");
	for (int i = BUFFER + KNOWN; i < BUFFER + KNOWN + SPRAY; i++)
		words[i] = string.gadget;
	string.size = sizeof(words);
	attack_address = string.gadget;
	child = fork();
	if (child == 0) {
		vuln(VULN_STRING, &string);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		give_up("waitpid");
	if (WIFSIGNALED(status))
		raise(WTERMSIG(status));
}

ATTACK(canary) = {
	.name = "canary",
	.what = "linear overflow on the kernel stack reaches a return address",
	.needs_off_x86_64 = "canary",
	.needs_off_aarch64 = "canary",
	.run = run,
};
