/*
 * Writing what is read-only with a kernel write primitive: a constant of the kernel's (wp), and a
 * page of a file that other processes share (wp-cow).
 */
#include "user/attack/attack.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static void
run_rodata(void)
{
	struct vuln_places places = vuln_places();

	step("legal: a variable changes, a constant is read");
	vuln_write(places.scratch, 7);
	if (vuln_read(places.scratch) != 7)
		give_up("the legal act failed");
	vuln_read(places.readonly);

	step("illegal: the constant is written");
	vuln_write(places.readonly, MAGIC);
}

static void
run_cow(void)
{
	struct vuln_places places = vuln_places();
	int fd = open("/etc/passwd", O_RDONLY);
	volatile uint64_t *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);

	if (page == MAP_FAILED)
		give_up("/etc/passwd");
	step("legal: a variable changes, the file is read");
	vuln_write(places.scratch, *page);
	attack_address = (uint64_t)page;

	step("illegal: the kernel writes to this process's read-only view of /etc/passwd");
	vuln_write((uint64_t)page, MAGIC);
}

ATTACK(wp) = {
	.name = "wp",
	.what = "a kernel write into a constant",
	.needs_off_x86_64 = "wp",
	.needs_off_aarch64 = "wp",
	.run = run_rodata,
};

ATTACK(wp_cow) = {
	.name = "wp-cow",
	.what = "a kernel write into a copy-on-write page of /etc/passwd",
	.needs_off_x86_64 = "wp,smap", /* aarch64 always obeys read-only pages */
	.run = run_cow,
};
