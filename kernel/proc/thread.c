/* Threads: allocation, kernel stacks, kernel threads. */
#include "kernel/proc/thread.h"

#include "kernel/errno.h"
#include "kernel/harden/canary.h"
#include "kernel/harden/kstack_offset.h"
#include "kernel/harden/stack_guard.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/proc/sched.h"
#include "syscall_nr.h"

int
thread_create(const char *name, void (*fn)(void *arg), void *arg, struct thread **out)
{
	struct thread *t = kzalloc(sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	err = kstack_alloc(&t->kstack);
	if (err) {
		kfree(t);
		return err;
	}
	t->canary = canary_new();
	kstack_offset_seed(t);
	strlcpy(t->name, name, sizeof(t->name));
	list_init(&t->siblings);
	list_init(&t->run_link);
	t->state = THREAD_UNINTERRUPTIBLE;
	t->affinity = UINT64_MAX;
	t->syscall_limit = SYS_LIMIT;
	t->cpu = (int)arch_cpu_number();
	arch_thread_init(t, fn, arg);
	stack_guard_name(t->kstack, t);
	*out = t;
	return 0;
}

int
kthread_start(const char *name, void (*fn)(void *arg), void *arg)
{
	struct thread *t;
	int err = thread_create(name, fn, arg, &t);

	if (!err)
		sched_start(t);
	return err;
}

void
thread_free(struct thread *t)
{
	arch_thread_destroy(t);
	seccomp_release(t);
	kstack_free(t->kstack);
	kfree(t);
}
