/* The starter's code: it works, takes every filter, and asks none.  Sections as cut names them. */

/* ==== kernel/harden/seccomp.c ==== */

/*
 * seccomp
 *
 * Threat:    A program that handles hostile input is taken over, and asks the kernel for what it never
 *            needed: opens a file, starts a shell.
 * Property:  What a thread has given up of the system calls it never gets back, whatever it becomes.
 * Mechanism: Yours.
 * Limit:     Yours: what can be done with the calls that are left?
 * Check:     make grade; user/attack/seccomp.c.
 */

/*
 * t has given something up; process_lock is held.
 *
 * To do: how will its next call know?  It may be running at this moment, on another CPU.  harden=-seccomp
 * (harden_wanted) lets everything go.
 */
static void
enforce(struct thread *t unused)
{
}

/* To do: is there a bit for each number? */
static bool
mask_allows(const struct syscall_mask *m unused, uint32_t nr unused)
{
	return true;
}

/* To do: which four?  A signal's handler must be able to return. */
static bool
strict_allows(uint32_t nr unused)
{
	return true;
}

/*
 * To do: orders what filters return, the severest first or last.  seccomp.h lists them in this order; what do
 * their numbers say?
 */
static unused int32_t
severity(uint32_t answer unused)
{
	return 0;
}

/*
 * What the thread's filters say of a call: one answer, and in match the filter that gave it.  bpf_run asks one.
 *
 * To do: whom, and which of their answers counts?
 */
static uint32_t
ask_filters(const struct seccomp_filter *newest, const struct seccomp_data *d unused,
	    const struct seccomp_filter **match)
{
	uint32_t answer = SECCOMP_RET_ALLOW;

	if (severity(answer) < severity(SECCOMP_RET_ALLOW))
		*match = newest;
	return answer;
}

/*
 * To do: who comes here, and what holds for each of them?  kill_process and kill_thread are there, and act, which
 * filters_permit calls.
 */
bool
seccomp_permits(struct trapframe *tf, uint32_t nr)
{
	if (current->seccomp.mode == SECCOMP_MODE_STRICT && !strict_allows(nr))
		report(tf, nr, "noted, and no more");
	return filters_permit(tf, nr);
}

/* To do: t is another thread of the same process, or the first one of a new one, p.  Who gives back what it gets? */
void
seccomp_inherit(struct process *p, struct thread *t unused)
{
	if (current->process->no_new_privs)
		p->no_new_privs = true;
}

/* ==== kernel/harden/bpf.c ==== */

/*
 * Is the instruction at pc of n one that exists, with an operand that it can have?
 *
 * To do: bpf_run takes it for granted.  What happens in it if it is wrong?
 */
static bool
check_insn(const struct bpf_insn *i unused, unsigned pc unused, unsigned n unused)
{
	return true;
}

/*
 * Is every scratch word written before it is read, on each path?  There is room for a number for each instruction.
 *
 * To do: where does what is in mem[] come from, until it is written?
 */
static bool
check_scratch(const struct bpf_insn *code unused, unsigned n unused, uint16_t *written unused)
{
	return true;
}

/* ==== kernel/sys/table.c ==== */

/*
 * Every system call begins here.  A number has 32 bits, as on Linux.  No canary: the room on its stack is
 * nobody's array, and every system call would pay.
 *
 * To do: so would it for a question.  How are the few threads found that have given something up?
 */
no_canary void
syscall_dispatch(struct trapframe *tf)
{
	uint32_t nr = (uint32_t)tf_entry_syscall(tf);

	kstack_offset_apply();
	if (likely(nr < SYS_LIMIT))
		run(tf, nr);
	else
		judge(tf, nr);
}
