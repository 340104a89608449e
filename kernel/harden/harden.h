/*
 * The registry of mitigations: what the command line asked for, what holds now, /proc/harden.
 */
#pragma once

#include "kernel/types.h"

/*
 * The rows in the order of /proc/harden.  ROW(SMEP, smep) is HARDEN_SMEP and smep_row, which
 * kernel/harden/smep.c defines.
 */
#define HARDEN_LIST(ROW)                                                                           \
	ROW(SMEP, smep)                                                                            \
	ROW(SMAP, smap)                                                                            \
	ROW(UMIP, umip)                                                                            \
	ROW(PIN, pin)                                                                              \
	ROW(NX, nx)                                                                                \
	ROW(WP, wp)                                                                                \
	ROW(WX, wx)                                                                                \
	ROW(NULL_GUARD, null_guard)                                                                \
	ROW(STACK_GUARD, stack_guard)                                                              \
	ROW(FPU, fpu)                                                                              \
	ROW(ASID, asid)                                                                            \
	ROW(ASLR, aslr)                                                                            \
	ROW(KASLR, kaslr)                                                                          \
	ROW(KPTI, kpti)                                                                            \
	ROW(RO_PGTABLE, ro_pgtable)                                                                \
	ROW(SECCOMP, seccomp)                                                                      \
	ROW(IBRS, ibrs)                                                                            \
	ROW(STIBP, stibp)                                                                          \
	ROW(IBPB, ibpb)                                                                            \
	ROW(RETPOLINE, retpoline)                                                                  \
	ROW(CANARY, canary)                                                                        \
	ROW(FORMAT, format)                                                                        \
	ROW(HEAP, heap)                                                                            \
	ROW(USERCOPY, usercopy)                                                                    \
	ROW(REFCOUNT, refcount)                                                                    \
	ROW(COW, cow)                                                                              \
	ROW(KSTACK_OFFSET, kstack_offset)                                                          \
	ROW(LEAKS, leaks)

enum harden_row {
#define ENUM_ROW(NAME, symbol) HARDEN_##NAME,
	HARDEN_LIST(ENUM_ROW)
#undef ENUM_ROW
	HARDEN_ROWS,
};

enum harden_state { HARDEN_OFF, HARDEN_ON, HARDEN_ABSENT };

/* One row: kernel/harden/NAME.c defines it, harden.c lists it. */
struct mitigation {
	const char *name;
	const char *property; /* one line for /proc/harden */
	/*
	 * The state as read back from the hardware or the tables, over all CPUs: OFF if any lacks it.
	 * Writes one line of evidence (at most size bytes) to how.  Process context; may sleep.
	 */
	enum harden_state (*probe)(char *how, size_t size);
};

/* Parses harden= from boot_info.cmdline: `harden=-smep,-smap`, `harden=none`, `harden=all`. Before
 * the final tables are built.  Unknown names are reported. */
void harden_parse(void);
/* What the command line asks for; read-only after start-up. */
bool harden_wanted(enum harden_row row);
/* Sets this CPU's control-register bits.  Each CPU calls it before it runs its first thread. */
void harden_cpu_init(void);
struct exec_layout;
/* Draws where a new program's parts go (kernel/harden/aslr.c); fixed: ADDR_NO_RANDOMIZE. */
void aslr_layout(struct exec_layout *l, bool fixed);
/* One line on the console that names the mitigation that stopped something.  Rate-limited. */
void harden_report(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The table in order of enum harden_row. */
extern const struct mitigation *const mitigations[HARDEN_ROWS];
