/* Offsets of structure members that assembly uses: becomes build/x86_64/offsets.h. */
#include "kernel/proc/thread.h"
#include "x86.h"

#define OFFSET(name, value) __asm__ volatile("\n->" #name " %0" : : "i"(value))

void offsets(void);

void
offsets(void)
{
	OFFSET(CPU_THREAD, offsetof(struct cpu, thread));
	OFFSET(CPU_KERNEL_SP, offsetof(struct cpu, kernel_sp));
	OFFSET(CPU_USER_SP, offsetof(struct cpu, user_sp));
	OFFSET(THREAD_SP, offsetof(struct thread, arch.sp));
	OFFSET(THREAD_WORK, offsetof(struct thread, work));
	OFFSET(BOOT_PDPT_LOW, BOOT_PDPT_LOW);
	OFFSET(BOOT_PD_LOW, BOOT_PD_LOW);
	OFFSET(BOOT_TABLES, BOOT_TABLES);
	OFFSET(TF_R11, offsetof(struct trapframe, r11));
	OFFSET(TF_RCX, offsetof(struct trapframe, rcx));
	OFFSET(TF_VECTOR, offsetof(struct trapframe, vector));
	OFFSET(TF_RIP, offsetof(struct trapframe, rip));
	OFFSET(TF_CS, offsetof(struct trapframe, cs));
	OFFSET(TF_RFLAGS, offsetof(struct trapframe, rflags));
	OFFSET(TF_RSP, offsetof(struct trapframe, rsp));
	OFFSET(TF_SIZE, sizeof(struct trapframe));
}
