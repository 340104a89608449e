/*
 * The line discipline, N_TTY by Linux's number: line editing, echo, signals from the keyboard, output
 * processing.  Input is processed as it arrives, in interrupt context, so that ^C reaches a process
 * that computes.  Functions want tty.lock held but for tty_receive.
 */
#include "kernel/fs/tty.h"
#include "kernel/lib/string.h"
#include "kernel/proc/signal.h"

#define MASK (TTY_BUFFER - 1)

static inline bool
l_flag(const struct tty *t, uint32_t flag)
{
	return t->termios.lflag & flag;
}

static inline bool
i_flag(const struct tty *t, uint32_t flag)
{
	return t->termios.iflag & flag;
}

static inline bool
o_flag(const struct tty *t, uint32_t flag)
{
	return t->termios.oflag & flag;
}

/* Is c the control character cc[n]?  A slot that holds 0 is off. */
static inline bool
is_cc(const struct tty *t, unsigned n, uint8_t c)
{
	return c == t->termios.cc[n] && c != 0;
}

static inline bool
is_control(uint8_t c)
{
	return c < 0x20 || c == 0x7f;
}

/* A byte of a UTF-8 sequence that is not its first. */
static inline bool
is_continuation(const struct tty *t, uint8_t c)
{
	return i_flag(t, IUTF8) && (c & 0xc0) == 0x80;
}

static inline bool
is_marked(const struct tty *t, uint32_t pos)
{
	return t->marks[(pos & MASK) / 64] >> (pos % 64) & 1;
}

static inline void
mark(struct tty *t, uint32_t pos, bool on)
{
	uint64_t *word = &t->marks[(pos & MASK) / 64];

	*word = on ? *word | BIT(pos % 64) : *word & ~BIT(pos % 64);
}

/* ---- Output ---- */

#define EXPANDED_MAX 8 /* what one byte may become: a tab */

/* Processes one byte into out; returns how many bytes it became. */
static size_t
output_byte(struct tty *t, uint8_t c, char out[EXPANDED_MAX])
{
	size_t spaces;

	out[0] = (char)c;
	switch (c) {
	case '\n':
		if (o_flag(t, ONLRET))
			t->column = 0;
		if (o_flag(t, ONLCR)) {
			t->column = t->line_column = 0;
			out[0] = '\r';
			out[1] = '\n';
			return 2;
		}
		t->line_column = t->column;
		return 1;
	case '\r':
		if (o_flag(t, ONOCR) && t->column == 0)
			return 0;
		if (o_flag(t, OCRNL)) {
			out[0] = '\n';
			if (o_flag(t, ONLRET))
				t->column = t->line_column = 0;
			return 1;
		}
		t->column = t->line_column = 0;
		return 1;
	case '\t':
		spaces = 8 - (t->column & 7);
		t->column += (unsigned)spaces;
		if ((t->termios.oflag & TABDLY) != XTABS)
			return 1;
		memset(out, ' ', spaces);
		return spaces;
	case '\b':
		if (t->column > 0)
			t->column--;
		return 1;
	default:
		if (!is_control(c) && !is_continuation(t, c))
			t->column++;
		return 1;
	}
}

size_t
tty_output(struct tty *t, const uint8_t *s, size_t n)
{
	size_t room = t->driver->room ? t->driver->room(t) : SIZE_MAX;
	char out[128];
	size_t used = 0, done = 0;

	if (!o_flag(t, OPOST))
		return t->driver->write(t, (const char *)s, MIN(n, room));
	while (done < n && room - used >= EXPANDED_MAX) {
		used += output_byte(t, s[done++], out + used);
		if (used > sizeof(out) - EXPANDED_MAX) {
			t->driver->write(t, out, used);
			room = t->driver->room ? t->driver->room(t) : SIZE_MAX;
			used = 0;
		}
	}
	if (used)
		t->driver->write(t, out, used);
	return done;
}

/* ---- Echo ---- */

static void
echo_raw(struct tty *t, const char *s)
{
	(void)tty_output(t, (const uint8_t *)s, strlen(s));
}

/* Echoes an input byte: control characters as ^X under ECHOCTL, but for tab. */
static void
echo_byte(struct tty *t, uint8_t c)
{
	uint8_t pair[2] = {'^', c ^ 0100};

	if (l_flag(t, ECHOCTL) && is_control(c) && c != '\t')
		(void)tty_output(t, pair, 2);
	else
		(void)tty_output(t, &c, 1);
}

/* How far a tab at the end of the line as edited so far goes; no further back than to the tab before it. */
static unsigned
tab_width(const struct tty *t)
{
	unsigned col = 0;

	for (uint32_t p = t->head; p != t->canon;) {
		uint8_t c = t->ring[--p & MASK];

		if (c == '\t')
			return 8 - col % 8;
		if (is_control(c))
			col += l_flag(t, ECHOCTL) ? 2 : 0;
		else if (!is_continuation(t, c))
			col++;
	}
	return 8 - (t->line_column + col) % 8;
}

static void
echo_erase(struct tty *t, uint8_t c, bool erase_key)
{
	if (!l_flag(t, ECHO))
		return;
	if (erase_key && !l_flag(t, ECHOE)) {
		echo_byte(t, t->termios.cc[VERASE]);
	} else if (c == '\t') {
		/* Counted first: without OPOST nobody keeps the column. */
		for (unsigned n = MIN(tab_width(t), t->column); n > 0; n--)
			echo_raw(t, "\b");
	} else {
		if (is_control(c) && l_flag(t, ECHOCTL))
			echo_raw(t, "\b \b");
		if (!is_control(c) || l_flag(t, ECHOCTL))
			echo_raw(t, "\b \b");
	}
}

/* ---- Line editing ---- */

static bool
is_word_byte(uint8_t c)
{
	return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || c >= 0x80;
}

/* ERASE, WERASE, KILL: takes bytes off the line being edited. */
static void
erase(struct tty *t, uint8_t key)
{
	bool one = is_cc(t, VERASE, key), kill = is_cc(t, VKILL, key), in_word = false;

	if (kill && (!l_flag(t, ECHO) || !l_flag(t, ECHOK) || !l_flag(t, ECHOKE) ||
		     !l_flag(t, ECHOE))) {
		if (t->head == t->canon)
			return;
		t->head = t->canon;
		if (l_flag(t, ECHO)) {
			echo_byte(t, key);
			if (l_flag(t, ECHOK))
				echo_raw(t, "\n");
		}
		return;
	}
	while (t->head != t->canon) {
		uint32_t h = t->head;
		uint8_t c;

		do {
			c = t->ring[--h & MASK];
		} while (is_continuation(t, c) && h != t->canon);
		if (!one && !kill) {
			if (is_word_byte(c))
				in_word = true;
			else if (in_word)
				break;
		}
		t->head = h;
		echo_erase(t, c, one);
		if (one)
			break;
	}
}

static void
reprint(struct tty *t, uint8_t key)
{
	echo_byte(t, key);
	echo_raw(t, "\n");
	for (uint32_t p = t->canon; p != t->head; p++)
		echo_byte(t, t->ring[p & MASK]);
}

/* ---- Input ---- */

size_t
tty_input_room(const struct tty *t)
{
	return TTY_BUFFER - (t->head - t->tail);
}

void
tty_flush_input(struct tty *t)
{
	t->canon = t->tail = t->head;
	t->literal = false;
	memset(t->marks, 0, sizeof(t->marks));
}

/* Keeps a byte.  While a line is edited the last place is for its end. */
static bool
keep(struct tty *t, uint8_t c, bool line_end)
{
	if (tty_input_room(t) <= (l_flag(t, ICANON) && !line_end ? 1u : 0u)) {
		if (i_flag(t, IMAXBEL))
			echo_raw(t, "\a");
		return false;
	}
	t->ring[t->head & MASK] = c;
	mark(t, t->head, line_end);
	t->head++;
	if (line_end)
		t->canon = t->head;
	return true;
}

static void
echo_and_keep(struct tty *t, uint8_t c)
{
	unsigned column = t->column;

	if (t->head == t->canon)
		t->line_column = column;
	if (keep(t, c, false) && l_flag(t, ECHO))
		echo_byte(t, c);
}

static void
output_stop(struct tty *t, bool stop)
{
	if (t->stopped == stop)
		return;
	t->stopped = stop;
	if (!stop)
		wake_all(&t->write_wait);
}

/* The signal that the byte stands for, or 0. */
static int
key_signal(const struct tty *t, uint8_t c)
{
	if (!l_flag(t, ISIG))
		return 0;
	if (is_cc(t, VINTR, c))
		return SIGINT;
	if (is_cc(t, VQUIT, c))
		return SIGQUIT;
	if (is_cc(t, VSUSP, c))
		return SIGTSTP;
	return 0;
}

static void
canonical_byte(struct tty *t, uint8_t c)
{
	bool extended = l_flag(t, IEXTEN);

	if (is_cc(t, VERASE, c) || is_cc(t, VKILL, c) || (extended && is_cc(t, VWERASE, c))) {
		erase(t, c);
	} else if (extended && is_cc(t, VLNEXT, c)) {
		t->literal = true;
		if (l_flag(t, ECHO) && l_flag(t, ECHOCTL))
			echo_raw(t, "^\b");
	} else if (extended && l_flag(t, ECHO) && is_cc(t, VREPRINT, c)) {
		reprint(t, c);
	} else if (c == '\n') {
		if (keep(t, c, true) && (l_flag(t, ECHO) || l_flag(t, ECHONL)))
			echo_raw(t, "\n");
	} else if (is_cc(t, VEOF, c)) {
		(void)keep(t, 0, true);
	} else if (is_cc(t, VEOL, c) || (extended && is_cc(t, VEOL2, c))) {
		if (keep(t, c, true) && l_flag(t, ECHO))
			echo_byte(t, c);
	} else {
		echo_and_keep(t, c);
	}
}

/* Processes one byte; returns the signal to send to the foreground, or 0. */
static int
receive_byte(struct tty *t, uint8_t c)
{
	int sig;

	if (i_flag(t, ISTRIP))
		c &= 0x7f;
	if (t->literal) {
		t->literal = false;
		echo_and_keep(t, c);
		return 0;
	}
	if (i_flag(t, IXON)) {
		if (is_cc(t, VSTART, c)) {
			output_stop(t, false);
			return 0;
		}
		if (is_cc(t, VSTOP, c)) {
			output_stop(t, true);
			return 0;
		}
		if (t->stopped && i_flag(t, IXANY))
			output_stop(t, false);
	}
	sig = key_signal(t, c);
	if (sig) {
		if (!l_flag(t, NOFLSH))
			tty_flush_input(t);
		if (i_flag(t, IXON))
			output_stop(t, false);
		if (l_flag(t, ECHO))
			echo_byte(t, c);
		return sig;
	}
	if (c == '\r') {
		if (i_flag(t, IGNCR))
			return 0;
		if (i_flag(t, ICRNL))
			c = '\n';
	} else if (c == '\n' && i_flag(t, INLCR)) {
		c = '\r';
	}
	if (l_flag(t, ICANON)) {
		canonical_byte(t, c);
	} else if (keep(t, c, false) && l_flag(t, ECHO)) {
		if (c == '\n')
			echo_raw(t, "\n");
		else
			echo_byte(t, c);
	}
	return 0;
}

void
tty_receive(struct tty *t, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		irqstate_t s = spin_lock_irq(&t->lock);
		int sig = receive_byte(t, bytes[i]);
		bool readable = tty_available(t) != 0;

		spin_unlock_irq(&t->lock, s);
		if (sig && READ_ONCE(t->pgrp))
			(void)!signal_send_group(READ_ONCE(t->pgrp), sig);
		if (readable)
			wake_all(&t->read_wait);
	}
}

size_t
tty_available(const struct tty *t)
{
	return (l_flag(t, ICANON) ? t->canon : t->head) - t->tail;
}

size_t
tty_take(struct tty *t, uint8_t *buf, size_t n, bool *end)
{
	bool lines = l_flag(t, ICANON);
	uint32_t stop = lines ? t->canon : t->head;
	size_t done = 0;

	*end = false;
	while (t->tail != stop) {
		uint8_t c = t->ring[t->tail & MASK];
		bool line_end = lines && is_marked(t, t->tail), eof = line_end && c == 0;

		/* An end of file that follows a full buffer goes with it, or the next read would get 0. */
		if (done == n && !eof)
			break;
		t->tail++;
		if (!eof)
			buf[done++] = c;
		if (line_end) {
			*end = true;
			break;
		}
	}
	return done;
}

void
tty_termios_changed(struct tty *t, const struct termios *old)
{
	if ((old->lflag ^ t->termios.lflag) & ICANON) {
		memset(t->marks, 0, sizeof(t->marks));
		t->canon = t->tail;
		/* What was typed ahead becomes a line of its own, as in Linux. */
		if (l_flag(t, ICANON) && t->head != t->tail) {
			mark(t, t->head - 1, true);
			t->canon = t->head;
		}
		t->literal = false;
		wake_all(&t->read_wait);
	}
	if (!i_flag(t, IXON))
		output_stop(t, false);
}
