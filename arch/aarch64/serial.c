/* The console: a PL011 UART (Arm DDI 0183). */
#include "kernel/mm/page.h"
#include "cpu.h"

#define UART_DR	  0x00
#define UART_FR	  0x18
#define UART_LCRH 0x2c
#define UART_CR	  0x30
#define UART_IMSC 0x38
#define UART_ICR  0x44
#define FR_RXFE	  BIT(4) /* nothing received */
#define FR_TXFF	  BIT(5) /* no room to send */
#define LCRH_8BIT_FIFO 0x70
#define CR_ENABLE 0x301 /* sender, receiver, both on */
#define IRQ_RX	  (BIT(4) | BIT(6)) /* received; received and then silence */

static volatile uint32_t *uart ro_after_init;

void
a64_serial_init(void)
{
	if (firmware_info.uart.size < PAGE_SIZE)
		return;
	a64_early_map(firmware_info.uart.base.v, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_DEVICE);
	uart = phys_to_virt(firmware_info.uart.base);
	uart[UART_IMSC / 4] = 0;
	uart[UART_LCRH / 4] = LCRH_8BIT_FIFO;
	uart[UART_CR / 4] = CR_ENABLE;
}

void
arch_console_write(const char *s, size_t n)
{
	if (!uart)
		return;
	for (size_t i = 0; i < n; i++) {
		while (uart[UART_FR / 4] & FR_TXFF)
			arch_relax();
		uart[UART_DR / 4] = (uint8_t)s[i];
	}
}

const char *
arch_console_name(void)
{
	return "ttyAMA0";
}

void
a64_serial_enable_interrupt(void)
{
	if (!uart || !firmware_info.uart_irq)
		return;
	uart[UART_ICR / 4] = 0x7ff;
	uart[UART_IMSC / 4] = IRQ_RX;
	a64_gic_enable(firmware_info.uart_irq);
}

void
a64_serial_interrupt(void)
{
	uart[UART_ICR / 4] = IRQ_RX;
	while (!(uart[UART_FR / 4] & FR_RXFE))
		console_input((uint8_t)uart[UART_DR / 4]);
}
