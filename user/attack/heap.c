/*
 * Two mistakes with freed memory.  A free object's first word leads to the next one: who writes to it
 * after free chooses where the object after next lies (heap).  What is freed twice is given out twice:
 * to the attacker, and to somebody with a secret (heap-double).
 */
#include "user/attack/attack.h"
#include "user/attack/notes.h"

static void
run_poison(void)
{
	struct vuln_places places = vuln_places();
	uint64_t note, value = MAGIC;

	notes_begin();
	step("legal: a note is made, written, read and freed");
	note_legally();

	step("illegal: a freed note is written to; the next but one lies where that says");
	note = note_new();
	note_free(note);
	note_write(note, &places.mark, sizeof(places.mark));
	note_new();
	note_write(note_new(), &value, sizeof(value));
}

static void
run_double(void)
{
	uint64_t note, other;

	notes_begin();
	step("legal: a note is made, written, read and freed");
	note_legally();

	step("illegal: a note is freed twice, another one between, and given to two owners");
	note = note_new();
	other = note_new();
	note_free(note);
	note_free(other);
	note_free(note);
	note = note_new();
	note_new();
	note_secret();
	note_read(note, attack_loot, sizeof(attack_loot));
}

ATTACK(heap) = {
	.name = "heap",
	.what = "a write to a freed object decides where the kernel's next object lies",
	.needs_off_x86_64 = "heap",
	.needs_off_aarch64 = "heap",
	.run = run_poison,
};

ATTACK(heap_double) = {
	.name = "heap-double",
	.what = "an object that was freed twice has two owners",
	.needs_off_x86_64 = "heap",
	.needs_off_aarch64 = "heap",
	.run = run_double,
};
