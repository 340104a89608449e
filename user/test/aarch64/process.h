/* What process.c tests of aarch64: the thread pointer. */
#pragma once

static unsigned long
read_tpidr(void)
{
	unsigned long v;

	__asm__ volatile("mrs %0, tpidr_el0" : "=r"(v));
	return v;
}

static void
thread_pointers(void)
{
	unsigned long libc = read_tpidr(), seen = 0;
	bool good = true;

	check(libc != 0);
	/* Another value, which libc must not need meanwhile. */
	for (int i = 0; i < 20; i++) {
		unsigned long odd = 0x123400 + (unsigned long)i;

		__asm__ volatile("msr tpidr_el0, %0" ::"r"(odd));
		t_call(SYS_sched_yield, 0, 0);
		long p = t_call(SYS_clone, SIGCHLD, 0);
		seen = read_tpidr();
		good = good && seen == odd;
		if (p == 0)
			t_call(SYS_exit_group, seen != odd, 0);
		__asm__ volatile("msr tpidr_el0, %0" ::"r"(libc));
		exits((pid_t)p, 0);
	}
	check(good);
}
