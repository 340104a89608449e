/*
 * Out of memory: one process dies, so that the others and the kernel go on.
 */
#include "kernel/errno.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/page.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/time.h"

#define PATIENCE_NS 500000000ull /* how long a victim may take to die before the next is chosen */
#define PAUSE_NS    5000000ull	 /* between two tries of whoever wants memory */

static uint64_t chosen_at; /* [vm_all_lock] when the last victim was chosen */

/*
 * What the death of vm's users is worth.  Private pages and tables come back for sure, file pages only if
 * nobody else has them: most are of the program, and stay.
 */
static uint64_t
worth(const struct vm *vm)
{
	uint64_t rss = READ_ONCE(vm->rss), file = READ_ONCE(vm->rss_file);

	return rss + 3 * (rss - MIN(file, rss)) + 4 * arch_pt_tables(&vm->pt);
}

/*
 * The largest address space in use but `spared`, marked as dying; NULL if there is none, or (*busy) if an
 * earlier victim has not gone yet.  A value to compare with only: it may go away at any time.
 */
static const struct vm *
choose_victim(const struct vm *spared, uint64_t *rss, bool *busy)
{
	struct vm *found = NULL, *vm;
	uint64_t most = 0, now;

	*busy = false;
	spin_lock(&vm_all_lock);
	now = clock_monotonic(); /* here: who waited for the lock comes after whom it waited for */
	list_for_each(vm, &vm_all, all) {
		if (vm->dying) {
			*busy |= now - chosen_at < PATIENCE_NS;
		} else if (vm != spared && READ_ONCE(vm->in_use) && worth(vm) > most) {
			most = worth(vm);
			found = vm;
		}
	}
	if (*busy)
		found = NULL;
	if (found != NULL) {
		found->dying = true;
		chosen_at = now;
		*rss = READ_ONCE(found->rss);
	}
	spin_unlock(&vm_all_lock);
	return found;
}

static const struct vm *
init_vm(void)
{
	struct process *init = process_find(1);
	const struct vm *vm;

	if (init == NULL)
		return NULL;
	vm = READ_ONCE(init->vm);
	process_put(init);
	return vm;
}

/* Kills every process that uses vm (the threads of a vfork, or clone(CLONE_VM)). */
static void
kill_users(const struct vm *vm, uint64_t rss)
{
	struct siginfo info = {.signo = SIGKILL, .code = SI_KERNEL};
	char name[THREAD_NAME_LEN];
	irqstate_t s = spin_lock_irq(&process_lock);
	struct process *p;
	int first = 0;

	/* All of them, for vm is not chosen again: one that lived on would keep the memory. */
	list_for_each(p, &process_all, all) {
		if (p->vm != vm)
			continue;
		if (!first) {
			first = p->pid;
			strlcpy(name, p->name, sizeof(name));
		}
		signal_send_process(p, &info);
	}
	spin_unlock_irq(&process_lock, s);
	if (first)
		kalert("out of memory: killed process %d (%s), %lu KiB resident\n", first, name,
		       rss << (PAGE_SHIFT - 10));
}

int
oom_kill(void)
{
	static struct wait_queue never = WAIT_QUEUE_INIT(never);
	struct waiter w = {.link = LIST_INIT(w.link)};
	uint64_t rss = 0;
	const struct vm *spared, *victim;
	bool busy;

	if (signal_killed())
		return -ENOMEM;
	spared = init_vm();
	victim = choose_victim(spared, &rss, &busy);
	if (victim != NULL)
		kill_users(victim, rss);
	else if (!busy && current->vm == spared)
		return -ENOMEM; /* init has it all */
	if (signal_killed())
		return -ENOMEM;
	wait_prepare(&never, &w, false);
	(void)!wait_sleep(clock_monotonic() + PAUSE_NS);
	wait_finish(&w);
	return signal_killed() ? -ENOMEM : 0;
}
