/*
 * /proc's view of processes and threads.  A process that ends while it is looked at gives an empty
 * text or ESRCH: each part is taken with a reference, under the lock that guards it.
 */
#include "arch/arch.h"
#include "kernel/errno.h"
#include "kernel/fs/procfs.h"
#include "kernel/fs/tty.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/time.h"
#include "kernel/proc/vdso.h"

#define NS_PER_TICK (NSEC_PER_SEC / 100) /* the ABI's clock ticks: USER_HZ */

/* ---- Whose business it is ---- */

void
procfs_owner(struct process *p, uint32_t *uid, uint32_t *gid)
{
	bool own = READ_ONCE(p->dumpable) || p->state != PROCESS_ALIVE;

	*uid = own ? READ_ONCE(p->cred.euid) : 0;
	*gid = own ? READ_ONCE(p->cred.egid) : 0;
}

bool
procfs_may_inspect(struct process *p)
{
	const struct cred *me = cred();
	bool ok;

	if (capable() || !p || p == current->process)
		return true;
	spin_lock(&p->lock);
	ok = p->dumpable && p->cred.uid == me->fsuid && p->cred.euid == me->fsuid &&
	     p->cred.suid == me->fsuid && p->cred.gid == me->fsgid && p->cred.egid == me->fsgid &&
	     p->cred.sgid == me->fsgid;
	spin_unlock(&p->lock);
	return ok;
}

/* ---- Parts of a process, referenced; NULL once it has given them up ---- */

static struct vm *
take_vm(struct process *p)
{
	struct vm *vm;

	spin_lock(&p->lock);
	vm = p->vm;
	if (vm)
		vm_get(vm);
	spin_unlock(&p->lock);
	return vm;
}

/* The thread that n is about, or the process's first one; process_lock is held.  NULL: gone. */
static struct thread *
thread_of(const struct proc_node *n)
{
	struct process *p = n->process;
	struct thread *t;

	assert(spin_held(&process_lock));
	if (n->id >= 0) {
		t = thread_find(n->id);
		return t && t->process == p ? t : NULL;
	}
	if (!list_empty(&p->threads))
		return list_first(&p->threads, struct thread, siblings);
	return p->last;
}

/* Slots of the table of descriptors. */
static unsigned
fd_capacity(struct process *p)
{
	unsigned n;

	spin_lock(&p->lock);
	n = p->files ? READ_ONCE(p->files->capacity) : 0;
	spin_unlock(&p->lock);
	return n;
}

/* ---- stat and status ---- */

/* What is collected with process_lock held. */
struct snapshot {
	char name[THREAD_NAME_LEN];
	char state;
	int id, tgid, ppid, pgid, sid, tty_pgrp, nthreads;
	int nice, cpu, exit_signal, exit_code, policy;
	uint32_t tty;
	uint64_t utime, stime, child_utime, child_stime, start;
	uint64_t min_flt, maj_flt, child_min_flt, child_maj_flt, nvcsw, nivcsw, affinity;
	sigset_t pending, shared_pending, blocked, ignored, caught;
	unsigned queued, seccomp_mode, seccomp_filters;
};

static char
state_letter(const struct thread *t)
{
	switch (READ_ONCE(t->state)) {
	case THREAD_RUNNABLE:
		return 'R';
	case THREAD_INTERRUPTIBLE:
		return 'S';
	case THREAD_UNINTERRUPTIBLE:
		return 'D';
	case THREAD_STOPPED:
		return 'T';
	default:
		return 'Z';
	}
}

static void
snapshot_signals(struct snapshot *s, struct process *p, const struct thread *t)
{
	spin_lock(&p->sighand->lock);
	if (t) {
		s->pending = t->sig.pending.set;
		s->blocked = t->sig.mask;
	}
	s->shared_pending = p->pending.set;
	s->queued = p->signals_queued;
	for (int i = 0; i < NSIG; i++) {
		uint64_t handler = p->sighand->action[i].handler;

		if (handler == SIG_IGN)
			s->ignored |= SIGMASK(i + 1);
		else if (handler != SIG_DFL)
			s->caught |= SIGMASK(i + 1);
	}
	spin_unlock(&p->sighand->lock);
}

static void
snapshot_times(struct snapshot *s, const struct proc_node *n, struct thread *t)
{
	struct process *p = n->process;
	struct thread *i;

	if (n->id >= 0) {
		sched_times(t, &s->utime, &s->stime);
		s->min_flt = t->min_flt;
		s->maj_flt = t->maj_flt;
		return;
	}
	process_times(p, &s->utime, &s->stime);
	s->min_flt = p->min_flt;
	s->maj_flt = p->maj_flt;
	list_for_each(i, &p->threads, siblings) {
		s->min_flt += i->min_flt;
		s->maj_flt += i->maj_flt;
	}
}

static int
snapshot(struct snapshot *s, const struct proc_node *n)
{
	struct process *p = n->process;
	irqstate_t irq = spin_lock_irq(&process_lock);
	struct thread *t = thread_of(n);

	memset(s, 0, sizeof(*s));
	if (p->state == PROCESS_REAPED || !t) {
		spin_unlock_irq(&process_lock, irq);
		return -ESRCH;
	}
	memcpy(s->name, n->id >= 0 ? t->name : p->name, sizeof(s->name));
	s->state = p->state == PROCESS_ZOMBIE ? 'Z' : state_letter(t);
	s->id = n->id >= 0 ? n->id : p->pid;
	s->tgid = p->pid;
	s->ppid = p->ppid;
	s->pgid = p->pgid;
	s->sid = p->sid;
	s->tty = p->tty ? p->tty->dev : 0;
	s->tty_pgrp = p->tty ? p->tty->pgrp : -1;
	s->nthreads = p->state == PROCESS_ZOMBIE ? 1 : (int)p->nthreads;
	s->nice = t->nice;
	s->policy = t->policy;
	s->cpu = t->cpu;
	s->affinity = t->affinity;
	s->exit_signal = p->exit_signal;
	s->exit_code = p->exit_status;
	s->start = p->start_time;
	s->child_utime = p->child_utime;
	s->child_stime = p->child_stime;
	s->child_min_flt = p->child_min_flt;
	s->child_maj_flt = p->child_maj_flt;
	s->seccomp_mode = t->seccomp.mode;
	s->seccomp_filters = t->seccomp.count;
	s->nvcsw = t->nvcsw;
	s->nivcsw = t->nivcsw;
	snapshot_times(s, n, t);
	snapshot_signals(s, p, t);
	spin_unlock_irq(&process_lock, irq);
	return 0;
}

/* Where things are is the owner's business; stack and instruction pointers nobody's. */
static void
print_places(struct text *t, const struct vm *vm, bool any)
{
	if (vm)
		text_printf(t, "%lu %lu %lu 0 0 ", vm->start_code, vm->end_code, vm->stack_top);
	else
		text_printf(t, "%d %d 0 0 0 ", any, any);
}

static int
stat_show(struct text *t, const struct proc_node *n)
{
	struct snapshot s;
	struct vm_usage use = {0};
	struct vm *vm;
	bool full;
	int err = snapshot(&s, n);

	if (err)
		return err;
	/* In this order: an exec in between may make vm a program that is not the reader's business. */
	vm = take_vm(n->process);
	full = procfs_may_inspect(n->process);
	if (vm)
		vm_usage(vm, &use);
	text_printf(t, "%d (%s) %c %d %d %d %u %d 0 %lu %lu %lu %lu %llu %llu %llu %llu ", s.id,
		    s.name, s.state, s.ppid, s.pgid, s.sid, s.tty, s.tty_pgrp, s.min_flt,
		    s.child_min_flt, s.maj_flt, s.child_maj_flt, s.utime / NS_PER_TICK,
		    s.stime / NS_PER_TICK, s.child_utime / NS_PER_TICK,
		    s.child_stime / NS_PER_TICK);
	text_printf(t, "%d %d %d 0 %llu %lu %lu %lu ", 20 + s.nice, s.nice, s.nthreads,
		    s.start / NS_PER_TICK, use.total * PAGE_SIZE, use.rss,
		    READ_ONCE(n->process->rlimit[RLIMIT_RSS].cur));
	print_places(t, full ? vm : NULL, vm != NULL);
	text_printf(t, "%lu %lu %lu %lu 0 0 0 %d %d 0 %d 0 0 0 ", s.pending | s.shared_pending,
		    s.blocked, s.ignored, s.caught, s.exit_signal, s.cpu, s.policy);
	if (vm && full)
		text_printf(t, "%lu %lu %lu %lu %lu %lu %lu %d\n", vm->start_data, vm->end_data,
			    vm->brk_start, vm->arg_start, vm->arg_end, vm->env_start, vm->env_end,
			    s.exit_code);
	else
		text_printf(t, "0 0 0 0 0 0 0 0\n");
	if (vm)
		vm_put(vm);
	return 0;
}

static const char *
state_name(char letter)
{
	switch (letter) {
	case 'R':
		return "running";
	case 'S':
		return "sleeping";
	case 'D':
		return "disk sleep";
	case 'T':
		return "stopped";
	default:
		return "zombie";
	}
}

static void
print_memory(struct text *t, struct vm *vm)
{
	struct vm_usage u;

	vm_usage(vm, &u);
	text_printf(t, "VmSize:\t%8lu kB\nVmLck:\t%8lu kB\nVmHWM:\t%8lu kB\nVmRSS:\t%8lu kB\n",
		    u.total * 4, u.locked * 4, u.peak_rss * 4, u.rss * 4);
	text_printf(t, "RssAnon:\t%8lu kB\nRssFile:\t%8lu kB\nVmData:\t%8lu kB\nVmStk:\t%8lu kB\n",
		    (u.rss - u.rss_file) * 4, u.rss_file * 4, u.data * 4, u.stack * 4);
	text_printf(t, "VmExe:\t%8lu kB\nVmSwap:\t%8u kB\n", u.text * 4, 0u);
}

static void
print_identity(struct text *t, struct process *p)
{
	struct cred *c = kmalloc(sizeof(*c));
	uint32_t umask = 0;

	if (!c) {
		t->failed = true;
		return;
	}
	spin_lock(&p->lock);
	*c = p->cred;
	if (p->fs)
		umask = p->fs->umask;
	spin_unlock(&p->lock);
	text_printf(t, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", c->uid, c->euid, c->suid,
		    c->fsuid, c->gid, c->egid, c->sgid, c->fsgid);
	text_printf(t, "Umask:\t%04o\nGroups:\t", umask);
	for (unsigned i = 0; i < c->ngroups; i++)
		text_printf(t, "%u ", c->groups[i]);
	text_printf(t, "\n");
	kfree(c);
}

static int
status_show(struct text *t, const struct proc_node *n)
{
	struct process *p = n->process;
	struct snapshot s;
	struct vm *vm;
	int err = snapshot(&s, n);

	if (err)
		return err;
	/* A name of several lines would make up fields of its own. */
	text_printf(t, "Name:\t");
	for (const char *c = s.name; *c; c++) {
		if (*c == '\n' || *c == '\\')
			text_printf(t, "\\%c", *c == '\n' ? 'n' : '\\');
		else
			text_printf(t, "%c", *c);
	}
	text_printf(t, "\nState:\t%c (%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\n",
		    s.state, state_name(s.state), s.tgid, s.id, s.ppid);
	text_printf(t, "TracerPid:\t0\n");
	print_identity(t, p);
	text_printf(t, "FDSize:\t%u\n", fd_capacity(p));
	vm = take_vm(p);
	if (vm) {
		print_memory(t, vm);
		vm_put(vm);
	}
	text_printf(t, "Threads:\t%d\nSigQ:\t%u/%lu\n", s.nthreads, s.queued,
		    READ_ONCE(p->rlimit[RLIMIT_SIGPENDING].cur));
	text_printf(t, "SigPnd:\t%016lx\nShdPnd:\t%016lx\n", s.pending, s.shared_pending);
	text_printf(t, "SigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\nNoNewPrivs:\t%d\n",
		    s.blocked, s.ignored, s.caught, p->no_new_privs);
	text_printf(t, "Seccomp:\t%u\nSeccomp_filters:\t%u\n", s.seccomp_mode, s.seccomp_filters);
	text_printf(t, "Cpus_allowed:\t%lx\n", s.affinity & cpus_online);
	text_printf(t, "voluntary_ctxt_switches:\t%lu\nnonvoluntary_ctxt_switches:\t%lu\n", s.nvcsw,
		    s.nivcsw);
	return 0;
}

static int
statm_show(struct text *t, const struct proc_node *n)
{
	struct vm_usage u = {0};
	struct vm *vm = take_vm(n->process);

	if (vm) {
		vm_usage(vm, &u);
		vm_put(vm);
	}
	text_printf(t, "%lu %lu %lu %lu 0 %lu 0\n", u.total, u.rss, u.rss_file, u.text,
		    u.data + u.stack);
	return 0;
}

static int
comm_show(struct text *t, const struct proc_node *n)
{
	struct snapshot s;
	int err = snapshot(&s, n);

	if (!err)
		text_printf(t, "%s\n", s.name);
	return err;
}

/* A process names its own threads so. */
static int
comm_store(const struct proc_node *n, char *s, size_t len)
{
	irqstate_t irq;
	struct thread *t;
	int err = 0;

	if (n->process != current->process)
		return -EINVAL;
	if (len && s[len - 1] == '\n')
		s[len - 1] = '\0';
	irq = spin_lock_irq(&process_lock);
	t = thread_of(n);
	if (!t) {
		err = -ESRCH;
	} else {
		strlcpy(t->name, s, sizeof(t->name));
		if (t->tid == n->process->pid)
			memcpy(n->process->name, t->name, sizeof(t->name));
	}
	spin_unlock_irq(&process_lock, irq);
	return err;
}

/* ---- Memory ---- */

#define AREA_MAX (1ul << 20) /* of arguments or environment that are shown */

/* Appends the process's own bytes [start, end); what cannot be read is left out. */
static int
print_user_bytes(struct text *t, struct vm *vm, uint64_t start, uint64_t end)
{
	char *buf = kmalloc(PAGE_SIZE);

	if (!buf)
		return -ENOMEM;
	if (end > start && end - start > AREA_MAX)
		end = start + AREA_MAX;
	while (start < end) {
		ssize_t n = vm_access(vm, start, buf, MIN(end - start, PAGE_SIZE), false);

		if (n <= 0)
			break;
		text_append(t, buf, (size_t)n);
		start += (uint64_t)n;
	}
	kfree(buf);
	return 0;
}

static int
cmdline_show(struct text *t, const struct proc_node *n)
{
	struct vm *vm = take_vm(n->process);
	int err;

	if (!vm)
		return 0;
	err = print_user_bytes(t, vm, READ_ONCE(vm->arg_start), READ_ONCE(vm->arg_end));
	vm_put(vm);
	return err;
}

static int
environ_show(struct text *t, const struct proc_node *n)
{
	struct vm *vm = take_vm(n->process);
	int err;

	if (!vm)
		return 0;
	err = print_user_bytes(t, vm, READ_ONCE(vm->env_start), READ_ONCE(vm->env_end));
	vm_put(vm);
	return err;
}

static int
auxv_show(struct text *t, const struct proc_node *n)
{
	struct vm *vm = take_vm(n->process);
	size_t words = 0;

	if (!vm)
		return 0;
	while (words + 2 <= ARRAY_LEN(vm->auxv) && vm->auxv[words])
		words += 2;
	text_append(t, vm->auxv, MIN(words + 2, ARRAY_LEN(vm->auxv)) * sizeof(vm->auxv[0]));
	vm_put(vm);
	return 0;
}

static void
print_area(struct text *t, const struct vma *a, char *name)
{
	size_t start = t->len;
	struct stat_info st = {0};

	if (a->file && !vdso_area_name(a)) {
		st.ino = a->file->inode->ino;
		st.dev = a->file->inode->super->dev;
	}
	text_printf(t, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ", a->start, a->end,
		    a->prot & PROT_READ ? 'r' : '-', a->prot & PROT_WRITE ? 'w' : '-',
		    a->prot & PROT_EXEC ? 'x' : '-', a->flags & VMA_SHARED ? 's' : 'p',
		    vdso_area_name(a) ? 0 : a->offset,
		    st.dev >> 8 & 0xfff, st.dev & 0xff, st.ino);
	name[0] = '\0';
	if (vdso_area_name(a))
		strlcpy(name, vdso_area_name(a), PATH_MAX);
	else if (a->file && path_to_string(&a->file->path, name, PATH_MAX) < 0)
		name[0] = '\0';
	else if (a->flags & VMA_STACK)
		strlcpy(name, "[stack]", PATH_MAX);
	else if (a->flags & VMA_HEAP)
		strlcpy(name, "[heap]", PATH_MAX);
	if (name[0])
		text_printf(t, "%*s%s", (int)(73 - MIN(t->len - start, (size_t)73)), "", name);
	text_printf(t, "\n");
}

static int
maps_show(struct text *t, const struct proc_node *n)
{
	struct vm *vm = take_vm(n->process);
	char *name = kmalloc(PATH_MAX);
	struct vma a;

	for (uint64_t addr = 0; vm && name && vm_describe(vm, addr, &a) == 0; addr = a.end) {
		print_area(t, &a, name);
		if (a.file)
			file_put(a.file);
	}
	if (vm)
		vm_put(vm);
	kfree(name);
	return name ? 0 : -ENOMEM;
}

/* ---- Links to what it uses ---- */

static int
exe_follow(const struct proc_node *n, struct path *out)
{
	struct process *p = n->process;
	int err = -ENOENT;

	spin_lock(&p->lock);
	if (p->exe) {
		*out = p->exe->path;
		path_get(out);
		err = 0;
	}
	spin_unlock(&p->lock);
	return err;
}

static int
take_fs_path(struct process *p, bool root, struct path *out)
{
	int err = -ENOENT;

	spin_lock(&p->lock);
	if (p->fs) {
		spin_lock(&p->fs->lock);
		*out = root ? p->fs->root : p->fs->cwd;
		path_get(out);
		spin_unlock(&p->fs->lock);
		err = 0;
	}
	spin_unlock(&p->lock);
	return err;
}

static int
cwd_follow(const struct proc_node *n, struct path *out)
{
	return take_fs_path(n->process, false, out);
}

static int
root_follow(const struct proc_node *n, struct path *out)
{
	return take_fs_path(n->process, true, out);
}

/* ---- Open files ---- */

/* No reference to the table is taken: a program that is executed keeps its table, and the record locks with
 * it, only if nobody shares that. */
struct file *
procfs_file(struct process *p, int fd, bool *cloexec)
{
	struct file *f;

	spin_lock(&p->lock);
	f = p->files ? files_file(p->files, fd, cloexec) : NULL;
	spin_unlock(&p->lock);
	return f;
}

static int
find_fd(const struct proc_node *n, int fd, struct proc_node *child)
{
	struct file *f = procfs_file(n->process, fd, NULL);

	if (!f)
		return -ENOENT;
	file_put(f);
	refcount_get(&n->process->refs);
	child->process = n->process;
	child->id = fd;
	return 0;
}

static int
next_fd(const struct proc_node *n, int from)
{
	struct process *p = n->process;
	int fd;

	spin_lock(&p->lock);
	fd = p->files ? files_next(p->files, from) : -1;
	spin_unlock(&p->lock);
	return fd;
}

static int
fd_follow(const struct proc_node *n, struct path *out)
{
	struct file *f = procfs_file(n->process, n->id, NULL);

	if (!f)
		return -ENOENT;
	*out = f->path;
	path_get(out);
	file_put(f);
	return 0;
}

static int
fdinfo_show(struct text *t, const struct proc_node *n)
{
	bool cloexec;
	struct file *f = procfs_file(n->process, n->id, &cloexec);

	if (!f)
		return -ENOENT;
	text_printf(t, "pos:\t%lu\nflags:\t0%o\nmnt_id:\t%d\nino:\t%lu\n", READ_ONCE(f->pos),
		    f->flags | (cloexec ? O_CLOEXEC : 0), f->path.mount->id, f->inode->ino);
	file_put(f);
	return 0;
}

/* ---- Threads and processes as directories ---- */

int
procfs_find_process(const struct proc_node *n unused, int pid, struct proc_node *child)
{
	child->process = process_find(pid);
	child->id = -1;
	return child->process ? 0 : -ENOENT;
}

int
procfs_next_process(const struct proc_node *n unused, int from)
{
	irqstate_t irq = spin_lock_irq(&process_lock);
	struct process *p;
	int pid = -1;

	list_for_each(p, &process_all, all)
		if (p->pid >= from && (pid < 0 || p->pid < pid))
			pid = p->pid;
	spin_unlock_irq(&process_lock, irq);
	return pid;
}

static int
find_thread(const struct proc_node *n, int tid, struct proc_node *child)
{
	irqstate_t irq = spin_lock_irq(&process_lock);
	struct thread *t = thread_find(tid);
	bool found = t && t->process == n->process;

	if (found)
		refcount_get(&n->process->refs);
	spin_unlock_irq(&process_lock, irq);
	child->process = n->process;
	child->id = tid;
	return found ? 0 : -ENOENT;
}

static int
next_thread(const struct proc_node *n, int from)
{
	irqstate_t irq = spin_lock_irq(&process_lock);
	struct thread *t;
	int tid = -1;

	list_for_each(t, &n->process->threads, siblings)
		if (t->tid >= from && (tid < 0 || t->tid < tid))
			tid = t->tid;
	spin_unlock_irq(&process_lock, irq);
	return tid;
}

static int
mounts_show(struct text *t, const struct proc_node *n unused)
{
	mounts_print(t, false);
	return 0;
}

static int
mountinfo_show(struct text *t, const struct proc_node *n unused)
{
	mounts_print(t, true);
	return 0;
}

static void
print_limit(struct text *t, uint64_t v)
{
	if (v == RLIM_INFINITY)
		text_printf(t, "%-21s", "unlimited");
	else
		text_printf(t, "%-21lu", v);
}

static int
limits_show(struct text *t, const struct proc_node *n)
{
	static const char *const names[RLIM_NLIMITS][2] = {
		{"Max cpu time", "seconds"},	     {"Max file size", "bytes"},
		{"Max data size", "bytes"},	     {"Max stack size", "bytes"},
		{"Max core file size", "bytes"},     {"Max resident set", "bytes"},
		{"Max processes", "processes"},	     {"Max open files", "files"},
		{"Max locked memory", "bytes"},	     {"Max address space", "bytes"},
		{"Max file locks", "locks"},	     {"Max pending signals", "signals"},
		{"Max msgqueue size", "bytes"},	     {"Max nice priority", ""},
		{"Max realtime priority", ""},	     {"Max realtime timeout", "us"},
	};
	struct rlimit l[RLIM_NLIMITS];

	spin_lock(&n->process->lock);
	memcpy(l, n->process->rlimit, sizeof(l));
	spin_unlock(&n->process->lock);
	text_printf(t, "%-26s%-21s%-21s%-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
	for (unsigned i = 0; i < RLIM_NLIMITS; i++) {
		text_printf(t, "%-26s", names[i][0]);
		print_limit(t, l[i].cur);
		print_limit(t, l[i].max);
		text_printf(t, "%-10s\n", names[i][1]);
	}
	return 0;
}

/* The victim is always the largest address space: there is nothing to adjust. */
static int
oom_score_adj_show(struct text *t, const struct proc_node *n unused)
{
	text_printf(t, "0\n");
	return 0;
}

static const struct proc_entry fd_entry = {.restricted = true, .follow = fd_follow};
static const struct proc_entry fdinfo_entry = {
	.mode = 0444, .restricted = true, .show = fdinfo_show};

static const struct proc_entry thread_names[] = {
	{"stat", 0444, .show = stat_show},
	{"status", 0444, .show = status_show},
	{"comm", 0644, .show = comm_show, .store = comm_store},
	{0},
};

static const struct proc_entry thread_entry = {.mode = 0555, .names = thread_names};

static const struct proc_entry process_names[] = {
	{"stat", 0444, .show = stat_show},
	{"status", 0444, .show = status_show},
	{"statm", 0444, .show = statm_show},
	{"comm", 0644, .show = comm_show, .store = comm_store},
	{"cmdline", 0444, .show = cmdline_show},
	{"environ", 0400, true, .show = environ_show},
	{"auxv", 0400, true, .show = auxv_show},
	{"maps", 0444, true, .show = maps_show},
	{"limits", 0444, .show = limits_show},
	{"mounts", 0444, .show = mounts_show},
	{"mountinfo", 0444, .show = mountinfo_show},
	{"oom_score_adj", 0444, .show = oom_score_adj_show},
	{"exe", 0777, true, .follow = exe_follow},
	{"cwd", 0777, true, .follow = cwd_follow},
	{"root", 0777, true, .follow = root_follow},
	{"fd", 0500, true, .numbered = &fd_entry, .find = find_fd, .next = next_fd},
	{"fdinfo", 0555, true, .numbered = &fdinfo_entry, .find = find_fd, .next = next_fd},
	{"task", 0555, .numbered = &thread_entry, .find = find_thread, .next = next_thread},
	{0},
};

const struct proc_entry procfs_process = {.mode = 0555, .names = process_names};
