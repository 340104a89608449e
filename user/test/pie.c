/* A static position-independent program (-static-pie): its own loader relocates it. */
#include "user/test/test.h"

#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <sys/auxv.h>

extern char _start[], __ehdr_start[], _end[];

static int
seven(void)
{
	return 7;
}

static int
eight(void)
{
	return 8;
}

static int (*const table[])(void) = { seven, eight };
static __thread int local = 41;

static void
it_runs_where_the_kernel_put_it(void)
{
	uint64_t base = (uint64_t)__ehdr_start;
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)__ehdr_start;

	check_eq(header->e_type, ET_DYN);
	check(base >= 1UL << 32 && base % PAGE == 0);
	check_eq(getauxval(AT_ENTRY), (uint64_t)_start);
	check_eq(getauxval(AT_PHDR), base + header->e_phoff);
	check_eq(getauxval(AT_PHNUM), header->e_phnum);
	check_eq(getauxval(AT_BASE), 0);
}

static void
pointers_in_its_data_are_relocated(void)
{
	check_eq(table[0](), 7);
	check_eq(table[1](), 8);
}

static void *
on_a_thread(void *arg)
{
	local++;
	return local == 42 ? arg : NULL;
}

static void
threads_have_their_own_locals(void)
{
	pthread_t t;
	void *result;

	check_eq(pthread_create(&t, NULL, on_a_thread, &local), 0);
	check_eq(pthread_join(t, &result), 0);
	check(result == &local);
	check_eq(local, 41);
}

static void
the_heap_begins_behind_it_or_elsewhere_but_works(void)
{
	char *p = sbrk(PAGE);

	check(p != (void *)-1);
	memset(p, 1, PAGE);
	check(p >= _end || p + PAGE <= __ehdr_start);
}

static const struct test tests[] = {
	TEST(it_runs_where_the_kernel_put_it),
	TEST(pointers_in_its_data_are_relocated),
	TEST(threads_have_their_own_locals),
	TEST(the_heap_begins_behind_it_or_elsewhere_but_works),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
