/*
 * /dev/vuln: pinned pages.  A driver that moves data to and from a program's pages holds their frames, so
 * that they stay while the device works; and the textbook's mistake with the count.
 */
#include "arch/arch.h"
#include "arch/pte.h"
#include "kernel/dev/vuln.h"
#include "kernel/dev/vuln_calls.h"
#include "kernel/errno.h"
#include "kernel/lib/string.h"
#include "kernel/mm/page.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/thread.h"

static struct page *pinned; /* NULL: none */
static uint64_t pins;

/* The frame at a user address, with n references more.  NULL: there is none. */
static noinline struct page *
take_frame(uint64_t address, uint32_t n)
{
	struct vm *vm = current->vm;
	struct page *p = NULL;
	pte_t e;

	mutex_lock(&vm->lock);
	e = address < USER_END ? arch_pt_get(&vm->pt, address) : pte_none();
	if (pte_present(e)) {
		p = page_of(pte_paddr(e));
		refcount_add(&p->refs, n);
	}
	mutex_unlock(&vm->lock);
	return p;
}

/* CWE-911: who asks for too many is refused, and the references that were taken for him stay. */
static long
pin(uaddr_t arg)
{
	struct vuln_word w;
	struct page *p;

	if (get_user(&w, arg))
		return -EFAULT;
	p = take_frame(w.address, (uint32_t)w.value);
	if (p == NULL)
		return -EFAULT;
	if (w.value > VULN_HOLDERS - pins || (pins && p != pinned))
		return -EUSERS;
	pinned = p;
	pins += w.value;
	return 0;
}

static long
unpin(void)
{
	if (pins == 0)
		return -EINVAL;
	pins--;
	page_put(pinned);
	return 0;
}

/* Somebody else writes down what he keeps, in a frame of his own. */
static long
pin_secret(void)
{
	struct page *p;

	if (page_alloc_zero(PAGE_KERNEL, &p))
		return -ENOMEM;
	memcpy(page_addr(p), vuln_note_theirs, sizeof(vuln_note_theirs));
	return 0;
}

long
vuln_pin_ioctl(unsigned cmd, uaddr_t arg)
{
	switch (cmd) {
	case VULN_PIN:
		return pin(arg);
	case VULN_UNPIN:
		return unpin();
	case VULN_PIN_SECRET:
		return pin_secret();
	default:
		return -ENOTTY;
	}
}
