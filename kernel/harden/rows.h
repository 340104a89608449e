/* The rows, each in the file of its name, and what they share. */
#pragma once

#include "kernel/harden/harden.h"

#define EXTERN_ROW(NAME, symbol) extern const struct mitigation symbol##_row;
HARDEN_LIST(EXTERN_ROW)
#undef EXTERN_ROW

/* Set this CPU's bit if the row is wanted and the CPU has it. */
void wp_cpu_init(void);
void smep_cpu_init(void);
void smap_cpu_init(void);
void umip_cpu_init(void);
void asid_cpu_init(void);
void ibrs_cpu_init(void);
void stibp_cpu_init(void);
void ibpb_cpu_init(void);
void kpti_cpu_init(void);

/* ABSENT if not supported; ON if active() holds on every CPU.  bit names it in the evidence. */
enum harden_state harden_poll_cpus(bool (*supported)(void), bool (*active)(void), const char *bit,
				   char *how, size_t size);
