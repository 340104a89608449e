/*
 * Random numbers: ChaCha20 (RFC 8439) with fast key erasure.  Each refill's first 32 bytes replace
 * the key, the rest is handed out and erased, so that a later leak of this state reveals no earlier
 * output.
 */
#include "kernel/lib/random.h"

#include "arch/arch.h"
#include "kernel/lib/print.h"
#include "kernel/lib/spinlock.h"
#include "kernel/lib/string.h"

#define BLOCK	   64u
#define POOL	   (8 * BLOCK)
#define KEY	   32u
#define JITTER_ROUNDS 64

static struct spinlock lock; /* interrupts off */
static uint32_t key[KEY / 4]; /* [lock] */
static uint8_t pool[POOL];   /* [lock] */
static size_t pool_used = POOL; /* [lock] */

static uint32_t
rotl(uint32_t v, unsigned n)
{
	return v << n | v >> (32 - n);
}

#define QUARTER(a, b, c, d)                                                                        \
	(a += b, d = rotl(d ^ a, 16), c += d, b = rotl(b ^ c, 12), a += b, d = rotl(d ^ a, 8),     \
	 c += d, b = rotl(b ^ c, 7))

static void
chacha20_block(const uint32_t k[8], uint32_t counter, uint32_t out[16])
{
	uint32_t s[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
	uint32_t x[16];

	memcpy(s + 4, k, KEY);
	s[12] = counter;
	memcpy(x, s, sizeof(x));
	for (unsigned i = 0; i < 10; i++) {
		QUARTER(x[0], x[4], x[8], x[12]);
		QUARTER(x[1], x[5], x[9], x[13]);
		QUARTER(x[2], x[6], x[10], x[14]);
		QUARTER(x[3], x[7], x[11], x[15]);
		QUARTER(x[0], x[5], x[10], x[15]);
		QUARTER(x[1], x[6], x[11], x[12]);
		QUARTER(x[2], x[7], x[8], x[13]);
		QUARTER(x[3], x[4], x[9], x[14]);
	}
	for (unsigned i = 0; i < 16; i++)
		out[i] = x[i] + s[i];
}

static void
refill(void)
{
	uint32_t block[16];

	for (uint32_t i = 0; i < POOL / BLOCK; i++) {
		chacha20_block(key, i, block);
		memcpy(pool + i * BLOCK, block, BLOCK);
	}
	memcpy(key, pool, KEY);
	memset(pool, 0, KEY);
	pool_used = KEY;
}

/* Absorbs data into the key, a block at a time: the key becomes the cipher of key xor data. */
static void
absorb(const void *data, size_t n)
{
	const uint8_t *p = data;

	while (n) {
		uint32_t part[KEY / 4] = {0}, block[16];
		size_t len = MIN(n, (size_t)KEY);

		memcpy(part, p, len);
		for (unsigned i = 0; i < KEY / 4; i++)
			key[i] ^= part[i];
		chacha20_block(key, (uint32_t)len, block);
		memcpy(key, block, KEY);
		p += len;
		n -= len;
	}
	pool_used = POOL;
}

void
random_add(const void *data, size_t n)
{
	irqstate_t s = spin_lock_irq(&lock);

	absorb(data, n);
	spin_unlock_irq(&lock, s);
}

void
random_bytes(void *buf, size_t n)
{
	uint8_t *out = buf;
	irqstate_t s = spin_lock_irq(&lock);

	while (n) {
		size_t len;

		if (pool_used == POOL)
			refill();
		len = MIN(n, (size_t)POOL - pool_used);
		memcpy(out, pool + pool_used, len);
		memset(pool + pool_used, 0, len);
		pool_used += len;
		out += len;
		n -= len;
	}
	spin_unlock_irq(&lock, s);
}

uint64_t
random_u64(void)
{
	uint64_t v;

	random_bytes(&v, sizeof(v));
	return v;
}

uint64_t
random_below(uint64_t bound)
{
	/* Values below 2^64 mod bound would make the small results likelier: draw again. */
	uint64_t bias = -bound % bound, v;

	do {
		v = random_u64();
	} while (v < bias);
	return v % bound;
}

void
random_init(void)
{
	uint64_t seed[4];
	unsigned words = 0;

	for (unsigned i = 0; i < ARRAY_LEN(seed); i++)
		words += arch_entropy(&seed[i]);
	random_add(seed, sizeof(seed));
	/* Timing jitter, what the loader said, and the wall clock: little each, and not secret alone. */
	for (unsigned i = 0; i < JITTER_ROUNDS; i++) {
		uint64_t t = arch_cycles();

		random_add(&t, sizeof(t));
	}
	random_add(&boot_info, sizeof(boot_info));
	if (words < ARRAY_LEN(seed))
		kprintf("random: no generator in this processor: seeded from timing jitter only\n");
}
