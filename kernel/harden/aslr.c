/*
 * aslr
 *
 * Threat:    Whoever bends a program's control or data flow knows from his own copy of the program where
 *            everything lies: code to return to, buffers, the stack.
 * Property:  Each exec places every part anew: independently, each part in a window of its own, with at
 *            least 64-bit Linux's entropy.
 * Mechanism: Six draws of the ChaCha20 generator (kernel/lib/random.h), added to the windows below.
 * Limit:     One leaked pointer tells where its part is; fork inherits all; a program that is not
 *            position-independent stays where it was linked; alignment of more than ARCH_ELF_ALIGN costs
 *            bits.  Guesses are not counted: 2^27 crashes find a part.
 * Check:     grade/tests/test_aslr.py tests the bits over many execs; attack aslr.
 *
 * The windows, in TiB (E is USER_END, rounded up: 128 or 256 TiB).  Those of images are wider where the
 * linker aligns images to more than a page.  None touches another, whatever is drawn:
 *
 *   x86_64         aarch64        bits  what
 *   127  ..128     255  ..256     36    stack top, to 16 bytes; grows down to [vdso] at most
 *   117  ..118     237  ..238     28    [vvar], [vdso]
 *   114  ..115     219  ..235     28    interpreter: its lowest address; its size follows
 *   112  ..113     217  ..218     28    mmap top: mappings, and so threads' stacks, grow down
 *    85.3.. 86.3   170.7..186.7   28    position-independent program: its lowest address
 *   + 0  ..  1 GiB                18    heap: above the program's end
 */
#include "arch/arch.h"
#include "kernel/harden/rows.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"
#include "kernel/lib/string.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/thread.h"

#define TIB	     (1ul << 40)
#define WINDOW	     (PAGE_SIZE << 28)
#define IMAGE_WINDOW (ARCH_ELF_ALIGN << 28)
#define BRK_WINDOW   (PAGE_SIZE << 18)

/* The lowest address of each window; between them lies room for what begins in them. */
#define END	    ALIGN_UP(USER_END, TIB)
#define STACK_END   (USER_END - PAGE_SIZE) /* what straddles the end must not find a stack there */
#define STACK_ROOM  (END / 16) /* a larger RLIMIT_STACK has no more */
#define VDSO	    (END - STACK_ROOM - 3 * TIB)
#define INTERPRETER (VDSO - 2 * TIB - IMAGE_WINDOW)
#define MMAP	    (INTERPRETER - 2 * TIB)

_Static_assert(ARCH_PIE_BASE + IMAGE_WINDOW + 16 * TIB < MMAP, "no room for mappings");
_Static_assert(PAGE_SIZE << 28 == TIB, "the table above");

/* Everything where it always is: the stack at the top, mappings below what it may grow to. */
static void
fixed_layout(struct exec_layout *l)
{
	const uint64_t stack_gap = 256 * PAGE_SIZE;
	uint64_t room = MIN(MAX(rlimit(RLIMIT_STACK), 128ul << 20), USER_END / 6 * 5);

	*l = (struct exec_layout){
		.stack_top = STACK_END,
		.mmap_top = ALIGN_DOWN(USER_END - room - stack_gap, PAGE_SIZE),
		.pie = ARCH_PIE_BASE,
	};
}

/* A multiple of step below window, both powers of two: one draw serves one part. */
static uint64_t
offset(uint64_t draw, uint64_t window, uint64_t step)
{
	return draw & (window - 1) & ~(step - 1);
}

void
aslr_layout(struct exec_layout *l, bool fixed)
{
	uint64_t draw[6];

	if (fixed || !harden_wanted(HARDEN_ASLR)) {
		fixed_layout(l);
		return;
	}
	random_bytes(draw, sizeof(draw));
	l->stack_top = STACK_END - offset(draw[0], WINDOW, 16);
	l->mmap_top = MMAP + offset(draw[1], WINDOW, PAGE_SIZE);
	l->interpreter = INTERPRETER + offset(draw[2], IMAGE_WINDOW, ARCH_ELF_ALIGN);
	l->vdso = VDSO + offset(draw[3], WINDOW, PAGE_SIZE);
	l->pie = ARCH_PIE_BASE + offset(draw[4], IMAGE_WINDOW, ARCH_ELF_ALIGN);
	l->brk_gap = offset(draw[5], BRK_WINDOW, PAGE_SIZE);
}

/* ---- /proc/harden ---- */

#define SAMPLES 64
#define PARTS	6

struct varied {
	uint64_t any[PARTS], all[PARTS]; /* bits that were set in some, in every layout */
};

static void
note(struct varied *v, const struct exec_layout *l)
{
	/* From where the window begins: a carry is no entropy. */
	const uint64_t part[PARTS] = {
		STACK_END - l->stack_top,l->mmap_top - MMAP,	 l->interpreter - INTERPRETER,
		l->vdso - VDSO,		 l->pie - ARCH_PIE_BASE, l->brk_gap,
	};

	for (unsigned i = 0; i < PARTS; i++) {
		v->any[i] |= part[i];
		v->all[i] &= part[i];
	}
}

/* True if the current program lies where nothing was drawn, though it did not ask for that. */
static bool
lies_fixed(const struct vm *vm)
{
	struct exec_layout l;

	fixed_layout(&l);
	return !(current->process->personality & ADDR_NO_RANDOMIZE) &&
	       (vm->stack_top == l.stack_top || vm->mmap_top == l.mmap_top);
}

/*
 * Draws layouts as exec does and counts the bits that are not always the same: evidence that the draws are
 * used, not that they are hard to guess (a counter varies too; see Check).
 */
static enum harden_state
probe(char *how, size_t size)
{
	static const unsigned least[PARTS] = {36, 28, 28, 28, 28, 18};
	struct varied v;
	struct exec_layout l;
	unsigned bits[PARTS];
	bool enough = true;

	memset(v.any, 0, sizeof(v.any));
	memset(v.all, 0xff, sizeof(v.all));
	for (unsigned i = 0; i < SAMPLES; i++) {
		aslr_layout(&l, false);
		note(&v, &l);
	}
	for (unsigned i = 0; i < PARTS; i++) {
		bits[i] = 0;
		for (uint64_t varies = v.any[i] & ~v.all[i]; varies; varies &= varies - 1)
			bits[i]++;
		enough &= bits[i] >= least[i];
	}
	snprintf(how, size,
		 "bits that vary in %u layouts: stack %u, mmap %u, interpreter %u, vdso %u, program %u, heap %u",
		 SAMPLES, bits[0], bits[1], bits[2], bits[3], bits[4], bits[5]);
	if (current->vm && lies_fixed(current->vm)) {
		snprintf(how, size, "this program lies where every program does");
		return HARDEN_OFF;
	}
	return enough ? HARDEN_ON : HARDEN_OFF;
}

const struct mitigation aslr_row = {"aslr", "each program's parts lie elsewhere at each exec", probe};
