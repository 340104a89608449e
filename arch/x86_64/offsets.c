/* Offsets of structure members that assembly uses: becomes build/x86_64/offsets.h. */
#include "kernel/proc/thread.h"
#include "cpu.h"

#define OFFSET(name, value) __asm__ volatile("\n->" #name " %0" : : "i"(value))

void offsets(void);

void
offsets(void)
{
	OFFSET(CPU_THREAD, offsetof(struct cpu, thread));
	OFFSET(CPU_KERNEL_SP, offsetof(struct cpu, kernel_sp));
	OFFSET(CPU_ENTRY_SP, offsetof(struct cpu, entry_sp));
	OFFSET(CPU_USER_ROOT, offsetof(struct cpu, user_root));
	OFFSET(CPU_SYSCALL, offsetof(struct cpu, syscall));
	OFFSET(CPU_TRAP_FROM_USER, offsetof(struct cpu, trap_from_user));
	OFFSET(CPU_TRAP_FROM_KERNEL, offsetof(struct cpu, trap_from_kernel));
	OFFSET(CPU_PARANOID, offsetof(struct cpu, paranoid));
	OFFSET(CPU_EXIT_SYSRET, offsetof(struct cpu, exit_sysret));
	OFFSET(CPU_EXIT_IRET, offsetof(struct cpu, exit_iret));
	OFFSET(CPU_EXIT_PARANOID, offsetof(struct cpu, exit_paranoid));
	OFFSET(CPU_EMERGENCY_SP, offsetof(struct cpu, emergency_sp));
	OFFSET(ENTRY_KEEP_TLB, offsetof(struct entry_data, keep_tlb));
	OFFSET(PCID_USER_BIT, PCID_USER_BIT);
	OFFSET(ENTRY_USER_SP, offsetof(struct entry_data, user_sp));
	OFFSET(ENTRY_IRET_FRAME, sizeof(struct entry_data) - 5 * sizeof(uint64_t));
	OFFSET(ENTRY_SHORT_SHIFT, __builtin_ctz(ENTRY_SHORT_STACK));
	OFFSET(ENTRY_SHORT_FIRST, offsetof(struct entry_data, short_stacks) / ENTRY_SHORT_STACK);
	OFFSET(PARANOID_SWAPPED, offsetof(struct paranoid_frame, swapped));
	OFFSET(PARANOID_CR3, offsetof(struct paranoid_frame, cr3));
	OFFSET(PARANOID_RDX, offsetof(struct paranoid_frame, rdx));
	OFFSET(PARANOID_RCX, offsetof(struct paranoid_frame, rcx));
	OFFSET(PARANOID_RAX, offsetof(struct paranoid_frame, rax));
	OFFSET(PARANOID_VECTOR, offsetof(struct paranoid_frame, vector));
	OFFSET(PARANOID_CS, offsetof(struct paranoid_frame, cs));
	OFFSET(PARANOID_RFLAGS, offsetof(struct paranoid_frame, rflags));
	OFFSET(PAGE_SIZE, PAGE_SIZE);
	OFFSET(PIN_VALUE, offsetof(struct x86_pin, value));
	OFFSET(PIN_MASK, offsetof(struct x86_pin, mask));
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
	OFFSET(TF_ERROR, offsetof(struct trapframe, error));
}
