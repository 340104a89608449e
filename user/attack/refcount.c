/*
 * References that nobody gives back.  A call takes as many as it is asked for, refuses because they are too
 * many, and forgets them: a counter of 32 bits is full after two calls.  Two honest holders more, and it says 1;
 * the first of them who leaves is taken for the last, and what they held is freed: a note that its maker still
 * reads (refcount), a page that he still has mapped (refcount-frame).
 */
#include "user/attack/attack.h"
#include "user/attack/notes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define HALF   0x7fffffffu /* 1 and twice that: the largest number of 32 bits */
#define OTHERS 8	   /* of whom one gets what was freed last */

/* The call that is refused, and leaves n references behind. */
static void
refused(unsigned request, void *argument)
{
	static int fd = -1;

	if (fd < 0 && (fd = open("/dev/vuln", O_RDWR | O_CLOEXEC)) < 0)
		give_up("/dev/vuln");
	if (ioctl(fd, request, argument) == 0 || errno != EUSERS)
		give_up("/dev/vuln takes as many references as one likes");
}

static void
hold_note(uint64_t id, uint64_t times)
{
	struct vuln_note n = { id, 0, times };

	if (times > VULN_HOLDERS)
		refused(VULN_NOTE_HOLD, &n);
	else
		vuln(VULN_NOTE_HOLD, &n);
}

static void
drop_note(uint64_t id)
{
	struct vuln_note n = { id, 0, 0 };

	vuln(VULN_NOTE_DROP, &n);
}

static void
run_note(void)
{
	uint64_t note, mine[8];

	for (int i = 0; i < 8; i++)
		mine[i] = MAGIC;
	notes_begin();
	step("legal: a note is held by others for a while, and is still there");
	note_legally();
	note = note_new();
	note_write(note, mine, sizeof(mine));
	hold_note(note, 2);
	drop_note(note);
	drop_note(note);
	note_read(note, attack_loot, sizeof(attack_loot));
	if (memcmp(attack_loot, mine, sizeof(mine)) != 0)
		give_up("a note that was held is gone");

	step("illegal: as many hold it as a counter has room for, and two; one leaves");
	hold_note(note, HALF);
	hold_note(note, HALF);
	hold_note(note, 2);
	drop_note(note);
	for (int i = 0; i < OTHERS; i++)
		note_secret();
	note_read(note, attack_loot, sizeof(attack_loot));
	if (memcmp(attack_loot, mine, sizeof(mine)) != 0)
		return;
	step("the note is still its maker's");
	exit(1);
}

/* Of a page. */
static void
pin(volatile void *page, uint64_t times)
{
	struct vuln_word w = { (uint64_t)page, times };

	if (times > VULN_HOLDERS)
		refused(VULN_PIN, &w);
	else
		vuln(VULN_PIN, &w);
}

static void
unpin(void)
{
	struct vuln_word w = { 0, 0 };

	vuln(VULN_UNPIN, &w);
}

static void
run_frame(void)
{
	volatile uint64_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vuln_word w = { 0, 0 };

	if (page == MAP_FAILED)
		give_up("mmap");
	*page = MAGIC;
	notes_begin();
	step("legal: a page is pinned for a while, and is still there");
	pin(page, 2);
	unpin();
	unpin();
	if (*page != MAGIC)
		give_up("a page that was pinned is gone");

	step("illegal: it is pinned as often as a counter has room for, and twice; it is let go once");
	pin(page, HALF);
	pin(page, HALF);
	pin(page, 2);
	unpin();
	for (int i = 0; i < OTHERS; i++)
		vuln(VULN_PIN_SECRET, &w);
	memcpy(attack_loot, (const void *)page, sizeof(attack_loot));
	if (*page != MAGIC)
		return;
	step("the page is still its owner's");
	exit(1);
}

ATTACK(refcount) = {
	.name = "refcount",
	.what = "a counter of references overflows, and an object in use is freed",
	.needs_off_x86_64 = "refcount",
	.needs_off_aarch64 = "refcount",
	.run = run_note,
};

ATTACK(refcount_frame) = {
	.name = "refcount-frame",
	.what = "a page's counter of references overflows: it is freed, and still mapped",
	.needs_off_x86_64 = "refcount",
	.needs_off_aarch64 = "refcount",
	.run = run_frame,
};
