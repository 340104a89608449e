/*
 * /bin/victim: a server with a textbook stack overflow, for attack aslr.  It reads a greeting from its
 * standard input, as long as the sender says, and answers.  Position-independent, without a canary.
 *
 * Nothing in it calls open_safe, which puts the magic word into the file at descriptor SAFE_FD.  Whoever
 * owns a copy can look up where that function lies: `victim where` tells.
 */
#include "user/victim/victim.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void __attribute__((noreturn, used))
open_safe(void)
{
	static const uint64_t magic = SAFE_MAGIC;

	_exit(pwrite(SAFE_FD, &magic, sizeof(magic), 0) == sizeof(magic) ? 0 : 1);
}

static void __attribute__((noinline))
receive(char *to, size_t size)
{
	for (ssize_t n; size && (n = read(0, to, size)) > 0; size -= (size_t)n)
		to += n;
}

static int __attribute__((noinline))
greet(void)
{
	char name[64];
	uint64_t size = 0;

	receive((char *)&size, sizeof(size));
	receive(name, size); /* the bug: who says that it fits? */
	return name[0] == 'h' ? 0 : 1;
}

int
main(int argc, char **argv)
{
	volatile int status;

	if (argc == 2 && strcmp(argv[1], "where") == 0) {
		uint64_t where = (uint64_t)open_safe;

		return write(1, &where, sizeof(where)) == sizeof(where) ? 0 : 1;
	}
	status = greet();
	return status;
}
