/* Types, sizes and attributes that every room of the kernel uses. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int64_t ssize_t;

/*
 * Kinds of address.  A kernel virtual address is a pointer; the other two are structures, so that
 * neither is ever dereferenced or passed for the other by mistake.
 */
typedef struct {
	uint64_t v;
} paddr_t; /* physical */

typedef struct {
	uint64_t v;
} uaddr_t; /* user virtual, as the user gave it: unchecked */

#define PADDR(x) ((paddr_t){(x)})
#define UADDR(x) ((uaddr_t){(x)})

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ul
#define PAGE_MASK  (PAGE_SIZE - 1)

#define MAX_CPUS 8

#define BIT(n)		 (1ull << (n))
#define ARRAY_LEN(a)	 (sizeof(a) / sizeof((a)[0]))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a) - 1))
#define ALIGN_UP(x, a)	 ALIGN_DOWN((x) + ((__typeof__(x))(a) - 1), a)
#define IS_ALIGNED(x, a) (((x) & ((__typeof__(x))(a) - 1)) == 0)
#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) min_a = (a);                                                         \
		__typeof__(b) min_b = (b);                                                         \
		min_a < min_b ? min_a : min_b;                                                     \
	})
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) max_a = (a);                                                         \
		__typeof__(b) max_b = (b);                                                         \
		max_a > max_b ? max_a : max_b;                                                     \
	})

/* Number of set bits; the compiler's own would call a library. */
static inline unsigned
popcount64(uint64_t v)
{
	unsigned n = 0;

	for (; v; v &= v - 1)
		n++;
	return n;
}

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define must_use       __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))
#define noreturn       __attribute__((noreturn))
#define unused	       __attribute__((unused))
#define aligned(n)     __attribute__((aligned(n)))
#define packed	       __attribute__((packed))
#define always_inline  inline __attribute__((always_inline))
#define noinline       __attribute__((noinline))
#define no_canary      __attribute__((no_stack_protector)) /* runs while the canary changes */
#define likely(x)      __builtin_expect(!!(x), 1)
#define unlikely(x)    __builtin_expect(!!(x), 0)

/* Written during start-up, then read-only for good: mapped R-- before the first user program. */
#define ro_after_init __attribute__((section(".data.ro_after_init")))

/* The compiler may neither tear, repeat nor invent these accesses.  No ordering is implied. */
#define READ_ONCE(x)	 (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
