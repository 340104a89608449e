/* Stack canaries: each thread's own; compiled code reads the running thread's (Makefile, GUARD_*). */
#pragma once

#include "kernel/types.h"

struct thread;

/* Gives a thread that has not run yet a value of its own: drawn, or 0 with harden=-canary. */
void canary_give(struct thread *t);
/* Gives the boot context its own.  From a function that does not return. */
void canary_start(void);
/* Compiled code calls it where a function finds its canary changed.  Does not come back to that stack. */
noreturn void __stack_chk_fail(void);
