/* Pseudo terminals: /dev/ptmx and the file system devpts. */
#pragma once

/* Registers both; after devfs_init. */
void pty_init(void);
