/* The time without a system call: the vDSO's clocks are the kernel's, and its pages are nobody's to write. */
#include "user/test/test.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/time.h>

#include "user/cpu.h"

static const int clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME };

static int64_t
kernel_ns(int id)
{
	struct timespec ts;

	ok(syscall(SYS_clock_gettime, id, &ts));
	return ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t
libc_ns(int id)
{
	struct timespec ts;

	ok(clock_gettime(id, &ts));
	check(ts.tv_nsec >= 0 && ts.tv_nsec < 1000000000);
	return ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void
its_clocks_are_the_kernel_s(void)
{
	for (int round = 0; round < 1000; round++) {
		int id = clocks[round % 4];
		int64_t before = kernel_ns(id), here = libc_ns(id), after = kernel_ns(id);

		check(before <= here && here <= after);
	}
}

static void
a_clock_that_is_set_is_set_at_once(void)
{
	struct timespec now, later;
	struct timeval tv;

	ok(clock_gettime(CLOCK_REALTIME, &now));
	later = now;
	later.tv_sec += 1000000;
	ok(clock_settime(CLOCK_REALTIME, &later));
	check(libc_ns(CLOCK_REALTIME) / 1000000000 - later.tv_sec < 100);
	ok(gettimeofday(&tv, NULL));
	check(tv.tv_sec - later.tv_sec < 100 && tv.tv_sec >= later.tv_sec);
	check(time(NULL) >= later.tv_sec);
	ok(clock_settime(CLOCK_REALTIME, &now));
	check(time(NULL) < later.tv_sec);
}

static void
what_it_does_not_know_the_kernel_does(void)
{
	struct timespec ts;

	fails(clock_gettime(31, &ts), EINVAL);
	fails(clock_getres(77, &ts), EINVAL);
	ok(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts));
	ok(clock_getres(CLOCK_MONOTONIC, &ts));
	ok(clock_getres(CLOCK_REALTIME, NULL));
	check(ts.tv_sec == 0 && ts.tv_nsec == 1);
}

static void
every_cpu_knows_its_number(void)
{
	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		ok(pin(cpu));
		check_eq(sched_getcpu(), cpu);
	}
}

/* The area of /proc/self/maps with this name. */
static void
area(const char *name, uint64_t *start, uint64_t *end, char prot[5])
{
	char line[256], *found;
	FILE *f = fopen("/proc/self/maps", "r");

	check(f != NULL);
	while ((found = fgets(line, sizeof(line), f)) != NULL && strstr(line, name) == NULL)
		;
	check(found != NULL);
	check_eq(sscanf(line, "%lx-%lx %4s", start, end, prot), 3);
	fclose(f);
}

static void
its_pages_are_read_only_and_the_code_is_where_the_program_is_told(void)
{
	uint64_t start, end;
	char prot[5];

	area("[vdso]", &start, &end, prot);
	check(strcmp(prot, "r-xp") == 0 && start == getauxval(AT_SYSINFO_EHDR));
	check(memcmp((void *)start, ELFMAG, SELFMAG) == 0);
	area("[vvar]", &start, &end, prot);
	check(strcmp(prot, "r--p") == 0);
	fails(mprotect((void *)start, PAGE, PROT_READ | PROT_WRITE), EACCES);
	fails(mprotect((void *)start, PAGE, PROT_READ | PROT_EXEC), EACCES);
}

static void
the_kernel_writes_there_no_more_than_the_program_can(void)
{
	uint64_t start, end;
	int fds[2];
	char prot[5];

	area("[vvar]", &start, &end, prot);
	ok(pipe(fds));
	ok(write(fds[1], "x", 1));
	fails(read(fds[0], (void *)start, 1), EFAULT);
}

static void
who_unmaps_it_asks_the_kernel(void)
{
	uint64_t start, end;
	char prot[5];

	area("[vdso]", &start, &end, prot);
	ok(munmap((void *)start, end - start));
	check(kernel_ns(CLOCK_MONOTONIC) > 0);
}

static const struct test tests[] = {
	TEST(its_clocks_are_the_kernel_s),
	TEST(a_clock_that_is_set_is_set_at_once),
	TEST(what_it_does_not_know_the_kernel_does),
	TEST(every_cpu_knows_its_number),
	TEST(its_pages_are_read_only_and_the_code_is_where_the_program_is_told),
	TEST(the_kernel_writes_there_no_more_than_the_program_can),
	TEST(who_unmaps_it_asks_the_kernel),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
