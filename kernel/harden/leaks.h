/* leaks: kernel/harden/leaks.c */
#pragma once

#include "kernel/types.h"

/* A kernel address as a file of /proc may show it. */
uint64_t leaks_address(uint64_t addr);
/* May a process read the kernel's log?  root: whether it is. */
bool leaks_log_allowed(bool root);
