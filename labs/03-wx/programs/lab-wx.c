/*
 * The program behind the checks: it runs code that it may run, asks for more, and has the kernel write where nobody may.
 *
 *	lab-wx tables		gates; processes come and go on both CPUs, and private pages are read into
 *	lab-wx asks CPU		asks for memory that is writable and executable, at once or one after the other
 *	lab-wx writes CPU...	on each CPU named the kernel writes a word where the grader says
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h); before a write it puts address and
 * value there.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kernel/dev/vuln.h"
#include "user/lab/program.h"

#define PAGE 4096ul
#define RW   (PROT_READ | PROT_WRITE)
#define RX   (PROT_READ | PROT_EXEC)
#define RWX  (PROT_READ | PROT_WRITE | PROT_EXEC)

enum { AT_GATES = 1, AT_WORK, AT_REST, AT_BOTH, AT_GAIN, AT_TARGET, AT_KILLED, AT_END };
enum { R_SHELL, R_THREADS, R_EXEMPT, R_CODE, R_COW };		/* tables */
enum { R_TRIED, R_REFUSED, R_ERROR, R_RAN };			/* asks: bits by a trial's number; an error but one */
enum { R_ADDRESS, R_VALUE, R_STATUS };				/* writes */

#if defined(__aarch64__)
static const uint32_t answer[] = {0x52800540, 0xd65f03c0}; /* mov w0, #42; ret */
#define MACHINE EM_AARCH64
#else
static const uint8_t answer[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */
#define MACHINE EM_X86_64
#endif

static int
call(void *code)
{
	int (*fn)(void);

	__builtin___clear_cache(code, (char *)code + sizeof(answer));
	memcpy(&fn, &code, sizeof(fn));
	return fn();
}

static void *
map(int prot, int flags, int fd)
{
	return mmap(NULL, PAGE, prot, flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
}

/* A file that holds a page with the code in it. */
static int
code_file(void)
{
	int fd = memfd_create("code", 0);

	if (fd < 0 || ftruncate(fd, (off_t)PAGE) || pwrite(fd, answer, sizeof(answer), 0) != sizeof(answer))
		_exit(3);
	return fd;
}

/* ---- What must go on working ---- */

/* Code of a file, its rights taken and given back as far as they were; code that is written through another mapping. */
static long
legal_code(void)
{
	int fd = code_file();
	void *private = map(RX, MAP_PRIVATE, fd), *data = map(RW, MAP_PRIVATE, -1);
	void *writer = map(RW, MAP_SHARED, fd), *runner = map(RX, MAP_SHARED, fd);
	long wrong = 0;

	if (private == MAP_FAILED || call(private) != 42 || mprotect(private, PAGE, RX) || call(private) != 42 ||
	    mprotect(private, PAGE, PROT_READ) || memcmp(private, answer, sizeof(answer)))
		wrong |= 1;
	if (data == MAP_FAILED || mprotect(data, PAGE, PROT_READ) || mprotect(data, PAGE, PROT_NONE) ||
	    mprotect(data, PAGE, RW) || (*(volatile char *)data = 1) != 1)
		wrong |= 2;
	if (writer == MAP_FAILED || runner == MAP_FAILED) {
		wrong |= 4;
	} else {
		memcpy(writer, answer, sizeof(answer));
		wrong |= call(runner) == 42 ? 0 : 4;
	}
	close(fd);
	return wrong;
}

static void
gates(void)
{
	char *exempt[] = {"/bin/test-exempt", "3", NULL};

	results[R_SHELL] = run_shell();
	results[R_THREADS] = run_threads();
	results[R_EXEMPT] = run(exempt);
	results[R_CODE] = legal_code();
	checkpoint(AT_GATES);
}

/* ---- Processes come and go ---- */

static void *
nap(void *arg)
{
	usleep(50);
	return arg;
}

static void
work(int cpu)
{
	char *true_[] = {"/bin/busybox", "true", NULL};

	for (int i = 0; i < 4; i++) {
		pthread_t thread;
		pid_t pid;

		if (pthread_create(&thread, NULL, nap, NULL))
			_exit(3);
		pid = fork();
		if (pid == 0) {
			pin(i & 1 ? !cpu : cpu);
			_exit((int)run(true_));
		}
		if (status_of(pid) || pthread_join(thread, NULL))
			_exit(3);
	}
}

/* Whether what the kernel writes into a page of this process's own stays there: a forked page, a file's. */
static long
private_pages_stay(void)
{
	int p[2], fd = code_file();
	volatile char *own = map(RW, MAP_PRIVATE, -1), *of_file = map(RW, MAP_PRIVATE, fd);
	char before = of_file[0], after;
	long wrong = 0;
	pid_t pid;

	if (pipe(p))
		_exit(3);
	own[0] = 'p';
	pid = fork();
	if (pid == 0) {
		char here;

		if (write(p[1], "cc", 2) != 2 || read(p[0], (void *)own, 1) != 1 || read(p[0], (void *)of_file, 1) != 1)
			_exit(3);
		here = own[0];
		_exit(here != 'c' || of_file[0] != 'c');
	}
	if (status_of(pid))
		wrong |= 1;
	if (own[0] != 'p')
		wrong |= 2;
	if (pread(fd, &after, 1, 0) != 1 || after != before)
		wrong |= 4;
	close(fd);
	close(p[0]);
	close(p[1]);
	return wrong;
}

/* ---- Asking for more ---- */

static int trial;
static int expected;

/* Notes how a trial ended: with 0, or an error. */
static void
note(int ended)
{
	results[R_TRIED] |= 1l << trial;
	if (ended != 0) {
		results[R_REFUSED] |= 1l << trial;
		if (ended != expected && results[R_ERROR] == 0)
			results[R_ERROR] = ended;
	}
	trial++;
}

static void
note_map(void *got)
{
	note(got == MAP_FAILED ? errno : 0);
}

static void
note_protect(void *page, unsigned long size, int prot)
{
	note(mprotect(page, size, prot) ? errno : 0);
}

static void *
page_of(int prot, int flags, int fd)
{
	void *page = map(prot, flags, fd);

	if (page == MAP_FAILED)
		_exit(3);
	return page;
}

/* How the execution of a program ends whose one page is writable and executable, and which exits with 42. */
static long
run_rwx_program(void)
{
#if defined(__aarch64__)
	static const uint32_t text[] = {0x52800540, 0x52800ba8, 0xd4000001}; /* w0 = 42, w8 = 93, svc 0 */
#else
	static const uint8_t text[] = {0xbf, 42, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}; /* edi = 42, eax = 60, syscall */
#endif
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment;
		char text[16];
	} file = {
		.header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			   .e_type = ET_EXEC, .e_machine = MACHINE, .e_version = EV_CURRENT, .e_phoff = sizeof(Elf64_Ehdr),
			   .e_ehsize = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1},
		.segment = {.p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X, .p_vaddr = 0x400000, .p_align = PAGE,
			    .p_filesz = sizeof(file), .p_memsz = sizeof(file)},
	};
	char *argv[] = {"/tmp/rwx", NULL};
	int fd = open(argv[0], O_WRONLY | O_CREAT | O_TRUNC, 0700);
	long status;

	file.header.e_entry = 0x400000 + (uint64_t)((char *)file.text - (char *)&file);
	memcpy(file.text, text, sizeof(text));
	if (write(fd, &file, sizeof(file)) != sizeof(file))
		_exit(3);
	close(fd);
	status = run(argv);
	unlink(argv[0]);
	return status;
}

/* Memory that is writable and executable at once. */
static void
ask_both(void)
{
	int fd = code_file();
	void *own = page_of(RW, MAP_PRIVATE, -1);

	note_map(map(RWX, MAP_PRIVATE, -1));
	note_map(map(PROT_WRITE | PROT_EXEC, MAP_PRIVATE, -1));
	note_map(map(RWX, MAP_SHARED, -1));
	note_map(map(RWX, MAP_PRIVATE, fd));
	note_map(map(RWX, MAP_SHARED, fd));
	note_map(mmap(own, PAGE, RWX, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	note_protect(page_of(RW, MAP_PRIVATE, -1), PAGE, RWX);
	note_protect(page_of(RX, MAP_PRIVATE, fd), PAGE, RWX);
	note_protect(page_of(PROT_READ, MAP_SHARED, fd), PAGE, PROT_WRITE | PROT_EXEC);
	results[R_RAN] = run_rwx_program();
	/* Shared memory that runs: legal, unless a ticket says otherwise. */
	trial = 12;
	note_map(map(RX, MAP_SHARED, fd));
	note_protect(page_of(PROT_READ, MAP_SHARED, fd), PAGE, RX);
}

/* Memory that was writable, and is to be executable. */
static void
ask_gain(void)
{
	int fd = code_file();
	char *page = page_of(RW, MAP_PRIVATE, -1), *two, *moved;
	pid_t pid;

	trial = 0;
	memcpy(page, answer, sizeof(answer));
	note_protect(page, PAGE, RX);
	mprotect(page, PAGE, PROT_READ);
	note_protect(page, PAGE, RX);
	mprotect(page, PAGE, PROT_NONE);
	note_protect(page, PAGE, PROT_EXEC);
	mprotect(page, PAGE, PROT_READ);
	pid = fork();
	if (pid == 0)
		_exit(mprotect(page, PAGE, RX) ? errno : 0);
	note((int)status_of(pid));
	moved = mremap(page, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
	if (moved == MAP_FAILED)
		_exit(3);
	note_protect(moved, PAGE, RX);
	madvise(moved, 2 * PAGE, MADV_DONTNEED);
	note_protect(moved, 2 * PAGE, RX);

	/* Of two areas the second was writable; of three pages the one in the middle. */
	two = mmap(NULL, 2 * PAGE, RX, MAP_PRIVATE, fd, 0);
	if (two == MAP_FAILED || mmap(two + PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		_exit(3);
	note_protect(two, 2 * PAGE, RX);
	two = mmap(NULL, 3 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (two == MAP_FAILED || mprotect(two + PAGE, PAGE, RW))
		_exit(3);
	memcpy(two + PAGE, answer, sizeof(answer));
	mprotect(two + PAGE, PAGE, PROT_READ);
	note_protect(two + PAGE, PAGE, RX);

	note_protect(page_of(RW, MAP_SHARED, fd), PAGE, RX);
	note_protect((void *)((uintptr_t)&trial & -PAGE), PAGE, RX);
	note_protect((void *)((uintptr_t)__builtin_frame_address(0) & -PAGE), PAGE, RX);
	note_protect((void *)(((uintptr_t)sbrk((intptr_t)(2 * PAGE)) + PAGE) & -PAGE), PAGE, RX);
	/* Executable, writable, executable: only if the second step is refused is there no third. */
	page = page_of(RX, MAP_PRIVATE, fd);
	results[R_RAN] = mprotect(page, PAGE, RW) ? errno : 0;
	if (results[R_RAN] == 0)
		note_protect(page, PAGE, RX);
}

/* ---- Writes of the kernel's ---- */

static void
write_there(void)
{
	struct vuln_word word = {(uint64_t)results[R_ADDRESS], (uint64_t)results[R_VALUE]};
	struct vuln_places places;
	int fd = open("/dev/vuln", O_RDWR);

	if (fd < 0 || ioctl(fd, VULN_PLACES, &places))
		_exit(4);
	if (ioctl(fd, VULN_WRITE, &(struct vuln_word){places.scratch, 7})) /* the legal act */
		_exit(5);
	ioctl(fd, VULN_WRITE, &word);
	_exit(77);
}

int
main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	if (strcmp(argv[1], "tables") == 0) {
		gates();
		for (int cpu = 0; cpu < 2; cpu++) {
			pin(cpu);
			checkpoint(AT_WORK);
			work(cpu);
			pin(cpu);
			results[R_COW] = private_pages_stay();
			checkpoint(AT_REST);
		}
	} else if (strcmp(argv[1], "asks") == 0) {
		pin(atoi(argv[2]));
		expected = atoi(argv[3]);
		ask_both();
		checkpoint(AT_BOTH);
		memset((void *)results, 0, sizeof(results));
		ask_gain();
		checkpoint(AT_GAIN);
	} else {
		for (int i = 2; i < argc; i++) {
			pid_t pid;

			pin(atoi(argv[i]));
			checkpoint(AT_TARGET);
			pid = fork();
			if (pid == 0)
				write_there();
			results[R_STATUS] = status_of(pid);
			checkpoint(AT_KILLED);
		}
	}
	checkpoint(AT_END);
	return 0;
}
