/*
 * Address spaces: the areas that mmap, munmap and brk make.
 *
 * How memory works.  An address space (struct vm) is a sorted array of areas (struct vma) and a
 * translation table.  Areas say what may be there; the table holds what has been touched.  mmap only
 * writes areas down; the first access to a page faults, and fault.c finds the frame: zeroed memory
 * (PAGE_ANON), or the page cache's own frame (PAGE_FILE), which is mapped directly.  A private area
 * maps file frames read-only and copies one at the first write.  fork (space.c) gives the child the
 * parent's private frames, read-only in both; whoever writes first copies, and the last one that
 * holds a frame writes in place.  A frame's refs are its mappings, and one more for the page cache.
 *
 * vm.lock guards all of it.  It is taken inside inode locks and pipe locks (a fault in a user copy),
 * so nothing that takes those, or copies from a user, is called with it held: files are opened,
 * checked and put outside.  A frame is put only after the TLBs have forgotten it (struct tlb_batch).
 */
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/harden/harden.h"
#include "kernel/lib/random.h"
#include "kernel/lib/string.h"
#include "kernel/mm/area.h"
#include "kernel/mm/heap.h"
#include "kernel/proc/process.h"

struct list vm_all = LIST_INIT(vm_all);
struct spinlock vm_all_lock = SPINLOCK_INIT;

#define LOW_END	   (1ul << 31)
#define LOW_WINDOW (32ul << 20) /* of addresses that the first area below LOW_END may end at, as Linux's */

static struct slab_cache *vma_cache;

void
vm_init(void)
{
	vma_cache = slab_create("vma", sizeof(struct vma), 16);
}

/* ---- Counting --------------------------------------------------------------------------------- */

static uint64_t
pages_within(const struct vma *a, uint64_t start, uint64_t end)
{
	return a->start < end && start < a->end ? (MIN(a->end, end) - MAX(a->start, start)) >> PAGE_SHIFT : 0;
}

uint64_t
vm_pages_within(struct vm *vm, uint64_t start, uint64_t end, unsigned flags)
{
	uint64_t n = 0;

	for (unsigned i = vm_index(vm, start); i < vm->count && vm->areas[i]->start < end; i++) {
		if ((vm->areas[i]->flags & flags) == flags)
			n += pages_within(vm->areas[i], start, end);
	}
	return n;
}

/* ---- Policy ----------------------------------------------------------------------------------- */

int
vm_check_low(uint64_t addr)
{
	if (addr >= MMAP_MIN_ADDR)
		return 0;
	return harden_wanted(HARDEN_NULL_GUARD) || !capable() ? -EPERM : 0;
}

/* The semantics of Linux's PR_SET_MDWE (PR_MDWE_REFUSE_EXEC_GAIN), for every process. */
int
vm_check_wx(const struct vm *vm, unsigned old_prot, unsigned new_prot)
{
	if (!(new_prot & PROT_EXEC) || vm->allow_wx || !harden_wanted(HARDEN_WX))
		return 0;
	return (new_prot & PROT_WRITE) || !(old_prot & PROT_EXEC) ? -EACCES : 0;
}

/* `reserve`: no single mapping that could never be filled (Linux's heuristic overcommit). */
static int
check_limits(struct vm *vm, uint64_t at, uint64_t npages, unsigned prot, unsigned flags, bool reserve)
{
	uint64_t limit = rlimit(RLIMIT_AS) >> PAGE_SHIFT, end = at + (npages << PAGE_SHIFT);
	uint64_t data = npages;

	/* What lies from `at` on, where they go, does not count: they replace it. */
	if (vm->total_pages + npages > limit &&
	    vm->total_pages + npages - vm_pages_within(vm, at, end, 0) > limit)
		return -ENOMEM;
	if (!vma_is_private_writable(prot, flags))
		return 0;
	if (reserve && npages > page_total())
		return -ENOMEM;
	limit = rlimit(RLIMIT_DATA);
	if (likely(limit == RLIM_INFINITY))
		return 0;
	for (unsigned i = 0; i < vm->count; i++) {
		struct vma *a = vm->areas[i];

		if (vma_is_private_writable(a->prot, a->flags))
			data += ((a->end - a->start) >> PAGE_SHIFT) - pages_within(a, at, end);
	}
	return data > limit >> PAGE_SHIFT ? -ENOMEM : 0;
}

int
vm_check_limits(struct vm *vm, uint64_t npages, unsigned prot, unsigned flags)
{
	return check_limits(vm, USER_END, npages, prot, flags, true);
}

int
vm_check_locked(struct vm *vm, uint64_t npages)
{
	if (vm->locked_pages + npages <= rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT || capable())
		return 0;
	return -EAGAIN;
}

/* ---- Areas ------------------------------------------------------------------------------------ */

struct vma *
vma_clone(const struct vma *model)
{
	struct vma *a = slab_alloc(vma_cache);

	if (a == NULL)
		return NULL;
	*a = *model;
	if (a->file != NULL) {
		file_get(a->file);
		__atomic_fetch_add(&a->file->inode->mapped, 1, __ATOMIC_RELAXED);
		if (a->flags & VMA_WRITER)
			__atomic_fetch_add(&a->file->inode->mapped_writers, 1, __ATOMIC_RELAXED);
	}
	return a;
}

static void
uncount_writer(const struct vma *a)
{
	if (a->flags & VMA_WRITER)
		__atomic_fetch_sub(&a->file->inode->mapped_writers, 1, __ATOMIC_RELEASE);
}

void
vma_free(struct vma *a)
{
	if (a->file != NULL) {
		__atomic_fetch_sub(&a->file->inode->mapped, 1, __ATOMIC_RELAXED);
		uncount_writer(a);
		file_put(a->file);
	}
	slab_free(vma_cache, a);
}

void
vma_free_list(struct vma *dead)
{
	while (dead != NULL) {
		struct vma *next = dead->dead_next;

		vma_free(dead);
		dead = next;
	}
}

static void
bury(struct vma *a, struct vma **dead)
{
	a->dead_next = *dead;
	*dead = a;
}

unsigned
vm_index(struct vm *vm, uint64_t addr)
{
	unsigned lo = 0, hi = vm->count;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (vm->areas[mid]->end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct vma *
vm_find(struct vm *vm, uint64_t addr)
{
	unsigned i = vm->hint;

	if (likely(i < vm->count && vm->areas[i]->start <= addr && addr < vm->areas[i]->end))
		return vm->areas[i];
	i = vm_index(vm, addr);
	if (i == vm->count)
		return NULL;
	vm->hint = i;
	return vm->areas[i];
}

int
vm_reserve(struct vm *vm, unsigned n)
{
	unsigned capacity = MAX(vm->capacity, 16u);
	struct vma **areas;

	if (vm->count + n > MAX_AREAS)
		return -ENOMEM;
	if (likely(vm->count + n <= vm->capacity))
		return 0;
	while (capacity < vm->count + n)
		capacity *= 2;
	areas = kmalloc(capacity * sizeof(*areas));
	if (areas == NULL)
		return -ENOMEM;
	memcpy(areas, vm->areas, vm->count * sizeof(*areas));
	kfree(vm->areas);
	vm->areas = areas;
	vm->capacity = capacity;
	return 0;
}

static void
index_insert(struct vm *vm, unsigned i, struct vma *a)
{
	assert(vm->count < vm->capacity);
	memmove(&vm->areas[i + 1], &vm->areas[i], (vm->count - i) * sizeof(*vm->areas));
	vm->areas[i] = a;
	vm->count++;
}

static void
index_remove(struct vm *vm, unsigned i, unsigned n)
{
	vm->count -= n;
	memmove(&vm->areas[i], &vm->areas[i + n], (vm->count - i) * sizeof(*vm->areas));
}

/* May b, which begins where a ends, become part of a? */
static bool
alike(const struct vma *a, const struct vma *b)
{
	return a->end == b->start && a->prot == b->prot && a->max_prot == b->max_prot &&
	       ((a->flags ^ b->flags) & ~VMA_ANON_PAGES) == 0 && a->file == b->file &&
	       (a->file == NULL || a->offset + (a->end - a->start) == b->offset);
}

/* Makes b, the area after a, a part of it if they are alike.  The caller takes b off the index. */
static bool
absorb(struct vma *a, struct vma *b, struct vma **dead)
{
	if (!alike(a, b))
		return false;
	a->end = b->end;
	a->flags |= b->flags;
	bury(b, dead);
	return true;
}

/* Joins areas i and i + 1 if they are alike. */
static void
join(struct vm *vm, unsigned i, struct vma **dead)
{
	if (i + 1 < vm->count && absorb(vm->areas[i], vm->areas[i + 1], dead))
		index_remove(vm, i + 1, 1);
}

void
vm_insert(struct vm *vm, struct vma *a, struct vma **dead)
{
	unsigned i = vm_index(vm, a->start);
	uint64_t n = (a->end - a->start) >> PAGE_SHIFT;

	assert(a->start < a->end && a->end <= USER_END);
	assert(i == vm->count || vm->areas[i]->start >= a->end);
	vm->total_pages += n;
	if (a->flags & VMA_LOCKED)
		vm->locked_pages += n;
	index_insert(vm, i, a);
	join(vm, i, dead);
	if (i > 0)
		join(vm, i - 1, dead);
}

void
vm_merge_range(struct vm *vm, uint64_t start, uint64_t end, struct vma **dead)
{
	unsigned i = vm_index(vm, start), to;

	if (i > 0)
		i--;
	if (i == vm->count)
		return;
	/* In one pass, however many are joined: areas[to] is the last that stays. */
	for (to = i++; i < vm->count && vm->areas[to]->start <= end; i++) {
		if (!absorb(vm->areas[to], vm->areas[i], dead))
			vm->areas[++to] = vm->areas[i];
	}
	if (++to < i)
		index_remove(vm, to, i - to);
}

/* Splits the area that addr lies inside of, if there is one. */
static int
split_at(struct vm *vm, uint64_t addr)
{
	unsigned i = vm_index(vm, addr);
	struct vma *a, *upper;

	if (i == vm->count || vm->areas[i]->start >= addr)
		return 0;
	a = vm->areas[i];
	if (vm_reserve(vm, 1) != 0 || (upper = vma_clone(a)) == NULL)
		return -ENOMEM;
	upper->start = addr;
	if (a->file != NULL)
		upper->offset += addr - a->start;
	a->end = addr;
	index_insert(vm, i + 1, upper);
	return 0;
}

int
vm_split_range(struct vm *vm, uint64_t start, uint64_t end)
{
	int err = split_at(vm, start);

	return err ? err : split_at(vm, end);
}

int
vm_unmap_locked(struct vm *vm, uint64_t start, uint64_t end, struct vma **dead)
{
	unsigned first = vm_index(vm, start), i;
	struct tlb_batch batch;

	if (first == vm->count || vm->areas[first]->start >= end)
		return 0;
	if (vm_split_range(vm, start, end) != 0)
		return -ENOMEM;
	first = vm_index(vm, start);
	tlb_batch_init(&batch, vm);
	for (i = first; i < vm->count && vm->areas[i]->start < end; i++) {
		struct vma *a = vm->areas[i];
		uint64_t n = (a->end - a->start) >> PAGE_SHIFT;

		vm_zap(&batch, a->start, a->end);
		vm->total_pages -= n;
		if (a->flags & VMA_LOCKED)
			vm->locked_pages -= n;
		bury(a, dead);
	}
	tlb_batch_flush(&batch);
	index_remove(vm, first, i - first);
	return 0;
}

/* ---- Finding room ----------------------------------------------------------------------------- */

/* Up to where there is room below a: a stack keeps a gap free, which may be all there is. */
static uint64_t
room_below(const struct vma *a)
{
	uint64_t gap = a->flags & VMA_GROWSDOWN ? STACK_GAP : 0;

	return a->start - MIN(a->start, gap);
}

static bool
range_is_free(struct vm *vm, uint64_t start, uint64_t length)
{
	unsigned i = vm_index(vm, start);
	struct vma *next = i < vm->count ? vm->areas[i] : NULL;

	if (next == NULL)
		return true;
	return start + length <= room_below(next);
}

/* The highest free range below top. */
static int
find_below(struct vm *vm, uint64_t top, uint64_t length, uint64_t *out)
{
	unsigned i = vm_index(vm, top);
	uint64_t end = top;

	if (i < vm->count)
		end = MIN(end, room_below(vm->areas[i]));
	for (;;) {
		uint64_t low = i > 0 ? vm->areas[i - 1]->end : 0;

		low = MAX(low, MMAP_MIN_ADDR);
		if (end > low && end - low >= length) {
			*out = end - length;
			return 0;
		}
		if (i == 0)
			return -ENOMEM;
		i--;
		end = room_below(vm->areas[i]);
	}
}

int
vm_find_free(struct vm *vm, uint64_t hint, uint64_t length, uint64_t *out)
{
	if (length > USER_END)
		return -ENOMEM;
	hint = ALIGN_DOWN(hint, PAGE_SIZE);
	if (hint != 0) {
		hint = MAX(hint, MMAP_MIN_ADDR);
		if (hint <= USER_END - length && range_is_free(vm, hint, length)) {
			*out = hint;
			return 0;
		}
	}
	if (find_below(vm, vm->mmap_top ? vm->mmap_top : USER_END, length, out) == 0)
		return 0;
	return find_below(vm, USER_END, length, out);
}

/* For MAP_32BIT: what a sign-extended address of 32 bits reaches, as high as may be. */
static int
find_low(struct vm *vm, uint64_t length, uint64_t *out)
{
	uint64_t slide = 0;

	if (harden_wanted(HARDEN_ASLR) && !(current->process->personality & ADDR_NO_RANDOMIZE))
		slide = ALIGN_DOWN(random_below(LOW_WINDOW), PAGE_SIZE);
	if (find_below(vm, LOW_END - slide, length, out) == 0)
		return 0;
	return find_below(vm, LOW_END, length, out);
}

/* ---- mmap ------------------------------------------------------------------------------------- */

/* Checks file against the request and fills what the area takes from it. */
static int
prepare_file(struct vma *a, unsigned flags, struct file *file)
{
	bool writable = file->mode & FILE_WRITE;
	int err;

	a->max_prot = PROT_ACCESS;
	switch (flags & MAP_TYPE) {
	case MAP_SHARED:
	case MAP_SHARED_VALIDATE:
		if ((a->prot & PROT_WRITE) && !writable)
			return -EACCES;
		a->flags |= VMA_SHARED;
		if (!writable)
			a->max_prot &= ~PROT_WRITE;
		break;
	case MAP_PRIVATE:
		break;
	default:
		return -EINVAL;
	}
	if (!(file->mode & FILE_READ))
		return -EACCES;
	if (file->path.mount->flags & MNT_NOEXEC) {
		if (a->prot & PROT_EXEC)
			return -EPERM;
		a->max_prot &= ~PROT_EXEC;
	}
	if (flags & MAP_GROWSDOWN)
		return -EINVAL;
	if (file->ops->mmap == NULL && (file->inode->mode & S_IFMT) != S_IFREG)
		return -ENODEV;
	a->file = file;
	err = file->ops->mmap ? file->ops->mmap(file, a) : 0;
	if (err || a->file == NULL)
		return err;
	return a->file->inode->ops && a->file->inode->ops->get_page ? 0 : -ENODEV;
}

static int
prepare_anonymous(struct vma *a, unsigned flags)
{
	a->max_prot = PROT_ACCESS;
	a->offset = 0;
	switch (flags & MAP_TYPE) {
	case MAP_SHARED:
		if (flags & MAP_GROWSDOWN)
			return -EINVAL;
		a->flags |= VMA_SHARED;
		return 0;
	case MAP_PRIVATE:
		if (flags & MAP_GROWSDOWN)
			a->flags |= VMA_GROWSDOWN;
		return 0;
	default:
		return -EINVAL;
	}
}

/* Links a copy of *model at [addr, addr + length) in place of what is there. */
static int
map_locked(struct vm *vm, struct vma *model, uint64_t addr, unsigned flags, struct vma **dead,
	   uint64_t *out)
{
	uint64_t length = model->end - model->start, npages = length >> PAGE_SHIFT;
	struct vma *a;
	int err;

	if (!(flags & MAP_FIXED)) {
		err = flags & ARCH_MAP_32BIT ? find_low(vm, length, &addr) : vm_find_free(vm, addr, length, &addr);
		if (err)
			return err;
	} else if (flags & MAP_FIXED_NOREPLACE) {
		unsigned i = vm_index(vm, addr);

		if (i < vm->count && vm->areas[i]->start < addr + length)
			return -EEXIST;
	}
	model->start = addr;
	model->end = addr + length;
	model->flags |= vm->lock_future;
	if (model->flags & VMA_LOCKED) {
		err = vm_check_locked(vm, npages - vm_pages_within(vm, addr, addr + length, VMA_LOCKED));
		if (err)
			return err;
	}
	err = check_limits(vm, addr, npages, model->prot, model->flags, !(flags & MAP_NORESERVE));
	if (err)
		return err;
	err = vm_check_wx(vm, model->prot, model->prot);
	if (err)
		return err;
	/* Three: two that unmapping may split off, and the new one. */
	if (vm_reserve(vm, 3) != 0 || (a = vma_clone(model)) == NULL)
		return -ENOMEM;
	err = vm_unmap_locked(vm, addr, addr + length, dead);
	if (err) {
		bury(a, dead);
		return err;
	}
	vm_insert(vm, a, dead);
	*out = addr;
	return 0;
}

int
vm_mmap(struct vm *vm, uint64_t addr, uint64_t length, unsigned prot, unsigned flags,
	struct file *file, uint64_t offset, uint64_t *out)
{
	struct vma model = {.prot = prot & PROT_ACCESS, .offset = offset};
	struct vma *dead = NULL;
	int err;

	if (length == 0)
		return -EINVAL;
	if (flags & MAP_FIXED_NOREPLACE)
		flags |= MAP_FIXED;
	length = ALIGN_UP(length, PAGE_SIZE);
	if (length == 0)
		return -ENOMEM;
	if (!IS_ALIGNED(offset, PAGE_SIZE))
		return -EINVAL;
	if (offset + length < offset)
		return -EOVERFLOW;
	if (length > USER_END)
		return -ENOMEM;
	if (flags & MAP_FIXED) {
		if (addr > USER_END - length)
			return -ENOMEM;
		if (!IS_ALIGNED(addr, PAGE_SIZE))
			return -EINVAL;
		err = vm_check_low(addr);
		if (err)
			return err;
	}
	model.end = length;
	if (flags & MAP_LOCKED) {
		if (rlimit(RLIMIT_MEMLOCK) == 0 && !capable())
			return -EPERM;
		model.flags |= VMA_LOCKED;
	}
	err = file ? prepare_file(&model, flags, file) : prepare_anonymous(&model, flags);
	if (err)
		return err;
	/* Shared memory without a file (or of /dev/zero) has a nameless one. */
	if (model.file == NULL && (model.flags & VMA_SHARED)) {
		if (length >> PAGE_SHIFT > page_total() && !(flags & MAP_NORESERVE))
			return -ENOMEM;
		model.offset = 0;
		err = shmem_file_create(length, &model.file);
		if (err)
			return err;
	}

	mutex_lock(&vm->lock);
	err = map_locked(vm, &model, addr, flags, &dead, out);
	mutex_unlock(&vm->lock);
	vma_free_list(dead);
	uncount_writer(&model); /* its file's mmap counted it: no seal came before the area */
	/* What is not the caller's was made for the area, which holds it now. */
	if (model.file != NULL && model.file != file)
		file_put(model.file);
	if (err == 0 && ((flags & MAP_POPULATE) || (model.flags & VMA_LOCKED)))
		(void)!vm_populate(vm, *out, length, (model.prot & PROT_WRITE) != 0);
	return err;
}

int
vm_munmap(struct vm *vm, uint64_t addr, uint64_t length)
{
	struct vma *dead = NULL;
	int err;

	if (!IS_ALIGNED(addr, PAGE_SIZE) || addr > USER_END || length > USER_END - addr ||
	    length == 0)
		return -EINVAL;
	mutex_lock(&vm->lock);
	err = vm_unmap_locked(vm, addr, addr + ALIGN_UP(length, PAGE_SIZE), &dead);
	mutex_unlock(&vm->lock);
	vma_free_list(dead);
	return err;
}

int
vm_map_stack(struct vm *vm, uint64_t top, uint64_t initial_size)
{
	struct vma model = {.prot = PROT_READ | PROT_WRITE,
			    .max_prot = PROT_ACCESS,
			    .flags = VMA_GROWSDOWN | VMA_STACK};
	struct vma *dead = NULL;
	uint64_t addr;
	int err;

	top = ALIGN_UP(top, PAGE_SIZE);
	initial_size = ALIGN_UP(initial_size, PAGE_SIZE);
	if (top > USER_END || initial_size == 0 || initial_size > top - MMAP_MIN_ADDR)
		return -EINVAL;
	model.end = initial_size;
	mutex_lock(&vm->lock);
	err = map_locked(vm, &model, top - initial_size, MAP_FIXED | MAP_FIXED_NOREPLACE, &dead,
			 &addr);
	mutex_unlock(&vm->lock);
	vma_free_list(dead);
	return err;
}

uint64_t
vm_brk(struct vm *vm, uint64_t addr)
{
	struct vma model = {.prot = PROT_READ | PROT_WRITE, .max_prot = PROT_ACCESS, .flags = VMA_HEAP};
	struct vma *dead = NULL;
	uint64_t old_end = 0, new_end = 0, result;

	mutex_lock(&vm->lock);
	if (addr < vm->brk_start || addr > USER_END || addr - vm->brk_start > rlimit(RLIMIT_DATA))
		goto out;
	old_end = ALIGN_UP(vm->brk, PAGE_SIZE);
	new_end = ALIGN_UP(addr, PAGE_SIZE);
	if (new_end < old_end) {
		if (vm_unmap_locked(vm, new_end, old_end, &dead) != 0)
			goto out;
	} else if (new_end > old_end) {
		uint64_t length = new_end - old_end, at;

		/* A page between the heap and what lies above it. */
		if (!range_is_free(vm, old_end, length + PAGE_SIZE))
			goto out;
		model.end = length;
		if (map_locked(vm, &model, old_end, MAP_FIXED, &dead, &at) != 0)
			goto out;
	}
	vm->brk = addr;
out:
	result = vm->brk;
	mutex_unlock(&vm->lock);
	vma_free_list(dead);
	if (result == addr && new_end > old_end && (model.flags & VMA_LOCKED))
		(void)!vm_populate(vm, old_end, new_end - old_end, true);
	return result;
}
