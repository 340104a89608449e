/* The starter's code: it works, and the kernel runs whatever a pointer leads to.  Sections as cut names them. */

/* ==== kernel/harden/smep.c ==== */

/* To do: each CPU calls it as it comes up.  harden=-smep (harden_wanted) leaves it out, and so does a CPU without it. */
void
smep_cpu_init(void)
{
}

/* ==== kernel/harden/umip.c ==== */

/* To do: the same, for what user mode reads of the system's registers. */
void
umip_cpu_init(void)
{
}

/* ==== kernel/harden/pin.c ==== */

/* To do: start-up calls it once, when every CPU has its bits.  harden=-pin leaves it out. */
void
pin_init(void)
{
}

/* ==== arch/x86_64/harden.c ==== */

/* To do: a bit of CR4 (SDM 3A 2.5), on this CPU. */
void
arch_user_exec_guard_enable(void)
{
}

/* To do: what of CR0 and CR4 must stay, from here on? */
void
arch_pin_registers(void)
{
}

/* ==== arch/x86_64/mmu.c ==== */

/* To do: start-up's code writes control registers without a check, and whoever likes may run it. */
static void
retire_start_up(void)
{
	protect_kernel((uint64_t)__text_start, (uint64_t)(__text_boot_end - __text_start),
		       kernel_prot(PROT_READ | PROT_EXEC));
}

/* ==== arch/aarch64/harden.c ==== */

/* To do: three registers, on this CPU.  What user mode keeps is the virtual counter alone. */
void
arch_user_info_guard_enable(void)
{
}

/* To do: what of SCTLR_EL1 must stay, from here on? */
void
arch_pin_registers(void)
{
}

/* ==== arch/aarch64/mmu.c ==== */

/* To do: the bits that a user page's entry has, so that the kernel does not execute it. */
uint64_t a64_user_pxn ro_after_init;

/* To do: start-up's code writes SCTLR_EL1 without a check, and whoever likes may run it. */
static void
retire_start_up(void)
{
	protect_kernel((uint64_t)__text_start, (uint64_t)(__text_boot_end - __text_start),
		       kernel_prot(PROT_READ | PROT_EXEC));
}
