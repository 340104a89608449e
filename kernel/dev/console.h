/* The console: the terminal on the architecture's serial line. */
#pragma once

/* Registers the terminal under its own name, /dev/console and /dev/tty.  Needs chrdev_register. */
void console_init(void);
