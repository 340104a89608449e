/* getrandom(2). */
#include "kernel/lib/random.h"

#include "kernel/errno.h"
#include "kernel/lib/string.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/sched.h"
#include "kernel/sys/table.h"

#define GRND_NONBLOCK 1u
#define GRND_RANDOM   2u
#define GRND_INSECURE 4u

long
sys_getrandom(struct trapframe *tf)
{
	uaddr_t buf = arg_user(tf, 0);
	size_t n = arg_u64(tf, 1), done = 0;
	unsigned flags = arg_uint(tf, 2);
	uint8_t chunk[256];

	if (flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) ||
	    (flags & (GRND_RANDOM | GRND_INSECURE)) == (GRND_RANDOM | GRND_INSECURE))
		return -EINVAL;
	n = MIN(n, (size_t)INT32_MAX);
	while (done < n) {
		size_t len = MIN(n - done, sizeof(chunk)), copied;

		random_bytes(chunk, len);
		copied = copy_to_user_some(uaddr_add(buf, done), chunk, len);
		done += copied;
		if (copied < len || signal_pending())
			break;
		cond_resched();
	}
	memset(chunk, 0, sizeof(chunk));
	return done || !n ? (long)done : -EFAULT;
}
