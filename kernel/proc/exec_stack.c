/* A new program's strings, and the stack that they become. */
#include "kernel/errno.h"
#include "kernel/lib/random.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/exec.h"
#include "kernel/proc/process.h"

#define MAX_ARG_STRLEN	(32 * PAGE_SIZE) /* one string with its NUL */
#define MAX_ARGS	(6ul << 20)	 /* all strings and pointers */
#define MIN_ARGS	(128ul << 10)	 /* always allowed, however small the stack limit */
#define STACK_INITIAL	(128ul << 10)	 /* of the stack's area beyond the strings */

/* ---- Strings --------------------------------------------------------------------------------- */

void
exec_free_strings(struct strings *s)
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

int
exec_read_strings(struct exec_state *e, const struct exec_source *src)
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
	if (src->kargv)
		return push_kernel_vector(s, src->kenvp, &e->envc);
	return push_user_vector(s, src->envp, &e->envc);
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
	AT_SYSINFO_EHDR = 33,
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
		AT_SYSINFO_EHDR, e->vm->vdso,
		AT_MINSIGSTKSZ, arch_signal_frame_size(), AT_NULL, 0,
	};

	_Static_assert(sizeof(auxv) <= sizeof(e->vm->auxv), "vm.auxv is too small");
	memcpy(e->vm->auxv, auxv, sizeof(auxv));
}

/*
 * Maps and fills the stack as the System V ABI (3.4.1) wants it; from the top down: a null word,
 * the path, environment and argument strings, the platform, 16 random bytes, the vectors.
 */
int
exec_build_stack(struct exec_state *e, uint64_t *sp)
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
