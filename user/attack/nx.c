/*
 * Shellcode.  Bytes that came as data are jumped to: on the stack, on the heap, in a data mapping.
 * Each place gets a process of its own, since a blocked attempt does not come back.
 */
#include "user/attack/attack.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

typedef void shellcode_fn(uint64_t *target);

/* Goes on at attack_payload, and returns. */
static void
write_shellcode(uint8_t *to)
{
	uint64_t payload = (uint64_t)attack_payload;

#if defined(__aarch64__)
	/* ldr x16, 1f; br x16; 1: .quad attack_payload */
	memcpy(to, "\x50\x00\x00\x58\x00\x02\x1f\xd6", 8);
	memcpy(to + 8, &payload, 8);
#else
	/* movabs $attack_payload, %rax; call *%rax; ret */
	memcpy(to, "\x48\xb8", 2);
	memcpy(to + 2, &payload, 8);
	memcpy(to + 10, "\xff\xd0\xc3", 3);
#endif
}

static void
jump_to(uint8_t *code)
{
	uint64_t target = 0;

	write_shellcode(code);
	/* To the compiler these bytes are data that nobody reads. */
	__builtin___clear_cache((char *)code, (char *)code + 16);
	((shellcode_fn *)code)(&target);
}

static void
on_stack(void)
{
	uint8_t buffer[16] __attribute__((aligned(8)));

	jump_to(buffer);
}

static void
on_heap(void)
{
	jump_to(malloc(16));
}

static void
in_mapping(void)
{
	void *data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (data == MAP_FAILED)
		give_up("mmap");
	jump_to(data);
}

/* How the child ended: the signal that killed it, or 0. */
static int
try_in_child(void (*place)(void))
{
	int status;
	pid_t child = fork();

	if (child < 0)
		give_up("fork");
	if (child == 0) {
		place();
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child)
		give_up("waitpid");
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void
run(void)
{
	uint64_t mine = 0;
	int killed = 0;

	step("legal: the program runs its own code");
	attack_payload(&mine);

	step("illegal: it runs code on the stack, on the heap, in a data mapping");
	killed |= try_in_child(on_stack);
	killed |= try_in_child(on_heap);
	killed |= try_in_child(in_mapping);
	if (killed)
		raise(killed);
}

ATTACK(nx) = {
	.name = "nx",
	.what = "shellcode on the stack, on the heap, in a data mapping",
	.needs_off_x86_64 = "nx",
	.needs_off_aarch64 = "nx,wx",
	.run = run,
};
