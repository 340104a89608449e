/*
 * Replacing a program: strings, scripts, the new stack, and the point of no return.
 *
 * The new address space is complete before anything of the old program is given up, so that every
 * failure before that is an ordinary errno.
 */
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/futex.h"
#include "kernel/proc/itimer.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"

#define MAX_ARG_STRLEN	(32 * PAGE_SIZE) /* one string with its NUL */
#define MAX_ARGS	(6ul << 20)	 /* all strings and pointers */
#define MIN_ARGS	(128ul << 10)	 /* always allowed, however small the stack limit */
#define MAX_SCRIPTS	5		 /* interpreters that are scripts themselves */
#define SCRIPT_LINE	256		 /* bytes of a #! line that count */
#define STACK_INITIAL	(128ul << 10)	 /* of the stack's area beyond the strings */
#define STACK_GUARD_GAP (256 * PAGE_SIZE)
#define HEADER_SIZE	1024 /* first bytes of the file; holds most programs' headers */

/* Strings one after another in kernel pages: read from the user once, then copied to the stack. */
struct strings {
	char **pages;
	size_t npages, capacity;
	size_t used;  /* bytes, NULs included */
	size_t limit; /* bytes that strings and pointers may have */
	size_t count; /* strings */
};

struct exec_state {
	struct file *file; /* program, or script at first */
	const char *path;  /* as the caller named it: AT_EXECFN, comm */
	char *fd_path;	   /* where path points if it is relative to a descriptor */
	bool path_closes;  /* path names a descriptor that exec closes */
	/* argv, then envp; the first `skip` bytes are the argv[0] that a script's interpreter replaces */
	struct strings strings;
	size_t argc, envc, argv_bytes, skip;
	char *prefix; /* strings that a script's interpreters put in front */
	size_t prefix_len, prefix_count;
	struct exec_layout layout;
	struct elf_image image;
	struct vm *vm;
	struct sighand *sighand; /* a new one, if the old one is shared with others */
	struct files *files;	 /* the same for descriptors */
	struct cred cred;
	bool secure, setid, readable;
	size_t header_len;
	uint8_t header[HEADER_SIZE];
};

void
exec_layout(struct exec_layout *l)
{
	/* Where address space randomisation adds its offsets; 0 without it. */
	const uint64_t stack_offset = 0, mmap_offset = 0, pie_offset = 0, brk_offset = 0;
	uint64_t gap = rlimit(RLIMIT_STACK);

	gap = MIN(MAX(gap, 128ul << 20), USER_END / 6 * 5);
	l->stack_top = USER_END - stack_offset;
	l->mmap_top =
		ALIGN_DOWN(USER_END - gap - STACK_GUARD_GAP - stack_offset - mmap_offset, PAGE_SIZE);
	l->pie_base = ARCH_PIE_BASE + pie_offset;
	l->brk_gap = brk_offset;
}

int
exec_open(int dirfd, const char *name, unsigned flags, struct file **out)
{
	int err = file_open_exec(dirfd, name, flags, out);

	if (err)
		return err;
	err = inode_deny_write((*out)->inode);
	if (err)
		file_put(*out);
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

/* ---- Strings --------------------------------------------------------------------------------- */

static void
strings_free(struct strings *s)
{
	for (size_t i = 0; i < s->npages; i++)
		kfree(s->pages[i]);
	kfree(s->pages);
}

/* Gives the free end of the last page; takes a new page if that is full. */
static int
strings_room(struct strings *s, char **at, size_t *room)
{
	size_t offset = s->used & PAGE_MASK;

	if (s->used == s->npages * PAGE_SIZE) {
		if (s->npages == s->capacity) {
			size_t capacity = s->capacity ? s->capacity * 4 : 4;
			char **pages_new = kmalloc(capacity * sizeof(*pages_new));

			if (!pages_new)
				return -ENOMEM;
			if (s->npages)
				memcpy(pages_new, s->pages, s->npages * sizeof(*pages_new));
			kfree(s->pages);
			s->pages = pages_new;
			s->capacity = capacity;
		}
		s->pages[s->npages] = kmalloc(PAGE_SIZE);
		if (!s->pages[s->npages])
			return -ENOMEM;
		s->npages++;
	}
	*at = s->pages[s->npages - 1] + offset;
	*room = PAGE_SIZE - offset;
	return 0;
}

/* Counts one more string of len bytes in all, most of which may be stored already. */
static int
strings_charge(struct strings *s, size_t len)
{
	if (len > MAX_ARG_STRLEN)
		return -E2BIG;
	if (s->used > s->limit || (s->count + 2) * 8 > s->limit - s->used)
		return -E2BIG;
	return 0;
}

static int
push_user(struct strings *s, uaddr_t from)
{
	size_t len = 0, room;
	ssize_t n;
	char *at;
	int err;

	do {
		err = strings_room(s, &at, &room);
		if (err)
			return err;
		n = strncpy_from_user(at, uaddr_add(from, len), room);
		if (n < 0 && n != -ENAMETOOLONG)
			return (int)n;
		/* Without a NUL the string goes on in the next page. */
		len += n < 0 ? room : (size_t)n + 1;
		s->used += n < 0 ? room : (size_t)n + 1;
		err = strings_charge(s, len);
		if (err)
			return err;
		if (signal_killed())
			return -EINTR;
	} while (n < 0);
	s->count++;
	return 0;
}

static int
push_kernel(struct strings *s, const char *from)
{
	size_t left = strlen(from) + 1, room;
	char *at;

	while (left) {
		int err = strings_room(s, &at, &room);

		if (err)
			return err;
		room = MIN(room, left);
		memcpy(at, from, room);
		from += room;
		left -= room;
		s->used += room;
	}
	s->count++;
	return 0;
}

/* Copies a vector of string pointers: each pointer is read once.  A NULL vector is an empty one. */
static int
push_user_vector(struct strings *s, uaddr_t vector, size_t *count)
{
	uint64_t pointer;
	int err;

	*count = 0;
	if (!vector.v)
		return 0;
	for (;; vector = uaddr_add(vector, sizeof(pointer))) {
		if (get_user(&pointer, vector))
			return -EFAULT;
		if (!pointer)
			return 0;
		err = push_user(s, UADDR(pointer));
		if (err)
			return err;
		++*count;
	}
}

static int
push_kernel_vector(struct strings *s, const char *const *vector, size_t *count)
{
	for (*count = 0; vector[*count]; ++*count) {
		int err = push_kernel(s, vector[*count]);

		if (err)
			return err;
	}
	return 0;
}

static int
read_strings(struct exec_state *e, const struct exec_source *src)
{
	struct strings *s = &e->strings;
	int err;

	s->limit = MAX(MIN(rlimit(RLIMIT_STACK) / 4, MAX_ARGS), MIN_ARGS);
	if (src->kargv)
		err = push_kernel_vector(s, src->kargv, &e->argc);
	else
		err = push_user_vector(s, src->argv, &e->argc);
	if (err)
		return err;
	/* Programs take argv[0] for granted. */
	if (e->argc == 0) {
		err = push_kernel(s, "");
		if (err)
			return err;
		e->argc = 1;
	}
	e->argv_bytes = s->used;
	if (src->kargv)
		return push_kernel_vector(s, src->kenvp, &e->envc);
	return push_user_vector(s, src->envp, &e->envc);
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
	    (READ_ONCE(p->fs->refs.n) == 1 || capable())) {
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

/* ---- The stack ------------------------------------------------------------------------------- */

/* Auxiliary vector (System V ABI 3.4.3; Linux's include/uapi/linux/auxvec.h) */
enum {
	AT_NULL = 0,
	AT_PHDR = 3,
	AT_PHENT = 4,
	AT_PHNUM = 5,
	AT_PAGESZ = 6,
	AT_BASE = 7,
	AT_FLAGS = 8,
	AT_ENTRY = 9,
	AT_UID = 11,
	AT_EUID = 12,
	AT_GID = 13,
	AT_EGID = 14,
	AT_PLATFORM = 15,
	AT_HWCAP = 16,
	AT_CLKTCK = 17,
	AT_SECURE = 23,
	AT_RANDOM = 25,
	AT_HWCAP2 = 26,
	AT_EXECFN = 31,
	AT_MINSIGSTKSZ = 51,
};
#define PHDR_SIZE 56
#define CLOCK_TICKS 100
#define AUXV_WORDS ARRAY_LEN(((struct vm *)NULL)->auxv)

/* Words written one after another to the new stack. */
struct words {
	struct vm *vm;
	uint64_t at;
	unsigned n;
	bool failed;
	uint64_t buf[128];
};

static void
words_flush(struct words *w)
{
	size_t size = w->n * sizeof(w->buf[0]);

	if (vm_access(w->vm, w->at, w->buf, size, true) != (ssize_t)size)
		w->failed = true;
	w->at += size;
	w->n = 0;
}

static void
word(struct words *w, uint64_t value)
{
	w->buf[w->n++] = value;
	if (w->n == ARRAY_LEN(w->buf))
		words_flush(w);
}

/* Writes the addresses of the strings in buf, which will stand at `at`.  At most max of them. */
static size_t
word_pointers(struct words *w, const char *buf, size_t n, uint64_t at, size_t max)
{
	const char *p = buf, *end = buf + n;
	size_t count = 0;

	while (p < end && count < max) {
		const char *nul = memchr(p, '\0', (size_t)(end - p));

		word(w, at + (uint64_t)(p - buf));
		count++;
		if (!nul)
			break;
		p = nul + 1;
	}
	return count;
}

/*
 * The same for strings [from, from + count strings) of s, which stand one after another at `at`.
 * Strings may cross pages: a page's first pointer is left out if the string began before.
 */
static uint64_t
word_string_pointers(struct words *w, const struct strings *s, size_t *from, uint64_t at,
		     size_t count)
{
	size_t i = *from;

	while (count) {
		word(w, at);
		count--;
		for (;;) {
			const char *page = s->pages[i / PAGE_SIZE] + (i & PAGE_MASK);
			size_t room = MIN(PAGE_SIZE - (i & PAGE_MASK), s->used - i);
			const char *nul = memchr(page, '\0', room);
			size_t step = nul ? (size_t)(nul - page) + 1 : room;

			i += step;
			at += step;
			if (nul)
				break;
		}
	}
	*from = i;
	return at;
}

static int
copy_out(struct vm *vm, uint64_t at, const void *from, size_t n)
{
	return vm_access(vm, at, (void *)from, n, true) == (ssize_t)n ? 0 : -EFAULT;
}

/* Copies the strings from byte `skip` on to the stack. */
static int
copy_strings(struct vm *vm, const struct strings *s, size_t skip, uint64_t at)
{
	while (skip < s->used) {
		size_t n = MIN(PAGE_SIZE - (skip & PAGE_MASK), s->used - skip);
		int err = copy_out(vm, at, s->pages[skip / PAGE_SIZE] + (skip & PAGE_MASK), n);

		if (err)
			return err;
		skip += n;
		at += n;
	}
	return 0;
}

static void
make_auxv(struct exec_state *e, uint64_t execfn, uint64_t platform, uint64_t random)
{
	const struct elf_image *m = &e->image;
	const struct cred *c = &e->cred;
	const uint64_t auxv[] = {
		AT_HWCAP,  arch_hwcap(),     AT_PAGESZ,	  PAGE_SIZE,	AT_CLKTCK, CLOCK_TICKS,
		AT_PHDR,   m->phdr,	     AT_PHENT,	  PHDR_SIZE,	AT_PHNUM,  m->phnum,
		AT_BASE,   m->base,	     AT_FLAGS,	  0,		AT_ENTRY,  m->program_entry,
		AT_UID,	   c->uid,	     AT_EUID,	  c->euid,	AT_GID,	   c->gid,
		AT_EGID,   c->egid,	     AT_SECURE,	  e->secure,	AT_RANDOM, random,
		AT_HWCAP2, arch_hwcap2(),    AT_EXECFN,	  execfn,	AT_PLATFORM, platform,
		AT_MINSIGSTKSZ, arch_signal_frame_size(), AT_NULL, 0,
	};

	_Static_assert(sizeof(auxv) <= sizeof(e->vm->auxv), "vm.auxv is too small");
	memcpy(e->vm->auxv, auxv, sizeof(auxv));
}

/*
 * Maps and fills the stack as the System V ABI (3.4.1) wants it; from the top down: a null word, the
 * path, environment and argument strings, the platform, 16 random bytes, the vectors.
 */
static int
build_stack(struct exec_state *e, uint64_t *sp)
{
	size_t argc = e->prefix_count + e->argc, path_len = strlen(e->path) + 1;
	size_t rest = e->strings.used - e->skip;
	size_t nwords = 1 + argc + 1 + e->envc + 1 + AUXV_WORDS;
	uint64_t top = e->layout.stack_top;
	uint64_t execfn = top - 8 - path_len;
	uint64_t strings = execfn - rest - e->prefix_len;
	uint64_t platform = ALIGN_DOWN(strings, 16ul) - sizeof(ARCH_PLATFORM);
	uint64_t random = ALIGN_DOWN(platform - 16, 16ul);
	struct vm *vm = e->vm;
	uint8_t seed[16];
	struct words *w;
	uint64_t at;
	size_t from;
	int err;

	*sp = ALIGN_DOWN(random - nwords * 8, 16ul);
	err = vm_map_stack(vm, top, ALIGN_UP(top - *sp, PAGE_SIZE) + STACK_INITIAL);
	if (err)
		return err;
	w = kmalloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	make_auxv(e, execfn, platform, random);
	w->vm = vm;
	w->at = *sp;
	w->n = 0;
	w->failed = false;
	word(w, argc);
	word_pointers(w, e->prefix, e->prefix_len, strings, e->prefix_count);
	from = e->skip;
	at = word_string_pointers(w, &e->strings, &from, strings + e->prefix_len, e->argc);
	word(w, 0);
	vm->arg_start = strings;
	vm->arg_end = vm->env_start = at;
	vm->env_end = word_string_pointers(w, &e->strings, &from, at, e->envc);
	word(w, 0);
	for (size_t i = 0; i < AUXV_WORDS; i++)
		word(w, vm->auxv[i]);
	words_flush(w);
	err = w->failed ? -EFAULT : 0;
	kfree(w);
	random_bytes(seed, sizeof(seed));
	if (err || (err = copy_out(vm, random, seed, sizeof(seed))) ||
	    (err = copy_out(vm, platform, ARCH_PLATFORM, sizeof(ARCH_PLATFORM))) ||
	    (err = copy_out(vm, strings, e->prefix, e->prefix_len)) ||
	    (err = copy_strings(vm, &e->strings, e->skip, strings + e->prefix_len)))
		return err;
	return copy_out(vm, execfn, e->path, path_len);
}

static int
build_vm(struct exec_state *e, uint64_t *sp)
{
	struct vm *vm;
	int err = vm_create(&vm);

	if (err)
		return err;
	e->vm = vm;
	exec_layout(&e->layout);
	vm->stack_top = e->layout.stack_top;
	vm->mmap_top = e->layout.mmap_top;
	/* A set-ID program was not asked whether it wants to be exempt. */
	vm->allow_wx = current->process->allow_wx && !e->setid;
	err = elf_load(vm, e->file, e->header, e->header_len, &e->layout, &e->image);
	if (err)
		return err;
	vm->brk_start = vm->brk = ALIGN_UP(e->image.brk, PAGE_SIZE) + e->layout.brk_gap;
	vm->start_code = e->image.start_code;
	vm->end_code = e->image.end_code;
	vm->start_data = e->image.start_data;
	vm->end_data = e->image.end_data;
	return build_stack(e, sp);
}

/* ---- The point of no return ------------------------------------------------------------------- */

/* Ends the process's other threads; the current one becomes the leader.  -EAGAIN, -EINTR: it dies. */
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
	if (t->clear_child_tid.v && READ_ONCE(old->refs.n) > 1) {
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
	spin_lock(&p->lock);
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
	p->exit_signal = SIGCHLD;
	p->did_exec = true;
}

/* Own copies of what is shared with other processes and must not be any more. */
static int
prepare_unshare(struct exec_state *e, struct process *p)
{
	if (READ_ONCE(p->files->refs.n) > 1) {
		int err = files_fork(p->files, &e->files);

		if (err)
			return err;
	}
	if (READ_ONCE(p->sighand->refs.n) > 1)
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
	strings_free(&e->strings);
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
	err = exec_open(dirfd, path, flags, &e->file);
	if (err)
		goto out;
	e->path = path;
	err = name_by_descriptor(e, dirfd);
	if (!err)
		err = read_strings(e, src);
	if (!err)
		err = find_program(e);
	if (err)
		goto out;
	compute_cred(e);
	err = build_vm(e, &sp);
	if (err)
		goto out;
	err = prepare_unshare(e, p);
	if (err)
		goto out;
	err = become_only_thread(p, current);
	if (err)
		goto out;
	/* Registers of the old program must not reach the new one. */
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
