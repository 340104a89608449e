/*
 * Classic BPF for seccomp.  Everything that bpf_run takes for granted, bpf_check has proven: jumps
 * only go forward, so a program of n instructions ends after at most n.
 */
#include "kernel/harden/bpf.h"

#include "kernel/errno.h"
#include "kernel/mm/heap.h"

/* ---- The checker ----------------------------------------------------------------------------- */

/* Is the instruction at pc of n one that exists, with an operand that it can have? */
static bool
check_insn(const struct bpf_insn *i, unsigned pc, unsigned n)
{
	unsigned left = n - pc - 1; /* instructions behind it */

	switch (i->code) {
	case BPF_LD_ABS: /* of the data, and whole words of it */
		return i->k < sizeof(struct seccomp_data) && i->k % 4 == 0;
	case BPF_LD_MEM:
	case BPF_LDX_MEM:
	case BPF_ST:
	case BPF_STX:
		return i->k < BPF_MEMWORDS;
	case BPF_DIV_K:
		return i->k != 0;
	case BPF_LSH_K:
	case BPF_RSH_K:
		return i->k < 32;
	case BPF_JA:
		return i->k < left;
	case BPF_JEQ_K:
	case BPF_JEQ_X:
	case BPF_JGT_K:
	case BPF_JGT_X:
	case BPF_JGE_K:
	case BPF_JGE_X:
	case BPF_JSET_K:
	case BPF_JSET_X:
		return i->jt < left && i->jf < left;
	case BPF_LD_IMM:
	case BPF_LDX_IMM:
	case BPF_LD_LEN:
	case BPF_LDX_LEN:
	case BPF_ADD_K:
	case BPF_ADD_X:
	case BPF_SUB_K:
	case BPF_SUB_X:
	case BPF_MUL_K:
	case BPF_MUL_X:
	case BPF_DIV_X:
	case BPF_OR_K:
	case BPF_OR_X:
	case BPF_AND_K:
	case BPF_AND_X:
	case BPF_XOR_K:
	case BPF_XOR_X:
	case BPF_LSH_X:
	case BPF_RSH_X:
	case BPF_NEG:
	case BPF_TAX:
	case BPF_TXA:
	case BPF_RET_K:
	case BPF_RET_A:
		return true;
	default:
		return false;
	}
}

/*
 * Is every scratch word written before it is read, on each path?  written[pc] has a bit for each
 * word that all jumps to pc agree upon; jumps go forward, so one pass is enough.
 */
static bool
check_scratch(const struct bpf_insn *code, unsigned n, uint16_t *written)
{
	uint16_t here = 0;

	for (unsigned pc = 0; pc < n; pc++)
		written[pc] = UINT16_MAX;
	for (unsigned pc = 0; pc < n; pc++) {
		const struct bpf_insn *i = &code[pc];

		here &= written[pc];
		if (i->code == BPF_ST || i->code == BPF_STX) {
			here |= (uint16_t)BIT(i->k);
		} else if (i->code == BPF_LD_MEM || i->code == BPF_LDX_MEM) {
			if (!(here & BIT(i->k)))
				return false;
		} else if (i->code == BPF_JA) {
			written[pc + 1 + i->k] &= here;
			here = UINT16_MAX; /* what follows is only jumped to */
		} else if (BPF_CLASS(i->code) == BPF_JMP) { /* on a condition */
			written[pc + 1 + i->jt] &= here;
			written[pc + 1 + i->jf] &= here;
			here = UINT16_MAX;
		}
	}
	return true;
}

int
bpf_check(const struct bpf_insn *code, unsigned n)
{
	uint16_t *written;
	bool good;

	if (n == 0 || n > BPF_MAXINSNS)
		return -EINVAL;
	for (unsigned pc = 0; pc < n; pc++)
		if (!check_insn(&code[pc], pc, n))
			return -EINVAL;
	/* Nothing may run off the end. */
	if (code[n - 1].code != BPF_RET_K && code[n - 1].code != BPF_RET_A)
		return -EINVAL;
	written = kmalloc(n * sizeof(*written));
	if (!written)
		return -ENOMEM;
	good = check_scratch(code, n, written);
	kfree(written);
	return good ? 0 : -EINVAL;
}

/* ---- The interpreter ------------------------------------------------------------------------- */

uint32_t
bpf_run(const struct bpf_insn *code, const struct seccomp_data *d)
{
	const uint32_t *words = (const uint32_t *)d;
	uint32_t a = 0, x = 0, mem[BPF_MEMWORDS];

	for (const struct bpf_insn *i = code;; i++) {
		switch (i->code) {
		case BPF_LD_ABS:
			a = words[i->k / 4];
			break;
		case BPF_JEQ_K:
			i += a == i->k ? i->jt : i->jf;
			break;
		case BPF_JEQ_X:
			i += a == x ? i->jt : i->jf;
			break;
		case BPF_JGT_K:
			i += a > i->k ? i->jt : i->jf;
			break;
		case BPF_JGT_X:
			i += a > x ? i->jt : i->jf;
			break;
		case BPF_JGE_K:
			i += a >= i->k ? i->jt : i->jf;
			break;
		case BPF_JGE_X:
			i += a >= x ? i->jt : i->jf;
			break;
		case BPF_JSET_K:
			i += a & i->k ? i->jt : i->jf;
			break;
		case BPF_JSET_X:
			i += a & x ? i->jt : i->jf;
			break;
		case BPF_JA:
			i += i->k;
			break;
		case BPF_RET_K:
			return i->k;
		case BPF_RET_A:
			return a;
		case BPF_LD_IMM:
			a = i->k;
			break;
		case BPF_LDX_IMM:
			x = i->k;
			break;
		case BPF_LD_LEN:
			a = sizeof(*d);
			break;
		case BPF_LDX_LEN:
			x = sizeof(*d);
			break;
		case BPF_LD_MEM:
			a = mem[i->k];
			break;
		case BPF_LDX_MEM:
			x = mem[i->k];
			break;
		case BPF_ST:
			mem[i->k] = a;
			break;
		case BPF_STX:
			mem[i->k] = x;
			break;
		case BPF_TAX:
			x = a;
			break;
		case BPF_TXA:
			a = x;
			break;
		case BPF_ADD_K:
			a += i->k;
			break;
		case BPF_ADD_X:
			a += x;
			break;
		case BPF_SUB_K:
			a -= i->k;
			break;
		case BPF_SUB_X:
			a -= x;
			break;
		case BPF_MUL_K:
			a *= i->k;
			break;
		case BPF_MUL_X:
			a *= x;
			break;
		case BPF_DIV_K:
			a /= i->k;
			break;
		case BPF_DIV_X: /* nobody could check it before: 0, which kills, as on Linux */
			if (x == 0)
				return 0;
			a /= x;
			break;
		case BPF_OR_K:
			a |= i->k;
			break;
		case BPF_OR_X:
			a |= x;
			break;
		case BPF_AND_K:
			a &= i->k;
			break;
		case BPF_AND_X:
			a &= x;
			break;
		case BPF_XOR_K:
			a ^= i->k;
			break;
		case BPF_XOR_X:
			a ^= x;
			break;
		case BPF_LSH_K:
			a <<= i->k;
			break;
		case BPF_LSH_X:
			a <<= x & 31;
			break;
		case BPF_RSH_K:
			a >>= i->k;
			break;
		case BPF_RSH_X:
			a >>= x & 31;
			break;
		case BPF_NEG:
			a = -a;
			break;
		default: /* the checker lets none through */
			return 0;
		}
	}
}
