/* New threads and processes: clone(2) and its kin. */
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/lib/string.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/sys/syscalls.h"

/* Linux's clone flags (include/uapi/linux/sched.h). */
#define CSIGNAL		     0x000000ffull
#define CLONE_VM	     0x00000100ull
#define CLONE_FS	     0x00000200ull
#define CLONE_FILES	     0x00000400ull
#define CLONE_SIGHAND	     0x00000800ull
#define CLONE_PIDFD	     0x00001000ull
#define CLONE_VFORK	     0x00004000ull
#define CLONE_PARENT	     0x00008000ull
#define CLONE_THREAD	     0x00010000ull
#define CLONE_NEWNS	     0x00020000ull
#define CLONE_SETTLS	     0x00080000ull
#define CLONE_PARENT_SETTID  0x00100000ull
#define CLONE_CHILD_CLEARTID 0x00200000ull
#define CLONE_DETACHED	     0x00400000ull
#define CLONE_CHILD_SETTID   0x01000000ull
/* cgroup, uts, ipc, user, pid, net, and time (which only clone3 can name) */
#define CLONE_NEW_OTHER	     0x7e000000ull
#define CLONE_NEWTIME	     0x00000080ull
#define CLONE_CLEAR_SIGHAND  0x100000000ull
#define CLONE_INTO_CGROUP    0x200000000ull

struct clone_request {
	uint64_t flags; /* without the exit signal */
	int exit_signal;
	uint64_t stack; /* stack pointer of the child; 0: the parent's */
	uint64_t tls;
	uaddr_t parent_tid, child_tid;
};

/* 0, or the errno that Linux gives for a combination of flags that makes no sense. */
static int
check_flags(uint64_t flags)
{
	const uint64_t namespaces = CLONE_NEWNS | CLONE_NEW_OTHER | CLONE_NEWTIME;

	if ((flags & (CLONE_NEWNS | CLONE_FS)) == (CLONE_NEWNS | CLONE_FS))
		return -EINVAL;
	if ((flags & CLONE_THREAD) && !(flags & CLONE_SIGHAND))
		return -EINVAL;
	if ((flags & CLONE_SIGHAND) && !(flags & CLONE_VM))
		return -EINVAL;
	if ((flags & CLONE_SIGHAND) && (flags & CLONE_CLEAR_SIGHAND))
		return -EINVAL;
	/* The wait is for the process that leaves the address space. */
	if ((flags & CLONE_THREAD) && (flags & CLONE_VFORK))
		return -EINVAL;
	if ((flags & CLONE_PARENT) && current->process == init_process)
		return -EINVAL;
	/* There is but one name space of each kind, and no descriptor for a process. */
	if (flags & namespaces)
		return capable() ? -EINVAL : -EPERM;
	if (flags & (CLONE_PIDFD | CLONE_INTO_CGROUP))
		return -EINVAL;
	/* Descriptors and directories belong to the process here: its threads share them. */
	if ((flags & CLONE_THREAD) &&
	    (flags & (CLONE_FS | CLONE_FILES)) != (CLONE_FS | CLONE_FILES))
		return -EINVAL;
	return 0;
}

/* -EAGAIN if the user or the machine has too many threads. */
static int
check_limits(void)
{
	uint64_t limit = rlimit(RLIMIT_NPROC);
	uint32_t uid = cred()->uid;

	if (READ_ONCE(thread_total) >= thread_limit)
		return -EAGAIN;
	if (uid != 0 && !capable() && limit < thread_limit && process_count_user(uid) >= limit)
		return -EAGAIN;
	return 0;
}

/* Sets every caught signal back to its default; ignored ones stay so. */
static void
sighand_forget_handlers(struct sighand *h)
{
	for (int i = 0; i < NSIG; i++)
		if (h->action[i].handler != SIG_IGN)
			memset(&h->action[i], 0, sizeof(h->action[i]));
}

static int
copy_files(struct process *from, struct process *p, uint64_t flags)
{
	if (flags & CLONE_FILES) {
		files_get(from->files);
		p->files = from->files;
		return 0;
	}
	return files_fork(from->files, &p->files);
}

static int
copy_fs(struct process *from, struct process *p, uint64_t flags)
{
	if (flags & CLONE_FS) {
		refcount_get(&from->fs->refs);
		p->fs = from->fs;
		return 0;
	}
	return fs_context_fork(from->fs, &p->fs);
}

static int
copy_sighand(struct process *from, struct process *p, uint64_t flags)
{
	int err;

	if (flags & CLONE_SIGHAND) {
		refcount_get(&from->sighand->refs);
		p->sighand = from->sighand;
		return 0;
	}
	err = sighand_create(from->sighand, &p->sighand);
	if (!err && (flags & CLONE_CLEAR_SIGHAND))
		sighand_forget_handlers(p->sighand);
	return err;
}

static int
copy_vm(struct process *from, struct process *p, uint64_t flags)
{
	if (flags & CLONE_VM) {
		vm_get(from->vm);
		p->vm = from->vm;
		return 0;
	}
	return vm_fork(from->vm, &p->vm);
}

/* Gives back what copy_process took from a process that was never linked. */
static void
drop_process(struct process *p)
{
	if (p->vm)
		vm_put(p->vm);
	if (p->fs)
		fs_context_put(p->fs);
	if (p->files)
		files_put(p->files);
	if (p->exe)
		exec_close(p->exe);
	process_put(p);
}

/* A process like the current one, in no table yet. */
static int
copy_process(uint64_t flags, int exit_signal, struct process **out)
{
	struct process *from = current->process, *p;
	int err = process_alloc(&p);

	if (err)
		return err;
	memcpy(p->name, from->name, sizeof(p->name));
	spin_lock(&from->lock);
	p->cred = from->cred;
	p->no_new_privs = from->no_new_privs;
	p->dumpable = from->dumpable;
	p->allow_wx = from->allow_wx;
	p->personality = from->personality;
	memcpy(p->rlimit, from->rlimit, sizeof(p->rlimit));
	if (from->exe) {
		exec_share(from->exe);
		p->exe = from->exe;
	}
	spin_unlock(&from->lock);
	p->exit_signal = exit_signal;
	p->parent_tid = current->tid;
	p->start_time = clock_monotonic();
	if ((err = copy_sighand(from, p, flags)) || (err = copy_files(from, p, flags)) ||
	    (err = copy_fs(from, p, flags)) || (err = copy_vm(from, p, flags))) {
		drop_process(p);
		return err;
	}
	*out = p;
	return 0;
}

/* The registers of p's new thread and what it inherits of the current thread. */
static int
copy_thread(struct process *p, struct thread *t, const struct trapframe *tf, const struct clone_request *r)
{
	struct thread *me = current;
	int err = arch_thread_fork(t, tf);

	if (err)
		return err;
	if (r->stack)
		tf_set_sp(arch_user_frame(t), r->stack);
	if (r->flags & CLONE_SETTLS) {
		err = arch_set_tls(t, r->tls);
		if (err)
			return err;
	}
	t->affinity = me->affinity;
	t->nice = me->nice;
	t->policy = me->policy;
	signal_thread_init(t, p, me);
	/* Two threads must not run handlers on one alternate stack; a vfork child does not. */
	if ((r->flags & (CLONE_VM | CLONE_VFORK)) != CLONE_VM)
		t->sig.altstack = me->sig.altstack;
	if (r->flags & CLONE_CHILD_CLEARTID)
		t->clear_child_tid = r->child_tid;
	return 0;
}

/*
 * Signals that a thread has yet to act on come before the child that it makes: it could be one of those that
 * they are for.  What comes while the child is made matters only to link_child: else a fast timer would let no
 * fork come to its end.  *seen: for link_child.
 */
static int
signals_first(unsigned *seen)
{
	*seen = __atomic_load_n(&current->process->signals_to_many, __ATOMIC_ACQUIRE);
	return signal_pending() || (signal_pending_set() & ~current->sig.mask) ? signal_restart() : 0;
}

/*
 * Links t, and p if it is new.  A process that is about to die or to stop, whose other threads exec is
 * killing, or that was sent a signal with others which the child would miss, gets no new members: the caller
 * acts on its signal first.
 */
static int
link_child(struct process *p, struct thread *t, uint64_t flags, unsigned seen)
{
	struct process *me = current->process;
	irqstate_t s = spin_lock_irq(&process_lock);
	int err = 0;

	if (me->exiting || me->execing || signal_killed() || me->stop_signal || me->signals_to_many != seen)
		err = signal_restart();
	if (!err && !p->pid) {
		p->parent = me;
		if (flags & CLONE_PARENT) {
			p->parent = me->parent;
			p->exit_signal = me->exit_signal;
			p->parent_tid = me->parent_tid;
		}
	}
	if (!err) {
		bool is_new = !p->pid;

		seccomp_inherit(p, t);
		err = process_link(p, t);
		if (!err && is_new) {
			process_set_group(p, me->pgid);
			process_set_session(p, me->sid);
			p->tty = me->tty;
		}
	}
	spin_unlock_irq(&process_lock, s);
	return err;
}

/* Writes the child's tid where the caller asked for; bad addresses are the caller's own loss. */
static void
store_tids(struct process *p, const struct clone_request *r, int tid)
{
	if (r->flags & CLONE_PARENT_SETTID)
		(void)!put_user(r->parent_tid, &tid);
	if (!(r->flags & CLONE_CHILD_SETTID))
		return;
	if (r->flags & CLONE_VM)
		(void)!put_user(r->child_tid, &tid);
	else
		(void)!vm_access(p->vm, r->child_tid.v, &tid, sizeof(tid), true);
}

#define VFORK_RECHECK (10 * NSEC_PER_MSEC)

/*
 * Sleeps until the child has left the shared address space; only death ends the wait early.  A
 * signal that does not kill must wait, and while one is pending no interruptible sleep is
 * possible: then death is looked for now and again.
 */
static void
wait_vfork(struct process *child)
{
	struct wait_queue *q = &current->process->child_wait;
	struct waiter w = {.link = LIST_INIT(w.link)};
	irqstate_t s;

	for (;;) {
		bool quiet = !signal_pending();

		wait_prepare(q, &w, quiet);
		if (!READ_ONCE(child->vfork_wait) || signal_killed())
			break;
		(void)!wait_sleep(quiet ? NO_DEADLINE : clock_monotonic() + VFORK_RECHECK);
	}
	wait_finish(&w);
	s = spin_lock_irq(&process_lock);
	child->vfork_wait = NULL; /* the child must not wake a dead parent */
	spin_unlock_irq(&process_lock, s);
}

static long
clone_common(struct trapframe *tf, const struct clone_request *r)
{
	struct process *me = current->process, *p = me;
	bool new_process = !(r->flags & CLONE_THREAD);
	struct thread *t;
	unsigned seen;
	int err, tid;

	err = check_flags(r->flags);
	if (!err)
		err = signals_first(&seen);
	if (!err)
		err = check_limits();
	if (err)
		return err;
	err = thread_create(current->name, NULL, NULL, &t);
	if (err)
		return err;
	if (new_process) {
		err = copy_process(r->flags, r->exit_signal, &p);
		if (err)
			goto fail_thread;
		if (r->flags & CLONE_VFORK)
			p->vfork_wait = &me->child_wait;
	}
	err = copy_thread(p, t, tf, r);
	if (err)
		goto fail_process;
	t->process = p;
	t->vm = p->vm;
	err = link_child(p, t, r->flags, seen);
	if (err)
		goto fail_process;

	/* From here on the child exists, and may be killed, but does not run before sched_start. */
	tid = t->tid;
	WRITE_ONCE(p->vm->in_use, true);
	store_tids(p, r, tid);
	if (new_process && (r->flags & CLONE_VFORK)) {
		refcount_get(&p->refs);
		sched_start(t);
		wait_vfork(p);
		process_put(p);
	} else {
		sched_start(t);
	}
	return tid;

fail_process:
	t->process = NULL;
	t->vm = NULL;
	if (new_process)
		drop_process(p);
fail_thread:
	thread_free(t);
	return err;
}

long
sys_clone(struct trapframe *tf)
{
	struct clone_registers c = tf_clone_args(tf);
	struct clone_request r = {
		/* clone has 32 bits of flags; 0x80 belongs to the signal. */
		.flags = (uint32_t)c.flags & ~CSIGNAL,
		.exit_signal = (int)(c.flags & CSIGNAL),
		.stack = c.stack,
		.tls = c.tls,
		.parent_tid = UADDR(c.parent_tid),
		.child_tid = UADDR(c.child_tid),
	};

	return clone_common(tf, &r);
}

/* Linux's struct clone_args, up to its third version. */
struct clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	uint64_t set_tid, set_tid_size;
	uint64_t cgroup;
};
#define CLONE_ARGS_V0 64

/* Copies a structure of the caller's size; what we do not know must be zero. */
static int
get_clone_args(struct clone_args *a, uaddr_t addr, uint64_t size)
{
	size_t known = MIN(size, sizeof(*a));
	uint8_t rest[64];

	if (size > PAGE_SIZE)
		return -E2BIG;
	if (size < CLONE_ARGS_V0)
		return -EINVAL;
	memset(a, 0, sizeof(*a));
	if (copy_from_user(a, addr, known))
		return -EFAULT;
	for (size_t done = known; done < size;) {
		size_t n = MIN(size - done, sizeof(rest));

		if (copy_from_user(rest, uaddr_add(addr, done), n))
			return -EFAULT;
		for (size_t i = 0; i < n; i++)
			if (rest[i])
				return -E2BIG;
		done += n;
	}
	return 0;
}

long
sys_clone3(struct trapframe *tf)
{
	struct clone_request r;
	struct clone_args a;
	int err = get_clone_args(&a, arg_user(tf, 0), arg_u64(tf, 1));

	if (err)
		return err;
	if (a.set_tid || a.set_tid_size)
		return -EINVAL;
	if ((a.exit_signal & ~CSIGNAL) || a.exit_signal > NSIG)
		return -EINVAL;
	/* Bits beyond those that clone3 knows, and two that it refuses. */
	if ((a.flags & ~(0xffffffffull | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP)) ||
	    (a.flags & (CLONE_DETACHED | (CSIGNAL & ~CLONE_NEWTIME))))
		return -EINVAL;
	if ((a.flags & (CLONE_THREAD | CLONE_PARENT)) && a.exit_signal)
		return -EINVAL;
	if (!a.stack != !a.stack_size)
		return -EINVAL;
	if (a.stack && !user_range_ok(UADDR(a.stack), a.stack_size))
		return -EINVAL;
	r = (struct clone_request){
		.flags = a.flags,
		.exit_signal = (int)a.exit_signal,
		.stack = a.stack ? a.stack + a.stack_size : 0,
		.tls = a.tls,
		.parent_tid = UADDR(a.parent_tid),
		.child_tid = UADDR(a.child_tid),
	};
	return clone_common(tf, &r);
}

#if ARCH_HAS_LEGACY_SYSCALLS
long
sys_fork(struct trapframe *tf)
{
	struct clone_request r = {.exit_signal = SIGCHLD};

	return clone_common(tf, &r);
}

long
sys_vfork(struct trapframe *tf)
{
	struct clone_request r = {.flags = CLONE_VFORK | CLONE_VM, .exit_signal = SIGCHLD};

	return clone_common(tf, &r);
}
#endif
