/* Random numbers: a ChaCha20 generator (RFC 8439), seeded from the processor, the boot loader and
 * timing jitter; rekeyed after every request, so that earlier output cannot be recovered. */
#pragma once

#include "kernel/types.h"

void random_init(void);
/* Mixes in n bytes of unpredictable data; credits no entropy. */
void random_add(const void *data, size_t n);
/* From any context. */
void random_bytes(void *buf, size_t n);
uint64_t random_u64(void);
/* Uniform in [0, bound), bound > 0. */
uint64_t random_below(uint64_t bound);
