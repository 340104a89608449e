/*
 * Files whose text is generated when it is read from its beginning: most of /proc.
 */
#pragma once

#include "kernel/types.h"

struct file;

/* A growing text.  Once memory fails it stays as it is and `failed` says so. */
struct text {
	char *buf;
	size_t len, cap;
	bool failed;
};

/* From any context but interrupts, with spin locks held too; never sleeps. */
void text_printf(struct text *t, const char *fmt, ...) printf_like(2, 3);
void text_append(struct text *t, const void *data, size_t n);
void text_free(struct text *t);

/* Writes a file's whole text: 0 or -errno.  May sleep. */
typedef int (*text_fn)(struct text *t, void *arg, uint64_t stamp);

/*
 * For file_ops.open: serves the text that generate makes, anew for each read at position 0, by read
 * and seek, until release.  Sets f->ops and f->data.  arg must live as long as the file's inode; stamp is
 * what the caller wants to know again.
 */
must_use int text_file_open(struct file *f, text_fn generate, void *arg, uint64_t stamp);
