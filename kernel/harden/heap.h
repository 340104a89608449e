/* The hardened freelist: what kernel/mm/heap.c does with free objects while the row is on. */
#pragma once

#include "kernel/types.h"

struct slab_cache;
struct cpu_list;
struct object;

/* The row is on.  Fixed before the first cache is made. */
extern bool heap_hardened;

/* Before page_init: one bit for each 16 bytes of memory.  Decides the row's state. */
void heap_map_init(void);
/* After heap_init: a cache for the row's probe. */
void heap_probe_init(void);
/* A secret for a new cache's links. */
uint64_t heap_secret(void);
/* A random order of n (at most SLAB_OBJECTS_MAX) objects. */
void heap_shuffle(uint8_t *order, unsigned n);

/* Interrupts are off in all that follow. */

/* Writes o's link to next (NULL: the last). */
void heap_link_set(const struct slab_cache *c, struct object *o, struct object *next);
/* Reads it.  False: it is damaged, and *next is NULL. */
must_use bool heap_link_get(const struct slab_cache *c, const struct object *o, struct object **next);
/* Takes the list's first object, which is in use from now on and has no link in it. */
struct object *heap_take(const struct slab_cache *c, struct cpu_list *l);
/* Puts p at the list's head, zeroed; p must be an object of c in use. */
void heap_give(const struct slab_cache *c, struct cpu_list *l, void *p);
/* A damaged link was found in a slab; no lock is held. */
noreturn void heap_report_link(const struct slab_cache *c, const void *o);
/* p, which is to be freed, lies in no slab; or in none of c's.  Returns if the row is off. */
void heap_report_foreign(const struct slab_cache *c, const void *p);
