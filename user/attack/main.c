/*
 * /bin/attack -l lists the attacks, /bin/attack NAME runs one.  What it says is for people: whether
 * an attack won is judged from outside.
 */
#include "user/attack/attack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What every ATTACK() put into the section of that name, by name.  In a course there may be none yet. */
extern const struct attack *const __start_attacks[] __attribute__((weak));
extern const struct attack *const __stop_attacks[] __attribute__((weak));
static const struct attack *attacks[64];
static size_t count;

static int
by_name(const void *a, const void *b)
{
	return strcmp((*(const struct attack *const *)a)->name,
		      (*(const struct attack *const *)b)->name);
}

static void
collect(void)
{
	for (const struct attack *const *p = __start_attacks; p < __stop_attacks; p++) {
		if (count == sizeof(attacks) / sizeof(attacks[0]))
			give_up("more attacks than there is room for");
		attacks[count++] = *p;
	}
	qsort(attacks, count, sizeof(attacks[0]), by_name);
}

volatile uint64_t attack_address;

void
give_up(const char *why)
{
	fprintf(stderr, "attack: %s (%s)\n", why, errno ? strerror(errno) : "no error");
	exit(2);
}

void
step(const char *what)
{
	printf("  %s\n", what);
	fflush(stdout);
}

int
vuln(unsigned request, void *argument)
{
	static int fd = -1;
	int result;

	if (fd < 0 && (fd = open("/dev/vuln", O_RDWR | O_CLOEXEC)) < 0)
		give_up("/dev/vuln");
	result = ioctl(fd, request, argument);
	if (result < 0)
		give_up("/dev/vuln: ioctl");
	return result;
}

struct vuln_places
vuln_places(void)
{
	struct vuln_places places;

	vuln(VULN_PLACES, &places);
	return places;
}

uint64_t
vuln_read(uint64_t address)
{
	struct vuln_word word = { address, 0 };

	vuln(VULN_READ, &word);
	return word.value;
}

void
vuln_write(uint64_t address, uint64_t value)
{
	struct vuln_word word = { address, value };

	vuln(VULN_WRITE, &word);
}

uint64_t
vuln_call(uint64_t argument)
{
	struct vuln_call call = { argument, 0 };

	vuln(VULN_CALL, &call);
	return call.result;
}

void
vuln_call_legally(void)
{
	struct vuln_call none = { 0, 0 };

	vuln(VULN_HANDLER_SET, &none);
	if (vuln_call(41) != 42)
		give_up("the kernel's own handler does not work");
}

/* Whoever watches stops here: the attack has had its chance, and its process still lives. */
__attribute__((noinline)) void attack_over(void);

void
attack_over(void)
{
	__asm__ volatile("");
}

static void
list(void)
{
	for (size_t i = 0; i < count; i++)
		printf("%-12s %s\n%12s needs off: %s\n", attacks[i]->name, attacks[i]->what,
		       "", attacks[i]->needs_off_here ? attacks[i]->needs_off_here : "(cannot win)");
}

int
main(int argc, char **argv)
{
	collect();
	if (argc == 2 && strcmp(argv[1], "-l") == 0) {
		list();
		return 0;
	}
	for (size_t i = 0; argc == 2 && i < count; i++) {
		if (strcmp(attacks[i]->name, argv[1]) != 0)
			continue;
		printf("%s: %s\n", attacks[i]->name, attacks[i]->what);
		attacks[i]->run();
		attack_over();
		printf("%s: nothing stopped it\n", attacks[i]->name);
		return 0;
	}
	fprintf(stderr, "usage: attack -l | attack NAME\n");
	return 2;
}
