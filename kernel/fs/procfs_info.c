/*
 * /proc's view of the system: memory, load, processors, settings, and the mitigations' live state.
 * Formats are Linux's (proc(5)); /proc/harden is our own.
 */
#include "arch/arch.h"
#include "kernel/errno.h"
#include "kernel/fs/procfs.h"
#include "kernel/harden/harden.h"
#include "kernel/harden/leaks.h"
#include "kernel/harden/ro_pgtable.h"
#include "kernel/lib/print.h"
#include "kernel/lib/random.h"
#include "kernel/lib/string.h"
#include "kernel/mm/heap.h"
#include "kernel/mm/page.h"
#include "kernel/mm/vm.h"
#include "kernel/oops.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"
#include "kernel/proc/time.h"
#include "kernel/sys/utsname.h"

#define USER_HZ	    100u /* the ABI's clock ticks */
#define NS_PER_TICK (NSEC_PER_SEC / USER_HZ)

static ssize_t
give_text(const char *s, char *buf, size_t size)
{
	size_t n = MIN(strlen(s), size);

	memcpy(buf, s, n);
	return (ssize_t)n;
}

static ssize_t
self_readlink(const struct proc_node *n unused, char *buf, size_t size)
{
	char s[16];

	if (!current->process)
		return -ENOENT;
	snprintf(s, sizeof(s), "%d", current->process->pid);
	return give_text(s, buf, size);
}

static ssize_t
thread_self_readlink(const struct proc_node *n unused, char *buf, size_t size)
{
	char s[40];

	if (!current->process)
		return -ENOENT;
	snprintf(s, sizeof(s), "%d/task/%d", current->process->pid, current->tid);
	return give_text(s, buf, size);
}

static ssize_t
mounts_readlink(const struct proc_node *n unused, char *buf, size_t size)
{
	return give_text("self/mounts", buf, size);
}

static int
filesystems_show(struct text *t, const struct proc_node *n unused)
{
	for (const struct fs_type *f = fs_types; f; f = f->next)
		text_printf(t, "%s\t%s\n", f->nodev ? "nodev" : "", f->name);
	return 0;
}

/* ---- Memory ---- */

static void
kilobytes(struct text *t, const char *name, uint64_t pages_or_bytes, uint64_t unit)
{
	text_printf(t, "%-15s %8lu kB\n", name, pages_or_bytes * unit / 1024);
}

static int
meminfo_show(struct text *t, const struct proc_node *n unused)
{
	uint64_t free = page_free_count(), file = page_type_count(PAGE_FILE);

	kilobytes(t, "MemTotal:", page_total(), PAGE_SIZE);
	kilobytes(t, "MemFree:", free, PAGE_SIZE);
	/* File pages are those of memory file systems: none can be given back. */
	kilobytes(t, "MemAvailable:", free, PAGE_SIZE);
	kilobytes(t, "Buffers:", 0, PAGE_SIZE);
	kilobytes(t, "Cached:", file, PAGE_SIZE);
	kilobytes(t, "SwapCached:", 0, PAGE_SIZE);
	kilobytes(t, "SwapTotal:", 0, PAGE_SIZE);
	kilobytes(t, "SwapFree:", 0, PAGE_SIZE);
	kilobytes(t, "AnonPages:", page_type_count(PAGE_ANON), PAGE_SIZE);
	kilobytes(t, "Shmem:", file, PAGE_SIZE);
	kilobytes(t, "Slab:", heap_bytes(), 1);
	kilobytes(t, "KernelStack:", READ_ONCE(thread_total), KSTACK_SIZE);
	kilobytes(t, "PageTables:", pgtable_count(), PAGE_SIZE);
	return 0;
}

/* ---- Time and load ---- */

/* Time that a CPU has been idle, ns. */
static uint64_t
cpu_idle_ns(unsigned cpu, uint64_t now)
{
	const struct run_queue *rq = &run_queues[cpu];
	uint64_t idle = READ_ONCE(rq->idle_ns), since = READ_ONCE(rq->idle_since);

	if (READ_ONCE(rq->running) == rq->idle && now > since)
		idle += now - since;
	return MIN(idle, now);
}

static int
uptime_show(struct text *t, const struct proc_node *n unused)
{
	uint64_t now = clock_monotonic(), idle = 0;

	for (unsigned i = 0; i < MAX_CPUS; i++)
		if (cpus_online & BIT(i))
			idle += cpu_idle_ns(i, now);
	text_printf(t, "%llu.%02llu %llu.%02llu\n", now / NSEC_PER_SEC,
		    now % NSEC_PER_SEC / (NSEC_PER_SEC / 100), idle / NSEC_PER_SEC,
		    idle % NSEC_PER_SEC / (NSEC_PER_SEC / 100));
	return 0;
}

static int
last_pid(void)
{
	irqstate_t s = spin_lock_irq(&process_lock);
	int pid = list_empty(&process_all) ? 0 : list_last(&process_all, struct process, all)->pid;

	spin_unlock_irq(&process_lock, s);
	return pid;
}

static int
loadavg_show(struct text *t, const struct proc_node *n unused)
{
	uint64_t load[3];
	unsigned running;

	sched_loadavg(load, &running);
	for (unsigned i = 0; i < 3; i++)
		text_printf(t, "%lu.%02lu ", load[i] / 2048, load[i] % 2048 * 100 / 2048);
	text_printf(t, "%u/%u %d\n", running, READ_ONCE(thread_total), last_pid());
	return 0;
}

/* User and system time of a CPU: what was not idle, split as the tick's samples say. */
static void
cpu_times(unsigned cpu, uint64_t now, uint64_t *user, uint64_t *system, uint64_t *idle)
{
	const struct run_queue *rq = &run_queues[cpu];
	uint64_t samples = rq->user_ticks + rq->kernel_ticks, busy;

	*idle = cpu_idle_ns(cpu, now);
	busy = now - *idle;
	*system = samples ? busy / samples * rq->kernel_ticks : busy;
	*user = busy - *system;
}

static void
print_cpu(struct text *t, const char *name, uint64_t user, uint64_t system, uint64_t idle)
{
	text_printf(t, "%s %llu 0 %llu %llu 0 0 0 0 0 0\n", name, user / NS_PER_TICK,
		    system / NS_PER_TICK, idle / NS_PER_TICK);
}

static int
stat_show(struct text *t, const struct proc_node *n unused)
{
	uint64_t now = clock_monotonic(), user[MAX_CPUS] = {0}, system[MAX_CPUS] = {0},
		 idle[MAX_CPUS] = {0}, sum[3] = {0}, load[3], switches = 0;
	unsigned running;
	char name[8];

	for (unsigned i = 0; i < MAX_CPUS; i++) {
		if (!(cpus_online & BIT(i)))
			continue;
		cpu_times(i, now, &user[i], &system[i], &idle[i]);
		sum[0] += user[i];
		sum[1] += system[i];
		sum[2] += idle[i];
		switches += run_queues[i].switches;
	}
	print_cpu(t, "cpu ", sum[0], sum[1], sum[2]);
	for (unsigned i = 0; i < MAX_CPUS; i++) {
		snprintf(name, sizeof(name), "cpu%u", i);
		if (cpus_online & BIT(i))
			print_cpu(t, name, user[i], system[i], idle[i]);
	}
	sched_loadavg(load, &running);
	text_printf(t, "ctxt %lu\nbtime %llu\nprocesses %u\nprocs_running %u\nprocs_blocked 0\n",
		    switches, (clock_realtime() - now) / NSEC_PER_SEC, READ_ONCE(threads_created),
		    running);
	return 0;
}

static int
cpuinfo_show(struct text *t, const struct proc_node *n unused)
{
	for (unsigned i = 0; i < MAX_CPUS; i++)
		if (cpus_online & BIT(i))
			arch_cpuinfo_print(t, i);
	return 0;
}

/* ---- Names ---- */

static int
cmdline_show(struct text *t, const struct proc_node *n unused)
{
	text_printf(t, "%s\n", boot_info.cmdline);
	return 0;
}

static int
version_show(struct text *t, const struct proc_node *n unused)
{
	struct utsname u;

	spin_lock(&utsname_lock);
	u = utsname;
	spin_unlock(&utsname_lock);
	text_printf(t, "%s version %s %s\n", u.sysname, u.release, u.version);
	return 0;
}

static void
print_name(struct text *t, const char *field)
{
	char s[UTSNAME_LEN];

	spin_lock(&utsname_lock);
	strlcpy(s, field, sizeof(s));
	spin_unlock(&utsname_lock);
	text_printf(t, "%s\n", s);
}

static int
hostname_show(struct text *t, const struct proc_node *n unused)
{
	print_name(t, utsname.nodename);
	return 0;
}

static int
hostname_store(const struct proc_node *n unused, char *s, size_t len)
{
	char *end = memchr(s, '\n', len);

	if (!capable())
		return -EPERM;
	if (end)
		*end = '\0';
	if (strlen(s) >= UTSNAME_LEN)
		return -EINVAL;
	spin_lock(&utsname_lock);
	strlcpy(utsname.nodename, s, sizeof(utsname.nodename));
	spin_unlock(&utsname_lock);
	return 0;
}

static int
domainname_show(struct text *t, const struct proc_node *n unused)
{
	print_name(t, utsname.domainname);
	return 0;
}

static int
osrelease_show(struct text *t, const struct proc_node *n unused)
{
	print_name(t, utsname.release);
	return 0;
}

static int
ostype_show(struct text *t, const struct proc_node *n unused)
{
	print_name(t, utsname.sysname);
	return 0;
}

static int
osversion_show(struct text *t, const struct proc_node *n unused)
{
	print_name(t, utsname.version);
	return 0;
}

/* ---- Limits of this kernel, under the names that Linux has for them ---- */

static int
pid_max_show(struct text *t, const struct proc_node *n unused)
{
	text_printf(t, "%d\n", PID_MAX);
	return 0;
}

static int
threads_max_show(struct text *t, const struct proc_node *n unused)
{
	text_printf(t, "%u\n", thread_limit);
	return 0;
}

static int
ngroups_max_show(struct text *t, const struct proc_node *n unused)
{
	text_printf(t, "%d\n", NGROUPS);
	return 0;
}

/* A random number of the form of RFC 4122, version 4. */
static int
uuid_show(struct text *t, const struct proc_node *n unused)
{
	uint8_t b[16];

	random_bytes(b, sizeof(b));
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	for (unsigned i = 0; i < sizeof(b); i++)
		text_printf(t, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
	text_printf(t, "\n");
	return 0;
}

static int
mmap_min_addr_show(struct text *t, const struct proc_node *n unused)
{
	text_printf(t, "%lu\n", harden_wanted(HARDEN_NULL_GUARD) ? MMAP_MIN_ADDR : 0ul);
	return 0;
}

/* Memory is promised freely and taken from the largest process when it runs out: Linux's mode 1. */
static int
overcommit_show(struct text *t, const struct proc_node *n unused)
{
	text_printf(t, "1\n");
	return 0;
}

/* ---- /proc/harden ---- */

static int
harden_show(struct text *t, const struct proc_node *n unused)
{
	static const char *const states[] = {
		[HARDEN_OFF] = "off", [HARDEN_ON] = "on", [HARDEN_ABSENT] = "absent"};
	char how[160];

	text_printf(t, "# %-12s %-6s evidence, as read back now\n", "name", "state");
	for (unsigned i = 0; i < HARDEN_ROWS; i++) {
		enum harden_state state = mitigations[i]->probe(how, sizeof(how));

		text_printf(t, "%-14s %-6s %s\n", mitigations[i]->name, states[state], how);
	}
	return 0;
}

/* ---- Where the kernel's functions are ---- */

static int
kallsyms_show(struct text *t, const struct proc_node *n unused)
{
	uint64_t addr;
	const char *name;

	for (uint32_t i = 0; (name = symbol_at(i, &addr)); i++)
		text_printf(t, "%016lx t %s\n", leaks_address(addr), name);
	return 0;
}

/* Linux's numbers: 2 is "nobody sees addresses", 1 "the log is root's". */
static int
kptr_restrict_show(struct text *t, const struct proc_node *n unused)
{
	text_printf(t, "%d\n", harden_wanted(HARDEN_LEAKS) ? 2 : 0);
	return 0;
}

static int
dmesg_restrict_show(struct text *t, const struct proc_node *n unused)
{
	text_printf(t, "%d\n", harden_wanted(HARDEN_LEAKS));
	return 0;
}

/* ---- The tables ---- */

static const struct proc_entry random_names[] = {
	{"uuid", 0444, .show = uuid_show},
	{0},
};

static const struct proc_entry kernel_names[] = {
	{"hostname", 0644, .show = hostname_show, .store = hostname_store},
	{"domainname", 0444, .show = domainname_show},
	{"osrelease", 0444, .show = osrelease_show},
	{"ostype", 0444, .show = ostype_show},
	{"version", 0444, .show = osversion_show},
	{"pid_max", 0444, .show = pid_max_show},
	{"threads-max", 0444, .show = threads_max_show},
	{"ngroups_max", 0444, .show = ngroups_max_show},
	{"kptr_restrict", 0444, .show = kptr_restrict_show},
	{"dmesg_restrict", 0444, .show = dmesg_restrict_show},
	{"random", 0555, .names = random_names},
	{0},
};

static const struct proc_entry vm_names[] = {
	{"mmap_min_addr", 0444, .show = mmap_min_addr_show},
	{"overcommit_memory", 0444, .show = overcommit_show},
	{0},
};

static const struct proc_entry sys_names[] = {
	{"kernel", 0555, .names = kernel_names},
	{"vm", 0555, .names = vm_names},
	{0},
};

const struct proc_entry procfs_system[] = {
	{"self", 0777, .readlink = self_readlink},
	{"thread-self", 0777, .readlink = thread_self_readlink},
	{"mounts", 0777, .readlink = mounts_readlink},
	{"filesystems", 0444, .show = filesystems_show},
	{"meminfo", 0444, .show = meminfo_show},
	{"uptime", 0444, .show = uptime_show},
	{"loadavg", 0444, .show = loadavg_show},
	{"stat", 0444, .show = stat_show},
	{"version", 0444, .show = version_show},
	{"cpuinfo", 0444, .show = cpuinfo_show},
	{"cmdline", 0444, .show = cmdline_show},
	{"harden", 0444, .show = harden_show},
	{"kallsyms", 0444, .show = kallsyms_show},
	{"sys", 0555, .names = sys_names},
	{0},
};
