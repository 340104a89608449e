/*
 * ELF: checks a program's headers and maps its segments from the page cache.
 *
 * Format: System V ABI, chapters 4 and 5.  Everything is read once, checked, and used from the
 * copy.
 */
#include "arch/arch.h"
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/harden/harden.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/pid.h"

struct elf_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf_segment {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

#define ELF_CLASS_64	 2
#define ELF_DATA_LITTLE	 1
#define ELF_VERSION	 1
#define ET_EXEC		 2
#define ET_DYN		 3
#define PT_LOAD		 1
#define PT_INTERP	 3
#define PF_X		 1u
#define PF_W		 2u
#define PF_R		 4u
#define ELF_HEADERS_MAX	 65536 /* bytes of program headers, as Linux */

/* One ELF file while it is being mapped. */
struct elf {
	struct file *file;
	struct elf_header header;
	struct elf_segment *segments; /* header.phnum of them */
	uint64_t low, high;	      /* page-aligned extent of the PT_LOAD segments, unbiased */
	uint64_t align;		      /* the largest alignment that one asks for */
};

/* Reads exactly n bytes: 0, -ENOEXEC (the file ends before) or -errno. */
static int
read_exactly(struct file *f, void *buf, size_t n, uint64_t offset)
{
	ssize_t got = file_read_kernel(f, buf, n, offset);

	if (got < 0)
		return (int)got;
	return (size_t)got == n ? 0 : -ENOEXEC;
}

static bool
header_ok(const struct elf_header *h)
{
	static const uint8_t magic[] = {0x7f, 'E', 'L', 'F', ELF_CLASS_64, ELF_DATA_LITTLE,
					ELF_VERSION};

	return memcmp(h->ident, magic, sizeof(magic)) == 0 &&
	       (h->type == ET_EXEC || h->type == ET_DYN) && h->machine == ARCH_ELF_MACHINE &&
	       h->version == ELF_VERSION && h->phentsize == sizeof(struct elf_segment) &&
	       h->phnum > 0 && h->phnum <= ELF_HEADERS_MAX / sizeof(struct elf_segment);
}

/*
 * True if s can be mapped: sizes and sums in range, within the file, congruent modulo the page
 * size, and above the segment before, which ends at `above`.
 */
static bool
segment_ok(const struct elf *e, const struct elf_segment *s, uint64_t above)
{
	uint64_t size = READ_ONCE(e->file->inode->size);

	if (s->filesz > s->memsz || s->memsz > USER_END || s->vaddr > USER_END - s->memsz)
		return false;
	if (s->offset > size || s->filesz > size - s->offset)
		return false;
	if (s->align > 1 && (s->align & (s->align - 1)))
		return false;
	if (((s->vaddr - s->offset) & PAGE_MASK) != 0)
		return false;
	return ALIGN_DOWN(s->vaddr, PAGE_SIZE) >= above;
}

/* Checks every PT_LOAD segment and finds their extent. */
static int
check_segments(struct elf *e, bool allow_wx)
{
	e->low = UINT64_MAX;
	e->high = 0;
	e->align = PAGE_SIZE;
	for (unsigned i = 0; i < e->header.phnum; i++) {
		const struct elf_segment *s = &e->segments[i];

		if (s->type != PT_LOAD || s->memsz == 0)
			continue;
		if (!segment_ok(e, s, e->high))
			return -ENOEXEC;
		if ((s->flags & (PF_W | PF_X)) == (PF_W | PF_X) && !allow_wx)
			return -ENOEXEC;
		if (e->low == UINT64_MAX)
			e->low = ALIGN_DOWN(s->vaddr, PAGE_SIZE);
		e->high = ALIGN_UP(s->vaddr + s->memsz, PAGE_SIZE);
		e->align = MAX(e->align, s->align);
	}
	return e->high ? 0 : -ENOEXEC;
}

/* Takes the headers of file, of which n bytes are in memory already.  elf_close undoes it. */
static int
elf_open(struct elf *e, struct file *file, const void *start, size_t n, bool allow_wx)
{
	size_t size;
	int err;

	e->file = file;
	if (n < sizeof(e->header))
		return -ENOEXEC;
	memcpy(&e->header, start, sizeof(e->header));
	if (!header_ok(&e->header))
		return -ENOEXEC;
	size = e->header.phnum * sizeof(struct elf_segment);
	e->segments = kmalloc(size);
	if (!e->segments)
		return -ENOMEM;
	if (e->header.phoff <= n && size <= n - e->header.phoff) {
		memcpy(e->segments, (const char *)start + e->header.phoff, size);
		err = 0;
	} else {
		err = read_exactly(file, e->segments, size, e->header.phoff);
	}
	if (!err)
		err = check_segments(e, allow_wx);
	if (err)
		kfree(e->segments);
	return err;
}

static void
elf_close(struct elf *e)
{
	kfree(e->segments);
}

/* May a segment be writable and executable? */
static bool
wx_allowed(const struct vm *vm)
{
	return vm->allow_wx || !harden_wanted(HARDEN_WX);
}

/* Clears from addr to the end of its page. */
static int
clear_tail(struct vm *vm, uint64_t addr)
{
	static uint8_t zeros[PAGE_SIZE]; /* only ever read */
	size_t n = -addr & PAGE_MASK;

	if (n == 0)
		return 0;
	return vm_access(vm, addr, zeros, n, true) == (ssize_t)n ? 0 : -EFAULT;
}

static int
map_segment(struct vm *vm, const struct elf *e, const struct elf_segment *s, uint64_t bias)
{
	uint64_t start = ALIGN_DOWN(s->vaddr, PAGE_SIZE) + bias;
	uint64_t file_end = s->vaddr + s->filesz + bias;
	uint64_t end = ALIGN_UP(s->vaddr + s->memsz, PAGE_SIZE) + bias;
	uint64_t anonymous = s->filesz ? ALIGN_UP(file_end, PAGE_SIZE) : start, got;
	unsigned prot = (s->flags & PF_R ? PROT_READ : 0) | (s->flags & PF_W ? PROT_WRITE : 0) |
			(s->flags & PF_X ? PROT_EXEC : 0);
	int err;

	if (s->filesz) {
		err = vm_mmap(vm, start, anonymous - start, prot,
			      MAP_PRIVATE | MAP_FIXED | MAP_DENYWRITE, e->file,
			      ALIGN_DOWN(s->offset, PAGE_SIZE), &got);
		if (err)
			return err;
		/* What lies behind the file's part is bss, and not the file's next bytes. */
		if (s->memsz > s->filesz && (prot & PROT_WRITE)) {
			err = clear_tail(vm, file_end);
			if (err)
				return err;
		}
	}
	if (anonymous >= end)
		return 0;
	return vm_mmap(vm, anonymous, end - anonymous, prot,
		       MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, NULL, 0, &got);
}

static int
map_segments(struct vm *vm, const struct elf *e, uint64_t bias)
{
	for (unsigned i = 0; i < e->header.phnum; i++) {
		const struct elf_segment *s = &e->segments[i];
		int err;

		if (s->type != PT_LOAD || s->memsz == 0)
			continue;
		err = map_segment(vm, e, s, bias);
		if (err)
			return err;
	}
	return 0;
}

/* Code, data and headers as /proc and the auxiliary vector show them. */
static void
describe(const struct elf *e, uint64_t bias, struct elf_image *out)
{
	const struct elf_header *h = &e->header;

	out->program_entry = h->entry + bias;
	out->phnum = h->phnum;
	out->phdr = 0;
	out->start_code = UINT64_MAX;
	out->end_code = out->start_data = out->end_data = 0;
	for (unsigned i = 0; i < h->phnum; i++) {
		const struct elf_segment *s = &e->segments[i];
		uint64_t start = s->vaddr + bias, file_end = start + s->filesz;

		if (s->type != PT_LOAD || s->memsz == 0)
			continue;
		if (h->phoff >= s->offset && h->phoff - s->offset < s->filesz)
			out->phdr = h->phoff - s->offset + start;
		out->start_code = MIN(out->start_code, start);
		out->start_data = MAX(out->start_data, start);
		if (s->flags & PF_X)
			out->end_code = MAX(out->end_code, file_end);
		out->end_data = MAX(out->end_data, file_end);
	}
	out->brk = e->high + bias;
}

/* Finds free space for a position-independent file: at hint, or below the mmap top (0). */
static int
find_base(struct vm *vm, const struct elf *e, uint64_t hint, uint64_t *out)
{
	uint64_t size = e->high - e->low, slack = e->align - PAGE_SIZE, addr;
	int err;

	if (slack > USER_END - size)
		return -ENOEXEC;
	err = vm_mmap(vm, hint, size + slack, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, NULL, 0,
		      &addr);
	if (err)
		return err;
	*out = ALIGN_UP(addr, e->align);
	return vm_munmap(vm, addr, size + slack);
}

static int
load_interpreter(struct vm *vm, const char *path, uint64_t hint, struct elf_image *out)
{
	uint8_t start[512];
	uint64_t bias = 0;
	struct file *f;
	struct elf e;
	ssize_t n;
	int err;

	err = exec_open(AT_FDCWD, path, 0, &f);
	if (err)
		return err;
	n = file_read_kernel(f, start, sizeof(start), 0);
	err = n < 0 ? (int)n : elf_open(&e, f, start, (size_t)n, wx_allowed(vm));
	if (err) {
		err = err == -ENOEXEC ? -ELIBBAD : err;
		goto out_file;
	}
	if (e.header.type == ET_DYN) {
		err = find_base(vm, &e, hint, &bias);
		bias -= e.low;
	}
	if (!err)
		err = map_segments(vm, &e, bias);
	out->base = e.low + bias;
	out->entry = e.header.entry + bias;
	elf_close(&e);
out_file:
	exec_close(f);
	return err;
}

/* The program's PT_INTERP as a string to be kfree'd, or NULL if it has none. */
static int
interpreter_path(const struct elf *e, char **out)
{
	*out = NULL;
	for (unsigned i = 0; i < e->header.phnum; i++) {
		const struct elf_segment *s = &e->segments[i];
		char *path;
		int err;

		if (s->type != PT_INTERP)
			continue;
		if (s->filesz < 2 || s->filesz > PATH_MAX)
			return -ENOEXEC;
		path = kmalloc(s->filesz);
		if (!path)
			return -ENOMEM;
		err = read_exactly(e->file, path, s->filesz, s->offset);
		if (!err && path[s->filesz - 1] != '\0')
			err = -ENOEXEC;
		if (err) {
			kfree(path);
			return err;
		}
		*out = path;
		return 0;
	}
	return 0;
}

int
elf_load(struct vm *vm, struct file *f, const void *header, size_t n, const struct exec_layout *l,
	 struct elf_image *out)
{
	char *interpreter = NULL;
	uint64_t bias = 0;
	struct elf e;
	int err;

	err = elf_open(&e, f, header, n, wx_allowed(vm));
	if (err)
		return err;
	err = interpreter_path(&e, &interpreter);
	if (err)
		goto out_elf;
	if (e.header.type == ET_DYN)
		bias = ALIGN_DOWN(l->pie, e.align) - e.low;
	/* Whatever the bias, the program must lie in the user half. */
	if (e.high + bias > USER_END || e.high + bias <= e.low + bias) {
		err = -ENOEXEC;
		goto out_path;
	}
	err = map_segments(vm, &e, bias);
	if (err)
		goto out_path;
	describe(&e, bias, out);
	out->base = 0;
	out->entry = out->program_entry;
	if (interpreter)
		err = load_interpreter(vm, interpreter, l->interpreter, out);
out_path:
	kfree(interpreter);
out_elf:
	elf_close(&e);
	return err;
}
