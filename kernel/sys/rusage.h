/* Linux's struct rusage, for wait4, waitid and getrusage. */
#pragma once

#include "kernel/proc/time.h"
#include "kernel/types.h"

struct rusage {
	struct timeval utime, stime;
	int64_t maxrss; /* KiB */
	int64_t ixrss, idrss, isrss;
	int64_t minflt, majflt, nswap, inblock, oublock, msgsnd, msgrcv, nsignals, nvcsw, nivcsw;
};
_Static_assert(sizeof(struct rusage) == 144, "rusage is part of the ABI");
