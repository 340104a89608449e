/* What the files of /dev/vuln offer one another: each family's calls; -ENOTTY: not one of them. */
#pragma once

#include "kernel/dev/vuln.h"
#include "kernel/types.h"

long vuln_address_ioctl(unsigned cmd, uaddr_t arg);
long vuln_stack_ioctl(unsigned cmd, uaddr_t arg);
long vuln_heap_ioctl(unsigned cmd, uaddr_t arg);
void vuln_heap_init(void);
long vuln_meltdown_ioctl(unsigned cmd, uaddr_t arg);
long vuln_pin_ioctl(unsigned cmd, uaddr_t arg);

/* vuln_heap.c: what another user keeps in the kernel, never given to anyone.  Read from outside. */
extern uint8_t vuln_note_theirs[VULN_NOTE_SIZE];
