/* What the files of /dev/vuln offer one another: each family's calls; -ENOTTY: not one of them. */
#pragma once

#include "kernel/types.h"

long vuln_address_ioctl(unsigned cmd, uaddr_t arg);
long vuln_stack_ioctl(unsigned cmd, uaddr_t arg);
long vuln_heap_ioctl(unsigned cmd, uaddr_t arg);
void vuln_heap_init(void);
long vuln_meltdown_ioctl(unsigned cmd, uaddr_t arg);
