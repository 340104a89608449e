/* The notes of /dev/vuln, as the attacks on the heap use them. */
#define _GNU_SOURCE
#include "user/attack/notes.h"

#include <string.h>

#include "user/attack/attack.h"
#include "user/cpu.h"

uint8_t attack_loot[64];

void
notes_begin(void)
{
	struct vuln_note n = { 0, 0, 0 };

	if (pin(0) != 0)
		give_up("sched_setaffinity");
	vuln(VULN_NOTE_FORGET, &n);
}

uint64_t
note_new(void)
{
	struct vuln_note n = { 0, 0, 0 };

	vuln(VULN_NOTE_NEW, &n);
	return n.id;
}

uint64_t
note_secret(void)
{
	struct vuln_note n = { 0, 0, 0 };

	vuln(VULN_NOTE_SECRET, &n);
	return n.id;
}

void
note_free(uint64_t id)
{
	struct vuln_note n = { id, 0, 0 };

	vuln(VULN_NOTE_FREE, &n);
}

void
note_read(uint64_t id, void *to, uint64_t size)
{
	struct vuln_note n = { id, (uint64_t)to, size };

	vuln(VULN_NOTE_READ, &n);
}

void
note_write(uint64_t id, const void *from, uint64_t size)
{
	struct vuln_note n = { id, (uint64_t)from, size };

	vuln(VULN_NOTE_WRITE, &n);
}

void
note_legally(void)
{
	uint64_t note = note_new(), in[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, out[8] = { 0 };

	note_write(note, in, sizeof(in));
	note_read(note, out, sizeof(out));
	if (memcmp(in, out, sizeof(in)) != 0)
		give_up("a note does not keep what is written to it");
	note_free(note);
}
