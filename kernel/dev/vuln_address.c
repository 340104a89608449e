/* /dev/vuln: bugs that are worth only as much as the attacker knows of the kernel's addresses. */
#include "kernel/dev/vuln.h"
#include "arch/arch.h"
#include "kernel/dev/vuln_calls.h"
#include "kernel/errno.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/uaccess.h"
#include "kernel/oops.h"

#define GADGET_VALUE 0x5eed0fbadc0ffee5ul

/* Read from outside: whether the gadget ran. */
static volatile uint64_t vuln_gadget_ran;

/* What an attacker looks for in an image: a function that does what he wants when it is called. */
static noinline uint64_t
vuln_gadget(uint64_t argument)
{
	vuln_gadget_ran = GADGET_VALUE;
	return argument;
}

/* No bug: what `nm` prints of the public image, so that attacks need not be built anew with it. */
static long
linked_at(uaddr_t arg)
{
	struct vuln_symbol s;
	const char *name;
	uint64_t address;

	if (get_user(&s, arg))
		return -EFAULT;
	s.name[sizeof(s.name) - 1] = '\0';
	for (uint32_t i = 0; (name = symbol_at(i, &address)); i++) {
		if (strcmp(name, s.name) == 0) {
			s.address = address - image_slide;
			return put_user(arg, &s);
		}
	}
	return -ENOENT;
}

/* CWE-822: a cookie that user mode keeps for the kernel is a function pointer, and comes back changed. */
static long
call_cookie(uaddr_t arg)
{
	struct vuln_word w;
	uint64_t (*fn)(uint64_t);

	if (get_user(&w, arg))
		return -EFAULT;
	fn = w.address ? (uint64_t (*)(uint64_t))w.address : vuln_gadget;
	vuln_gadget_ran = 0;
	w.value = fn(w.value);
	if (!w.address) /* the legal use leaves no trace */
		vuln_gadget_ran = 0;
	return put_user(arg, &w);
}

/*
 * CWE-134: what the user calls his thing is taken for a format.  The compiler refuses this in the whole
 * kernel; here, and only here, it is told not to look.
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
static long
print_name(uaddr_t arg)
{
	struct vuln_text *t = kmalloc(sizeof(*t));
	long err = -ENOMEM;

	if (!t)
		return err;
	err = get_user(t, arg);
	if (!err) {
		t->format[sizeof(t->format) - 1] = '\0';
		if (t->format[0])
			snprintf(t->text, sizeof(t->text), t->format);
		else
			snprintf(t->text, sizeof(t->text), "thing at %p", (void *)t);
		err = put_user(arg, t);
	}
	kfree(t);
	return err;
}
#pragma GCC diagnostic pop

long
vuln_address_ioctl(unsigned cmd, uaddr_t arg)
{
	switch (cmd) {
	case VULN_LINKED:
		return linked_at(arg);
	case VULN_COOKIE:
		return call_cookie(arg);
	case VULN_FORMAT:
		return print_name(arg);
	default:
		return -ENOTTY;
	}
}
