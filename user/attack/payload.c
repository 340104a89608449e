/*
 * The code that no processor should run where the attacks put it.
 */
#include "user/attack/attack.h"

#if defined(__x86_64__)
__asm__(".pushsection .text\n"
	".balign 64\n"
	".globl attack_payload, attack_payload_end\n"
	".type attack_payload, @function\n"
	"attack_payload:\n"
	"	movabs $0x5eed0fbadc0ffee5, %rax\n"
	"	mov %rax, (%rdi)\n"
	"	ret\n"
	"attack_payload_end:\n"
	".size attack_payload, . - attack_payload\n"
	".popsection\n");
#elif defined(__aarch64__)
__asm__(".pushsection .text\n"
	".balign 64\n"
	".globl attack_payload, attack_payload_end\n"
	".type attack_payload, %function\n"
	"attack_payload:\n"
	"	movz x9, #0xfee5\n"
	"	movk x9, #0xdc0f, lsl #16\n"
	"	movk x9, #0x0fba, lsl #32\n"
	"	movk x9, #0x5eed, lsl #48\n"
	"	str x9, [x0]\n"
	"	ret\n"
	"attack_payload_end:\n"
	".size attack_payload, . - attack_payload\n"
	".popsection\n");
#else
#error "no payload for this architecture yet"
#endif
