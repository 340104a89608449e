/* The devices that no one architecture owns. */
#pragma once

/* Makes /dev and everything in it; once, after vfs_init. */
void devices_init(void);
/* Of these, the terminal on the architecture's serial line, under its own name and as console, tty. */
void console_init(void);
