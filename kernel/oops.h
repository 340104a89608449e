/* Oopses: the kernel broke one of its own rules on behalf of a thread. */
#pragma once

#include "kernel/types.h"

struct trapframe;

/*
 * Reports (mitigation: the row that stopped it, or NULL) with registers, backtrace and process (tf NULL:
 * a check in the kernel's own code failed, and the backtrace is the caller's), then
 * kills the current thread's process without returning on its stack.  Panics instead if a lock is
 * held, in an interrupt handler, without a process, or beyond oops_limit.
 */
noreturn void oops(const struct trapframe *tf, const char *mitigation, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Prints a symbolised backtrace that starts at frame pointer fp, below instruction ip; returned_to: a call
 * was to return there.
 */
void backtrace(uint64_t ip, uint64_t fp, bool returned_to);
/* The function that contains addr and the offset in it; NULL if it is not kernel text. */
const char *symbol_name(uint64_t addr, uint64_t *offset);
/* Function i of the image, from the lowest up, and its address; NULL behind the last. */
const char *symbol_at(uint32_t i, uint64_t *addr);

