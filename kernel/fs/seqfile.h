/*
 * Files whose text is generated when they are opened: most of /proc.
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

/*
 * For file_ops.open: runs generate (0 or -errno) and serves its text by read and seek, until release.
 * Sets f->ops and f->data.  Takes arg only for the call.
 */
must_use int text_file_open(struct file *f, int (*generate)(struct text *t, void *arg), void *arg);
