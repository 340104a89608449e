/*
 * What the attacks share.  Each file beside this one is one exploit: a legal act first, so that a
 * kernel that refuses everything is not taken for a safe one, then the illegal act.
 */
#pragma once

#include <stdint.h>

#include "kernel/dev/vuln.h"

struct attack {
	const char *name;
	const char *what;
	/* The mitigations that all must be off for it to win; no more than needed. NULL: it cannot. */
	const char *needs_off_x86_64, *needs_off_aarch64;
	void (*run)(void);
};

#if defined(__aarch64__)
#define needs_off_here needs_off_aarch64
#else
#define needs_off_here needs_off_x86_64
#endif

/* Defines an attack and puts it on the list of `attack -l`: ATTACK(smep) = { ... }; */
#define ATTACK(symbol)                                                                             \
	static const struct attack symbol;                                                         \
	static const struct attack *const symbol##_entry                                           \
		__attribute__((section("attacks"), used)) = &symbol;                               \
	static const struct attack symbol

#define MAGIC 0x5eed0fbadc0ffee5ull

/* Writes MAGIC to *target and returns: instructions that work wherever they are copied to. */
void attack_payload(uint64_t *target);
extern const char attack_payload_end[];
#define PAYLOAD_SIZE ((size_t)(attack_payload_end - (const char *)attack_payload))

/* An address that tells the story: where the attack acted. */
extern volatile uint64_t attack_address;

/* Prints why the attack cannot even begin, and ends the program with status 2. */
void give_up(const char *why) __attribute__((noreturn));
void step(const char *what);

/* /dev/vuln; each ends the program if the device refuses. */
int vuln(unsigned request, void *argument);
struct vuln_places vuln_places(void);
uint64_t vuln_read(uint64_t address);
void vuln_write(uint64_t address, uint64_t value);
uint64_t vuln_call(uint64_t argument);
/* The legal use of VULN_CALL: the kernel's own handler adds one. */
void vuln_call_legally(void);
