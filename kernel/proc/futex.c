/*
 * Futexes: sleeping on a word of user memory.
 *
 * A waiter queues itself first, reads the word then, and sleeps if it still has the expected value:
 * whoever changes the word and wakes afterwards finds the waiter.  User memory is read with no
 * bucket locked, so it may fault.  Operations that must look at the word and move waiters in one
 * step fault it in, hold the address space's lock so that it stays, and reach it through the direct
 * map: vm->lock, then the buckets in order of address.
 */
#include "kernel/proc/futex.h"

#include "arch/pte.h"
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/mm/page.h"
#include "kernel/mm/uaccess.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/wait.h"

#define BUCKETS	    256
#define ROBUST_LIMIT 2048 /* entries of a robust list that are looked at */

#define FUTEX_WAITERS	 0x80000000u
#define FUTEX_OWNER_DIED 0x40000000u
#define FUTEX_TID_MASK	 0x3fffffffu

struct bucket {
	struct spinlock lock;
	struct list waiters; /* [lock] struct futex_waiter.link; empty and zeroed: never used */
} aligned(32);

static struct bucket buckets[BUCKETS];

struct futex_waiter {
	struct list link;      /* [bucket's lock] */
	struct bucket *bucket; /* [bucket's lock] where it is, or was before it was woken */
	bool woken;	       /* [bucket's lock] */
	struct futex_key key;  /* [bucket's lock] */
	uint32_t bitset;
	struct thread *thread;
};

static struct bucket *
bucket_of(const struct futex_key *k)
{
	uint64_t h = (k->object ^ k->offset ^ k->id << 32) * 0x9e3779b97f4a7c15ull;

	return &buckets[h >> 56];
}

/* The list head of a zeroed bucket is made when it is first locked. */
static void
bucket_lock(struct bucket *b)
{
	spin_lock(&b->lock);
	if (unlikely(!b->waiters.next))
		list_init(&b->waiters);
}

static void
bucket_lock_two(struct bucket *a, struct bucket *b)
{
	bucket_lock(a < b ? a : b);
	if (a != b)
		bucket_lock(a < b ? b : a);
}

static void
bucket_unlock_two(struct bucket *a, struct bucket *b)
{
	spin_unlock(&a->lock);
	if (a != b)
		spin_unlock(&b->lock);
}

static bool
key_equal(const struct futex_key *a, const struct futex_key *b)
{
	return a->object == b->object && a->offset == b->offset && a->id == b->id;
}

/* 0, -EINVAL (not aligned), -EFAULT.  May sleep. */
static int
futex_key(uaddr_t addr, bool shared, struct futex_key *out)
{
	struct vm *vm = current->vm;
	struct vma *vma;
	int err = -EFAULT;

	if (!IS_ALIGNED(addr.v, 4))
		return -EINVAL;
	if (!user_range_ok(addr, 4))
		return -EFAULT;
	*out = (struct futex_key){(uint64_t)vm, 0, addr.v};
	if (!shared)
		return 0;
	mutex_lock(&vm->lock);
	vma = vm_find(vm, addr.v);
	if (vma && vma->start <= addr.v && vma->prot) {
		err = 0;
		/* Shared memory always has a file, if a nameless one. */
		if (vma->flags & VMA_SHARED) {
			out->object = (uint64_t)vma->file->inode;
			out->id = vma->file->inode->ino;
			out->offset = addr.v - vma->start + vma->offset;
		}
	}
	mutex_unlock(&vm->lock);
	return err;
}

/* Caller holds the bucket's lock. */
static void
wake_waiter(struct futex_waiter *w)
{
	list_remove(&w->link);
	__atomic_store_n(&w->woken, true, __ATOMIC_RELEASE);
	sched_wake(w->thread, BIT(THREAD_INTERRUPTIBLE));
}

/* Caller holds b's lock. */
static unsigned
wake_matching(struct bucket *b, const struct futex_key *key, uint32_t max, uint32_t bitset)
{
	struct futex_waiter *w, *tmp;
	unsigned n = 0;

	if (!max)
		return 0;
	list_for_each_safe(w, tmp, &b->waiters, link) {
		if (!key_equal(&w->key, key) || !(w->bitset & bitset))
			continue;
		wake_waiter(w);
		if (++n >= max)
			break;
	}
	return n;
}

/*
 * Takes w off its queue.  False: it had been woken.  Either way the lock has been taken, so that no
 * waker is still at work on w and its thread.
 */
static bool
unqueue(struct futex_waiter *w)
{
	for (;;) {
		struct bucket *b = __atomic_load_n(&w->bucket, __ATOMIC_ACQUIRE);
		bool woken, there;

		bucket_lock(b);
		there = w->bucket == b; /* else it was moved meanwhile */
		woken = w->woken;
		if (there && !woken)
			list_remove(&w->link);
		spin_unlock(&b->lock);
		if (there)
			return !woken;
	}
}

int
futex_wait(uaddr_t addr, bool shared, uint32_t val, uint32_t bitset, uint64_t deadline)
{
	struct thread *t = current;
	struct futex_waiter w = {.bitset = bitset, .thread = t};
	struct bucket *b;
	uint32_t now;
	int err;

	if (!bitset)
		return -EINVAL;
	err = futex_key(addr, shared, &w.key);
	if (err < 0)
		return err;
	b = bucket_of(&w.key);
	bucket_lock(b);
	w.bucket = b;
	list_push_back(&b->waiters, &w.link);
	spin_unlock(&b->lock);

	err = get_user(&now, addr);
	if (!err && now != val)
		err = -EAGAIN;
	while (!err) {
		__atomic_store_n(&t->state, THREAD_INTERRUPTIBLE, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&w.woken, __ATOMIC_SEQ_CST))
			break;
		err = wait_sleep(deadline);
	}
	__atomic_store_n(&t->state, THREAD_RUNNABLE, __ATOMIC_SEQ_CST);
	/* A wake-up that took us off the queue counts, whatever else came at the same time. */
	return unqueue(&w) ? err : 0;
}

long
futex_wake(uaddr_t addr, bool shared, uint32_t max, uint32_t bitset)
{
	struct futex_key key;
	struct bucket *b;
	unsigned n;
	int err;

	if (!bitset)
		return -EINVAL;
	err = futex_key(addr, shared, &key);
	if (err < 0)
		return err;
	b = bucket_of(&key);
	bucket_lock(b);
	n = wake_matching(b, &key, max, bitset);
	spin_unlock(&b->lock);
	return n;
}

void
futex_wake_address(uaddr_t addr, unsigned n)
{
	(void)!futex_wake(addr, false, n, UINT32_MAX);
	(void)!futex_wake(addr, true, n, UINT32_MAX);
}

/*
 * The kernel's address of the user word at addr, present and, if write, writable; the address
 * space's lock is held until the caller drops it.  0 or -EFAULT (lock not held).
 */
static int
word_lock(uaddr_t addr, bool write, uint32_t **out)
{
	struct vm *vm = current->vm;

	for (;;) {
		uint32_t old;
		pte_t e;
		int err = get_user(&old, addr);

		/* Exchanging the value for itself faults the page in for writing. */
		if (!err && write)
			err = arch_user_cmpxchg32(addr.v, old, old, &old);
		if (err < 0)
			return err;
		mutex_lock(&vm->lock);
		e = arch_pt_get(&vm->pt, addr.v & ~PAGE_MASK);
		if (pte_present(e) && (pte_prot(e) & (write ? PROT_WRITE : PROT_READ))) {
			*out = (uint32_t *)((char *)phys_to_virt(pte_paddr(e)) +
					    (addr.v & PAGE_MASK));
			return 0;
		}
		mutex_unlock(&vm->lock);
		if (signal_killed())
			return -EFAULT;
	}
}

long
futex_requeue(uaddr_t addr, uaddr_t addr2, bool shared, int nwake, int nmove,
	      const uint32_t *compare)
{
	struct futex_key k1, k2;
	struct bucket *b1, *b2;
	struct futex_waiter *w, *tmp;
	struct vm *vm = current->vm;
	uint32_t *word = NULL;
	long woken = 0, moved = 0;
	int err;

	if (nwake < 0 || nmove < 0)
		return -EINVAL;
	err = futex_key(addr, shared, &k1);
	if (!err)
		err = futex_key(addr2, shared, &k2);
	if (!err && compare)
		err = word_lock(addr, false, &word);
	if (err < 0)
		return err;
	b1 = bucket_of(&k1);
	b2 = bucket_of(&k2);
	bucket_lock_two(b1, b2);
	if (word && __atomic_load_n(word, __ATOMIC_SEQ_CST) != *compare) {
		bucket_unlock_two(b1, b2);
		mutex_unlock(&vm->lock);
		return -EAGAIN;
	}
	list_for_each_safe(w, tmp, &b1->waiters, link) {
		if (!key_equal(&w->key, &k1))
			continue;
		if (woken < nwake) {
			wake_waiter(w);
			woken++;
			continue;
		}
		if (moved >= nmove)
			break;
		moved++;
		if (key_equal(&k1, &k2))
			continue;
		list_remove(&w->link);
		w->key = k2;
		__atomic_store_n(&w->bucket, b2, __ATOMIC_RELEASE);
		list_push_back(&b2->waiters, &w->link);
	}
	bucket_unlock_two(b1, b2);
	if (word)
		mutex_unlock(&vm->lock);
	return woken + moved;
}

/* Does the operation encoded in op on *word: 0 with the old value, or -ENOSYS. */
static int
word_op(uint32_t *word, uint32_t op, uint32_t *out)
{
	uint32_t arg = (uint32_t)((int32_t)(op << 8) >> 20);

	if (op & BIT(31)) /* FUTEX_OP_OPARG_SHIFT */
		arg = 1u << (arg & 31);
	switch (op >> 28 & 7) {
	case 0:
		*out = __atomic_exchange_n(word, arg, __ATOMIC_SEQ_CST);
		return 0;
	case 1:
		*out = __atomic_fetch_add(word, arg, __ATOMIC_SEQ_CST);
		return 0;
	case 2:
		*out = __atomic_fetch_or(word, arg, __ATOMIC_SEQ_CST);
		return 0;
	case 3:
		*out = __atomic_fetch_and(word, ~arg, __ATOMIC_SEQ_CST);
		return 0;
	case 4:
		*out = __atomic_fetch_xor(word, arg, __ATOMIC_SEQ_CST);
		return 0;
	default:
		return -ENOSYS;
	}
}

/* Compares the old value as op says: 0 or 1, or -ENOSYS. */
static int
word_compare(uint32_t word, uint32_t op)
{
	int32_t old = (int32_t)word, arg = (int32_t)(op << 20) >> 20;

	switch (op >> 24 & 15) {
	case 0:
		return old == arg;
	case 1:
		return old != arg;
	case 2:
		return old < arg;
	case 3:
		return old <= arg;
	case 4:
		return old > arg;
	case 5:
		return old >= arg;
	default:
		return -ENOSYS;
	}
}

long
futex_wake_op(uaddr_t addr, uaddr_t addr2, bool shared, int nwake, int nwake2, uint32_t op)
{
	struct futex_key k1, k2;
	struct bucket *b1, *b2;
	uint32_t *word, old;
	long n = 0;
	int err = futex_key(addr, shared, &k1);

	if (!err)
		err = futex_key(addr2, shared, &k2);
	if (!err)
		err = word_lock(addr2, true, &word);
	if (err < 0)
		return err;
	b1 = bucket_of(&k1);
	b2 = bucket_of(&k2);
	bucket_lock_two(b1, b2);
	err = word_op(word, op, &old);
	if (!err) {
		n = wake_matching(b1, &k1, (uint32_t)MAX(nwake, 1), UINT32_MAX);
		err = word_compare(old, op);
		if (err > 0)
			n += wake_matching(b2, &k2, (uint32_t)MAX(nwake2, 1), UINT32_MAX);
	}
	bucket_unlock_two(b1, b2);
	mutex_unlock(&current->vm->lock);
	return err < 0 ? err : n;
}

/* ---- Robust lists ---------------------------------------------------------------------------- */

struct robust_head {
	uint64_t next;	  /* bit 0: a PI lock */
	int64_t offset;	  /* from an entry to its futex word */
	uint64_t pending; /* an entry about to be linked or unlinked, or 0 */
};

/* The dying thread may hold the lock at addr.  False: the list is not to be trusted any further. */
static bool
owner_died(struct thread *t, uint64_t addr, bool pi, bool pending)
{
	uint32_t word, old;

	if (!IS_ALIGNED(addr, 4) || get_user(&word, UADDR(addr)) < 0)
		return false;
	for (;;) {
		uint32_t dead = (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;

		/* Died between unlocking and waking: somebody must still be woken. */
		if (pending && !pi && !word)
			futex_wake_address(UADDR(addr), 1);
		if ((word & FUTEX_TID_MASK) != (uint32_t)t->tid)
			return true;
		if (!user_range_ok(UADDR(addr), 4) ||
		    arch_user_cmpxchg32(addr, word, dead, &old) < 0)
			return false;
		if (old == word)
			break;
		word = old;
	}
	if (!pi && (word & FUTEX_WAITERS))
		futex_wake_address(UADDR(addr), 1);
	return true;
}

void
futex_exit_robust(struct thread *t)
{
	struct robust_head head;
	uint64_t entry, pending, next;

	if (!t->robust_list.v || !t->vm)
		return;
	if (get_user(&head, t->robust_list) < 0)
		goto done;
	pending = head.pending & ~1ull;
	entry = head.next;
	for (unsigned i = 0; i < ROBUST_LIMIT && (entry & ~1ull) != t->robust_list.v; i++) {
		uint64_t at = entry & ~1ull;
		bool ok = !get_user(&next, UADDR(at));

		/* The pending one is dealt with once, below. */
		if (at != pending && !owner_died(t, at + (uint64_t)head.offset, entry & 1, false))
			goto done;
		if (!ok)
			break;
		entry = next;
		cond_resched();
	}
	if (pending)
		owner_died(t, pending + (uint64_t)head.offset, head.pending & 1, true);
done:
	t->robust_list = UADDR(0);
}
