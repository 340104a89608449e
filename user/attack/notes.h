/* The notes of /dev/vuln, for the attacks on the heap. */
#pragma once

#include <stdint.h>

/* What an attack got of the other user's note.  Read from outside. */
extern uint8_t attack_loot[64];

/* A new list of notes.  The kernel's heap has lists for each CPU: stays on this one from now on. */
void notes_begin(void);
uint64_t note_new(void);
/* The other user makes a note. */
uint64_t note_secret(void);
void note_free(uint64_t id);
void note_read(uint64_t id, void *to, uint64_t size);
void note_write(uint64_t id, const void *from, uint64_t size);
/* The legal act: what is written to a note is read from it. */
void note_legally(void);
