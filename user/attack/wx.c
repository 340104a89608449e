/*
 * Code by writing data: kernel text patched through its second address in the direct map (wx), and
 * code planted in a kernel buffer that a hijacked pointer then runs (wx-data).
 */
#include "user/attack/attack.h"

#include <string.h>

#define RESULT 0x2bad

static void
run_patch(void)
{
	struct vuln_places places = vuln_places();
#if defined(__aarch64__)
	/* mov w0, #RESULT; ret */
	static const uint32_t patch[2] = {0x52800000 | RESULT << 5, 0xd65f03c0};
#else
	/* mov $RESULT, %eax; ret; two bytes of padding */
	static const uint8_t patch[8] = {
		0xb8, RESULT & 0xff, RESULT >> 8, 0, 0, 0xc3, 0x90, 0x90,
	};
#endif
	uint64_t code;

	step("legal: the kernel's function is called, its text read by both addresses");
	vuln_call_legally();
	if (vuln_read(places.victim) != vuln_read(places.victim_alias))
		give_up("the legal act failed");

	step("illegal: its text is written through the direct map");
	memcpy(&code, patch, sizeof(code));
	vuln_write(places.victim_alias, code);
	if (vuln_call(41) != RESULT)
		give_up("the patch had no effect");
}

static void
run_data(void)
{
	struct vuln_places places = vuln_places();
	struct vuln_copy copy = { (uint64_t)attack_payload, PAYLOAD_SIZE };

	step("legal: bytes are copied to a kernel buffer; the kernel calls its own handler");
	vuln(VULN_COPY, &copy);
	vuln_call_legally();

	step("illegal: the kernel's handler becomes the buffer");
	vuln_write(places.handler, places.buffer);
	vuln_call(places.mark);

	vuln_write(places.handler, places.victim);
}

ATTACK(wx) = {
	.name = "wx",
	.what = "kernel text is patched through the direct map",
	.needs_off_x86_64 = "wx",
	.needs_off_aarch64 = "wx",
	.run = run_patch,
};

ATTACK(wx_data) = {
	.name = "wx-data",
	.what = "a hijacked kernel pointer runs kernel data",
	.needs_off_x86_64 = "wx",
	.needs_off_aarch64 = "wx",
	.run = run_data,
};
