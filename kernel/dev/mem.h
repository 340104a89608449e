/* null, zero, full, random, urandom, kmsg. */
#pragma once

/* Registers them; after devfs_init. */
void mem_devices_init(void);
