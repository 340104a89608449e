/* Offsets of structure members that assembly uses: becomes build/aarch64/offsets.h. */
#include "cpu.h"
#include "kernel/proc/thread.h"

#define OFFSET(name, value) __asm__ volatile("\n->" #name " %0" : : "i"(value))

void offsets(void);

void
offsets(void)
{
	OFFSET(CPU_THREAD, offsetof(struct cpu, thread));
	OFFSET(CPU_VECTORS, offsetof(struct cpu, vectors));
	OFFSET(CPU_USER_VECTORS, offsetof(struct cpu, user_vectors));
	OFFSET(CPU_KERNEL_SP, offsetof(struct cpu, kernel_sp));
	OFFSET(CPU_OVERFLOW_SP, offsetof(struct cpu, overflow_sp));
	OFFSET(CPU_WXN_OFF, offsetof(struct cpu, wxn_off));
	OFFSET(THREAD_SP, offsetof(struct thread, arch.sp));
	OFFSET(THREAD_WORK, offsetof(struct thread, work));
	OFFSET(TF_X, offsetof(struct trapframe, x));
	OFFSET(TF_SP, offsetof(struct trapframe, sp));
	OFFSET(TF_PC, offsetof(struct trapframe, pc));
	OFFSET(TF_ORIG_X0, offsetof(struct trapframe, orig_x0));
	OFFSET(TF_SYSCALL, offsetof(struct trapframe, syscall));
	OFFSET(TF_ESR, offsetof(struct trapframe, esr));
	OFFSET(TF_SIZE, sizeof(struct trapframe));
	OFFSET(FPU_V, offsetof(struct a64_fpu, v));
}
