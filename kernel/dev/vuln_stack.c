/* /dev/vuln: bugs of a function with its own stack. */
#include "arch/arch.h"
#include "kernel/dev/vuln.h"
#include "kernel/dev/vuln_calls.h"
#include "kernel/errno.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/process.h"

#define INPUT_MAX 256

static uint8_t vuln_input[INPUT_MAX] aligned(8);
/* Read from outside: whether the gadget ran. */
static volatile uint64_t vuln_stack_mark;

/* What an attacker looks for in an image: here, code that leaves a mark and ends the process in peace. */
static noinline void
vuln_stack_gadget(void)
{
	vuln_stack_mark = *(const uint64_t *)vuln_input;
	process_exit(0);
}

/* CWE-121: the buffer has room for VULN_STRING_SIZE bytes, and nobody compares. */
static noinline uint64_t
vuln_string_sum(size_t size)
{
	uint8_t buffer[VULN_STRING_SIZE];
	volatile uint8_t *to = buffer;
	uint64_t sum = 0;

	for (size_t i = 0; i < size; i++)
		to[i] = vuln_input[i];
	for (size_t i = 0; i < MIN(size, sizeof(buffer)); i++)
		sum += to[i];
	return sum;
}

/* Some architectures keep return addresses below the locals: it is this one's that lies above the buffer. */
static noinline long
string_sum(size_t size)
{
	return (long)(vuln_string_sum(size) & INT32_MAX);
}

static long
string(uaddr_t arg)
{
	struct vuln_string s;

	if (get_user(&s, arg))
		return -EFAULT;
	if (s.size > sizeof(vuln_input))
		return -EINVAL;
	s.gadget = (uint64_t)vuln_stack_gadget;
	if (copy_from_user(vuln_input, UADDR(s.from), s.size) || put_user(arg, &s))
		return -EFAULT;
	return string_sum(s.size);
}

/* ---- A local that is not set ---- */

#define DOOR_KEY 0x5eed0fbadc0ffee5ul

/* Read from outside: the key, once the door was opened. */
static volatile uint64_t vuln_door;
static unsigned knocks; /* right ones in a row */
static uint64_t turn;	/* knocks ever: each wants a key of its own, so that what older notes left is of no use */

/*
 * CWE-457: VULN_LEAVE has a value of the caller's kept here for as long as the call lasts; VULN_KNOCK, which has
 * none, forgets to look whether it has a key at all.
 */
static noinline uint64_t
door(bool note, uint64_t value)
{
	struct {
		uint64_t word;
		uint64_t room[160]; /* so that other calls' frames do not reach as deep */
	} frame __attribute__((uninitialized));

	__asm__ volatile("" : "=m"(frame));
	if (note)
		frame.word = value;
	__asm__ volatile("" : "+m"(frame));
	return frame.word;
}

static long
note_or_knock(uaddr_t arg, bool note)
{
	struct vuln_word w;

	if (get_user(&w, arg))
		return -EFAULT;
	if (note) {
		door(true, w.value);
		return 0;
	}
	knocks = door(false, 0) == DOOR_KEY + turn ? knocks + 1 : 0;
	if (knocks == VULN_KNOCKS)
		vuln_door = DOOR_KEY;
	w.value = ++turn;
	return put_user(arg, &w) ? -EFAULT : (long)knocks;
}

long
vuln_stack_ioctl(unsigned cmd, uaddr_t arg)
{
	switch (cmd) {
	case VULN_STRING:
		return string(arg);
	case VULN_LEAVE:
		return note_or_knock(arg, true);
	case VULN_KNOCK:
		return note_or_knock(arg, false);
	default:
		return -ENOTTY;
	}
}
