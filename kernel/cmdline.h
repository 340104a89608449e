/* The kernel's command line: words, `name` or `name=value`; double quotes keep spaces. */
#pragma once

#include "kernel/types.h"

/* True if the word name stands there by itself. */
bool cmdline_has(const char *name);
/* Copies the value of the last name=value to buf (size > 0).  False, buf empty: there is none. */
bool cmdline_get(const char *name, char *buf, size_t size);
