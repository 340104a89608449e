/* Memory and strings: the C library's names and meanings, freestanding. */
#pragma once

#include "kernel/types.h"

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int c, size_t n);

size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strrchr(const char *s, int c);
char *strstr(const char *haystack, const char *needle);

/* Copies at most size - 1 bytes and always terminates (size > 0).  Returns strlen(src). */
size_t strlcpy(char *dst, const char *src, size_t size);

/* True if s begins with prefix. */
bool str_has_prefix(const char *s, const char *prefix);

/*
 * Parses an unsigned number in the given base (0: by its prefix 0x, 0 or none) that fills all of s.
 * 0, -EINVAL (not a number), or -ERANGE (does not fit 64 bits).
 */
must_use int str_to_u64(const char *s, unsigned base, uint64_t *out);
