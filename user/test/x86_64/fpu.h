/* x86_64's vector registers, by the names that fpu.c uses. */
#pragma once

#include <cpuid.h>

#define VECTORS 16 /* of 32 bytes; without AVX the upper halves are not used */

static bool avx;

static void __attribute__((constructor))
find_avx(void)
{
	unsigned a, b, c, d, lo, hi;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX))
		return;
	__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	avx = (lo & 6) == 6;
}

/* Fills all vector registers. */
static inline void
load(const uint8_t *v)
{
	if (avx)
		__asm__ volatile("vmovdqu (%0), %%ymm0\n\tvmovdqu 32(%0), %%ymm1\n\t"
			"vmovdqu 64(%0), %%ymm2\n\t"
				 "vmovdqu 96(%0), %%ymm3\n\tvmovdqu 128(%0), %%ymm4\n\t"
				 "vmovdqu 160(%0), %%ymm5\n\t"
				 "vmovdqu 192(%0), %%ymm6\n\tvmovdqu 224(%0), %%ymm7\n\t"
				 "vmovdqu 256(%0), %%ymm8\n\t"
				 "vmovdqu 288(%0), %%ymm9\n\tvmovdqu 320(%0), %%ymm10\n\t"
				 "vmovdqu 352(%0), %%ymm11\n\t"
				 "vmovdqu 384(%0), %%ymm12\n\tvmovdqu 416(%0), %%ymm13\n\t"
				 "vmovdqu 448(%0), %%ymm14\n\t"
				 "vmovdqu 480(%0), %%ymm15" :: "r"(v) : "memory");
	else
		__asm__ volatile("movdqu (%0), %%xmm0\n\tmovdqu 32(%0), %%xmm1\n\t"
			"movdqu 64(%0), %%xmm2\n\t"
				 "movdqu 96(%0), %%xmm3\n\tmovdqu 128(%0), %%xmm4\n\t"
				 "movdqu 160(%0), %%xmm5\n\t"
				 "movdqu 192(%0), %%xmm6\n\tmovdqu 224(%0), %%xmm7\n\t"
				 "movdqu 256(%0), %%xmm8\n\t"
				 "movdqu 288(%0), %%xmm9\n\tmovdqu 320(%0), %%xmm10\n\t"
				 "movdqu 352(%0), %%xmm11\n\t"
				 "movdqu 384(%0), %%xmm12\n\tmovdqu 416(%0), %%xmm13\n\t"
				 "movdqu 448(%0), %%xmm14\n\t"
				 "movdqu 480(%0), %%xmm15" :: "r"(v) : "memory");
}

static inline void
store(uint8_t *v)
{
	if (avx)
		__asm__ volatile("vmovdqu %%ymm0, (%0)\n\tvmovdqu %%ymm1, 32(%0)\n\t"
			"vmovdqu %%ymm2, 64(%0)\n\t"
				 "vmovdqu %%ymm3, 96(%0)\n\tvmovdqu %%ymm4, 128(%0)\n\t"
				 "vmovdqu %%ymm5, 160(%0)\n\t"
				 "vmovdqu %%ymm6, 192(%0)\n\tvmovdqu %%ymm7, 224(%0)\n\t"
				 "vmovdqu %%ymm8, 256(%0)\n\t"
				 "vmovdqu %%ymm9, 288(%0)\n\tvmovdqu %%ymm10, 320(%0)\n\t"
				 "vmovdqu %%ymm11, 352(%0)\n\t"
				 "vmovdqu %%ymm12, 384(%0)\n\tvmovdqu %%ymm13, 416(%0)\n\t"
				 "vmovdqu %%ymm14, 448(%0)\n\t"
				 "vmovdqu %%ymm15, 480(%0)" :: "r"(v) : "memory");
	else
		__asm__ volatile("movdqu %%xmm0, (%0)\n\tmovdqu %%xmm1, 32(%0)\n\t"
			"movdqu %%xmm2, 64(%0)\n\t"
				 "movdqu %%xmm3, 96(%0)\n\tmovdqu %%xmm4, 128(%0)\n\t"
				 "movdqu %%xmm5, 160(%0)\n\t"
				 "movdqu %%xmm6, 192(%0)\n\tmovdqu %%xmm7, 224(%0)\n\t"
				 "movdqu %%xmm8, 256(%0)\n\t"
				 "movdqu %%xmm9, 288(%0)\n\tmovdqu %%xmm10, 320(%0)\n\t"
				 "movdqu %%xmm11, 352(%0)\n\t"
				 "movdqu %%xmm12, 384(%0)\n\tmovdqu %%xmm13, 416(%0)\n\t"
				 "movdqu %%xmm14, 448(%0)\n\t"
				 "movdqu %%xmm15, 480(%0)" :: "r"(v) : "memory");
}

static inline bool
t_wide_vectors(void)
{
	return avx;
}

/* Control words that no program starts with. */
static inline void
t_odd_control(void)
{
	uint32_t mxcsr = 0x9fc0;
	unsigned short cw = 0x77f;

	__asm__ volatile("ldmxcsr %0\n\tfldcw %1\n\tfldpi" ::"m"(mxcsr), "m"(cw));
}

static inline bool
t_control_is_clean(void)
{
	uint32_t mxcsr;
	unsigned short cw, sw;

	__asm__ volatile("stmxcsr %0\n\tfnstcw %1\n\tfnstsw %2" : "=m"(mxcsr), "=m"(cw), "=m"(sw));
	return (mxcsr & 0xffc0) == 0x1f80 && cw == 0x37f && (sw & 0x3800) == 0;
}
