/*
 * The kernel log and formatted output.  Lines go to a ring that syslog(2) reads and to the console;
 * the console lock keeps lines whole, and is ignored by a CPU that already holds it (an oops inside
 * a print) so that the last words are never lost.
 */
#include "kernel/lib/print.h"

#include "kernel/cmdline.h"
#include "kernel/harden/format.h"
#include "kernel/lib/spinlock.h"
#include "kernel/lib/string.h"

static struct spinlock log_lock;   /* interrupts off */
static char ring[KLOG_SIZE];	   /* [log_lock] */
static uint64_t ring_end;	   /* [log_lock] bytes ever written */

/* ---- Formatting ---- */

struct out {
	char *buf;
	size_t size, len; /* len counts what would be written */
	bool log;	  /* no control characters out of strings */
};

static void
put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

struct spec {
	bool left, zero, plus, space, alt;
	int width, precision; /* precision -1: not given */
};

static void
put_padded(struct out *o, const struct spec *s, const char *prefix, const char *text, size_t n,
	   size_t zeros)
{
	size_t total = strlen(prefix) + zeros + n;
	size_t pad = s->width > 0 && (size_t)s->width > total ? (size_t)s->width - total : 0;

	if (!s->left && !s->zero) {
		for (; pad; pad--)
			put(o, ' ');
	}
	for (; *prefix; prefix++)
		put(o, *prefix);
	if (!s->left && s->zero) {
		for (; pad; pad--)
			put(o, '0');
	}
	for (; zeros; zeros--)
		put(o, '0');
	while (n--)
		put(o, *text++);
	for (; pad; pad--)
		put(o, ' ');
}

static void
put_number(struct out *o, struct spec *s, uint64_t v, unsigned base, bool upper, bool negative,
	   bool is_signed)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	const char *prefix = "";
	char text[24], *p = text + sizeof(text);
	size_t n;

	for (uint64_t x = v; x; x /= base)
		*--p = digits[x % base];
	n = (size_t)(text + sizeof(text) - p);
	if (s->precision >= 0)
		s->zero = false;
	else if (n == 0)
		*--p = '0', n = 1;
	if (is_signed)
		prefix = negative ? "-" : s->plus ? "+" : s->space ? " " : "";
	else if (s->alt && v && base == 16)
		prefix = upper ? "0X" : "0x";
	else if (s->alt && v && base == 8)
		prefix = "0";
	put_padded(o, s, prefix, p, n,
		   s->precision > 0 && (size_t)s->precision > n ? (size_t)s->precision - n : 0);
}

static const char *
parse_number(const char *f, int *out, va_list *ap)
{
	if (*f == '*') {
		*out = va_arg(*ap, int);
		return f + 1;
	}
	for (*out = 0; *f >= '0' && *f <= '9'; f++)
		*out = *out * 10 + (*f - '0');
	return f;
}

/* Bytes of an integer argument by its length modifier: 1, 2, 4 or 8. */
static const char *
parse_length(const char *f, unsigned *bytes)
{
	*bytes = 4;
	if (*f == 'h') {
		*bytes = 2;
		if (*++f == 'h') {
			*bytes = 1;
			f++;
		}
	} else if (*f == 'l' || *f == 'z' || *f == 'j' || *f == 't') {
		*bytes = 8;
		if (*f++ == 'l' && *f == 'l')
			f++;
	}
	return f;
}

static void
put_string(struct out *o, struct spec *s, const char *str)
{
	size_t start = o->len;

	s->zero = false;
	put_padded(o, s, "", str, s->precision >= 0 ? strnlen(str, (size_t)s->precision) : strlen(str), 0);
	for (size_t i = start; o->log && i < MIN(o->len, o->size); i++)
		if ((unsigned char)o->buf[i] < ' ' || o->buf[i] == 0x7f)
			o->buf[i] = '?';
}

static void
put_conversion(struct out *o, char c, struct spec *s, unsigned bytes, va_list *ap)
{
	uint64_t v;
	int64_t i;
	char ch;

	switch (c) {
	case 'd':
	case 'i':
		i = bytes == 8 ? va_arg(*ap, int64_t) : va_arg(*ap, int);
		if (bytes < 4)
			i = bytes == 2 ? (int16_t)i : (int8_t)i;
		put_number(o, s, i < 0 ? -(uint64_t)i : (uint64_t)i, 10, false, i < 0, true);
		break;
	case 'u':
	case 'x':
	case 'X':
	case 'o':
		v = bytes == 8 ? va_arg(*ap, uint64_t) : va_arg(*ap, unsigned);
		if (bytes < 4)
			v &= bytes == 2 ? 0xffff : 0xff;
		put_number(o, s, v, c == 'u' ? 10 : c == 'o' ? 8 : 16, c == 'X', false, false);
		break;
	case 'p':
		s->alt = true;
		put_number(o, s, format_pointer(va_arg(*ap, void *)), 16, false, false, false);
		break;
	case 'c':
		ch = (char)va_arg(*ap, int);
		put_padded(o, s, "", &ch, 1, 0);
		break;
	case 's':
		put_string(o, s, format_string(va_arg(*ap, const char *)));
		break;
	case '%':
		put(o, '%');
		break;
	default: /* the compiler checks formats: only a new conversion can come here (%n is none) */
		put(o, '%');
		put(o, c);
		break;
	}
}

static void printf_like(2, 0)
format(struct out *o, const char *fmt, va_list args)
{
	va_list ap;

	va_copy(ap, args);
	for (const char *f = format_literal(fmt); *f; f++) {
		struct spec s = {.precision = -1};
		unsigned bytes;

		if (*f != '%') {
			put(o, *f);
			continue;
		}
		for (f++;; f++) {
			if (*f == '-')
				s.left = true;
			else if (*f == '0')
				s.zero = true;
			else if (*f == '+')
				s.plus = true;
			else if (*f == ' ')
				s.space = true;
			else if (*f == '#')
				s.alt = true;
			else
				break;
		}
		f = parse_number(f, &s.width, &ap);
		if (s.width < 0) {
			s.left = true;
			s.width = -s.width;
		}
		if (*f == '.')
			f = parse_number(f + 1, &s.precision, &ap);
		f = parse_length(f, &bytes);
		if (!*f)
			break;
		put_conversion(o, *f, &s, bytes, &ap);
	}
	va_end(ap);
	if (o->size)
		o->buf[MIN(o->len, o->size - 1)] = '\0';
}

int
vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {.buf = buf, .size = size};

	format(&o, fmt, ap);
	return (int)o.len;
}

int
snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}

/* ---- The log ---- */

static void
ring_put(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ring[ring_end++ % KLOG_SIZE] = s[i];
}

static void
console_put(const char *s, size_t n)
{
	while (n) {
		const char *nl = memchr(s, '\n', n);
		size_t line = nl ? (size_t)(nl - s) : n;

		arch_console_write(s, line);
		if (nl) {
			arch_console_write("\r\n", 2);
			line++;
		}
		s += line;
		n -= line;
	}
}

static void
log_text(const char *s, size_t n, bool console)
{
	irqstate_t irq = arch_irq_save();
	bool nested = spin_held(&log_lock);

	if (!nested)
		spin_lock(&log_lock);
	ring_put(s, n);
	if (console)
		console_put(s, n);
	if (!nested)
		spin_unlock(&log_lock);
	arch_irq_restore(irq);
}

void
console_write_locked(const char *s, size_t n)
{
	irqstate_t irq = spin_lock_irq(&log_lock);

	arch_console_write(s, n);
	spin_unlock_irq(&log_lock, irq);
}

static void printf_like(2, 0)
vlog(bool console, const char *fmt, va_list ap)
{
	char line[512];
	struct out o = {.buf = line, .size = sizeof(line), .log = true};

	format(&o, fmt, ap);
	log_text(line, MIN(o.len, sizeof(line) - 1), console);
}

void
kprintf(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(!cmdline_has("quiet"), fmt, ap);
	va_end(ap);
}

void
kalert(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(true, fmt, ap);
	va_end(ap);
}

size_t
klog_read(char *buf, size_t size, uint64_t *pos)
{
	irqstate_t irq = spin_lock_irq(&log_lock);
	uint64_t oldest = ring_end > KLOG_SIZE ? ring_end - KLOG_SIZE : 0;
	size_t n;

	if (*pos < oldest)
		*pos = oldest;
	n = MIN((uint64_t)size, ring_end - *pos);
	for (size_t i = 0; i < n; i++)
		buf[i] = ring[(*pos + i) % KLOG_SIZE];
	*pos += n;
	spin_unlock_irq(&log_lock, irq);
	return n;
}

uint64_t
klog_end(void)
{
	return READ_ONCE(ring_end);
}
