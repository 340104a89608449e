/* Start-up, in the order in which each room needs the ones before it. */
#include "arch/arch.h"
#include "kernel/dev/console.h"
#include "kernel/fs/procfs.h"
#include "kernel/fs/vfs.h"
#include "kernel/harden/canary.h"
#include "kernel/harden/format.h"
#include "kernel/harden/fpu.h"
#include "kernel/harden/harden.h"
#include "kernel/harden/heap.h"
#include "kernel/harden/pin.h"
#include "kernel/harden/usercopy.h"
#include "kernel/harden/kstack_offset.h"
#include "kernel/lib/print.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/time.h"
#include "kernel/proc/vdso.h"

/* The files of the root, copied out of the archive, whose memory is then free. */
static void
unpack_initramfs(void)
{
	const struct boot_range *r = &boot_info.initrd;

	if (initramfs_prepare())
		panic("initramfs: no memory for /dev and /root");
	if (r->size == 0)
		return;
	if (initramfs_unpack(phys_to_virt(r->base), r->size))
		kalert("initramfs: the archive is damaged; going on with what was unpacked\n");
	page_release(r->base, r->size);
}

noreturn void
kernel_main(void)
{
	canary_start();
	kstack_offset_init();
	fpu_init();
	format_init();
	kprintf("Rampart on %s: %s\n", ARCH_UNAME_MACHINE, boot_info.cmdline);
	arch_vm_init();
	heap_map_init();
	usercopy_init();
	page_init();
	heap_init();
	vm_init();
	sched_init(arch_cpu_count());
	arch_init();
	time_init();
	vfs_init();
	procfs_init();
	devices_init();
	process_init();
	vdso_init();
	harden_cpu_init();
	kprintf("%u CPUs, %lu MiB of memory\n", arch_cpu_count(), page_total() >> (20 - PAGE_SHIFT));
	unpack_initramfs();
	arch_start_cpus();
	pin_init();
	arch_protect_init_data();
	process_start_init();
	sched_enter();
}

noreturn void
cpu_main(void)
{
	harden_cpu_init();
	__atomic_fetch_or(&cpus_online, BIT(arch_cpu_number()), __ATOMIC_SEQ_CST);
	sched_idle();
}
