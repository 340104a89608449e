/* Calls about the machine as a whole: its name, its load, its log, its end. */
#include "kernel/errno.h"
#include "kernel/fs/tty.h"
#include "kernel/harden/leaks.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"
#include "kernel/mm/uaccess.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/sys/syscalls.h"
#include "kernel/sys/utsname.h"

struct spinlock utsname_lock = SPINLOCK_INIT;
struct utsname utsname = {
	.sysname = "Linux",
	.nodename = "(none)",
	.release = "6.1.0-rampart",
	.version = "#1 SMP Rampart",
	.machine = ARCH_UNAME_MACHINE,
	.domainname = "(none)",
};

long
sys_uname(struct trapframe *tf)
{
	struct utsname copy;

	spin_lock(&utsname_lock);
	copy = utsname;
	spin_unlock(&utsname_lock);
	return put_user(arg_user(tf, 0), &copy);
}

/* Replaces one name of utsname, UTSNAME_LEN bytes long, by len bytes of the user's. */
static long
set_uts(char *field, uaddr_t from, int len)
{
	char name[UTSNAME_LEN] = {0};

	if (!capable())
		return -EPERM;
	if (len < 0 || len > UTSNAME_LEN - 1)
		return -EINVAL;
	if (copy_from_user(name, from, (size_t)len))
		return -EFAULT;
	spin_lock(&utsname_lock);
	memcpy(field, name, sizeof(name));
	spin_unlock(&utsname_lock);
	return 0;
}

long
sys_sethostname(struct trapframe *tf)
{
	return set_uts(utsname.nodename, arg_user(tf, 0), arg_int(tf, 1));
}

long
sys_setdomainname(struct trapframe *tf)
{
	return set_uts(utsname.domainname, arg_user(tf, 0), arg_int(tf, 1));
}

/* Linux's struct sysinfo. */
struct sysinfo {
	int64_t uptime;
	uint64_t loads[3];
	uint64_t totalram, freeram, sharedram, bufferram, totalswap, freeswap;
	uint16_t procs;
	uint16_t pad;
	uint64_t totalhigh, freehigh;
	uint32_t mem_unit;
};
_Static_assert(sizeof(struct sysinfo) == 112, "sysinfo is part of the ABI");

/* sysinfo's loads have 16 bits after the point, the scheduler's 11. */
#define LOAD_SHIFT (16 - 11)

long
sys_sysinfo(struct trapframe *tf)
{
	struct sysinfo info;
	uint64_t load[3];
	unsigned running;

	memset(&info, 0, sizeof(info));
	sched_loadavg(load, &running);
	for (int i = 0; i < 3; i++)
		info.loads[i] = load[i] << LOAD_SHIFT;
	info.uptime = (int64_t)((clock_monotonic() + NSEC_PER_SEC - 1) / NSEC_PER_SEC);
	info.totalram = page_total() * PAGE_SIZE;
	info.freeram = page_free_count() * PAGE_SIZE;
	info.procs = (uint16_t)READ_ONCE(thread_total);
	info.mem_unit = 1;
	return put_user(arg_user(tf, 0), &info);
}

long
sys_getcpu(struct trapframe *tf)
{
	uint32_t cpu = arch_cpu_number(), node = 0;
	uaddr_t cpu_to = arg_user(tf, 0), node_to = arg_user(tf, 1);

	if ((cpu_to.v && put_user(cpu_to, &cpu)) || (node_to.v && put_user(node_to, &node)))
		return -EFAULT;
	return 0;
}

/* ---- The end --------------------------------------------------------------------------------- */

#define REBOOT_MAGIC	    0xfee1deadu
#define REBOOT_CMD_RESTART  0x01234567u
#define REBOOT_CMD_HALT	    0xcdef0123u
#define REBOOT_CMD_CAD_ON   0x89abcdefu
#define REBOOT_CMD_CAD_OFF  0x00000000u
#define REBOOT_CMD_POWEROFF 0x4321fedcu
#define REBOOT_CMD_RESTART2 0xa1b2c3d4u

static bool
reboot_magic_ok(uint32_t first, uint32_t second)
{
	/* Birthdays of Torvalds and his daughters: reboot(2). */
	return first == REBOOT_MAGIC && (second == 672274793 || second == 85072278 ||
					 second == 369367448 || second == 537993216);
}

long
sys_reboot(struct trapframe *tf)
{
	if (!capable())
		return -EPERM;
	if (!reboot_magic_ok(arg_uint(tf, 0), arg_uint(tf, 1)))
		return -EINVAL;
	switch (arg_uint(tf, 2)) {
	case REBOOT_CMD_CAD_ON:
	case REBOOT_CMD_CAD_OFF:
		/* No console here has the keys: either setting is kept by doing nothing. */
		return 0;
	case REBOOT_CMD_RESTART2: {
		char command[256];
		ssize_t n = strncpy_from_user(command, arg_user(tf, 3), sizeof(command));

		if (n == -EFAULT)
			return -EFAULT;
		kprintf("reboot: restarting system\n");
		arch_reboot();
	}
	case REBOOT_CMD_RESTART:
		kprintf("reboot: restarting system\n");
		arch_reboot();
	case REBOOT_CMD_POWEROFF:
		kprintf("reboot: power down\n");
		arch_poweroff();
	case REBOOT_CMD_HALT:
		kprintf("reboot: system halted\n");
		arch_stop_others();
		arch_halt();
	}
	return -EINVAL;
}

long
sys_vhangup(struct trapframe *tf unused)
{
	if (!capable())
		return -EPERM;
	tty_vhangup_current();
	return 0;
}

/* ---- The log (syslog(2), not the C library's function) --------------------------------------- */

enum {
	LOG_CLOSE,
	LOG_OPEN,
	LOG_READ,
	LOG_READ_ALL,
	LOG_READ_CLEAR,
	LOG_CLEAR,
	LOG_CONSOLE_OFF,
	LOG_CONSOLE_ON,
	LOG_CONSOLE_LEVEL,
	LOG_SIZE_UNREAD,
	LOG_SIZE_BUFFER,
};

#define LOG_POLL (NSEC_PER_SEC / 4) /* how often a blocked LOG_READ looks again */

static struct mutex log_lock = MUTEX_INIT(log_lock);
static uint64_t log_read_pos;  /* [log_lock] of LOG_READ */
static uint64_t log_clear_pos; /* [log_lock] what LOG_READ_ALL does not show any more */

/* Copies from *pos on; returns bytes or -errno and advances *pos. */
static long
log_copy(uaddr_t to, size_t size, uint64_t *pos)
{
	uint64_t at = *pos;
	char *buf;
	size_t n;
	int err;

	size = MIN(size, (size_t)KLOG_SIZE);
	buf = kmalloc(size);
	if (!buf)
		return -ENOMEM;
	n = klog_read(buf, size, &at);
	err = copy_to_user(to, buf, n);
	kfree(buf);
	if (err)
		return err;
	*pos = at;
	return (long)n;
}

static long
log_read(uaddr_t to, size_t size)
{
	static struct wait_queue never = WAIT_QUEUE_INIT(never);
	long n;

	/* Messages come from any context, so nobody is woken for them. */
	while (klog_end() == READ_ONCE(log_read_pos)) {
		int err = wait_event_until(&never, klog_end() != READ_ONCE(log_read_pos),
					   clock_monotonic() + LOG_POLL);

		if (err == -ERESTARTSYS)
			return err;
	}
	mutex_lock(&log_lock);
	n = log_copy(to, size, &log_read_pos);
	mutex_unlock(&log_lock);
	return n;
}

static long
log_read_all(uaddr_t to, size_t size, bool clear)
{
	uint64_t end, pos;
	long n;

	mutex_lock(&log_lock);
	end = klog_end();
	pos = MAX(log_clear_pos, end > KLOG_SIZE ? end - KLOG_SIZE : 0);
	/* The newest messages that fit. */
	if (end - pos > size)
		pos = end - size;
	n = log_copy(to, size, &pos);
	if (n >= 0 && clear)
		log_clear_pos = end;
	mutex_unlock(&log_lock);
	return n;
}

long
sys_syslog(struct trapframe *tf)
{
	int type = arg_int(tf, 0), len = arg_int(tf, 2);
	uaddr_t to = arg_user(tf, 1);

	if (!leaks_log_allowed(capable()))
		return -EPERM;
	switch (type) {
	case LOG_CLOSE:
	case LOG_OPEN:
		return 0;
	case LOG_READ:
	case LOG_READ_ALL:
	case LOG_READ_CLEAR:
		if (!to.v || len < 0)
			return -EINVAL;
		if (len == 0)
			return 0;
		if (type == LOG_READ)
			return log_read(to, (size_t)len);
		return log_read_all(to, (size_t)len, type == LOG_READ_CLEAR);
	case LOG_CLEAR:
		mutex_lock(&log_lock);
		log_clear_pos = klog_end();
		mutex_unlock(&log_lock);
		return 0;
	case LOG_SIZE_UNREAD:
		return (long)MIN(klog_end() - READ_ONCE(log_read_pos), (uint64_t)KLOG_SIZE);
	case LOG_SIZE_BUFFER:
		return KLOG_SIZE;
	}
	/* Messages have no levels, so there is no console level to set. */
	return -EINVAL;
}
