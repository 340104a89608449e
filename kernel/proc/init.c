/* Process 1: what the command line says about it, and its start. */
#include "kernel/errno.h"
#include "kernel/fs/vfs.h"
#include "kernel/lib/print.h"
#include "kernel/lib/string.h"
#include "kernel/proc/pid.h"
#include "kernel/proc/process.h"
#include "kernel/proc/sched.h"

/* As Linux: more of the command line's words than these are dropped. */
#define MAX_WORDS 32

static char cmdline[sizeof(boot_info.cmdline)]; /* boot_info.cmdline, cut into words */
static const char *argv[1 + MAX_WORDS + 1];
static const char *envp[2 + MAX_WORDS + 1] = {"HOME=/", "TERM=linux"};
static const char *rdinit = "/init";
static const char *init;

/*
 * Words that are the kernel's, or Linux's, and not init's.  One that ends in = is a prefix.
 */
static const char *const kernel_words[] = {
	"console=", "quiet",	"panic=",   "harden=",	 "debug",    "loglevel=", "earlyprintk",
	"root=",    "rootwait", "ro",	    "rw",	 "nokaslr",  "nosmp",	  "maxcpus=",
	"nosmep",   "nosmap",	"pti=",	    "nopti",	 "mitigations=", "tsc=",  "random.",
	"BOOT_IMAGE=", "initrd=", "earlycon", "acpi=",	 "clocksource=", "lpj=",  "nowatchdog",
};

static bool
is_kernel_word(const char *w)
{
	for (size_t i = 0; i < ARRAY_LEN(kernel_words); i++) {
		const char *k = kernel_words[i];
		size_t n = strlen(k);

		if (strncmp(w, k, n) == 0 && (k[n - 1] == '=' || k[n - 1] == '.' || !w[n]))
			return true;
	}
	/* module.parameter=value */
	for (const char *p = w; *p && *p != '='; p++)
		if (*p == '.')
			return true;
	return false;
}

/* Cuts the next word off *rest: blanks separate, double quotes (which go) hold together. */
static char *
next_word(char **rest)
{
	char *from = *rest, *to, *word;
	bool quoted = false;

	while (*from == ' ' || *from == '\t' || *from == '\n')
		from++;
	if (!*from)
		return NULL;
	for (word = to = from; *from; from++) {
		if (*from == '"')
			quoted = !quoted;
		else if (!quoted && (*from == ' ' || *from == '\t' || *from == '\n'))
			break;
		else
			*to++ = *from;
	}
	*rest = *from ? from + 1 : from;
	*to = '\0';
	return word;
}

static void
add_argument(const char *word)
{
	for (size_t i = 1; i <= MAX_WORDS; i++) {
		if (!argv[i]) {
			argv[i] = word;
			return;
		}
	}
}

/* NAME=VALUE; a name that is there already gets the new value. */
static void
add_environment(const char *word)
{
	size_t name = (size_t)(strchr(word, '=') - word) + 1;

	for (size_t i = 0; i < ARRAY_LEN(envp) - 1; i++) {
		if (!envp[i] || strncmp(envp[i], word, name) == 0) {
			envp[i] = word;
			return;
		}
	}
}

static void
parse_cmdline(void)
{
	char *rest = cmdline, *word;
	bool for_init = false;

	strlcpy(cmdline, boot_info.cmdline, sizeof(cmdline));
	while ((word = next_word(&rest))) {
		if (for_init)
			add_argument(word);
		else if (strcmp(word, "--") == 0)
			for_init = true;
		else if (str_has_prefix(word, "rdinit="))
			rdinit = word + strlen("rdinit=");
		else if (str_has_prefix(word, "init="))
			init = word + strlen("init=");
		else if (is_kernel_word(word))
			continue;
		else if (strchr(word, '='))
			add_environment(word);
		else
			add_argument(word);
	}
}

/* Returns only if the program cannot be executed. */
static int
run(const char *path)
{
	struct exec_source src = {.kargv = argv, .kenvp = envp};
	int err;

	argv[0] = path;
	kprintf("Run %s as init process\n", path);
	err = exec(arch_user_frame(current), AT_FDCWD, path, 0, &src);
	if (err)
		return err;
	arch_enter_user();
}

static void
open_console(void)
{
	struct file *f;
	int err = file_open("/dev/console", O_RDWR | O_NOCTTY, 0, &f);

	if (err) {
		kprintf("Warning: unable to open an initial console (error %d).\n", err);
		return;
	}
	for (int fd = 0; fd < 3; fd++) {
		file_get(f);
		if (fd_alloc(f, 0, 0) < 0)
			panic("init: no descriptor for the console");
	}
	file_put(f);
}

static void
init_main(void *arg unused)
{
	static const char *const places[] = {"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"};
	int err;

	open_console();
	err = run(rdinit);
	kprintf("Failed to execute %s (error %d)\n", rdinit, err);
	if (init) {
		err = run(init);
		panic("requested init %s failed (error %d)", init, err);
	}
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		err = run(places[i]);
		if (err != -ENOENT)
			kprintf("Starting init: %s exists but couldn't execute it (error %d)\n",
				places[i], err);
	}
	panic("no init found: try the init= option");
}

static void
set_limits(struct process *p)
{
	static const struct {
		int which;
		uint64_t cur, max;
	} limits[] = {
		{RLIMIT_STACK, 8ul << 20, RLIM_INFINITY}, {RLIMIT_CORE, 0, RLIM_INFINITY},
		{RLIMIT_NOFILE, 1024, 4096},		  {RLIMIT_MEMLOCK, 8ul << 20, 8ul << 20},
		{RLIMIT_MSGQUEUE, 819200, 819200},	  {RLIMIT_NICE, 0, 0},
		{RLIMIT_RTPRIO, 0, 0},
	};

	for (size_t i = 0; i < RLIM_NLIMITS; i++)
		p->rlimit[i] = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
	for (size_t i = 0; i < ARRAY_LEN(limits); i++)
		p->rlimit[limits[i].which] = (struct rlimit){limits[i].cur, limits[i].max};
	p->rlimit[RLIMIT_NPROC].cur = p->rlimit[RLIMIT_NPROC].max = thread_limit / 2;
	p->rlimit[RLIMIT_SIGPENDING] = p->rlimit[RLIMIT_NPROC];
}

void
process_start_init(void)
{
	struct process *p;
	struct thread *t;
	irqstate_t s;

	parse_cmdline();
	if (thread_create("init", init_main, NULL, &t) || process_alloc(&p) ||
	    sighand_create(NULL, &p->sighand) || files_create(&p->files) ||
	    fs_context_create(&p->fs))
		panic("no memory for process 1");
	strlcpy(p->name, "init", sizeof(p->name));
	set_limits(p);
	p->dumpable = true;
	p->exit_signal = SIGCHLD;
	p->start_time = clock_monotonic();
	signal_thread_init(t, p, NULL);
	t->process = p;
	s = spin_lock_irq(&process_lock);
	if (process_link(p, t) || p->pid != 1)
		panic("process 1 did not get its number");
	init_process = p;
	spin_unlock_irq(&process_lock, s);
	if (reaper_start())
		panic("no memory for the reaper");
	sched_start(t);
}
