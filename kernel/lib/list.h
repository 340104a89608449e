/* Circular doubly linked lists, linked through a member of the element. */
#pragma once

#include "kernel/types.h"

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(name) {&(name), &(name)}

static inline void
list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool
list_empty(const struct list *l)
{
	return READ_ONCE(l->next) == l;
}

static inline void
list_insert_between(struct list *n, struct list *prev, struct list *next)
{
	n->next = next;
	n->prev = prev;
	prev->next = n;
	next->prev = n;
}

/* Inserts n as the first element of l. */
static inline void
list_push_front(struct list *l, struct list *n)
{
	list_insert_between(n, l, l->next);
}

/* Inserts n as the last element of l. */
static inline void
list_push_back(struct list *l, struct list *n)
{
	list_insert_between(n, l->prev, l);
}

/* Takes n out of its list and leaves it an empty list, so that removing it twice is harmless. */
static inline void
list_remove(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

/* Moves every element of from to the end of to. */
static inline void
list_splice_back(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_entry(l, type, member) container_of(l, type, member)
#define list_first(l, type, member) list_entry((l)->next, type, member)
#define list_last(l, type, member)  list_entry((l)->prev, type, member)

#define list_for_each(pos, head, member)                                                           \
	for (pos = list_first(head, __typeof__(*pos), member); &pos->member != (head);             \
	     pos = list_first(&pos->member, __typeof__(*pos), member))

/* The element may be removed in the body. */
#define list_for_each_safe(pos, tmp, head, member)                                                 \
	for (pos = list_first(head, __typeof__(*pos), member),                                     \
	    tmp = list_first(&pos->member, __typeof__(*pos), member);                              \
	     &pos->member != (head);                                                               \
	     pos = tmp, tmp = list_first(&tmp->member, __typeof__(*tmp), member))
