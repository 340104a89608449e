/* What user mode needs to tell the time without a system call: the page [vvar], and nothing else. */
#pragma once

#include <stdint.h>

/*
 * The monotonic clock is (counter - count_base) * ns_mult >> 32, as the kernel reckons it: fixed at
 * start-up.  What clock_settime changes is one word, read and written whole: no lock is needed.
 */
struct vdso_data {
	uint64_t count_base, ns_mult;
	uint64_t realtime_offset; /* atomic: real time = monotonic + this */
};
