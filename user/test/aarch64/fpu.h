/* aarch64's vector registers, by the names that fpu.c uses: two of 16 bytes make one of its 32. */
#pragma once

#define VECTORS 16

/* Fills all vector registers. */
static inline void
load(const uint8_t *v)
{
	__asm__ volatile("ldp q0, q1, [%0]\n\tldp q2, q3, [%0, #32]\n\tldp q4, q5, [%0, #64]\n\t"
			 "ldp q6, q7, [%0, #96]\n\tldp q8, q9, [%0, #128]\n\t"
			 "ldp q10, q11, [%0, #160]\n\tldp q12, q13, [%0, #192]\n\t"
			 "ldp q14, q15, [%0, #224]\n\tldp q16, q17, [%0, #256]\n\t"
			 "ldp q18, q19, [%0, #288]\n\tldp q20, q21, [%0, #320]\n\t"
			 "ldp q22, q23, [%0, #352]\n\tldp q24, q25, [%0, #384]\n\t"
			 "ldp q26, q27, [%0, #416]\n\tldp q28, q29, [%0, #448]\n\t"
			 "ldp q30, q31, [%0, #480]" ::"r"(v)
			 : "memory");
}

static inline void
store(uint8_t *v)
{
	__asm__ volatile("stp q0, q1, [%0]\n\tstp q2, q3, [%0, #32]\n\tstp q4, q5, [%0, #64]\n\t"
			 "stp q6, q7, [%0, #96]\n\tstp q8, q9, [%0, #128]\n\t"
			 "stp q10, q11, [%0, #160]\n\tstp q12, q13, [%0, #192]\n\t"
			 "stp q14, q15, [%0, #224]\n\tstp q16, q17, [%0, #256]\n\t"
			 "stp q18, q19, [%0, #288]\n\tstp q20, q21, [%0, #320]\n\t"
			 "stp q22, q23, [%0, #352]\n\tstp q24, q25, [%0, #384]\n\t"
			 "stp q26, q27, [%0, #416]\n\tstp q28, q29, [%0, #448]\n\t"
			 "stp q30, q31, [%0, #480]" ::"r"(v)
			 : "memory");
}

static inline bool
t_wide_vectors(void)
{
	return true;
}

/* Rounding towards zero and flags that no program starts with. */
static inline void
t_odd_control(void)
{
	__asm__ volatile("msr fpcr, %0\n\tmsr fpsr, %1" ::"r"(0xc00000UL), "r"(0x1fUL));
}

static inline bool
t_control_is_clean(void)
{
	unsigned long fpcr, fpsr;

	__asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(fpcr), "=r"(fpsr));
	return fpcr == 0 && (fpsr & 0x1f) == 0;
}
