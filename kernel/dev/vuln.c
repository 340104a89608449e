/*
 * /dev/vuln: textbook bugs, one function a bug, for user/attack to exploit.  Never in a release.
 *
 * Each call also has a legal use, which the attacks make first.
 */
#include "kernel/dev/vuln.h"
#include "arch/arch.h"
#include "kernel/dev/vuln_calls.h"
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/mm/page.h"
#include "kernel/mm/uaccess.h"

#define DEPTH_MAX 1024

typedef uint64_t vuln_handler_fn(uint64_t argument);

static uint8_t vuln_buffer[VULN_BUFFER_SIZE] aligned(4096);
static volatile uint64_t vuln_scratch, vuln_mark;
static const uint64_t vuln_readonly = 0x6c6e30206f6e6c79;

static uint64_t vuln_victim(uint64_t argument);
static vuln_handler_fn *volatile vuln_handler = vuln_victim;

static uint64_t object_slot;
static struct vuln_object object = {&object_slot};
static struct vuln_object *volatile latest;

/* What VULN_CALL calls: a kernel function like any other. */
static noinline uint64_t
vuln_victim(uint64_t argument)
{
	return argument + 1;
}

/* CWE-200: kernel addresses are given to whoever asks. */
static long
places(uaddr_t arg)
{
	struct boot_range text = arch_kernel_text();
	struct vuln_places p = {
		.handler = (uint64_t)&vuln_handler,
		.victim = (uint64_t)vuln_victim,
		.buffer = (uint64_t)vuln_buffer,
		.readonly = (uint64_t)&vuln_readonly,
		.scratch = (uint64_t)&vuln_scratch,
		.mark = (uint64_t)&vuln_mark,
	};
	extern char __text_start[];

	p.victim_alias = p.victim - (uint64_t)__text_start + (uint64_t)phys_to_virt(text.base);
	return put_user(arg, &p);
}

/* CWE-125: reads eight bytes wherever the user says. */
static long
read_anywhere(uaddr_t arg)
{
	struct vuln_word w;

	if (get_user(&w, arg))
		return -EFAULT;
	w.value = *(volatile uint64_t *)w.address;
	return put_user(arg, &w);
}

/* CWE-123: writes what the user says to where the user says. */
static long
write_anywhere(uaddr_t arg)
{
	struct vuln_word w;

	if (get_user(&w, arg))
		return -EFAULT;
	*(volatile uint64_t *)w.address = w.value;
	return 0;
}

/* CWE-476: the pointer is called although VULN_HANDLER_CLEAR may have cleared it. */
static long
call_handler(uaddr_t arg)
{
	struct vuln_call c;

	if (get_user(&c, arg))
		return -EFAULT;
	c.result = vuln_handler(c.argument);
	return put_user(arg, &c);
}

/* No bug by itself: user data in kernel memory is what every write(2) leaves behind. */
static long
copy_in(uaddr_t arg)
{
	struct vuln_copy c;

	if (get_user(&c, arg))
		return -EFAULT;
	if (c.size > sizeof(vuln_buffer))
		return -EINVAL;
	return copy_from_user(vuln_buffer, UADDR(c.from), c.size);
}

static long
object_new(uaddr_t arg)
{
	struct vuln_set s = {.handle = (uint64_t)&object};

	object.slot = &object_slot;
	latest = &object;
	return put_user(arg, &s);
}

static long
set(volatile struct vuln_object *o, uint64_t value)
{
	*(volatile uint64_t *)o->slot = value;
	return 0;
}

/* CWE-822: the handle is a pointer, and nobody asks whether it is one that VULN_OBJECT_NEW gave. */
static long
object_set(uaddr_t arg)
{
	struct vuln_set s;

	if (get_user(&s, arg))
		return -EFAULT;
	return set((struct vuln_object *)s.handle, s.value);
}

/* CWE-476: the latest object may be gone: VULN_OBJECT_FREE leaves NULL behind. */
static long
latest_set(uaddr_t arg)
{
	struct vuln_set s;

	if (get_user(&s, arg))
		return -EFAULT;
	return set(latest, s.value);
}

/* CWE-674: the user says how deep. */
static noinline uint64_t
recurse(uint64_t depth, uint64_t fill)
{
	volatile uint64_t frame[128];

	for (unsigned i = 0; i < ARRAY_LEN(frame); i++)
		frame[i] = fill;
	if (depth > 1)
		frame[0] += recurse(depth - 1, fill);
	return frame[0] - fill + 1;
}

static long
recurse_call(uaddr_t arg)
{
	struct vuln_recursion r;
	irqstate_t s;
	long result;

	if (get_user(&r, arg))
		return -EFAULT;
	if (r.depth == 0 || r.depth > DEPTH_MAX)
		return -EINVAL;
	/* One that came in the last frame would be what finds no stack, and an oops in an interrupt is a panic. */
	s = arch_irq_save();
	result = (long)recurse(r.depth, r.fill);
	arch_irq_restore(s);
	return result;
}

/* The families' calls. */
static long
other_call(unsigned cmd, uaddr_t arg)
{
	static long (*const families[])(unsigned, uaddr_t) = {vuln_address_ioctl, vuln_stack_ioctl,
							      vuln_heap_ioctl, vuln_meltdown_ioctl,
							      vuln_pin_ioctl};
	long result = -ENOTTY;

	for (unsigned i = 0; i < ARRAY_LEN(families) && result == -ENOTTY; i++)
		result = families[i](cmd, arg);
	return result;
}

static long
vuln_ioctl(struct file *f unused, unsigned cmd, uaddr_t arg)
{
	switch (cmd) {
	case VULN_PLACES:
		return places(arg);
	case VULN_READ:
		return read_anywhere(arg);
	case VULN_WRITE:
		return write_anywhere(arg);
	case VULN_HANDLER_SET:
		vuln_handler = vuln_victim;
		return 0;
	case VULN_HANDLER_CLEAR:
		vuln_handler = NULL;
		return 0;
	case VULN_CALL:
		return call_handler(arg);
	case VULN_COPY:
		return copy_in(arg);
	case VULN_OBJECT_NEW:
		return object_new(arg);
	case VULN_OBJECT_SET:
		return object_set(arg);
	case VULN_OBJECT_FREE:
		latest = NULL;
		return 0;
	case VULN_LATEST_SET:
		return latest_set(arg);
	case VULN_RECURSE:
		return recurse_call(arg);
	default:
		return other_call(cmd, arg);
	}
}

static const struct file_ops vuln_ops = {
	.ioctl = vuln_ioctl,
};

void
vuln_init(void)
{
	vuln_heap_init();
	chrdev_register(10, 200, "vuln", 0666, &vuln_ops, NULL);
}
