/*
 * Terminals: a driver below, the line discipline in between, files and job control above.
 *
 * Locks: process_lock guards session and foreground group; then tty.lock, taken with interrupts off
 * because input comes from interrupts, guards the rest.  Signals are sent without it.
 */
#pragma once

#include "kernel/fs/vfs.h"

struct process;
struct tty;

#define TTY_BUFFER 4096u /* bytes of input not yet read; a power of two */

/* Linux's struct termios2; its first 36 bytes are the kernel's struct termios. */
#define TTY_NCCS 19
struct termios {
	uint32_t iflag, oflag, cflag, lflag;
	uint8_t line;
	uint8_t cc[TTY_NCCS];
	uint32_t ispeed, ospeed;
};
#define TERMIOS_SIZE offsetof(struct termios, ispeed)

enum { VINTR, VQUIT, VERASE, VKILL, VEOF, VTIME, VMIN, VSWTC, VSTART, VSTOP, VSUSP, VEOL, VREPRINT,
       VDISCARD, VWERASE, VLNEXT, VEOL2 };

/* iflag */
#define ISTRIP	0000040u
#define INLCR	0000100u
#define IGNCR	0000200u
#define ICRNL	0000400u
#define IXON	0002000u
#define IXANY	0004000u
#define IXOFF	0010000u
#define IMAXBEL 0020000u
#define IUTF8	0040000u
/* oflag */
#define OPOST  0000001u
#define ONLCR  0000004u
#define OCRNL  0000010u
#define ONOCR  0000020u
#define ONLRET 0000040u
#define TABDLY 0014000u
#define XTABS  0014000u
/* lflag */
#define ISIG	0000001u
#define ICANON	0000002u
#define ECHO	0000010u
#define ECHOE	0000020u
#define ECHOK	0000040u
#define ECHONL	0000100u
#define NOFLSH	0000200u
#define TOSTOP	0000400u
#define ECHOCTL 0001000u
#define ECHOKE	0004000u
#define IEXTEN	0100000u

struct winsize {
	uint16_t rows, cols, xpixel, ypixel;
};

struct tty_driver {
	/* Sends n bytes; any context, tty.lock held.  Takes them all, or what there is room for. */
	size_t (*write)(struct tty *t, const char *s, size_t n);
	/* Bytes that write would take now; NULL: any number. */
	size_t (*room)(struct tty *t);
	/* The reader made room in the input buffer; tty.lock not held.  NULL: nobody cares. */
	void (*drained)(struct tty *t);
	/* A file of t was opened (0 or -errno refuses it), was closed.  NULL: nobody counts. */
	int (*open)(struct tty *t);
	void (*close)(struct tty *t);
};

struct tty {
	const struct tty_driver *driver; /* fixed */
	uint32_t dev;			 /* fixed: device number, for /proc/PID/stat */
	void *data;			 /* the driver's */
	int session, pgrp;		 /* [process_lock] 0: none; read anywhere */

	struct spinlock lock;
	struct termios termios; /* [lock] */
	struct winsize size;	/* [lock] */
	unsigned generation;	/* [lock] one more with each hang-up: older files are dead */
	bool stopped;		/* [lock] output is, by STOP or TCOOFF */
	bool literal;		/* [lock] the next byte is not special (LNEXT) */
	unsigned column;	/* [lock] of the cursor */
	unsigned line_column;	/* [lock] where the line being edited starts */
	/* Bytes so far: received, in complete lines, read.  Positions in the ring modulo its size. */
	uint32_t head, canon, tail; /* [lock] */
	uint8_t ring[TTY_BUFFER];   /* [lock] */
	uint64_t marks[TTY_BUFFER / 64]; /* [lock] a line ends at this byte; byte 0 there: end of file */

	struct mutex write_mutex; /* one write(2) at a time */
	struct wait_queue read_wait, write_wait;
};

void tty_init(struct tty *t, const struct tty_driver *driver, uint32_t dev);
extern const struct termios tty_default_termios;
extern const struct file_ops tty_ops; /* chrdev data: the struct tty; NULL: /dev/tty */
extern const struct file_ops console_ops; /* /dev/console: the same, never a controlling terminal */
/* Opens a terminal for f: for chrdev opens of drivers that find their tty themselves. */
must_use int tty_open_file(struct tty *t, struct file *f, bool may_control);
/*
 * The other end is gone: wakes and ends every user, SIGHUP and SIGCONT to the foreground.  process_lock may
 * be held.
 */
void tty_hangup(struct tty *t);
/* A session leader ends: its terminal is nobody's any more.  No locks held. */
void tty_session_exit(struct process *leader);
/* vhangup(2) */
void tty_vhangup_current(void);
/* The ioctls that the master side of a pseudo terminal shares: termios, size, foreground group. */
long tty_common_ioctl(struct tty *t, unsigned cmd, uaddr_t arg);
/* TIOCGWINSZ's value; SIGWINCH to the foreground if it changes. */
void tty_set_size(struct tty *t, const struct winsize *ws);

/* ---- tty_ldisc.c ---- */
/* Input from the driver; interrupt context or not, no locks held. */
void tty_receive(struct tty *t, const uint8_t *bytes, size_t n);
/*
 * The following want tty.lock held.
 * Takes input of at most n bytes into buf.  *end: the read is over (a line, or end of file).
 */
size_t tty_take(struct tty *t, uint8_t *buf, size_t n, bool *end);
/* Bytes that a read could get now. */
size_t tty_available(const struct tty *t);
/* Bytes that tty_receive will keep. */
size_t tty_input_room(const struct tty *t);
/* Sends bytes through output processing; how many it took. */
size_t tty_output(struct tty *t, const uint8_t *s, size_t n);
void tty_flush_input(struct tty *t);
/* The input mode changed from `old` to t->termios. */
void tty_termios_changed(struct tty *t, const struct termios *old);
