/*
 * Classic BPF as seccomp filters use it: the format, the checker, the interpreter.
 */
#pragma once

#include "kernel/types.h"

#define BPF_MAXINSNS 4096 /* instructions of one program */
#define BPF_MEMWORDS 16	  /* of scratch memory */

/* Linux's struct sock_filter. */
struct bpf_insn {
	uint16_t code;
	uint8_t jt, jf; /* instructions to skip if a jump is taken, and if not */
	uint32_t k;
};

/* What a program looks at: Linux's struct seccomp_data. */
struct seccomp_data {
	int32_t nr;
	uint32_t arch; /* ARCH_AUDIT */
	uint64_t instruction_pointer;
	uint64_t args[6];
};

#define BPF_CLASS(code) ((code)&7u)
#define BPF_JMP		5u /* the class of jumps */

/* The opcodes that filters may have (include/uapi/linux/bpf_common.h). */
enum {
	BPF_LD_IMM = 0x00,
	BPF_LDX_IMM = 0x01,
	BPF_ST = 0x02,
	BPF_STX = 0x03,
	BPF_ADD_K = 0x04,
	BPF_JA = 0x05,
	BPF_RET_K = 0x06,
	BPF_TAX = 0x07,
	BPF_ADD_X = 0x0c,
	BPF_SUB_K = 0x14,
	BPF_JEQ_K = 0x15,
	BPF_RET_A = 0x16,
	BPF_SUB_X = 0x1c,
	BPF_JEQ_X = 0x1d,
	BPF_LD_ABS = 0x20,
	BPF_MUL_K = 0x24,
	BPF_JGT_K = 0x25,
	BPF_MUL_X = 0x2c,
	BPF_JGT_X = 0x2d,
	BPF_DIV_K = 0x34,
	BPF_JGE_K = 0x35,
	BPF_DIV_X = 0x3c,
	BPF_JGE_X = 0x3d,
	BPF_OR_K = 0x44,
	BPF_JSET_K = 0x45,
	BPF_OR_X = 0x4c,
	BPF_JSET_X = 0x4d,
	BPF_AND_K = 0x54,
	BPF_AND_X = 0x5c,
	BPF_LD_MEM = 0x60,
	BPF_LDX_MEM = 0x61,
	BPF_LSH_K = 0x64,
	BPF_LSH_X = 0x6c,
	BPF_RSH_K = 0x74,
	BPF_RSH_X = 0x7c,
	BPF_LD_LEN = 0x80,
	BPF_LDX_LEN = 0x81,
	BPF_NEG = 0x84,
	BPF_TXA = 0x87,
	BPF_XOR_K = 0xa4,
	BPF_XOR_X = 0xac,
};

/*
 * 0 if the n instructions are a program that bpf_run may run: it ends, stays inside itself and its
 * data, and reads no scratch word that it has not written.  -EINVAL, -ENOMEM.
 */
must_use int bpf_check(const struct bpf_insn *code, unsigned n);
/* What a checked program returns for the call that d describes. */
uint32_t bpf_run(const struct bpf_insn *code, const struct seccomp_data *d);
