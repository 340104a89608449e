/*
 * The clocks of clock_gettime(2) by their numbers.
 */
#pragma once

#include "kernel/proc/time.h"
#include "kernel/types.h"

#define CLOCK_REALTIME		 0
#define CLOCK_MONOTONIC		 1
#define CLOCK_PROCESS_CPUTIME_ID 2
#define CLOCK_THREAD_CPUTIME_ID	 3
#define CLOCK_MONOTONIC_RAW	 4
#define CLOCK_REALTIME_COARSE	 5
#define CLOCK_MONOTONIC_COARSE	 6
#define CLOCK_BOOTTIME		 7
#define CLOCK_REALTIME_ALARM	 8
#define CLOCK_BOOTTIME_ALARM	 9
#define CLOCK_TAI		 11

/* Reads a clock, CPU clocks (also of other processes and threads) included.  0 or -EINVAL. */
must_use int clock_read(int id, uint64_t *ns);

/* True for the clocks that timers and sleeps can run on; *realtime: it is the wall clock. */
bool clock_can_wait(int id, bool *realtime);
/*
 * Monotonic time at which a valid ts has passed: from now, or absolute on the monotonic or the
 * real-time clock as it is set now.  Never NO_DEADLINE.
 */
uint64_t clock_deadline(const struct timespec *ts, bool absolute, bool realtime);
