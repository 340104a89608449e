/*
 * Copies that are longer than the object.  The kernel's own copy routine, at a legal address, with a
 * length that nobody compared with anything: it reads on into the neighbour, whose owner is somebody
 * else (usercopy), or writes over him (usercopy-write).
 */
#include "user/attack/attack.h"
#include "user/attack/notes.h"

#include <string.h>

#define PAIRS 100 /* own notes among another's: some lie side by side, however they are shuffled */

static uint64_t own[PAIRS];

static void
make_pairs(void)
{
	notes_begin();
	step("legal: a note is made, written, read and freed");
	note_legally();
	for (int i = 0; i < PAIRS; i++) {
		static const uint8_t blank[VULN_NOTE_SIZE];

		own[i] = note_new();
		note_write(own[i], blank, sizeof(blank));
		note_secret();
	}
}

static void
run_read(void)
{
	uint8_t two[2 * VULN_NOTE_SIZE];

	make_pairs();
	step("illegal: two notes are read where one is");
	for (int i = 0; i < PAIRS; i++) {
		note_read(own[i], two, sizeof(two));
		/* Not one of the own ones, nor one that nobody has yet: a secret's last word is not 0. */
		if (memcmp(two + 120, "\0\0\0\0\0\0\0", 8) != 0)
			memcpy(attack_loot, two + VULN_NOTE_SIZE, sizeof(attack_loot));
	}
}

static void
run_write(void)
{
	uint64_t two[2 * VULN_NOTE_SIZE / 8];

	for (unsigned i = 0; i < sizeof(two) / sizeof(two[0]); i++)
		two[i] = MAGIC;
	make_pairs();
	step("illegal: two notes are written where one is");
	for (int i = 0; i < PAIRS; i++)
		note_write(own[i], two, sizeof(two));
}

ATTACK(usercopy) = {
	.name = "usercopy",
	.what = "a copy longer than the object leaks the neighbour's",
	.needs_off_x86_64 = "usercopy",
	.needs_off_aarch64 = "usercopy",
	.run = run_read,
};

ATTACK(usercopy_write) = {
	.name = "usercopy-write",
	.what = "a copy longer than the object overwrites the neighbour's",
	.needs_off_x86_64 = "usercopy",
	.needs_off_aarch64 = "usercopy",
	.run = run_write,
};
