/* The console: the terminal on the architecture's serial line; the device of console= and /dev/tty. */
#include "kernel/dev/console.h"
#include "arch/arch.h"
#include "kernel/dev/mem.h"
#include "kernel/dev/vuln.h"
#include "kernel/fs/devfs.h"
#include "kernel/fs/pty.h"
#include "kernel/fs/tty.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"

static struct tty console;
static bool ready ro_after_init;

static size_t
console_write(struct tty *t unused, const char *s, size_t n)
{
	console_write_locked(s, n);
	return n;
}

static const struct tty_driver console_driver = {
	.write = console_write,
};

void
console_input(uint8_t byte)
{
	uint64_t when = arch_cycles();

	random_add(&when, sizeof(when)); /* people type at unpredictable moments */
	if (ready)
		tty_receive(&console, &byte, 1);
}

void
console_init(void)
{
	tty_init(&console, &console_driver, MKDEV(ARCH_CONSOLE_MAJOR, ARCH_CONSOLE_MINOR));
	chrdev_register(ARCH_CONSOLE_MAJOR, ARCH_CONSOLE_MINOR, arch_console_name(), 0600, &tty_ops,
			&console);
	chrdev_register(5, 1, "console", 0600, &console_ops, &console);
	chrdev_register(5, 0, "tty", 0666, &tty_ops, NULL);
	ready = true;
}

void
devices_init(void)
{
	devfs_init();
	mem_devices_init();
	console_init();
	pty_init();
#ifdef VULN
	vuln_init();
#endif
}
