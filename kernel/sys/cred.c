/*
 * Who a process is: users, groups, capabilities.  Root (effective user 0) has every capability,
 * others have none; the identity belongs to the process and not to the thread.
 */
#include "kernel/errno.h"
#include "kernel/lib/string.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/sys/syscalls.h"

#define KEEP UINT32_MAX /* "leave this one as it is" */

/*
 * Makes c the identity of the current process.  A user who has too many processes may become
 * someone, but execve then fails, as with Linux: programs do not expect setuid to fail.
 */
static void
commit_cred(const struct cred *c)
{
	struct process *p = current->process;
	bool other = c->uid != p->cred.uid;

	if (other)
		p->nproc_exceeded =
			c->uid != 0 && process_count_user(c->uid) >= rlimit(RLIMIT_NPROC);
	spin_lock(&p->lock);
	if (c->euid != p->cred.euid || c->egid != p->cred.egid || c->fsuid != p->cred.fsuid ||
	    c->fsgid != p->cred.fsgid) {
		p->dumpable = false;
		p->pdeath_signal = 0;
	}
	p->cred = *c;
	spin_unlock(&p->lock);
}

long
sys_getuid(struct trapframe *tf unused)
{
	return cred()->uid;
}

long
sys_geteuid(struct trapframe *tf unused)
{
	return cred()->euid;
}

long
sys_getgid(struct trapframe *tf unused)
{
	return cred()->gid;
}

long
sys_getegid(struct trapframe *tf unused)
{
	return cred()->egid;
}

static long
change_setuid(struct trapframe *tf)
{
	uint32_t uid = arg_uint(tf, 0);
	struct cred c = *cred();

	if (uid == KEEP)
		return -EINVAL;
	if (capable())
		c.uid = c.suid = uid;
	else if (uid != c.uid && uid != c.suid)
		return -EPERM;
	c.euid = c.fsuid = uid;
	commit_cred(&c);
	return 0;
}

static long
change_setgid(struct trapframe *tf)
{
	uint32_t gid = arg_uint(tf, 0);
	struct cred c = *cred();

	if (gid == KEEP)
		return -EINVAL;
	if (capable())
		c.gid = c.sgid = gid;
	else if (gid != c.gid && gid != c.sgid)
		return -EPERM;
	c.egid = c.fsgid = gid;
	commit_cred(&c);
	return 0;
}

static long
change_setreuid(struct trapframe *tf)
{
	uint32_t r = arg_uint(tf, 0), e = arg_uint(tf, 1);
	const struct cred *old = cred();
	struct cred c = *old;

	if (r != KEEP) {
		if (r != old->uid && r != old->euid && !capable())
			return -EPERM;
		c.uid = r;
	}
	if (e != KEEP) {
		if (e != old->uid && e != old->euid && e != old->suid && !capable())
			return -EPERM;
		c.euid = e;
	}
	if (r != KEEP || (e != KEEP && e != old->uid))
		c.suid = c.euid;
	c.fsuid = c.euid;
	commit_cred(&c);
	return 0;
}

static long
change_setregid(struct trapframe *tf)
{
	uint32_t r = arg_uint(tf, 0), e = arg_uint(tf, 1);
	const struct cred *old = cred();
	struct cred c = *old;

	if (r != KEEP) {
		if (r != old->gid && r != old->egid && !capable())
			return -EPERM;
		c.gid = r;
	}
	if (e != KEEP) {
		if (e != old->gid && e != old->egid && e != old->sgid && !capable())
			return -EPERM;
		c.egid = e;
	}
	if (r != KEEP || (e != KEEP && e != old->gid))
		c.sgid = c.egid;
	c.fsgid = c.egid;
	commit_cred(&c);
	return 0;
}

/* May an unprivileged caller set an identity to id, having these three? */
static bool
is_one_of(uint32_t id, uint32_t a, uint32_t b, uint32_t c)
{
	return id == KEEP || id == a || id == b || id == c;
}

static long
change_setresuid(struct trapframe *tf)
{
	uint32_t r = arg_uint(tf, 0), e = arg_uint(tf, 1), s = arg_uint(tf, 2);
	struct cred c = *cred();

	if (!capable() &&
	    (!is_one_of(r, c.uid, c.euid, c.suid) || !is_one_of(e, c.uid, c.euid, c.suid) ||
	     !is_one_of(s, c.uid, c.euid, c.suid)))
		return -EPERM;
	if (r != KEEP)
		c.uid = r;
	if (e != KEEP)
		c.euid = e;
	if (s != KEEP)
		c.suid = s;
	c.fsuid = c.euid;
	commit_cred(&c);
	return 0;
}

static long
change_setresgid(struct trapframe *tf)
{
	uint32_t r = arg_uint(tf, 0), e = arg_uint(tf, 1), s = arg_uint(tf, 2);
	struct cred c = *cred();

	if (!capable() &&
	    (!is_one_of(r, c.gid, c.egid, c.sgid) || !is_one_of(e, c.gid, c.egid, c.sgid) ||
	     !is_one_of(s, c.gid, c.egid, c.sgid)))
		return -EPERM;
	if (r != KEEP)
		c.gid = r;
	if (e != KEEP)
		c.egid = e;
	if (s != KEEP)
		c.sgid = s;
	c.fsgid = c.egid;
	commit_cred(&c);
	return 0;
}

static int
put_three(const struct trapframe *tf, uint32_t a, uint32_t b, uint32_t c)
{
	if (put_user(arg_user(tf, 0), &a) || put_user(arg_user(tf, 1), &b) ||
	    put_user(arg_user(tf, 2), &c))
		return -EFAULT;
	return 0;
}

long
sys_getresuid(struct trapframe *tf)
{
	const struct cred *c = cred();

	return put_three(tf, c->uid, c->euid, c->suid);
}

long
sys_getresgid(struct trapframe *tf)
{
	const struct cred *c = cred();

	return put_three(tf, c->gid, c->egid, c->sgid);
}

/* Both return the old value whatever happens. */
static long
change_setfsuid(struct trapframe *tf)
{
	uint32_t id = arg_uint(tf, 0);
	struct cred c = *cred();
	uint32_t old = c.fsuid;

	if (id != KEEP && (capable() || is_one_of(id, c.uid, c.euid, c.suid) || id == old)) {
		c.fsuid = id;
		commit_cred(&c);
	}
	return old;
}

static long
change_setfsgid(struct trapframe *tf)
{
	uint32_t id = arg_uint(tf, 0);
	struct cred c = *cred();
	uint32_t old = c.fsgid;

	if (id != KEEP && (capable() || is_one_of(id, c.gid, c.egid, c.sgid) || id == old)) {
		c.fsgid = id;
		commit_cred(&c);
	}
	return old;
}

long
sys_getgroups(struct trapframe *tf)
{
	const struct cred *c = cred();
	int size = arg_int(tf, 0);
	unsigned n = c->ngroups;

	if (size < 0)
		return -EINVAL;
	if (size == 0)
		return n;
	if ((unsigned)size < n)
		return -EINVAL;
	if (copy_to_user(arg_user(tf, 1), c->groups, n * sizeof(c->groups[0])))
		return -EFAULT;
	return n;
}

static long
change_setgroups(struct trapframe *tf)
{
	int size = arg_int(tf, 0);
	struct cred c = *cred();

	if (!capable())
		return -EPERM;
	if (size < 0 || size > NGROUPS)
		return -EINVAL;
	if (copy_from_user(c.groups, arg_user(tf, 1), (size_t)size * sizeof(c.groups[0])))
		return -EFAULT;
	c.ngroups = (unsigned)size;
	/* Kept sorted: programs see them in the order that Linux gives. */
	for (unsigned i = 1; i < c.ngroups; i++) {
		uint32_t g = c.groups[i];
		unsigned j = i;

		for (; j > 0 && c.groups[j - 1] > g; j--)
			c.groups[j] = c.groups[j - 1];
		c.groups[j] = g;
	}
	commit_cred(&c);
	return 0;
}

/*
 * Each of these takes what is, and puts back what shall be: one after the other, or a thread with an old copy
 * would bring back what another has just given up.
 */
static long
in_turn(struct trapframe *tf, long (*change)(struct trapframe *tf))
{
	static struct mutex turn = MUTEX_INIT(turn);
	long result;

	mutex_lock(&turn);
	result = change(tf);
	mutex_unlock(&turn);
	return result;
}

long
sys_setuid(struct trapframe *tf)
{
	return in_turn(tf, change_setuid);
}

long
sys_setgid(struct trapframe *tf)
{
	return in_turn(tf, change_setgid);
}

long
sys_setreuid(struct trapframe *tf)
{
	return in_turn(tf, change_setreuid);
}

long
sys_setregid(struct trapframe *tf)
{
	return in_turn(tf, change_setregid);
}

long
sys_setresuid(struct trapframe *tf)
{
	return in_turn(tf, change_setresuid);
}

long
sys_setresgid(struct trapframe *tf)
{
	return in_turn(tf, change_setresgid);
}

long
sys_setfsuid(struct trapframe *tf)
{
	return in_turn(tf, change_setfsuid);
}

long
sys_setfsgid(struct trapframe *tf)
{
	return in_turn(tf, change_setfsgid);
}

long
sys_setgroups(struct trapframe *tf)
{
	return in_turn(tf, change_setgroups);
}

/* ---- Capabilities (capget(2)) ---------------------------------------------------------------- */

#define CAP_VERSION_1 0x19980330u
#define CAP_VERSION_2 0x20071026u
#define CAP_VERSION_3 0x20080522u
#define CAP_ALL	      0x1ffffffffffull /* up to CAP_CHECKPOINT_RESTORE, 40 */

struct cap_header {
	uint32_t version;
	int32_t pid;
};

struct cap_data {
	uint32_t effective, permitted, inheritable;
};

/* Reads and checks the header.  *words: structures of data that its version has. */
static int
get_cap_header(uaddr_t addr, struct cap_header *h, unsigned *words)
{
	if (get_user(h, addr))
		return -EFAULT;
	switch (h->version) {
	case CAP_VERSION_1:
		*words = 1;
		return 0;
	case CAP_VERSION_2:
	case CAP_VERSION_3:
		*words = 2;
		return 0;
	}
	h->version = CAP_VERSION_3;
	return put_user(addr, &h->version) ? -EFAULT : -EINVAL;
}

static int
find_caps(int pid, uint64_t *effective, uint64_t *permitted)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	struct thread *t = pid ? thread_find(pid) : current;
	const struct cred *c = t ? &t->process->cred : NULL;

	if (c) {
		*effective = c->euid == 0 ? CAP_ALL : 0;
		*permitted = c->euid == 0 || c->uid == 0 || c->suid == 0 ? CAP_ALL : 0;
	}
	spin_unlock_irq(&process_lock, s);
	return c ? 0 : -ESRCH;
}

long
sys_capget(struct trapframe *tf)
{
	uint64_t effective, permitted;
	struct cap_data data[2] = {0};
	uaddr_t to = arg_user(tf, 1);
	struct cap_header h;
	unsigned words;
	int err = get_cap_header(arg_user(tf, 0), &h, &words);

	/* Without data the call asks for the version. */
	if (err)
		return err == -EINVAL && !to.v ? 0 : err;
	if (!to.v)
		return 0;
	if (h.pid < 0)
		return -EINVAL;
	err = find_caps(h.pid, &effective, &permitted);
	if (err)
		return err;
	for (unsigned i = 0; i < words; i++) {
		data[i].effective = (uint32_t)(effective >> (32 * i));
		data[i].permitted = (uint32_t)(permitted >> (32 * i));
	}
	return copy_to_user(to, data, words * sizeof(data[0]));
}

/* Nothing can be given away piece by piece here: only the set that one has is accepted. */
long
sys_capset(struct trapframe *tf)
{
	uint64_t effective, permitted, wanted[2] = {0};
	struct cap_data data[2] = {0};
	struct cap_header h;
	unsigned words;
	int err = get_cap_header(arg_user(tf, 0), &h, &words);

	if (err)
		return err;
	if (h.pid != 0 && h.pid != current->tid)
		return -EPERM;
	if (copy_from_user(data, arg_user(tf, 1), words * sizeof(data[0])))
		return -EFAULT;
	err = find_caps(0, &effective, &permitted);
	if (err)
		return err;
	for (unsigned i = 0; i < words; i++) {
		wanted[0] |= (uint64_t)data[i].effective << (32 * i);
		wanted[1] |= (uint64_t)data[i].permitted << (32 * i);
		if (data[i].inheritable)
			return -EPERM;
	}
	if (words == 1) {
		effective = (uint32_t)effective;
		permitted = (uint32_t)permitted;
	}
	if ((wanted[0] & CAP_ALL) != effective || (wanted[1] & CAP_ALL) != permitted)
		return -EPERM;
	return 0;
}
