/* The console: a 16550 UART at COM1 (National PC16550D). */
#include "cpu.h"

#define COM1	 0x3f8
#define REG_DATA 0
#define REG_IER	 1
#define REG_FCR	 2
#define REG_LCR	 3
#define REG_MCR	 4
#define REG_LSR	 5
#define LSR_DATA BIT(0)
#define LSR_THRE BIT(5)
#define IER_RX	 BIT(0)

static bool absent ro_after_init; /* no chip: every read is all ones */

void
x86_serial_init(void)
{
	x86_out8(COM1 + REG_IER, 0);
	x86_out8(COM1 + REG_LCR, 0x80); /* divisor: 115200 baud */
	x86_out8(COM1 + REG_DATA, 1);
	x86_out8(COM1 + REG_IER, 0);
	x86_out8(COM1 + REG_LCR, 0x03); /* 8N1 */
	x86_out8(COM1 + REG_FCR, 0x07); /* FIFOs on and empty */
	x86_out8(COM1 + REG_MCR, 0x0b); /* DTR, RTS, OUT2: interrupts reach the bus */
	absent = x86_in8(COM1 + REG_LSR) == 0xff;
}

void
arch_console_write(const char *s, size_t n)
{
	if (absent)
		return;
	for (size_t i = 0; i < n; i++) {
		while (!(x86_in8(COM1 + REG_LSR) & LSR_THRE))
			arch_relax();
		x86_out8(COM1 + REG_DATA, (uint8_t)s[i]);
	}
}

const char *
arch_console_name(void)
{
	return "ttyS0";
}

void
x86_serial_enable_interrupt(void)
{
	x86_out8(COM1 + REG_IER, IER_RX);
}

void
x86_serial_interrupt(void)
{
	while (!absent && (x86_in8(COM1 + REG_LSR) & LSR_DATA))
		console_input(x86_in8(COM1 + REG_DATA));
}
