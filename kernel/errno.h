/* Error numbers: Linux's (asm-generic/errno-base.h and errno.h), which are part of its ABI. */
#pragma once

#define EPERM	     1
#define ENOENT	     2
#define ESRCH	     3
#define EINTR	     4
#define EIO	     5
#define ENXIO	     6
#define E2BIG	     7
#define ENOEXEC	     8
#define EBADF	     9
#define ECHILD	     10
#define EAGAIN	     11
#define ENOMEM	     12
#define EACCES	     13
#define EFAULT	     14
#define ENOTBLK	     15
#define EBUSY	     16
#define EEXIST	     17
#define EXDEV	     18
#define ENODEV	     19
#define ENOTDIR	     20
#define EISDIR	     21
#define EINVAL	     22
#define ENFILE	     23
#define EMFILE	     24
#define ENOTTY	     25
#define ETXTBSY	     26
#define EFBIG	     27
#define ENOSPC	     28
#define ESPIPE	     29
#define EROFS	     30
#define EMLINK	     31
#define EPIPE	     32
#define EDOM	     33
#define ERANGE	     34
#define EDEADLK	     35
#define ENAMETOOLONG 36
#define ENOLCK	     37
#define ENOSYS	     38
#define ENOTEMPTY    39
#define ELOOP	     40
#define ENODATA	     61
#define ETIME	     62
#define EOVERFLOW    75
#define ELIBBAD	     80
#define EUSERS	     87
#define ENOTSOCK     88
#define EOPNOTSUPP   95
#define EAFNOSUPPORT 97
#define ETIMEDOUT    110
#define EALREADY     114
#define EINPROGRESS  115
#define ECANCELED    125

/*
 * Internal: a system call that a signal interrupted.  Never seen by a user: signal delivery turns
 * them into EINTR or a restart (kernel/proc/signal.c).
 */
#define ERESTARTSYS	512 /* restart if no handler runs or it has SA_RESTART, else EINTR */
#define ERESTARTNOINTR	513 /* restart always, after a handler too */
#define ERESTARTNOHAND	514 /* restart only if no handler runs */
#define ERESTARTBLOCK	516 /* restart through restart_syscall with the thread's restart block */
