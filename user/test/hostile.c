/*
 * Hostile arguments: each pointer argument of each call is given addresses that a program must not
 * lend, each
 * number a value that wraps. The errno is Linux's, and the kernel never faults. The table's last
 * column was
 * taken from Linux's answers and reviewed by hand. A case prints only when it differs.
 *
 * `test-hostile -p` prints what this kernel answers instead of judging it.
 */
#include "user/test/test.h"
#include "machine.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

/* - The addresses ------------------------------------------------------------------------------ */

static char *good;		/* A page that can be read and written, the next one gone. */
static char *none;		/* PROT_NONE */
static char *read_only;
static char *gone;		/* Unmapped. */

enum { NBAD = 13 };
static unsigned long bad[NBAD];

static void
make_addresses(void)
{
	char *m = t_map(6 * PAGE, PROT_READ | PROT_WRITE);

	good = m;
	ok(munmap(m + PAGE, PAGE));
	none = m + 2 * PAGE;
	ok(mprotect(none, PAGE, PROT_NONE));
	read_only = m + 4 * PAGE;
	ok(mprotect(read_only, PAGE, PROT_READ));
	gone = m + 5 * PAGE;
	ok(munmap(gone, PAGE));
	bad[0] = 8;
	bad[1] = (unsigned long)gone;
	bad[2] = (unsigned long)none;
	bad[3] = 0xffff888000000000;		/* Linux's direct map. */
	bad[4] = 0xffffffff80200000;		/* Kernel text. */
	bad[5] = 0xffffffffff600000;		/* Where vsyscall was. */
	bad[6] = T_USER_END;		/* The first address that is not the lower half's. */
	bad[7] = T_USER_END - 8;	/* Straddles the end of user space. */
	bad[8] = T_USER_END - PAGE;
	bad[9] = 0xffff800000000000;
	bad[10] = 0xfffffffffffffff8;		/* Wraps. */
	bad[11] = 0x4141414141414141;
	bad[12] = ~0UL;
}

/* - The calls ---------------------------------------------------------------------------------- */

/*
 * An argument of a case: a number, one of these, or BAD, which takes each hostile address in turn.
 */
#define BAD	0x7b00000000000001L	/* Any hostile address. */
#define GOOD	0x7b00000000000002L	/* The readable and writable page, zeroed. */
#define PATH	0x7b00000000000003L	/* "file", which exists. */
#define FILE_	0x7b00000000000004L	/* A descriptor, open for reading and writing. */
#define DIR_	0x7b00000000000005L	/* A directory's. */
#define RPIPE	0x7b00000000000006L	/* A pipe's reading end, with 64 bytes in it. */
#define WPIPE	0x7b00000000000007L
#define EDGE	0x7b00000000000008L	/* The last byte of a page, the next page gone. */
#define RO	0x7b00000000000009L	/* A page that can only be read. */
#define EPOLL	0x7b0000000000000aL
#define EVENT	0x7b0000000000000bL
#define TIMER	0x7b0000000000000cL
#define EDGE8	0x7b0000000000000dL	/* The last eight bytes of a page. */
#define NOWAIT	0x7b0000000000000eL	/* A struct timespec of zero. */
#define PATH2	0x7b0000000000000fL	/* "absent" */
#define ME	0x7b00000000000010L	/* This process's number. */
#define WILD	0x7b00000000000011L	/* A file that is not there: -1, 999, INT_MAX, INT_MIN in turn. */
#define LINK	0x7b00000000000012L	/* "link", a symbolic one. */

#define BADA	0x7b00000000000013L	/* A hostile address that is aligned. */

struct call {
	const char *name;
	long number;
	long a[6];
	/* errno; 0: success (any value); -2: whatever, the kernel shall live */
	int want;
};

#define C(name, want, ...) { #name, SYS_##name, { __VA_ARGS__ }, want }

/* Calls that only x86_64 has. */
#ifdef SYS_open
#define OLD(name, want, ...) C(name, want, __VA_ARGS__),
#else
#define OLD(name, want, ...)
#endif

static const struct call calls[] = {
	/* Bytes in and out. */
	C(read, EFAULT, RPIPE, BAD, 16),
	C(read, EFAULT, FILE_, BAD, 16),
	C(read, EFAULT, RPIPE, RO, 16),
	C(read, EBADF, WILD, GOOD, 16),
	C(read, EBADF, WPIPE, GOOD, 16),
	C(write, EFAULT, WPIPE, BAD, 16),
	C(write, EFAULT, FILE_, BAD, 16),
	C(write, EBADF, WILD, GOOD, 16),
	C(write, 0, WPIPE, RO, 16),
	C(write, EFAULT, FILE_, GOOD, -1L),
	C(write, EFAULT, FILE_, GOOD, LONG_MIN),
	C(read, EFAULT, FILE_, GOOD, -1L),
	C(read, EFAULT, FILE_, GOOD, LONG_MIN),
	C(pread64, EFAULT, FILE_, BAD, 16, 0),
	C(pread64, EINVAL, FILE_, GOOD, 16, -1L),
	C(pread64, EINVAL, FILE_, GOOD, 16, LONG_MIN),
	C(pread64, ESPIPE, RPIPE, GOOD, 16, 0),
	C(pwrite64, EFAULT, FILE_, BAD, 16, 0),
	C(pwrite64, EINVAL, FILE_, GOOD, 16, -1L),
	C(pwrite64, EINVAL, FILE_, GOOD, 16, LONG_MAX),
	C(pwrite64, -2, FILE_, GOOD, 16, LONG_MAX - 16),
	C(readv, EFAULT, FILE_, BAD, 1),
	C(readv, EINVAL, FILE_, GOOD, -1L),
	C(readv, EINVAL, FILE_, GOOD, 0x7fffffff),
	C(writev, EFAULT, FILE_, BAD, 1),
	C(writev, EFAULT, FILE_, EDGE8, 1),
	C(writev, EINVAL, FILE_, GOOD, 1025),
	C(preadv, EFAULT, FILE_, BAD, 1, 0),
	C(preadv, EINVAL, FILE_, GOOD, 1, -1L, -1L),
	C(sendfile, EFAULT, FILE_, FILE_, BAD, 16),
	C(sendfile, EBADF, WILD, FILE_, 0, 16),
	C(lseek, EBADF, WILD, 0, 0),
	C(lseek, EINVAL, FILE_, LONG_MIN, SEEK_SET),
	C(lseek, EINVAL, FILE_, LONG_MIN, SEEK_CUR),
	C(lseek, EINVAL, FILE_, 0, -1L),
	C(getdents64, EFAULT, DIR_, BAD, 4096),
	C(getdents64, EINVAL, DIR_, GOOD, 0),
	C(getdents64, ENOTDIR, FILE_, GOOD, 4096),
	OLD(getdents, EFAULT, DIR_, BAD, 4096)
	C(getrandom, EFAULT, BAD, 16, 0),
	C(getrandom, EINVAL, GOOD, 16, -1L),

	/* Names. */
	OLD(open, EFAULT, BAD, 0)
	OLD(open, EFAULT, 0, 0)
	C(openat, EFAULT, AT_FDCWD, BAD, 0),
	C(openat, EBADF, WILD, PATH, 0),
	C(openat, ENOTDIR, FILE_, PATH, 0),
	OLD(creat, EFAULT, BAD, 0600)
	OLD(stat, EFAULT, BAD, GOOD)
	OLD(stat, EFAULT, PATH, BAD)
	OLD(stat, EFAULT, PATH, RO)
	OLD(stat, EFAULT, PATH, EDGE8)
	OLD(lstat, EFAULT, BAD, GOOD)
	OLD(lstat, EFAULT, PATH, BAD)
	C(fstat, EFAULT, FILE_, BAD),
	C(fstat, EBADF, WILD, GOOD),
	C(newfstatat, EFAULT, AT_FDCWD, BAD, GOOD, 0),
	C(newfstatat, EFAULT, AT_FDCWD, PATH, BAD, 0),
	C(newfstatat, EINVAL, AT_FDCWD, PATH, GOOD, -1L),
	C(statx, EFAULT, AT_FDCWD, BAD, 0, 0x7ff, GOOD),
	C(statx, EFAULT, AT_FDCWD, PATH, 0, 0x7ff, BAD),
	C(statx, EINVAL, AT_FDCWD, PATH, 0, 0x80000000, GOOD),
	C(statfs, EFAULT, BAD, GOOD),
	C(statfs, EFAULT, PATH, BAD),
	C(fstatfs, EFAULT, FILE_, BAD),
	OLD(access, EFAULT, BAD, 0)
	OLD(access, EINVAL, PATH, -1L)
	C(faccessat, EFAULT, AT_FDCWD, BAD, 0),
	C(faccessat2, EINVAL, AT_FDCWD, PATH, 0, 0x8000),
	C(truncate, EFAULT, BAD, 0),
	C(truncate, EINVAL, PATH, -1L),
	C(truncate, -2, PATH, LONG_MAX),
	C(ftruncate, EINVAL, FILE_, LONG_MIN),
	C(ftruncate, EBADF, WILD, 0),
	OLD(readlink, EFAULT, BAD, GOOD, 16)
	OLD(readlink, EFAULT, LINK, BAD, 16)
	OLD(readlink, EINVAL, LINK, GOOD, -1L)
	C(readlinkat, EFAULT, AT_FDCWD, LINK, BAD, 16),
	C(getcwd, EFAULT, BAD, 4096),
	C(getcwd, ERANGE, GOOD, 1),
	C(chdir, EFAULT, BAD),
	C(fchdir, EBADF, WILD),
	OLD(rename, EFAULT, BAD, PATH)
	OLD(rename, EFAULT, PATH, BAD)
	C(renameat, EFAULT, AT_FDCWD, PATH, AT_FDCWD, BAD),
	C(renameat2, EINVAL, AT_FDCWD, PATH, AT_FDCWD, PATH2, -1L),
	OLD(mkdir, EFAULT, BAD, 0700)
	C(mkdirat, EFAULT, AT_FDCWD, BAD, 0700),
	OLD(rmdir, EFAULT, BAD)
	OLD(link, EFAULT, BAD, PATH)
	OLD(link, EFAULT, PATH, BAD)
	C(linkat, EINVAL, AT_FDCWD, PATH, AT_FDCWD, PATH2, -1L),
	OLD(unlink, EFAULT, BAD)
	C(unlinkat, EINVAL, AT_FDCWD, PATH, -1L),
	OLD(symlink, EFAULT, BAD, PATH)
	OLD(symlink, EFAULT, PATH, BAD)
	C(symlinkat, EFAULT, PATH, AT_FDCWD, BAD),
	OLD(chmod, EFAULT, BAD, 0600)
	C(fchmod, EBADF, WILD, 0600),
	C(fchmodat, EFAULT, AT_FDCWD, BAD, 0600),
	OLD(chown, EFAULT, BAD, 0, 0)
	OLD(lchown, EFAULT, BAD, 0, 0)
	C(fchown, EBADF, WILD, 0, 0),
	C(fchownat, EINVAL, AT_FDCWD, PATH, 0, 0, -1L),
	OLD(mknod, EFAULT, BAD, S_IFREG | 0600, 0)
	OLD(mknod, EINVAL, PATH2, 0170000, 0)
	C(mknodat, EFAULT, AT_FDCWD, BAD, S_IFREG | 0600, 0),
	OLD(utime, EFAULT, BAD, 0)
	OLD(utime, EFAULT, PATH, BAD)
	OLD(utimes, EFAULT, PATH, BAD)
	C(utimensat, EFAULT, AT_FDCWD, BAD, 0, 0),
	C(utimensat, EFAULT, AT_FDCWD, PATH, BAD, 0),
	C(utimensat, EINVAL, AT_FDCWD, PATH, 0, -1L),
	C(chroot, EFAULT, BAD),
	C(mount, EFAULT, BAD, PATH, GOOD, 0, 0),
	C(mount, EFAULT, GOOD, BAD, GOOD, 0, 0),
	C(mount, EFAULT, GOOD, PATH, BAD, 0, 0),
	C(umount2, EFAULT, BAD, 0),
	C(umount2, EINVAL, PATH, -1L),
	C(memfd_create, EFAULT, BAD, 0),
	C(memfd_create, EINVAL, PATH, -1L),
	C(execve, EFAULT, BAD, 0, 0),
	C(execve, EFAULT, PATH, BAD, 0),
	C(execve, EFAULT, PATH, 0, BAD),
	C(sethostname, EFAULT, BAD, 4),
	C(sethostname, EINVAL, GOOD, 65),
	C(sethostname, EINVAL, GOOD, -1L),

	/* Descriptors. */
	C(close, EBADF, WILD),
	C(dup, EBADF, WILD),
	OLD(dup2, EBADF, WILD, 5)
	OLD(dup2, EBADF, FILE_, -1L)
	OLD(dup2, EBADF, FILE_, 0x7fffffff)
	C(dup3, EINVAL, FILE_, FILE_, 0),
	C(dup3, EBADF, FILE_, 0x7fffffff, 0),
	C(dup3, EINVAL, FILE_, 40, -1L),
	OLD(pipe, EFAULT, BAD)
	C(pipe2, EFAULT, BAD, 0),
	C(pipe2, EFAULT, RO, 0),
	C(pipe2, EINVAL, GOOD, -1L),
	C(fcntl, EBADF, WILD, F_GETFD, 0),
	C(fcntl, EINVAL, FILE_, -1L, 0),
	C(fcntl, EINVAL, FILE_, F_DUPFD, -1L),
	C(fcntl, EINVAL, FILE_, F_DUPFD, 0x7fffffff),
	C(fcntl, EFAULT, FILE_, F_SETLK, BAD),
	C(fcntl, EFAULT, FILE_, F_GETLK, BAD),
	C(flock, EBADF, WILD, 1),
	C(flock, EINVAL, FILE_, 0),
	C(ioctl, EBADF, WILD, TCGETS, GOOD),
	C(ioctl, ENOTTY, FILE_, TCGETS, GOOD),
	C(ioctl, EFAULT, FILE_, FIONBIO, BAD),
	C(ioctl, EFAULT, RPIPE, FIONREAD, BAD),
	C(ioctl, ENOTTY, FILE_, 0xdeadbeef, GOOD),
	C(fsync, EBADF, WILD),
	C(fdatasync, EBADF, WILD),
	C(fsync, EINVAL, RPIPE),
	C(close_range, EINVAL, 10, 5, 0),
	C(close_range, EINVAL, 1000, 2000, -1L),
	OLD(poll, EFAULT, BAD, 1, 0)
	OLD(poll, EINVAL, GOOD, -1L, 0)
	C(ppoll, EFAULT, BAD, 1, NOWAIT, 0, 8),
	C(ppoll, EFAULT, GOOD, 1, BAD, 0, 8),
	C(ppoll, EFAULT, GOOD, 1, NOWAIT, BAD, 8),
	C(ppoll, EINVAL, GOOD, 1, NOWAIT, GOOD, 7),
	OLD(select, EFAULT, 64, BAD, 0, 0, GOOD)
	OLD(select, EFAULT, 64, 0, BAD, 0, GOOD)
	OLD(select, EFAULT, 1, 0, 0, 0, BAD)
	OLD(select, EINVAL, -1L, GOOD, 0, 0, GOOD)
	C(pselect6, EFAULT, 64, BAD, 0, 0, NOWAIT, 0),
	C(pselect6, EFAULT, 1, 0, 0, 0, BAD, 0),
	C(pselect6, EFAULT, 1, 0, 0, 0, NOWAIT, BAD),
	C(epoll_create1, EINVAL, -1L),
	C(epoll_ctl, EFAULT, EPOLL, EPOLL_CTL_ADD, RPIPE, BAD),
	C(epoll_ctl, EBADF, EPOLL, EPOLL_CTL_ADD, WILD, GOOD),
	C(epoll_ctl, EBADF, WILD, EPOLL_CTL_ADD, RPIPE, GOOD),
	C(epoll_ctl, EINVAL, FILE_, EPOLL_CTL_ADD, RPIPE, GOOD),
	C(epoll_ctl, EINVAL, EPOLL, 99, RPIPE, GOOD),
	OLD(epoll_wait, EINVAL, EPOLL, GOOD, -1L, 0)
	OLD(epoll_wait, EINVAL, EPOLL, GOOD, 0x7fffffff, 0)
	OLD(epoll_wait, EBADF, WILD, GOOD, 1, 0)
	C(epoll_pwait, EFAULT, EPOLL, GOOD, 1, 0, BAD, 8),
	C(epoll_pwait, EINVAL, EPOLL, GOOD, 1, 0, GOOD, 4),
	C(eventfd2, EINVAL, 0, -1L),
	C(read, -2, EVENT, BAD, 8),
	C(read, EINVAL, EVENT, GOOD, 7),
	C(write, EFAULT, EVENT, BAD, 8),
	C(timerfd_create, EINVAL, 99, 0),
	C(timerfd_create, EINVAL, 1, -1L),
	C(timerfd_settime, EFAULT, TIMER, 0, BAD, 0),
	C(timerfd_settime, EFAULT, TIMER, 0, GOOD, BAD),
	C(timerfd_settime, EINVAL, TIMER, -1L, GOOD, 0),
	C(timerfd_gettime, EFAULT, TIMER, BAD),
	C(timerfd_gettime, EBADF, WILD, GOOD),
	C(signalfd4, EFAULT, -1L, BAD, 8, 0),
	C(signalfd4, EINVAL, -1L, GOOD, 4, 0),
	C(signalfd4, EINVAL, -1L, GOOD, 8, -1L),

	/* Memory. */
	C(mmap, EINVAL, 0, 0, 3, 0x22, -1L, 0),
	C(mmap, ENOMEM, 0, -1L, 3, 0x22, -1L, 0),
	C(mmap, ENOMEM, 0, LONG_MAX, 3, 0x22, -1L, 0),
	C(mmap, ENOMEM, 0xffff888000000000, 4096, 3, 0x32, -1L, 0),
	C(mmap, ENOMEM, T_MMAP_END, 4096, 3, 0x32, -1L, 0),
	C(mmap, EINVAL, 4097, 4096, 3, 0x32, -1L, 0),
	C(mmap, EBADF, 0, 4096, 3, 0x02, WILD, 0),
	C(mmap, EINVAL, 0, 4096, 3, 0x02, FILE_, 1),
	C(mmap, EOVERFLOW, 0, 8192, 3, 0x02, FILE_, -4096L),
	C(munmap, EINVAL, 1, 4096),
	C(munmap, EINVAL, 0, 0),
	C(munmap, EINVAL, 0, -1L),
	C(munmap, EINVAL, 0xffff888000000000, 4096),
	C(mprotect, EINVAL, 1, 4096, 1),
	C(mprotect, ENOMEM, 0, -1L, 1),
	C(mprotect, ENOMEM, 0xffffffff80200000, 4096, 1),
	C(mremap, EFAULT, 0xffff888000000000, 4096, 8192, 1),
	C(mremap, EINVAL, GOOD, 4096, -1L, 1),
	C(mremap, EINVAL, GOOD, 4096, 4096, -1L),
	C(madvise, EINVAL, GOOD, 4096, -1L),
	C(madvise, EINVAL, GOOD, -1L, 4),
	C(madvise, ENOMEM, 0xffff888000000000, 4096, 4),
	C(msync, EINVAL, GOOD, 4096, -1L),
	C(msync, ENOMEM, 0xffff888000000000, 4096, 4),
	C(mincore, ENOMEM, 0xffff888000000000, 4096, GOOD),
	C(mincore, EFAULT, GOOD, 4096, BAD),
	C(mincore, ENOMEM, GOOD, 0x7fffffffffff, GOOD),

	/* Signals. */
	C(rt_sigaction, EFAULT, 10, BAD, 0, 8),
	C(rt_sigaction, EFAULT, 10, 0, BAD, 8),
	C(rt_sigaction, EINVAL, 10, GOOD, 0, 4),
	C(rt_sigaction, EINVAL, 0, GOOD, 0, 8),
	C(rt_sigaction, EINVAL, 65, GOOD, 0, 8),
	C(rt_sigaction, EINVAL, -1L, GOOD, 0, 8),
	C(rt_sigaction, EINVAL, 9, GOOD, 0, 8),
	C(rt_sigprocmask, EFAULT, 0, BAD, 0, 8),
	C(rt_sigprocmask, EFAULT, 0, 0, BAD, 8),
	C(rt_sigprocmask, EINVAL, 3, GOOD, 0, 8),
	C(rt_sigprocmask, EINVAL, 0, GOOD, 0, 9),
	C(rt_sigpending, EFAULT, BAD, 8),
	C(rt_sigpending, EINVAL, GOOD, 16),
	C(rt_sigtimedwait, EFAULT, BAD, 0, NOWAIT, 8),
	C(rt_sigtimedwait, EFAULT, GOOD, 0, BAD, 8),
	C(rt_sigtimedwait, EAGAIN, GOOD, 0, NOWAIT, 8),
	C(rt_sigsuspend, EFAULT, BAD, 8),
	C(rt_sigsuspend, EINVAL, GOOD, 7),
	C(rt_sigqueueinfo, EFAULT, ME, 10, BAD),
	C(sigaltstack, EFAULT, BAD, 0),
	C(sigaltstack, EFAULT, 0, BAD),
	C(kill, EINVAL, ME, 65),
	C(kill, EINVAL, ME, -1L),
	C(kill, ESRCH, 0x7fffffff, 0),
	C(tkill, EINVAL, -1L, 0),
	C(tkill, EINVAL, 0, 0),
	C(tkill, ESRCH, 0x7fffffff, 0),
	C(tgkill, EINVAL, ME, ME, 65),
	C(tgkill, EINVAL, 0, ME, 0),
	C(tgkill, EINVAL, -1L, -1L, 0),

	/* Time. */
	C(nanosleep, EFAULT, BAD, 0),
	C(nanosleep, EFAULT, 0, 0),
	C(clock_nanosleep, EFAULT, 1, 0, BAD, 0),
	C(clock_nanosleep, EINVAL, 99, 0, NOWAIT, 0),
	C(clock_gettime, EFAULT, 1, BAD),
	C(clock_gettime, EFAULT, 0, 0),
	C(clock_gettime, EINVAL, 99, GOOD),
	C(clock_gettime, EINVAL, 0x7fffffff, GOOD),
	C(clock_getres, EFAULT, 1, BAD),
	C(clock_getres, EINVAL, 0x7fffffff, GOOD),
	C(clock_settime, EFAULT, 0, BAD),
	C(clock_settime, EINVAL, 1, GOOD),
	C(gettimeofday, EFAULT, BAD, 0),
	OLD(time, EFAULT, BAD)
	C(getitimer, EFAULT, 0, BAD),
	C(getitimer, EINVAL, 3, GOOD),
	C(setitimer, EFAULT, 0, BAD, 0),
	C(setitimer, EFAULT, 2, GOOD, BAD),
	C(setitimer, EINVAL, 99, GOOD, 0),
	C(timer_create, EFAULT, 1, BAD, GOOD),
	C(timer_create, EFAULT, 1, 0, BAD),
	C(timer_create, EINVAL, 99, 0, GOOD),
	C(timer_settime, EINVAL, -1L, 0, GOOD, 0),
	C(timer_gettime, EINVAL, 0x7fffffff, GOOD),
	C(timer_getoverrun, EINVAL, -1L),
	C(timer_delete, EINVAL, -1L),
	C(times, EFAULT, BAD),

	/* Processes. */
	C(wait4, ECHILD, -1L, BAD, 0, 0),
	C(wait4, EINVAL, -1L, 0, -1L, 0),
	C(wait4, ESRCH, INT_MIN, 0, 0, 0),
	C(waitid, EFAULT, 0, 0, BAD, 4, 0),
	C(waitid, EINVAL, 77, 0, GOOD, 4, 0),
	C(waitid, EINVAL, 0, 0, GOOD, 0, 0),
	C(waitid, EINVAL, 1, -1L, GOOD, 4, 0),
	C(uname, EFAULT, BAD),
	C(sysinfo, EFAULT, BAD),
	C(getrlimit, EFAULT, 0, BAD),
	C(getrlimit, EINVAL, -1L, GOOD),
	C(getrlimit, EINVAL, 16, GOOD),
	C(setrlimit, EFAULT, 0, BAD),
	C(setrlimit, EINVAL, 99, GOOD),
	C(prlimit64, EFAULT, 0, 0, BAD, 0),
	C(prlimit64, EFAULT, 0, 0, 0, BAD),
	C(prlimit64, EINVAL, 0, 0x7fffffff, 0, GOOD),
	C(prlimit64, ESRCH, 0x7fffffff, 0, 0, GOOD),
	C(getrusage, EFAULT, 0, BAD),
	C(getrusage, EINVAL, 99, GOOD),
	C(getgroups, EINVAL, -1L, GOOD),
	C(getgroups, 0, 3, BAD),
	C(setgroups, EFAULT, 3, BAD),
	C(setgroups, EINVAL, -1L, GOOD),
	C(setgroups, EINVAL, 65537, GOOD),
	C(getresuid, EFAULT, BAD, GOOD, GOOD),
	C(getresuid, EFAULT, GOOD, GOOD, BAD),
	C(getresgid, EFAULT, GOOD, BAD, GOOD),
	C(getpgid, ESRCH, -1L),
	C(getsid, ESRCH, 0x7fffffff),
	C(setpgid, EINVAL, 0, -1L),
	C(setpgid, ESRCH, 0x7fffffff, 0),
	C(getpriority, EINVAL, 99, 0),
	C(setpriority, ESRCH, 0, 0x7fffffff, 0),
	C(sched_setaffinity, EFAULT, 0, 8, BAD),
	C(sched_setaffinity, EINVAL, 0, 8, GOOD),
	C(sched_getaffinity, EFAULT, 0, 128, BAD),
	C(sched_getaffinity, EINVAL, 0, 7, GOOD),
	C(sched_getaffinity, ESRCH, 0x7fffffff, 128, GOOD),
	C(sched_getparam, EINVAL, 0, 0),
	C(sched_getparam, EFAULT, 0, BAD),
	C(sched_getscheduler, EINVAL, -1L),
	C(sched_get_priority_max, EINVAL, 99),
	C(prctl, EINVAL, -1L, 0, 0, 0, 0),
	C(prctl, EFAULT, PR_SET_NAME, BAD, 0, 0, 0),
	C(prctl, EFAULT, PR_GET_NAME, BAD, 0, 0, 0),
	C(prctl, EINVAL, PR_SET_PDEATHSIG, 65, 0, 0, 0),
	C(prctl, EFAULT, PR_GET_PDEATHSIG, BAD, 0, 0, 0),
	C(prctl, EINVAL, PR_SET_DUMPABLE, 5, 0, 0, 0),
	C(prctl, EINVAL, PR_SET_NO_NEW_PRIVS, 2, 0, 0, 0),
	OLD(arch_prctl, EFAULT, 0x1003, BAD)
	OLD(arch_prctl, EPERM, 0x1001, 0xffff888000000000)
	OLD(arch_prctl, EINVAL, -1L, GOOD)
	C(getcpu, EFAULT, BAD, 0, 0),
	C(getcpu, EFAULT, GOOD, BAD, 0),
	C(set_robust_list, EINVAL, GOOD, 7),
	C(get_robust_list, EFAULT, 0, BAD, GOOD),
	C(clone, EINVAL, 0x10000, 0, 0, 0, 0),		/* CLONE_THREAD alone */
	C(clone, EINVAL, 0x800, 0, 0, 0, 0),		/* CLONE_SIGHAND alone */
	C(reboot, EINVAL, 0x1234, 0x5678, 0, 0),
	C(personality, 0, 0xffffffff),

	/* Futexes. */
	C(futex, EFAULT, BADA, FUTEX_WAIT, 0, NOWAIT, 0, 0),
	C(futex, EFAULT, GOOD, FUTEX_WAIT, 0, BAD, 0, 0),
	C(futex, EINVAL, EDGE, FUTEX_WAIT, 0, NOWAIT, 0, 0),
	C(futex, ETIMEDOUT, GOOD, FUTEX_WAIT, 0, NOWAIT, 0, 0),
	C(futex, EAGAIN, GOOD, FUTEX_WAIT, 1, NOWAIT, 0, 0),
	C(futex, EFAULT, GOOD, FUTEX_CMP_REQUEUE, 1, 1, BADA, 0),
	C(futex, EFAULT, GOOD, FUTEX_WAKE_OP, 1, 1, BADA, 0),
	C(futex, EINVAL, GOOD, FUTEX_WAIT_BITSET, 0, NOWAIT, 0, 0),
	C(futex, EINVAL, GOOD, FUTEX_WAKE_BITSET, 0, 0, 0, 0),
	C(futex, ENOSYS, GOOD, 127, 0, 0, 0, 0),
	C(futex, ENOSYS, GOOD, -1L, 0, 0, 0, 0),
};

static int file, dir, rpipe, wpipe, epoll, event, timer;
static const long wild[] = { -1, 999, 0x7fffffff, INT_MIN };
static struct timespec nowait;

/* The value for this round, and through *rounds how many rounds the argument asks for. */
static long
argument(long a, int round, int *rounds)
{
	int n = 1;
	long v = a;

	switch (a) {
	case BAD: n = NBAD; v = (long)bad[round % NBAD]; break;
	case BADA: n = NBAD - 2; v = (long)bad[round % (NBAD - 2)]; break;
	case WILD: n = 4; v = wild[round % 4]; break;
	case GOOD: v = (long)good; break;
	case PATH: v = (long)"file"; break;
	case PATH2: v = (long)"absent"; break;
	case LINK: v = (long)"link"; break;
	case FILE_: v = file; break;
	case DIR_: v = dir; break;
	case RPIPE: v = rpipe; break;
	case WPIPE: v = wpipe; break;
	case EDGE: v = (long)good + (long)PAGE - 1; break;
	case EDGE8: v = (long)good + (long)PAGE - 8; break;
	case RO: v = (long)read_only; break;
	case EPOLL: v = epoll; break;
	case EVENT: v = event; break;
	case TIMER: v = timer; break;
	case NOWAIT: v = (long)&nowait; break;
	case ME: v = getpid(); break;
	}
	if (n > *rounds)
		*rounds = n;
	return v;
}

static void
set_up(void)
{
	char text[200];
	int fds[2];

	memset(text, 'x', sizeof(text));
	make_addresses();
	file = ok(open("file", O_RDWR | O_CREAT, 0644));
	check_eq(write(file, text, sizeof(text)), sizeof(text));
	ok(symlink("file", "link"));
	dir = ok(open(".", O_RDONLY));
	ok(pipe(fds));
	rpipe = fds[0];
	wpipe = fds[1];
	ok(fcntl(rpipe, F_SETFL, O_NONBLOCK));
	ok(fcntl(wpipe, F_SETFL, O_NONBLOCK));
	check_eq(write(wpipe, text, 64), 64);
	epoll = ok(epoll_create1(0));
	event = ok((int)syscall(SYS_eventfd2, 3, O_NONBLOCK));
	timer = ok((int)syscall(SYS_timerfd_create, 1, 0));
}

static bool print;

/* One case, all rounds. Returns how many answers differ. */
static int
one(const struct call *c, int index)
{
	int rounds = 1, wrong = 0;

	for (int round = 0; round < rounds; round++) {
		long a[6], r;
		int e;

		for (int i = 0; i < 6; i++)
			a[i] = argument(c->a[i], round, &rounds);
		memset(good, 0, PAGE);
		if (c->number == SYS_readv || c->number == SYS_writev || c->number == SYS_preadv)
			memcpy(good + PAGE - 8, &(long){ (long)good }, 8);
		lseek(file, 0, SEEK_SET);
		lseek(dir, 0, SEEK_SET);
		errno = 0;
		r = syscall(c->number, a[0], a[1], a[2], a[3], a[4], a[5]);
		e = r == -1 ? errno : 0;
		if (c->want == -2)
			continue;
		if (print) {
			printf("%d %s round %d: %s\n", index, c->name, round, e
				? t_errno_name(e) : "0");
		} else if (e != c->want) {
			char line[200];

			int n = snprintf(line, sizeof(line),
					 "differs: case %d %s(%#lx, %#lx, %#lx, %#lx, %#lx): %s, Linux %s\n", index, c->name,
					 a[0], a[1], a[2], a[3], a[4], e
						? t_errno_name(e) : "success",
					 c->want ? t_errno_name(c->want) : "success");
			if (write(1, line, (size_t)n) != n)
				return 1;
			wrong++;
		}
	}
	return wrong;
}

static void
every_hostile_argument_gets_linux_errno(void)
{
	int wrong = 0;

	set_up();
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		wrong += one(&calls[i], (int)i);
	check_eq(wrong, 0);
}

/* - What a table cannot say -------------------------------------------------------------------- */

static void
partial_transfers_stop_at_the_edge(void)
{
	set_up();
	struct iovec v[3] = { { good, 10 }, { gone, 10 }, { good, 10 } };
	struct iovec huge[2] = { { good, LONG_MAX }, { good, LONG_MAX } };
	char *edge = good + PAGE - 10;

	check_eq(writev(file, v, 3), 10);
	fails(writev(wpipe, v + 1, 1), EFAULT);
	/* Long, and not negative: the memory is what lacks. */
	fails(readv(file, huge, 2), EFAULT);
	huge[1].iov_len = ~0UL;
	fails(readv(file, huge, 2), EINVAL);
	check_eq(pread(file, edge, 100, 0), 10);	/* As far as the page goes. */
	fails(pread(file, edge + 10, 100, 0), EFAULT);
	check_eq(pwrite(file, edge, 100, 1000), 10);
	/* A name that ends exactly at the page's end is fine, one that runs off it is not. */
	memcpy(good + PAGE - 5, "file", 5);
	ok(access(good + PAGE - 5, F_OK));
	memcpy(good + PAGE - 4, "file", 4);
	fails(access(good + PAGE - 4, F_OK), EFAULT);
	/* What could not be stored must not be lost: a pipe's descriptors, a child's status. */
	int before = ok(dup(0));
	close(before);
	for (int i = 0; i < 50; i++)
		fails(pipe((int *)gone), EFAULT);
	int after = ok(dup(0));
	check_eq(before, after);
}

static void
length_without_memory_behind_it(void)
{
	set_up();
	int null = ok(open("/dev/null", O_RDWR)), zero_ = ok(open("/dev/zero", O_RDWR));

	check_eq(write(null, good, 4096), 4096);
	fails(write(null, good, -1UL), EFAULT);
	fails(write(null, (void *)0xffff888000000000, 10), EFAULT);
	fails(read(zero_, (void *)0xffff888000000000, 10), EFAULT);
	fails(read(zero_, none, 10), EFAULT);
	fails(read(zero_, read_only, 10), EFAULT);
	long n = read(zero_, good, 0x7ffff000);
	check(n == 4096 || (n == -1 && errno == EFAULT));
	/* The kernel's limit of a transfer, where user addresses do not end before it. */
	char *low = mmap((void *)(1L << 32), PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(low != MAP_FAILED);
	n = write(null, low, 0x7fffffff);
	check(n == 0x7ffff000 || n == 4096);
}

static void
futex_misuse(void)
{
	set_up();
	for (int i = 0; i < NBAD; i++) {
		long r = syscall(SYS_futex, bad[i], FUTEX_WAKE, 1, NULL, NULL, 0);

		/*
		 * An aligned address of a user's that nobody waits on may be answered with 0 or
		 * EFAULT.
		 */
		check(r == 0 || errno == EFAULT || errno == EINVAL);
		r = syscall(SYS_futex, bad[i], FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
		check(r == 0 || errno == EFAULT || errno == EINVAL);
	}
	for (int op = 0; op < 256; op++) {
		if ((op & 127) == FUTEX_LOCK_PI || (op & 127) == FUTEX_LOCK_PI2)
			continue;		/* They lock, rightly. */
		syscall(SYS_futex, good, op, 0, &nowait, good + 8, 0);
	}
}

static void
lists_that_lie(void)
{
	/*
	 * A robust list in hostile memory: the exit that walks it must end, and not in the kernel's
	 * fault.
	 */
	static const long offsets[] = { 0, 8, 0x7fffffffffff, (long)0xffff888000000000, -8 };

	set_up();
	for (int i = 0; i < NBAD + 5; i++) {
		pid_t p = t_fork();

		if (p == 0) {
			static long head[3];

			head[0] = i < NBAD ? (long)bad[i] : 0;
			head[1] = i < NBAD ? 0 : offsets[i - NBAD];
			head[2] = i < NBAD ? (long)bad[NBAD - 1 - i] : 0;
			if (i >= NBAD) {	/* A list that never ends. */
				static long loop[2];

				loop[0] = (long)loop;
				head[0] = (long)loop;
			}
			syscall(SYS_set_robust_list, head, 24);
			syscall(SYS_set_tid_address, bad[i % NBAD]);
			_exit(0);
		}
		exits(p, 0);
	}
}

static void
hostile_clone_and_exec_arguments(void)
{
	set_up();
	for (int i = 0; i < NBAD; i++) {
		/*
		 * The child thread's stack, its TID address, its TLS: whatever happens, happens to
		 * the child.
		 */
		/* PARENT_SETTID */
		pid_t p = (pid_t)syscall(SYS_clone, 0x00100000 | SIGCHLD, 0, bad[i], 0, 0);
		if (p == 0)
			_exit(0);
		if (p > 0)
			t_wait(p);
		/* CHILD_SETTID, CLEARTID */
		p = (pid_t)syscall(SYS_clone, 0x01200000 | SIGCHLD, 0, 0, bad[i], 0);
		if (p == 0)
			_exit(0);
		if (p > 0)
			t_wait(p);
		p = (pid_t)syscall(SYS_clone, 0x00080000 | SIGCHLD, 0, 0, 0, bad[i]);	/* SETTLS */
		if (p == 0) {
			t_call(SYS_exit_group, 0, 0);
		}
		if (p > 0)
			t_wait(p);
		/* A stack that is none. */
		p = (pid_t)syscall(SYS_clone, SIGCHLD, bad[i], 0, 0, 0);
		if (p == 0)
			_exit(0);
		if (p > 0)
			t_wait(p);
	}
}

static void
ioctl_and_prctl_garbage(void)
{
	set_up();
	static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/full",
		"/dev/urandom", "/dev/console" };
	unsigned seed = 12345;

	signal(SIGTTOU, SIG_IGN);

	for (unsigned d = 0; d < 5; d++) {
		int fd = open(devices[d], O_RDWR | O_NOCTTY | O_NONBLOCK);

		if (fd < 0)
			continue;
		for (int i = 0; i < 200; i++) {
			seed = seed * 1103515245 + 12345;
			/*
			 * The terminal's settings, TIOCSTI and friends are left alone: letter 'T'
			 * is not tried.
			 */
			unsigned long cmd = (seed >> 8 & 0xff) | ((seed >> 16 & 0x3f) << 8);
			if ((cmd >> 8 & 0xff) == 'T' || (cmd >> 8 & 0xff) == 'R')
				continue;
			ioctl(fd, cmd, bad[i % NBAD]);
		}
		close(fd);
	}
	for (int i = 0; i < NBAD; i++) {
		fails(ioctl(0, TCSETS, bad[i]), EFAULT);
		fails(ioctl(0, TCGETS, bad[i]), EFAULT);
		fails(ioctl(0, TIOCGWINSZ, bad[i]), EFAULT);
		fails(ioctl(0, TIOCSPGRP, bad[i]), EFAULT);
	}
}

static const struct test tests[] = {
	TEST(every_hostile_argument_gets_linux_errno),
	TEST(partial_transfers_stop_at_the_edge),
	TEST(length_without_memory_behind_it),
	TEST(futex_misuse),
	TEST(lists_that_lie),
	TEST(hostile_clone_and_exec_arguments),
	TEST(ioctl_and_prctl_garbage),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "-p") == 0) {
		print = true;
		argc = 1;
	}
	return t_main(argc, argv, tests);
}
