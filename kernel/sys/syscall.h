/*
 * System calls.  Each is `long sys_NAME(struct trapframe *tf)`: arguments are fetched by position
 * with the helpers below, so that every call has one type and hostile widths are cut in one place.
 * A result in [-4095, -1] is an error number.
 */
#pragma once

#include "arch/arch.h"
#include "kernel/types.h"

typedef long syscall_fn(struct trapframe *tf);

/* From the architecture's entry code, interrupts on: runs the call and stores its result in tf. */
void syscall_dispatch(struct trapframe *tf);

static inline int
arg_int(const struct trapframe *tf, unsigned n)
{
	return (int)tf_arg(tf, n);
}

static inline unsigned
arg_uint(const struct trapframe *tf, unsigned n)
{
	return (unsigned)tf_arg(tf, n);
}

static inline int64_t
arg_long(const struct trapframe *tf, unsigned n)
{
	return (int64_t)tf_arg(tf, n);
}

static inline uint64_t
arg_u64(const struct trapframe *tf, unsigned n)
{
	return tf_arg(tf, n);
}

static inline uaddr_t
arg_user(const struct trapframe *tf, unsigned n)
{
	return UADDR(tf_arg(tf, n));
}
