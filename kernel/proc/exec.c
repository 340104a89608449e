/*
 * Replacing a program: scripts, identity, the new address space, and the point of no return.
 *
 * The new address space is complete before anything of the old program is given up, so that every
 * failure before that is an ordinary errno.
 */
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/harden/harden.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/exec.h"
#include "kernel/proc/futex.h"
#include "kernel/proc/itimer.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/vdso.h"

#define MAX_SCRIPTS	5		 /* interpreters that are scripts themselves */
#define SCRIPT_LINE	256		 /* bytes of a #! line that count */

int
exec_open(int dirfd, const char *name, unsigned flags, struct file **out)
{
	struct file *f;
	int err = file_open_exec(dirfd, name, flags, &f);

	if (err)
		return err;
	err = inode_deny_write(f->inode);
	if (err)
		file_put(f);
	else
		*out = f;
	return err;
}

void
exec_close(struct file *f)
{
	inode_allow_write(f->inode);
	file_put(f);
}

void
exec_share(struct file *f)
{
	/* It is running already, so nobody can have it open for writing. */
	if (inode_deny_write(f->inode))
		panic("exec: running program is open for writing");
	file_get(f);
}

/* ---- Scripts --------------------------------------------------------------------------------- */

/* Puts the string in front of what there is. */
static int
prepend(struct exec_state *e, const char *string)
{
	size_t len = strlen(string) + 1;
	char *joined = kmalloc(len + e->prefix_len);

	if (!joined)
		return -ENOMEM;
	memcpy(joined, string, len);
	if (e->prefix_len)
		memcpy(joined + len, e->prefix, e->prefix_len);
	kfree(e->prefix);
	e->prefix = joined;
	e->prefix_len += len;
	e->prefix_count++;
	return 0;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Splits a #! line, NUL-terminated in buf, into the interpreter and its one argument or NULL. */
static int
parse_script(char *buf, size_t n, char **interpreter, char **argument)
{
	char *name, *end = memchr(buf, '\n', n), *p;
	bool whole = end || n < SCRIPT_LINE;

	if (!end)
		end = buf + strnlen(buf, n);
	while (end > buf + 2 && is_blank(end[-1]))
		end--;
	*end = '\0';
	for (name = buf + 2; is_blank(*name); name++)
		;
	if (!*name)
		return -ENOEXEC;
	for (p = name; *p && !is_blank(*p); p++)
		;
	/* A name that runs to the end of the buffer may have been cut. */
	if (!*p && !whole)
		return -ENOEXEC;
	while (is_blank(*p))
		*p++ = '\0';
	*interpreter = name;
	*argument = *p ? p : NULL;
	return 0;
}

/* e->file is a script: its interpreter takes its place. */
static int
enter_script(struct exec_state *e)
{
	char line[SCRIPT_LINE + 1], *interpreter, *argument;
	size_t n = MIN(e->header_len, (size_t)SCRIPT_LINE);
	struct file *f;
	int err;

	/* The interpreter could not open the script by a name that is closed by then. */
	if (e->path_closes)
		return -ENOENT;
	memcpy(line, e->header, n);
	line[n] = '\0';
	err = parse_script(line, n, &interpreter, &argument);
	if (err)
		return err;
	/* The script's name as argument; of an interpreter it is there already. */
	if (!e->prefix_count) {
		char *nul;

		err = prepend(e, e->path);
		if (err)
			return err;
		/* argv[0] goes: measure it, over pages if need be. */
		for (size_t i = 0;; i++) {
			nul = memchr(e->strings.pages[i], '\0', PAGE_SIZE);
			if (nul) {
				e->skip = i * PAGE_SIZE + (size_t)(nul - e->strings.pages[i]) + 1;
				break;
			}
		}
		e->argc--;
	}
	if (argument && (err = prepend(e, argument)))
		return err;
	err = prepend(e, interpreter);
	if (err)
		return err;
	err = exec_open(AT_FDCWD, interpreter, 0, &f);
	if (err)
		return err;
	exec_close(e->file);
	e->file = f;
	return 0;
}

/* Reads the file's first bytes, and goes from script to interpreter until it is neither. */
static int
find_program(struct exec_state *e)
{
	for (int depth = 0;; depth++) {
		ssize_t n = file_read_kernel(e->file, e->header, sizeof(e->header), 0);
		int err;

		if (n < 0)
			return (int)n;
		e->header_len = (size_t)n;
		if (n < 2 || e->header[0] != '#' || e->header[1] != '!')
			return 0;
		if (depth == MAX_SCRIPTS)
			return -ELOOP;
		err = enter_script(e);
		if (err)
			return err;
	}
}

/* ---- Identity -------------------------------------------------------------------------------- */

/* The identity that the program gives: set-user-ID and set-group-ID. */
static void
compute_cred(struct exec_state *e)
{
	struct process *p = current->process;
	const struct inode *inode = e->file->inode;
	uint32_t mode = READ_ONCE(inode->mode);
	struct cred *c = &e->cred;

	*c = p->cred;
	/* Who shares the working directory could move it under a privileged program. */
	if (!p->no_new_privs && !(READ_ONCE(e->file->path.mount->flags) & MNT_NOSUID) &&
	    (refcount_read(&p->fs->refs) == 1 || capable())) {
		if (mode & S_ISUID)
			c->euid = inode->uid;
		/* Without group execution the bit once meant mandatory locking. */
		if ((mode & (S_ISGID | 0010)) == (S_ISGID | 0010))
			c->egid = inode->gid;
	}
	e->setid = c->euid != p->cred.euid || c->egid != p->cred.egid;
	e->readable = inode_permission(e->file->inode, MAY_READ) == 0;
	e->secure = c->euid != c->uid || c->egid != c->gid;
	c->suid = c->fsuid = c->euid;
	c->sgid = c->fsgid = c->egid;
}

/* -EAGAIN if another thread has changed meanwhile what the identity was computed from. */
static int
check_cred(struct exec_state *e)
{
	struct cred was = e->cred;
	bool setid = e->setid;

	compute_cred(e);
	return e->setid != setid || memcmp(&e->cred, &was, sizeof(was)) ? -EAGAIN : 0;
}

/* ---- The new address space ------------------------------------------------------------------- */

/* Where the program's parts go.  Nobody makes a set-ID program lie where he knows. */
static void
choose_layout(struct exec_state *e)
{
	bool fixed = (current->process->personality & ADDR_NO_RANDOMIZE) && !e->setid;

	aslr_layout(&e->layout, fixed);
	e->vm->stack_top = e->layout.stack_top;
	e->vm->mmap_top = e->layout.mmap_top;
}

static int
build_vm(struct exec_state *e, uint64_t *sp)
{
	struct vm *vm;
	int err = vm_create(&vm);

	if (err)
		return err;
	e->vm = vm;
	choose_layout(e);
	/* A set-ID program was not asked whether it wants to be exempt. */
	vm->exempt = vm->allow_wx = current->process->allow_wx && !e->setid;
	err = elf_load(vm, e->file, e->header, e->header_len, &e->layout, &e->image);
	if (err)
		return err;
	err = vdso_map(vm, e->layout.vdso);
	if (err)
		return err;
	vm->brk_start = vm->brk = ALIGN_UP(e->image.brk, PAGE_SIZE) + e->layout.brk_gap;
	vm->start_code = e->image.start_code;
	vm->end_code = e->image.end_code;
	vm->start_data = e->image.start_data;
	vm->end_data = e->image.end_data;
	return exec_build_stack(e, sp);
}

/* ---- The point of no return ------------------------------------------------------------------ */

/* Ends the process's other threads; the current one becomes the leader.  -EAGAIN, -EINTR: it
 * dies. */
static int
become_only_thread(struct process *p, struct thread *t)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	bool refused;

	spin_lock(&p->sighand->lock);
	refused = p->exiting || p->execing;
	if (!refused)
		p->execing = t;
	spin_unlock(&p->sighand->lock);
	if (!refused && p->nthreads > 1)
		signal_kill_threads(p, t);
	spin_unlock_irq(&process_lock, s);
	if (refused)
		return -EAGAIN;
	/* Every sleep of theirs ends when they are told to die. */
	if (READ_ONCE(p->nthreads) > 1)
		wait_event(&p->child_wait, READ_ONCE(p->nthreads) == 1);
	s = spin_lock_irq(&process_lock);
	p->execing = NULL;
	if (t->tid != p->pid) {
		pid_set_thread(t->tid, NULL);
		t->tid = p->pid;
		pid_set_thread(t->tid, t);
	}
	spin_unlock_irq(&process_lock, s);
	return signal_killed() ? -EINTR : 0;
}

/* The old program's threads library learns that its address space goes. */
static void
leave_vm(struct process *p, struct thread *t)
{
	struct vm *old = p->vm;

	if (!old)
		return;
	futex_exit_robust(t);
	if (t->clear_child_tid.v && refcount_read(&old->refs) > 1) {
		int32_t zero = 0;

		(void)!put_user(t->clear_child_tid, &zero);
		futex_wake_address(t->clear_child_tid, 1);
	}
	p->maxrss = MAX(p->maxrss, old->peak_rss);
}

static void
set_name(struct process *p, struct thread *t, const char *path)
{
	const char *slash = strrchr(path, '/');

	strlcpy(t->name, slash ? slash + 1 : path, sizeof(t->name));
	memcpy(p->name, t->name, sizeof(p->name));
}

static void
swap_sighand(struct process *p, struct sighand *fresh)
{
	struct sighand *old = p->sighand;
	irqstate_t s = spin_lock_irq(&process_lock);

	spin_lock(&old->lock);
	p->sighand = fresh;
	spin_unlock(&old->lock);
	spin_unlock_irq(&process_lock, s);
	sighand_put(old);
}

/* Signals that children were to send to the old program: the new one may be a privileged one. */
static void
forget_exit_signals(struct process *p)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	struct process *c;

	list_for_each (c, &p->children, sibling)
		c->exit_signal = SIGCHLD;
	p->exit_signal = SIGCHLD;
	spin_unlock_irq(&process_lock, s);
}

/* Makes e's program the current one.  Nothing here can fail. */
static void
commit(struct exec_state *e)
{
	struct thread *t = current;
	struct process *p = t->process;
	struct vm *old_vm = p->vm;
	struct file *old_exe = p->exe;
	struct files *old_files = p->files;

	leave_vm(p, t);
	t->clear_child_tid = t->robust_list = UADDR(0);
	t->robust_list_len = 0;
	t->restart_fn = NULL;
	forget_exit_signals(p);		/* before it has the new rights */
	spin_lock(&p->lock);
	WRITE_ONCE(e->vm->in_use, true);
	p->vm = e->vm;
	p->exe = e->file;
	p->cred = e->cred;
	if (e->files)
		p->files = e->files;
	p->dumpable = !e->secure && !e->setid && e->readable;
	if (e->setid) {
		p->pdeath_signal = 0;
		p->allow_wx = false;
		p->personality = 0;
	}
	p->personality &= ~READ_IMPLIES_EXEC;
	spin_unlock(&p->lock);
	vm_switch(e->vm);
	e->vm = NULL;
	e->file = NULL;
	if (old_vm)
		vm_put(old_vm);
	process_vfork_done(p);
	if (old_exe)
		exec_close(old_exe);
	if (e->files)
		files_put(old_files);
	e->files = NULL;
	if (e->sighand)
		swap_sighand(p, e->sighand);
	e->sighand = NULL;
	itimers_exec(p);
	signal_exec(p);
	files_close_on_exec(p->files);
	set_name(p, t, e->path);
	p->did_exec = true;
}

/* Own copies of what is shared with other processes and must not be any more. */
static int
prepare_unshare(struct exec_state *e, struct process *p)
{
	if (refcount_read(&p->files->refs) > 1) {
		int err = files_fork(p->files, &e->files);

		if (err)
			return err;
	}
	if (refcount_read(&p->sighand->refs) > 1)
		return sighand_create(p->sighand, &e->sighand);
	return 0;
}

static void
free_state(struct exec_state *e)
{
	if (e->vm)
		vm_put(e->vm);
	if (e->files)
		files_put(e->files);
	if (e->sighand)
		sighand_put(e->sighand);
	if (e->file)
		exec_close(e->file);
	exec_free_strings(&e->strings);
	kfree(e->prefix);
	kfree(e->fd_path);
	kfree(e);
}

/* -EAGAIN if the process became a user with too many processes (see setuid). */
static int
check_nproc(struct process *p)
{
	uint32_t uid = p->cred.uid;

	if (uid == 0 || capable() || !p->nproc_exceeded)
		return 0;
	p->nproc_exceeded = false;
	return process_count_user(uid) > rlimit(RLIMIT_NPROC) ? -EAGAIN : 0;
}

/* A path relative to a descriptor becomes one that scripts and AT_EXECFN can use. */
static int
name_by_descriptor(struct exec_state *e, int dirfd)
{
	struct file *dir;
	size_t size;

	if (dirfd == AT_FDCWD || e->path[0] == '/')
		return 0;
	dir = files_file(current->process->files, dirfd, &e->path_closes);
	if (dir)
		file_put(dir);
	size = strlen(e->path) + sizeof("/dev/fd/-2147483648/");
	e->fd_path = kmalloc(size);
	if (!e->fd_path)
		return -ENOMEM;
	snprintf(e->fd_path, size, e->path[0] ? "/dev/fd/%d/%s" : "/dev/fd/%d%s", dirfd, e->path);
	e->path = e->fd_path;
	return 0;
}

int
exec(struct trapframe *tf, int dirfd, const char *path, unsigned flags,
     const struct exec_source *src)
{
	struct process *p = current->process;
	struct exec_state *e;
	uint64_t entry, sp;
	int err;

	err = check_nproc(p);
	if (err)
		return err;
	e = kmalloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	memset(e, 0, offsetof(struct exec_state, header));
	e->path = path;
	err = name_by_descriptor(e, dirfd);
	/* As on Linux, bad strings are found before a bad file is. */
	if (!err)
		err = exec_read_strings(e, src);
	if (!err)
		err = exec_open(dirfd, path, flags, &e->file);
	if (!err)
		err = find_program(e);
	if (err)
		goto out;
	compute_cred(e);
	err = build_vm(e, &sp);
	if (err)
		goto out;
	err = become_only_thread(p, current);
	if (!err)
		err = check_cred(e);
	if (err)
		goto out;
	/* Only now can no thread share more; and registers of the old program must not reach the new one. */
	err = prepare_unshare(e, p);
	if (!err)
		err = arch_thread_fpu_init(current);
	if (err) {
		free_state(e);
		process_exit(SIGKILL);
	}
	entry = e->image.entry;
	commit(e);
	arch_exec_frame(tf, entry, sp);
out:
	free_state(e);
	return err;
}
