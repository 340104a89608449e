/* System calls: poll, ppoll, select, pselect6. */
#include "kernel/errno.h"
#include "kernel/fs/poll.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/process.h"
#include "kernel/proc/signal.h"
#include "kernel/sys/syscalls.h"

/*
 * Writes the time left until deadline to *addr, as Linux does however the call ended.  An interrupted
 * call whose timeout could be written may run again with what is left.
 */
static void
write_time_left(uaddr_t addr, uint64_t deadline, bool timeval)
{
	uint64_t now = clock_monotonic();
	struct timespec ts = ns_to_timespec(deadline > now ? deadline - now : 0);

	if (timeval)
		ts.nsec /= 1000;
	/* A timeout in read-only memory is the caller's own affair: the result stands. */
	(void)!put_user(addr, &ts);
}

static long
do_poll(uaddr_t user, unsigned n, uint64_t deadline)
{
	struct pollfd small[8], *fds = small;
	long result;

	if (n > rlimit(RLIMIT_NOFILE))
		return -EINVAL;
	if (n > ARRAY_LEN(small)) {
		if (n > KMALLOC_MAX / sizeof(*fds))
			return -ENOMEM;
		fds = kmalloc(n * sizeof(*fds));
		if (!fds)
			return -ENOMEM;
	}
	result = copy_from_user(fds, user, n * sizeof(*fds));
	if (result)
		goto out;
	result = poll_files(fds, n, deadline);
	for (unsigned i = 0; i < n && result != -ENOMEM; i++) {
		uaddr_t slot = uaddr_add(user, i * sizeof(*fds) + offsetof(struct pollfd, revents));

		if (put_user(slot, &fds[i].revents)) {
			result = -EFAULT;
			break;
		}
	}
out:
	if (fds != small)
		kfree(fds);
	return result;
}

#if ARCH_HAS_LEGACY_SYSCALLS

static long
poll_restart(struct thread *t)
{
	long r = do_poll(UADDR(t->restart_args[0]), (unsigned)t->restart_args[1],
			 t->restart_args[2]);

	return r == -ERESTARTNOHAND ? -ERESTARTBLOCK : r;
}

long
sys_poll(struct trapframe *tf)
{
	uaddr_t user = arg_user(tf, 0);
	unsigned n = arg_uint(tf, 1);
	int ms = arg_int(tf, 2);
	uint64_t deadline = NO_DEADLINE;
	long r;

	if (ms == 0)
		deadline = 0;
	else if (ms > 0)
		deadline = clock_monotonic() + (uint64_t)ms * NSEC_PER_MSEC;
	r = do_poll(user, n, deadline);
	if (r == -ERESTARTNOHAND) {
		current->restart_fn = poll_restart;
		current->restart_args[0] = user.v;
		current->restart_args[1] = n;
		current->restart_args[2] = deadline;
		r = -ERESTARTBLOCK;
	}
	return r;
}

#endif

/* Reads a timespec (NULL: none) and turns it into a deadline.  0, -EFAULT or -EINVAL. */
static int
get_deadline(uaddr_t addr, uint64_t *deadline)
{
	struct timespec ts;

	*deadline = NO_DEADLINE;
	if (!addr.v)
		return 0;
	if (get_user(&ts, addr))
		return -EFAULT;
	if (!timespec_valid(&ts))
		return -EINVAL;
	*deadline = poll_deadline(&ts);
	return 0;
}

/* The end that ppoll and pselect6 share: signal mask and time left. */
static long
finish_with_mask(long r, uaddr_t timeout, uint64_t deadline)
{
	/* An interrupted call keeps its mask until the handler is set up (signal_deliver). */
	if (r != -ERESTARTNOHAND)
		signal_restore_user_mask();
	if (timeout.v)
		write_time_left(timeout, deadline, false);
	return r;
}

long
sys_ppoll(struct trapframe *tf)
{
	uaddr_t timeout = arg_user(tf, 2);
	uint64_t deadline;
	int err = get_deadline(timeout, &deadline);

	if (err)
		return err;
	err = signal_set_user_mask(arg_user(tf, 3), arg_u64(tf, 4));
	if (err)
		return err;
	return finish_with_mask(do_poll(arg_user(tf, 0), arg_uint(tf, 1), deadline), timeout,
				deadline);
}

/* The three sets of descriptors are at user[]; NULL: empty. */
static long
do_select(int n, const uaddr_t user[3], uint64_t deadline)
{
	uint64_t small[6 * 2], *words = small;
	uint64_t *in[3], *out[3];
	size_t bytes, nwords;
	long r = 0;

	if (n < 0)
		return -EINVAL;
	n = MIN(n, (int)READ_ONCE(current->process->files->capacity));
	nwords = ((unsigned)n + 63) / 64;
	bytes = nwords * 8;
	if (6 * bytes > sizeof(small)) {
		words = kmalloc(6 * bytes);
		if (!words)
			return -ENOMEM;
	}
	memset(words, 0, 6 * bytes);
	for (unsigned k = 0; k < 3; k++) {
		in[k] = words + k * nwords;
		out[k] = words + (3 + k) * nwords;
		if (!user[k].v)
			continue;
		r = copy_from_user(in[k], user[k], bytes);
		if (r)
			goto out;
		if (n % 64)
			in[k][nwords - 1] &= BIT(n % 64) - 1;
	}
	r = poll_select((unsigned)n, (const uint64_t *const *)in, out, deadline);
	if (r < 0)
		goto out;
	for (unsigned k = 0; k < 3; k++) {
		if (user[k].v && copy_to_user(user[k], out[k], bytes)) {
			r = -EFAULT;
			break;
		}
	}
out:
	if (words != small)
		kfree(words);
	return r;
}

#if ARCH_HAS_LEGACY_SYSCALLS

long
sys_select(struct trapframe *tf)
{
	uaddr_t sets[3] = {arg_user(tf, 1), arg_user(tf, 2), arg_user(tf, 3)};
	uaddr_t timeout = arg_user(tf, 4);
	uint64_t deadline = NO_DEADLINE;
	long r;

	if (timeout.v) {
		struct timeval tv;
		struct timespec ts;

		if (get_user(&tv, timeout))
			return -EFAULT;
		/* As Linux: microseconds beyond a second are carried over, the sum is checked. */
		ts.sec = (int64_t)((uint64_t)tv.sec + (uint64_t)(tv.usec / 1000000));
		ts.nsec = tv.usec % 1000000 * 1000;
		if (!timespec_valid(&ts))
			return -EINVAL;
		deadline = poll_deadline(&ts);
	}
	r = do_select(arg_int(tf, 0), sets, deadline);
	if (timeout.v)
		write_time_left(timeout, deadline, true);
	return r;
}

#endif

long
sys_pselect6(struct trapframe *tf)
{
	uaddr_t sets[3] = {arg_user(tf, 1), arg_user(tf, 2), arg_user(tf, 3)};
	uaddr_t timeout = arg_user(tf, 4);
	struct {
		uint64_t mask, size;
	} sig = {0, 0};
	uint64_t deadline;
	int err;

	if (arg_u64(tf, 5) && get_user(&sig, arg_user(tf, 5)))
		return -EFAULT;
	err = get_deadline(timeout, &deadline);
	if (err)
		return err;
	err = signal_set_user_mask(UADDR(sig.mask), sig.size);
	if (err)
		return err;
	return finish_with_mask(do_select(arg_int(tf, 0), sets, deadline), timeout, deadline);
}
