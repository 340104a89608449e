/*
 * /dev/vuln: notes.  The textbook's service with a menu (new, write, read, free), and the textbook's
 * mistakes.  Notes come from a cache of their own: what an attack breaks is theirs alone, and who gets
 * which object is decided by nothing else in the kernel.
 */
#include "kernel/dev/vuln.h"
#include "arch/arch.h"
#include "kernel/dev/vuln_calls.h"
#include "kernel/errno.h"
#include "kernel/harden/refcount.h"
#include "kernel/lib/random.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"

#define NOTES_MAX 256

uint8_t vuln_note_theirs[VULN_NOTE_SIZE];

static struct slab_cache *cache;
/* Read from outside, too. */
static void *vuln_notes[NOTES_MAX];
static bool vuln_note_secret[NOTES_MAX]; /* not for VULN_NOTE_READ and _WRITE */
static struct refcount vuln_note_refs[NOTES_MAX]; /* the maker's one, and the holders' */
static unsigned note_holders[NOTES_MAX];
static unsigned vuln_note_count;

static long
note_new(uaddr_t arg, bool is_secret)
{
	struct vuln_note n = {.id = vuln_note_count};

	if (vuln_note_count == NOTES_MAX || (vuln_notes[vuln_note_count] = slab_alloc(cache)) == NULL)
		return -ENOMEM;
	vuln_note_secret[vuln_note_count] = is_secret;
	refcount_init(&vuln_note_refs[vuln_note_count]);
	note_holders[vuln_note_count] = 0;
	if (is_secret)
		memcpy(vuln_notes[vuln_note_count], vuln_note_theirs, VULN_NOTE_SIZE);
	vuln_note_count++;
	return put_user(arg, &n);
}

/* CWE-416: a note that was freed is as good as any. CWE-126, CWE-787: nobody asks how long it is. */
static long
note_copy(uaddr_t arg, bool write)
{
	struct vuln_note n;

	if (get_user(&n, arg))
		return -EFAULT;
	if (n.id >= vuln_note_count || vuln_note_secret[n.id])
		return -EINVAL;
	if (write)
		return copy_from_user(vuln_notes[n.id], UADDR(n.at), n.size);
	return copy_to_user(UADDR(n.at), vuln_notes[n.id], n.size);
}

/* CWE-415: the pointer stays, so that it can be freed again. */
static long
note_free(uaddr_t arg)
{
	struct vuln_note n;

	if (get_user(&n, arg))
		return -EFAULT;
	if (n.id >= vuln_note_count || vuln_note_secret[n.id])
		return -EINVAL;
	slab_free(cache, vuln_notes[n.id]);
	return 0;
}

/* CWE-911: who is refused, because there would be too many, leaves the references that were taken for him. */
static noinline long
note_hold(uaddr_t arg)
{
	struct vuln_note n;

	if (get_user(&n, arg))
		return -EFAULT;
	if (n.id >= vuln_note_count || vuln_note_secret[n.id])
		return -EINVAL;
	refcount_add(&vuln_note_refs[n.id], (uint32_t)n.size);
	if (n.size > VULN_HOLDERS - note_holders[n.id])
		return -EUSERS;
	note_holders[n.id] += (unsigned)n.size;
	return 0;
}

static noinline long
note_drop(uaddr_t arg)
{
	struct vuln_note n;

	if (get_user(&n, arg))
		return -EFAULT;
	if (n.id >= vuln_note_count || note_holders[n.id] == 0)
		return -EINVAL;
	note_holders[n.id]--;
	if (refcount_put(&vuln_note_refs[n.id]))
		slab_free(cache, vuln_notes[n.id]);
	return 0;
}

/* A new list; the notes of the old one are nobody's any more. */
static long
note_forget(void)
{
	if (cache == NULL)
		return -ENOMEM;
	random_bytes(vuln_note_theirs, sizeof(vuln_note_theirs));
	vuln_note_count = 0;
	return 0;
}

long
vuln_heap_ioctl(unsigned cmd, uaddr_t arg)
{
	switch (cmd) {
	case VULN_NOTE_FORGET:
		return note_forget();
	case VULN_NOTE_NEW:
		return note_new(arg, false);
	case VULN_NOTE_SECRET:
		return note_new(arg, true);
	case VULN_NOTE_READ:
		return note_copy(arg, false);
	case VULN_NOTE_WRITE:
		return note_copy(arg, true);
	case VULN_NOTE_FREE:
		return note_free(arg);
	case VULN_NOTE_HOLD:
		return note_hold(arg);
	case VULN_NOTE_DROP:
		return note_drop(arg);
	default:
		return -ENOTTY;
	}
}

void
vuln_heap_init(void)
{
	cache = slab_create_usercopy("vuln-note", VULN_NOTE_SIZE, 16, 0, VULN_NOTE_SIZE);
}
