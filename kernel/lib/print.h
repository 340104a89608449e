/*
 * Formatted output: the kernel log, strings, and the end of the world.
 *
 * Formats are literals (row format).  Conversions: d i u x X o c s p %, with flags 0 - + space #, width,
 * precision (also *), and lengths hh h l ll z j t.  There is no %n and no floating point.  %p names a
 * pointer without telling it; reports of the kernel's own faults print addresses by %lx.
 */
#pragma once

#include "kernel/types.h"

/*
 * Writes to the kernel log, and to the console unless the kernel was started with `quiet`.  Control
 * characters of a %s, which may be a program's name, become '?': no user's text makes up lines.
 */
void kprintf(const char *fmt, ...) printf_like(1, 2);

/* Writes to the kernel log and always to the console: oopses, attack reports, panics. */
void kalert(const char *fmt, ...) printf_like(1, 2);

/* Writes raw bytes to the console, kept apart from the kernel's own lines: for the tty. */
void console_write_locked(const char *s, size_t n);

/* As snprintf: terminates if size > 0 and returns the length that the whole text would have. */
int snprintf(char *buf, size_t size, const char *fmt, ...) printf_like(3, 4);
int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap) printf_like(3, 0);

/* Reads the log ring from byte *pos (0: oldest kept) for syslog(2).  Returns bytes copied. */
size_t klog_read(char *buf, size_t size, uint64_t *pos);
/* Total bytes ever logged. */
uint64_t klog_end(void);
#define KLOG_SIZE 65536

/*
 * Stops every CPU, prints the reason, registers, a symbolised backtrace and the current process,
 * then obeys panic= (0 halts, N restarts after N seconds, negative restarts at once).
 */
noreturn void panic(const char *fmt, ...) printf_like(1, 2);

/* The kernel's own mistake stops it with one line that says what was broken. */
#define assert(cond)                                                                               \
	do {                                                                                       \
		if (unlikely(!(cond)))                                                             \
			panic("assertion failed: %s (%s:%d)", #cond, __FILE__, __LINE__);          \
	} while (0)
