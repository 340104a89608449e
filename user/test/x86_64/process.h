/* What process.c tests of x86_64: the bases of FS and GS. */
#pragma once

static void
thread_pointers(void)
{
	unsigned long base = 0, other;

	ok(syscall(SYS_arch_prctl, 0x1003, &base));	/* ARCH_GET_FS */
	check(base != 0 && *(unsigned long *)base == base);
	fails(syscall(SYS_arch_prctl, 0x1001, 0xffffffff80200000), EPERM);	/* ARCH_SET_GS */
	fails(syscall(SYS_arch_prctl, 0x1002, 0x0000800000000000), EPERM);	/* ARCH_SET_FS */
	fails(syscall(SYS_arch_prctl, 0x1003, 16), EFAULT);
	fails(syscall(SYS_arch_prctl, 0x7777, 0), EINVAL);
	static long area = 0x1234;
	ok(syscall(SYS_arch_prctl, 0x1001, &area));
	__asm__ volatile("movq %%gs:0, %0" : "=r"(other));
	check_eq(other, 0x1234);
	for (int i = 0; i < 20; i++) {
		sched_yield();
		pid_t p = t_fork();
		if (p == 0) {
			__asm__ volatile("movq %%gs:0, %0" : "=r"(other));
			_exit(other != 0x1234);
		}
		exits(p, 0);
		__asm__ volatile("movq %%gs:0, %0" : "=r"(other));
		check_eq(other, 0x1234);
	}
	ok(syscall(SYS_arch_prctl, 0x1004, &base));
	check_eq(base, (long)&area);
}
