/*
 * The mmap family: what a mapping holds, where it ends, and with which signal, code and address a wrong access is
 * answered.  What is a file's own is in filemap.c.
 */
#include "user/test/test.h"
#include "machine.h"
#include <sys/prctl.h>

#include "user/cpu.h"

#define RW (PROT_READ | PROT_WRITE)

static void
anonymous_memory_is_zero_and_writable(void)
{
	char *m = t_map(16 * PAGE, RW);

	check_eq((long)m & (PAGE - 1), 0);
	for (unsigned i = 0; i < 16 * PAGE; i += 8)
		check_eq(*(long *)(m + i), 0);
	memset(m, 0x5a, 16 * PAGE);
	ok(munmap(m, 16 * PAGE));
	must_fault(t_peek(m), SIGSEGV, SEGV_MAPERR, m);
	ok(munmap(m, 16 * PAGE));	/* Nothing there: no error. */
}

static void
wrong_arguments(void)
{
	char *m = t_map(2 * PAGE, RW);
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600)), ro = ok(open("f", O_RDONLY)),
		wo = ok(open("f", O_WRONLY));

	fails(mmap(NULL, 0, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
	fails(mmap(NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0), EINVAL);
	fails(mmap(NULL, PAGE, RW, MAP_PRIVATE, -1, 0), EBADF);
	fails(mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 1), EINVAL);
	fails(mmap(NULL, SIZE_MAX, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	fails(mmap(NULL, T_USER_END, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	fails(mmap((void *)T_USER_END, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		ENOMEM);
	fails(mmap(m + 1, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
	fails(mmap(NULL, PAGE, RW, MAP_SHARED, ro, 0), EACCES);
	fails(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, wo, 0), EACCES);
	check(ok(mmap(NULL, PAGE, RW, MAP_PRIVATE, ro, 0)) != NULL);
	check(ok(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 0)) != NULL);
	fails(munmap(m + 1, PAGE), EINVAL);
	fails(munmap(m, 0), EINVAL);
	fails(munmap((void *)T_USER_END, PAGE), EINVAL);
	fails(mprotect(m + 1, PAGE, PROT_READ), EINVAL);
	fails(mprotect((void *)0x10000, PAGE, PROT_READ), ENOMEM);
	fails(mprotect(m, PAGE, 0x1000), EINVAL);
	ok(mprotect(m, 0, PROT_READ));
	fails(madvise(m + 1, PAGE, MADV_DONTNEED), EINVAL);
	fails(madvise(m, PAGE, 12345), EINVAL);
	fails(msync(m + 1, PAGE, MS_SYNC), EINVAL);
	fails(msync(m, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
	fails(mremap(m + 1, PAGE, PAGE, 0), EINVAL);
	fails(mremap(m, PAGE, 0, 0), EINVAL);
	fails(mremap((void *)0x10000, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
	fails(mremap(m, PAGE, PAGE, MREMAP_FIXED, m + 4 * PAGE), EINVAL);
	int dir = ok(open(".", O_RDONLY));
	fails(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, dir, 0), ENODEV);
	int fds[2];
	ok(pipe(fds));
	fails(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fds[0], 0), ENODEV);
}

static void
munmap_splits(void)
{
	char *m = t_map(5 * PAGE, RW);

	for (int i = 0; i < 5; i++)
		m[i * PAGE] = (char)('0' + i);
	ok(munmap(m + PAGE, PAGE));
	ok(munmap(m + 3 * PAGE, 1));	/* A length is rounded up. */
	check(m[0] == '0' && m[2 * PAGE] == '2' && m[4 * PAGE] == '4');
	must_fault(t_peek(m + PAGE), SIGSEGV, SEGV_MAPERR, m + PAGE);
	must_fault(t_poke(m + 3 * PAGE + 77, 1), SIGSEGV, SEGV_MAPERR, m + 3 * PAGE + 77);
	ok(munmap(m, 5 * PAGE));
	must_fault(t_peek(m), SIGSEGV, SEGV_MAPERR, m);
	must_fault(t_peek(m + 4 * PAGE), SIGSEGV, SEGV_MAPERR, m + 4 * PAGE);
}

static void
mprotect_takes_and_gives(void)
{
	char *m = t_map(4 * PAGE, RW);

	memset(m, 'x', 4 * PAGE);
	ok(mprotect(m + PAGE, 2 * PAGE, PROT_READ));
	check_eq(t_peek(m + PAGE), 'x');
	must_fault(t_poke(m + PAGE + 5, 1), SIGSEGV, SEGV_ACCERR, m + PAGE + 5);
	must_fault(t_poke(m + 3 * PAGE - 1, 1), SIGSEGV, SEGV_ACCERR, m + 3 * PAGE - 1);
	t_poke(m + PAGE - 1, 'a');
	t_poke(m + 3 * PAGE, 'b');
	ok(mprotect(m + PAGE, PAGE, PROT_NONE));
	must_fault(t_peek(m + PAGE), SIGSEGV, SEGV_ACCERR, m + PAGE);
	ok(mprotect(m, 4 * PAGE, RW));
	for (int i = 0; i < 4; i++)
		t_poke(m + i * PAGE + 9, 'c');
	check_eq(m[PAGE], 'x');
	/* A hole in the range: what lies before it is changed, and the call says ENOMEM. */
	ok(munmap(m + 2 * PAGE, PAGE));
	fails(mprotect(m, 4 * PAGE, PROT_READ), ENOMEM);
	must_fault(t_poke(m, 1), SIGSEGV, SEGV_ACCERR, m);
	t_poke(m + 3 * PAGE, 'd');
}

static void
data_is_not_executable(void)
{
	unsigned char *m = t_map(PAGE, RW);
	static const unsigned char ret[] = T_CODE_RETURN;
	unsigned char stack[16] __attribute__((aligned(16)));
	static unsigned char bss[16] __attribute__((aligned(16)));

	memcpy(m, ret, sizeof(ret));
	memcpy(bss, ret, sizeof(ret));
	memcpy(stack, ret, sizeof(ret));
	must_fault(((void (*)(void))m)(), SIGSEGV, SEGV_ACCERR, m);
	must_fault(((void (*)(void))(void *)stack)(), SIGSEGV, SEGV_ACCERR, stack);
	must_fault(((void (*)(void))(void *)bss)(), SIGSEGV, SEGV_ACCERR, bss);
	must_fault(t_poke((void *)(uintptr_t)&getpid, 1), SIGSEGV, SEGV_ACCERR, &getpid);
}

static void
file_text_runs_read_only(void)
{
	/* Executable memory that never was writable: code from a file. */
	static const unsigned char code[] = T_CODE_42;
	int fd = ok(open("code", O_RDWR | O_CREAT, 0700));

	check_eq(write(fd, code, sizeof(code)), sizeof(code));
	int (*f)(void) = ok(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
	check_eq(f(), 42);
	must_fault(t_poke((void *)(uintptr_t)f, 1), SIGSEGV, SEGV_ACCERR, f);
	ok(mprotect((void *)(uintptr_t)f, PAGE, PROT_READ));
	must_fault((void)f(), SIGSEGV, SEGV_ACCERR, f);
}

static void
fixed_replaces_and_noreplace_does_not(void)
{
	char *m = t_map(4 * PAGE, RW);

	memset(m, 'x', 4 * PAGE);
	check(mmap(m + PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == m + PAGE);
	check(m[0] == 'x' && m[PAGE] == 0 && m[2 * PAGE] == 'x');
	fails(mmap(m, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
	fails(mmap(m + 3 * PAGE, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		-1, 0), EEXIST);
	check_eq(m[0], 'x');
	ok(munmap(m + 2 * PAGE, PAGE));
	check(mmap(m + 2 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		0) == m + 2 * PAGE);
	check_eq(m[2 * PAGE], 0);
	/* A hint that is free is taken; one that is not is only a hint. */
	ok(munmap(m + 2 * PAGE, PAGE));
	check(mmap(m + 2 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == m + 2 * PAGE);
	char *n = ok(mmap(m, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	check(n != m);
}

static void
mremap_grows_moves_and_shrinks(void)
{
	char *area = t_map(16 * PAGE, PROT_NONE);
	char *m = ok(mmap(area, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));

	m[0] = 'a';
	m[PAGE] = 'b';
	fails(mremap(m, 2 * PAGE, 4 * PAGE, 0), ENOMEM);	/* A neighbour is in the way. */
	ok(munmap(m + 2 * PAGE, 2 * PAGE));
	check(mremap(m, 2 * PAGE, 4 * PAGE, 0) == m);
	check(m[0] == 'a' && m[PAGE] == 'b' && m[3 * PAGE] == 0);
	m[3 * PAGE] = 'c';
	char *n = ok(mremap(m, 4 * PAGE, 64 * PAGE, MREMAP_MAYMOVE));
	check(n != m);
	check(n[0] == 'a' && n[PAGE] == 'b' && n[3 * PAGE] == 'c' && n[63 * PAGE] == 0);
	must_fault(t_peek(m), SIGSEGV, SEGV_MAPERR, m);
	check(mremap(n, 64 * PAGE, PAGE, 0) == n);
	must_fault(t_peek(n + PAGE), SIGSEGV, SEGV_MAPERR, n + PAGE);
	char *to = area + 8 * PAGE;
	check(mremap(n, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	check_eq(to[0], 'a');
	must_fault(t_peek(n), SIGSEGV, SEGV_MAPERR, n);
	fails(mremap(to, PAGE, T_USER_END, MREMAP_MAYMOVE), ENOMEM);
	check_eq(to[0], 'a');
}

static void
dontneed_zeroes(void)
{
	char *m = t_map(3 * PAGE, RW);

	memset(m, 'x', 3 * PAGE);
	ok(madvise(m + PAGE, PAGE, MADV_DONTNEED));
	check(m[0] == 'x' && m[PAGE] == 0 && m[2 * PAGE - 1] == 0 && m[2 * PAGE] == 'x');
	ok(madvise(m, PAGE, MADV_NORMAL));
	ok(madvise(m, PAGE, MADV_WILLNEED));
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));
	check_eq(write(fd, "file", 4), 4);
	char *p = ok(mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0));
	p[0] = 'X';
	ok(madvise(p, PAGE, MADV_DONTNEED));
	check_eq(p[0], 'f');		/* The private copy is gone; the file is seen again. */
}

static void
brk_grows_and_shrinks(void)
{
	char *start = sbrk(0);

	check(start != (void *)-1);
	char *base = (char *)(((uintptr_t)start + PAGE - 1) & ~(PAGE - 1));
	check((char *)syscall(SYS_brk, base + 8 * PAGE) == base + 8 * PAGE);
	for (int i = 0; i < 8; i++) {
		check_eq(base[i * PAGE], 0);
		base[i * PAGE] = 'b';
	}
	check((char *)syscall(SYS_brk, base + PAGE) == base + PAGE);
	must_fault(t_peek(base + PAGE), SIGSEGV, SEGV_MAPERR, base + PAGE);
	check((char *)syscall(SYS_brk, base + 2 * PAGE) == base + 2 * PAGE);
	check(base[0] == 'b' && base[PAGE] == 0);
	/* What cannot be is answered with the break as it stands, and no error. */
	check((char *)syscall(SYS_brk, 0) == base + 2 * PAGE);
	check((char *)syscall(SYS_brk, 0x1000) == base + 2 * PAGE);
	check((char *)syscall(SYS_brk, T_USER_END) == base + 2 * PAGE);
	check((char *)syscall(SYS_brk, -1L) == base + 2 * PAGE);
}

static int __attribute__((noinline))
deep(int n)
{
	volatile char frame[4000];

	frame[0] = (char)n;
	frame[3999] = 1;
	return n == 0 ? frame[0] : deep(n - 1) + frame[3999];
}

static void
stack_grows_to_its_limit_and_no_further(void)
{
	struct rlimit lim = { 1 << 20, 1 << 20 };
	struct rlimit big;

	check_eq(deep(1500), 1500);	/* About 6 MiB of the usual 8. */
	ok(getrlimit(RLIMIT_STACK, &big));
	pid_t p = t_fork();
	if (p == 0) {
		stack_t alt = { .ss_sp = t_map(64 * 1024, RW), .ss_size = 64 * 1024 };

		signal(SIGSEGV, SIG_DFL);
		ok(sigaltstack(&alt, NULL));
		deep(1 << 20);
		_exit(0);
	}
	dies(p, SIGSEGV);
	(void)lim;
}

static void
far_below_the_stack_is_not_stack(void)
{
	volatile char here;
	char *low = (char *)((uintptr_t)&here - (64UL << 20));	/* Beyond any 8 MiB stack. */

	must_fault(t_peek(low), SIGSEGV, SEGV_MAPERR, low);
}

static void
prot_none_reserves(void)
{
	char *m = t_map(1UL << 36, PROT_NONE);	/* 64 GiB of nothing. */

	must_fault(t_peek(m + (1UL << 35)), SIGSEGV, SEGV_ACCERR, m + (1UL << 35));
	ok(mprotect(m + (1UL << 35), PAGE, RW));
	t_poke(m + (1UL << 35), 1);
	ok(munmap(m, 1UL << 36));
}

static void
mincore_tells(void)
{
	unsigned char vec[4] = { 9, 9, 9, 9 };
	char *m = t_map(4 * PAGE, RW);

	m[0] = m[2 * PAGE] = 1;
	ok(mincore(m, 4 * PAGE, vec));
	check_eq(vec[0] & 1, 1);
	check_eq(vec[1] & 1, 0);
	check_eq(vec[2] & 1, 1);
	check_eq(vec[3] & 1, 0);
	fails(mincore(m + 1, PAGE, vec), EINVAL);
	ok(munmap(m + PAGE, PAGE));
	fails(mincore(m, 2 * PAGE, vec), ENOMEM);
	fails(mincore(m, PAGE, (void *)1), EFAULT);
}

static void
page_zero_is_refused(void)
{
	/*
	 * Root may lower mmap_min_addr's guard on Linux; an ordinary user may not, and Rampart lets
	 * nobody.
	 */
	t_become(STUDENT);
	fails(mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EPERM);
	fails(mmap((void *)PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EPERM);
	fails(mmap((void *)0xf000, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		EPERM);
	check(mmap((void *)0x10000, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		0) == (void *)0x10000);
	char *m = ok(mmap((void *)PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	check((uintptr_t)m >= 0x10000);
	fails(mremap(m, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, NULL), EPERM);
	must_fault(t_peek((void *)8), SIGSEGV, SEGV_MAPERR, 8);
	/* Nor does an area grow down to it, one fault at a time. */
	ok(munmap((void *)0x10000, PAGE));
	check(mmap((void *)0x20000, PAGE, RW,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0) == (void *)0x20000);
	t_poke((void *)0x10000, 1);
	must_fault(t_poke((void *)0xfff8, 1), SIGSEGV, SEGV_MAPERR, 0xfff8);
	check((uintptr_t)sbrk(0) >= 0x10000);
}

static void
kernel_addresses_fault_like_nothing(void)
{
	must_fault(t_peek((void *)0xffff888000000000), SIGSEGV, SEGV_MAPERR, 0xffff888000000000);
	must_fault(t_poke((void *)0xffffffff80200000, 1), SIGSEGV, SEGV_MAPERR, 0xffffffff80200000);
	if (T_MMAP_END < T_USER_END)
		must_fault(t_peek((void *)T_MMAP_END), SIGSEGV, SEGV_MAPERR, T_MMAP_END);
	/* Neither half's. */
	must_fault(t_peek((void *)T_USER_END), SIGSEGV, T_NO_ADDRESS_CODE, T_NO_ADDRESS(T_USER_END));
}

static void
many_mappings(void)
{
	char *m = t_map(1024 * PAGE, PROT_NONE);

	for (int i = 0; i < 1024; i += 2)
		ok(mprotect(m + i * PAGE, PAGE, RW));
	for (int i = 0; i < 1024; i += 2)
		m[i * PAGE] = (char)i;
	for (int i = 0; i < 1024; i += 2)
		check_eq(m[i * PAGE], (char)i);
	must_fault(t_peek(m + 511 * PAGE), SIGSEGV, SEGV_ACCERR, m + 511 * PAGE);
	for (int i = 0; i < 1024; i += 4)
		ok(munmap(m + i * PAGE, PAGE));
	check_eq(m[2 * PAGE], 2);
	must_fault(t_peek(m + 4 * PAGE), SIGSEGV, SEGV_MAPERR, m + 4 * PAGE);
}

/* How many areas /proc/self/maps lists between the two, which must follow each other without a gap. */
static int
areas_in(const char *from, const char *to)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long start, end, at = (unsigned long)from;
	char line[300];
	int n = 0;

	check(f != NULL);
	while (fgets(line, sizeof(line), f)) {
		check_eq(sscanf(line, "%lx-%lx", &start, &end), 2);
		if (start < (unsigned long)from || start >= (unsigned long)to)
			continue;
		check_eq(start, at);
		at = end;
		n++;
	}
	check_eq(at, (unsigned long)to);
	fclose(f);
	return n;
}

/* Every second page can be read, from the first on. */
static void
alternate(char *m, int pages)
{
	ok(mprotect(m, (size_t)pages * PAGE, PROT_NONE));
	for (int i = 0; i < pages; i += 2)
		ok(mprotect(m + i * PAGE, PAGE, PROT_READ));
}

/* Areas that become alike are one area, wherever among others they are. */
static void
areas_are_joined(void)
{
	const int pages = 5000;
	char *all = t_map((pages + 2) * PAGE, PROT_NONE), *m = all + PAGE, *end = m + pages * PAGE;

	/* What is before and behind it stays apart. */
	ok(munmap(all, PAGE));
	ok(munmap(end, PAGE));
	ok(mprotect(m, pages * PAGE, RW));
	for (int i = 0; i < pages; i += 100)
		*(int *)(m + i * PAGE) = i;
	check_eq(areas_in(m, end), 1);
	/* All of them, with one call. */
	alternate(m, pages);
	check_eq(areas_in(m, end), pages);
	ok(mprotect(m, pages * PAGE, PROT_READ));
	check_eq(areas_in(m, end), 1);
	for (int i = 0; i < pages; i += 100)
		check_eq(*(int *)(m + i * PAGE), i);
	/* A few: in the middle, both neighbours unlike, one alike, both alike. */
	end = m + 40 * PAGE;
	ok(munmap(end, PAGE));
	alternate(m, 40);
	check_eq(areas_in(m, end), 40);
	ok(mprotect(m + 10 * PAGE, 10 * PAGE, RW));
	check_eq(areas_in(m, end), 31);
	ok(mprotect(m + 10 * PAGE, 10 * PAGE, PROT_READ));	/* Page 20 can be read, page 9 cannot. */
	check_eq(areas_in(m, end), 30);
	must_fault(t_peek(m + 9 * PAGE), SIGSEGV, SEGV_ACCERR, m + 9 * PAGE);
	for (int i = 10; i <= 20; i++)
		check_eq(t_peek(m + i * PAGE), 0);
	must_fault(t_peek(m + 21 * PAGE), SIGSEGV, SEGV_ACCERR, m + 21 * PAGE);
	ok(mprotect(m + 9 * PAGE, PAGE, PROT_READ));		/* Pages 8 to 20. */
	check_eq(areas_in(m, end), 28);
	/* At both ends, and the last two. */
	ok(mprotect(m, 2 * PAGE, PROT_READ));			/* Pages 0 to 2. */
	check_eq(areas_in(m, end), 26);
	ok(mprotect(m + 38 * PAGE, 2 * PAGE, PROT_NONE));	/* Pages 37 to 39. */
	check_eq(areas_in(m, end), 24);
	/* Nothing to join, and nothing that changes. */
	ok(mprotect(m + 23 * PAGE, PAGE, RW));
	check_eq(areas_in(m, end), 24);
	ok(mprotect(m + 23 * PAGE, PAGE, RW));
	check_eq(areas_in(m, end), 24);
	t_poke(m + 23 * PAGE, 'x');
	must_fault(t_peek(m + 25 * PAGE), SIGSEGV, SEGV_ACCERR, m + 25 * PAGE);
	must_fault(t_poke(m + 22 * PAGE, 1), SIGSEGV, SEGV_ACCERR, m + 22 * PAGE);
	ok(mprotect(m, 40 * PAGE, PROT_READ));
	check_eq(areas_in(m, end), 1);
	check_eq(m[23 * PAGE], 'x');
	check_eq(*(int *)m, 0);
}

static void
nothing_is_mapped_at_the_end_of_user_space(void)
{
	fails(mmap((void *)T_MMAP_END, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		ENOMEM);
}

/* The gap that a growing area keeps free below itself is larger than what there is below this one. */
static void
a_stack_near_the_lowest_address_leaves_no_room_below(void)
{
	char *low = (char *)0x11000, *m;

	check(mmap(low, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0) == low);
	strcpy(low, "precious");
	m = mmap(low - PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(m != MAP_FAILED && m > low);
	check(strcmp(low, "precious") == 0);
	for (int i = 0; i < 3; i++) {	/* The last one, at least, is more than there is. */
		m = mmap(NULL, 100ul << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		check(m == MAP_FAILED ? errno == ENOMEM : m > low && (uint64_t)m >> 48 == 0);
	}
	check(strcmp(low, "precious") == 0);
}

static void
mlock_is_harmless(void)
{
	char *m = t_map(PAGE, RW);

	if (mlock(m, PAGE) < 0)
		check_eq(errno, ENOSYS);
	else
		ok(munlock(m, PAGE));
	m[0] = 1;
}

static bool
resident(char *m, size_t npages)
{
	unsigned char there[16];

	check(npages <= sizeof(there));
	ok(mincore(m, npages * PAGE, there));
	for (size_t i = 0; i < npages; i++) {
		if (!(there[i] & 1))
			return false;
	}
	return true;
}

static void
what_cannot_be_resident_cannot_be_locked(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));
	char *m = t_map(4 * PAGE, RW), *f;

	ok(mlock(m, 2 * PAGE));
	check(resident(m, 2) && !resident(m, 4));
	ok(mprotect(m + 3 * PAGE, PAGE, PROT_NONE));
	fails(mlock(m, 4 * PAGE), ENOMEM);
	check(resident(m, 3));
	ok(munlock(m, 4 * PAGE));
	ok(ftruncate(fd, PAGE));
	f = ok(mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0));
	ok(mlock(f, PAGE));
	fails(mlock(f, 2 * PAGE), ENOMEM);
}

static void
what_is_locked_in_advance_is_resident(void)
{
	ok(mlockall(MCL_FUTURE));
	check(resident(t_map(4 * PAGE, RW), 4));
	char *heap = (char *)(((uintptr_t)ok(sbrk(16 * PAGE)) + PAGE - 1) & -PAGE);
	check(resident(heap, 15));
	ok(munlockall());
	heap = (char *)(((uintptr_t)ok(sbrk(16 * PAGE)) + PAGE - 1) & -PAGE);
	check(!resident(heap, 15));
}

static void
limit(int which, rlim_t size)
{
	struct rlimit r = {size, size};

	ok(setrlimit(which, &r));
}

static void
limits_count_what_is_replaced_once(void)
{
	size_t length = 60UL << 20, most = 100UL << 20;
	int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	char *m, *held;

	for (int i = 0; i < 2; i++) {
		pid_t p = t_fork();
		if (p == 0) {
			limit(i ? RLIMIT_DATA : RLIMIT_AS, most);
			m = t_map(length + PAGE, PROT_NONE);
			check(ok(mmap(m, length, RW, fixed, -1, 0)) == m);
			check(ok(mmap(m + PAGE, length, RW, fixed, -1, 0)) == m + PAGE);
			fails(mmap(m, length + most, RW, fixed, -1, 0), ENOMEM);
			fails(mmap(NULL, length, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
			_exit(0);
		}
		exits(p, 0);
	}
	limit(RLIMIT_MEMLOCK, 8 * PAGE);
	t_become(STUDENT);
	held = t_map(16 * PAGE, RW);
	ok(mlock(held, 6 * PAGE));
	ok(mlock(held + PAGE, 7 * PAGE));
	ok(mlock(held, 8 * PAGE));
	fails(mlock(held, 9 * PAGE), ENOMEM);
	fails(mlock(held + 15 * PAGE, PAGE), ENOMEM);
}

/* x86_64's alone. */
static void
what_is_asked_for_low_is_low(void)
{
#ifdef MAP_32BIT
	size_t length = 512UL << 20;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_32BIT;

	for (int i = 0; i <= 4; i++) {
		char *m = mmap(NULL, length, PROT_NONE, flags, -1, 0);

		if (m == MAP_FAILED) {
			check(errno == ENOMEM && i > 0);
			break;
		}
		check((uintptr_t)m + length <= 1UL << 31 && i < 4);
	}
	fails(mmap(NULL, 1UL << 31, PROT_NONE, flags, -1, 0), ENOMEM);
	check((uintptr_t)ok(mmap(NULL, PAGE, RW, flags, -1, 0)) < 1UL << 31);
	check((uintptr_t)t_map(length, PROT_NONE) >= 1UL << 31);
#endif
}

#define PR_RAMPART_ALLOW_WX 0x52414d50
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

static int
run_code(void *m)
{
	static const unsigned char code[] = T_CODE_42;

	memcpy(m, code, sizeof(code));
	__builtin___clear_cache(m, (char *)m + sizeof(code));
	return ((int (*)(void))m)();
}

/* The exempt program that the next test starts. Another one takes turns with it on its CPU. */
static void
give_the_exemption_back(void)
{
	static const unsigned char code[] = T_CODE_42;
	void *m = ok(mmap(NULL, PAGE, RW | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	pid_t p;

	ok(pin(0));
	check_eq(run_code(m), 42);
	check_eq(prctl(PR_GET_MDWE, 0, 0, 0, 0), 0);
	ok(prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0));
	check_eq(prctl(PR_GET_MDWE, 0, 0, 0, 0), PR_MDWE_REFUSE_EXEC_GAIN);
	p = t_fork();
	if (p == 0) {
		for (;;)
			sched_yield();
	}
	for (int i = 0; i < 20; i++) {
		sched_yield();
		check_eq(run_code(m), 42);	/* It was there before. */
	}
	kill(p, SIGKILL);
	dies(p, SIGKILL);
	p = t_fork();
	if (p == 0)
		_exit(run_code(m));		/* As a child has it. */
	exits(p, 42);
	fails(mmap(NULL, PAGE, RW | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EACCES);
	m = t_map(PAGE, RW);
	memcpy(m, code, sizeof(code));
	fails(mprotect(m, PAGE, PROT_READ | PROT_EXEC), EACCES);
}

/* Rampart's alone: elsewhere there is no rule to be exempt from. */
static void
an_exemption_given_back_leaves_what_is_there(void)
{
	if (access("/proc/harden", F_OK) < 0)
		return;
	pid_t p = t_fork();
	if (p == 0) {
		ok(prctl(PR_RAMPART_ALLOW_WX, 1, 0, 0, 0));
		execl("/proc/self/exe", "test-mmap", "--exempt", NULL);
		_exit(99);
	}
	exits(p, 0);
}

/*
 * Asks for the residency of so much, whose first and last page alone are there; the process is killed once
 * the answer to the first is written. True if that to the last never was.
 */
static bool
dies_while_it_asks(size_t length, volatile unsigned char *answer)
{
	size_t last = length / PAGE - 1;
	pid_t p;

	answer[0] = answer[last] = 0;
	p = t_fork();
	if (p == 0) {
		unsigned char *m = ok(mmap(NULL, length, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));

		t_become(STUDENT);
		m[0] = m[length - 1] = 1;
		ok(mincore(m, length, (unsigned char *)answer));
		pause();
	}
	while (answer[0] == 0)
		sched_yield();
	kill(p, SIGKILL);
	dies(p, SIGKILL);
	return answer[last] == 0;
}

/* Rampart's alone: Linux asks to the end. A busy host may stop the parent for the whole of one call, not of each. */
static void
asking_for_residency_is_interrupted(void)
{
	size_t length = 1UL << 37;
	bool interrupted = false;

	if (access("/proc/harden", F_OK) < 0)
		return;
	unsigned char *answer = ok(mmap(NULL, length / PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	for (int i = 0; i < 20 && !interrupted; i++)
		interrupted = dies_while_it_asks(length, answer);
	check(interrupted);
	ok(munmap(answer, length / PAGE));
}

static const struct test tests[] = {
	TEST(anonymous_memory_is_zero_and_writable),
	TEST(wrong_arguments),
	TEST(munmap_splits),
	TEST(mprotect_takes_and_gives),
	TEST(data_is_not_executable),
	TEST(file_text_runs_read_only),
	TEST(fixed_replaces_and_noreplace_does_not),
	TEST(mremap_grows_moves_and_shrinks),
	TEST(dontneed_zeroes),
	TEST(brk_grows_and_shrinks),
	TEST(stack_grows_to_its_limit_and_no_further),
	TEST(far_below_the_stack_is_not_stack),
	TEST(prot_none_reserves),
	TEST(mincore_tells),
	TEST(page_zero_is_refused),
	TEST(kernel_addresses_fault_like_nothing),
	TEST(many_mappings),
	TEST(areas_are_joined),
	TEST(nothing_is_mapped_at_the_end_of_user_space),
	TEST(a_stack_near_the_lowest_address_leaves_no_room_below),
	TEST(mlock_is_harmless),
	TEST(limits_count_what_is_replaced_once),
	TEST(what_is_asked_for_low_is_low),
	TEST(what_cannot_be_resident_cannot_be_locked),
	TEST(what_is_locked_in_advance_is_resident),
	TEST(an_exemption_given_back_leaves_what_is_there),
	TEST(asking_for_residency_is_interrupted),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--exempt") == 0) {
		t_name = argv[1];
		give_the_exemption_back();
		return 0;
	}
	return t_main(argc, argv, tests);
}
