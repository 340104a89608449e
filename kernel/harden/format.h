/* format: kernel/harden/format.c.  Called by the printer (kernel/lib/print.c), from any context. */
#pragma once

#include "kernel/types.h"

/* Draws the key, before anybody prints a pointer. */
void format_init(void);
/* fmt, if it is a literal of the image; else a text that prints nothing of it, and a report. */
const char *format_literal(const char *fmt);
/* What %p prints: a number that stands for p and does not tell it. */
uint64_t format_pointer(const void *p);
/* What %s prints: str, or words in the place of what is no kernel string. */
const char *format_string(const char *str);
