/*
 * What /dev/vuln understands; user/attack includes it too.  Numbers are made as Linux's _IOWR does.
 */
#pragma once

#include <stdint.h>

#define VULN_IOC(nr, type) (3u << 30 | (unsigned)sizeof(type) << 16 | 'V' << 8 | (nr))

/* Where things are: what real attackers guess, or get from another bug. */
struct vuln_places {
	uint64_t handler;      /* the function pointer that VULN_CALL calls */
	uint64_t victim;       /* a kernel function */
	uint64_t victim_alias; /* the same bytes in the direct map */
	uint64_t buffer;       /* what VULN_COPY fills */
	uint64_t readonly;     /* a constant */
	uint64_t scratch;      /* a variable that may be read and written */
	uint64_t mark;	       /* a variable that no legal act changes */
};

struct vuln_word {
	uint64_t address, value;
};

struct vuln_call {
	uint64_t argument, result;
};

struct vuln_copy {
	uint64_t from, size;
};

/* A kernel object; users know it by a handle. */
struct vuln_object {
	uint64_t *slot; /* where its value is kept */
};

struct vuln_set {
	uint64_t handle, value;
};

struct vuln_recursion {
	uint64_t depth, fill;
};

/* A name that comes back as the kernel prints it. */
struct vuln_text {
	char format[128]; /* empty: the kernel's own */
	char text[896];
};

#define VULN_BUFFER_SIZE 4096

#define VULN_PLACES	   VULN_IOC(0, struct vuln_places)
#define VULN_READ	   VULN_IOC(1, struct vuln_word)
#define VULN_WRITE	   VULN_IOC(2, struct vuln_word)
#define VULN_HANDLER_SET   VULN_IOC(3, struct vuln_call)
#define VULN_HANDLER_CLEAR VULN_IOC(4, struct vuln_call)
#define VULN_CALL	   VULN_IOC(5, struct vuln_call)
#define VULN_COPY	   VULN_IOC(6, struct vuln_copy)
#define VULN_OBJECT_NEW	   VULN_IOC(7, struct vuln_set)
#define VULN_OBJECT_SET	   VULN_IOC(8, struct vuln_set)
#define VULN_OBJECT_FREE   VULN_IOC(9, struct vuln_set)
#define VULN_LATEST_SET	   VULN_IOC(10, struct vuln_set)
#define VULN_RECURSE	   VULN_IOC(11, struct vuln_recursion)

/* A string of bytes for a kernel function that keeps a copy of it on its stack. */
struct vuln_string {
	uint64_t from, size;
	uint64_t gadget; /* comes back: what an attacker found in the image, and where this kernel has it */
};

#define VULN_STRING_SIZE 64 /* what the function has room for */

#define VULN_KNOCKS 8 /* in a row open the door; each says by how much the next one's key is higher than the first's */

/* vuln_stack.c */
#define VULN_STRING VULN_IOC(80, struct vuln_string)
#define VULN_LEAVE  VULN_IOC(81, struct vuln_word)
#define VULN_KNOCK  VULN_IOC(82, struct vuln_word)

/* A function of the kernel, and where its image was linked to have it. */
struct vuln_symbol {
	char name[56];
	uint64_t address;
};

/* vuln_address.c */
#define VULN_LINKED VULN_IOC(64, struct vuln_symbol)
#define VULN_COOKIE VULN_IOC(65, struct vuln_word)
#define VULN_FORMAT VULN_IOC(66, struct vuln_text)

/* vuln_heap.c */
#define VULN_NOTE_SIZE 64

struct vuln_note {
	uint64_t id, at, size; /* at: in user memory */
};

#define VULN_NOTE_FORGET VULN_IOC(140, struct vuln_note) /* first: an empty list, a new secret */
#define VULN_NOTE_NEW	 VULN_IOC(141, struct vuln_note)
#define VULN_NOTE_SECRET VULN_IOC(142, struct vuln_note) /* a note of somebody else's */
#define VULN_NOTE_READ	 VULN_IOC(143, struct vuln_note)
#define VULN_NOTE_WRITE	 VULN_IOC(144, struct vuln_note)
#define VULN_NOTE_FREE	 VULN_IOC(145, struct vuln_note)
/* Its holders: a note is freed when the last one drops it.  size: how many hold it from now on. */
#define VULN_NOTE_HOLD	 VULN_IOC(146, struct vuln_note)
#define VULN_NOTE_DROP	 VULN_IOC(147, struct vuln_note)

#define VULN_HOLDERS 64 /* at most */

/* vuln_pin.c: a page of the caller's memory, kept for a device.  value: how many times. */
#define VULN_PIN	VULN_IOC(48, struct vuln_word)
#define VULN_UNPIN	VULN_IOC(49, struct vuln_word)
#define VULN_PIN_SECRET VULN_IOC(50, struct vuln_word) /* a page of somebody else's */

/*
 * vuln_meltdown.c: not a bug but a processor's flaw, played by software.  address 0: says where the secret
 * is, in .address; else reads there.  EFAULT: the tables for user mode have no translation.
 */
#define VULN_MELTDOWN VULN_IOC(96, struct vuln_word)

/* The kernel's: makes the device.  Not in a release build. */
void vuln_init(void);
