/* The gate of every copy between user mode and kernel memory whose size is not a constant. */
#pragma once

#include "kernel/types.h"

/* Before the first user copy: decides the row's state. */
void usercopy_init(void);
/* Ends the process with a report unless all n bytes at the kernel address p belong to one thing that may be copied. */
void usercopy_check(uint64_t p, size_t n, bool to_user);
