/*
 * What the files of the benchmark share: a row is a function that does its operation `n` times and
 * returns how long that took.
 */
#pragma once

#include <stdint.h>

struct row {
	const char *name;
	/* Does the operation n times; returns the nanoseconds that they took together. */
	uint64_t (*run)(unsigned int n);
	/* How often by default: enough that the clock's grain does not show. */
	unsigned int times;
	const char *what;
};

extern const struct row syscall_rows[], signal_rows[], process_rows[], memory_rows[];

/* Monotonic time in nanoseconds. */
uint64_t now(void);

/* Ends the benchmark with what failed and why, unless `ok`. */
void check(int ok, const char *what);
