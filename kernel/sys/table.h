/*
 * Every system call, by family.  Each architecture's syscall_nr.h gives the numbers; a call that an
 * architecture never had stands in the legacy list.  What is not listed returns ENOSYS.
 */
#pragma once

#include "kernel/sys/syscall.h"

#define SYSCALLS(X)                                                                                \
	/* files */                                                                                \
	X(read) X(write) X(readv) X(writev) X(pread64) X(pwrite64) X(preadv) X(pwritev)            \
	X(preadv2) X(pwritev2) X(lseek) X(sendfile) X(copy_file_range) X(openat) X(close)          \
	X(close_range) X(dup) X(dup3) X(fcntl) X(ioctl) X(flock) X(fsync) X(fdatasync) X(sync)     \
	X(syncfs) X(sync_file_range) X(fadvise64) X(readahead) X(truncate) X(ftruncate)            \
	X(fallocate) X(memfd_create)                                                               \
	/* names */                                                                                \
	X(newfstatat) X(fstat) X(statx) X(statfs) X(fstatfs) X(faccessat) X(faccessat2)            \
	X(fchmod) X(fchmodat) X(fchown) X(fchownat) X(utimensat) X(umask) X(linkat) X(symlinkat)   \
	X(readlinkat) X(unlinkat) X(mkdirat) X(mknodat) X(renameat) X(renameat2) X(getdents64)     \
	X(getcwd) X(chdir) X(fchdir) X(chroot) X(pivot_root) X(mount) X(umount2)                   \
	X(setxattr) X(lsetxattr) X(fsetxattr) X(getxattr) X(lgetxattr) X(fgetxattr)                \
	X(listxattr) X(llistxattr) X(flistxattr) X(removexattr) X(lremovexattr) X(fremovexattr)    \
	/* pipes and waiting */                                                                    \
	X(pipe2) X(ppoll) X(pselect6) X(epoll_create1) X(epoll_ctl) X(epoll_pwait)                 \
	X(epoll_pwait2) X(eventfd2) X(timerfd_create) X(timerfd_settime) X(timerfd_gettime)        \
	X(signalfd4)                                                                               \
	/* memory */                                                                               \
	X(mmap) X(munmap) X(mprotect) X(brk) X(mremap) X(madvise) X(msync) X(mincore) X(mlock)     \
	X(mlock2) X(munlock) X(mlockall) X(munlockall)                                             \
	/* processes */                                                                            \
	X(clone) X(clone3) X(execve) X(execveat) X(exit) X(exit_group) X(wait4) X(waitid)          \
	X(getpid) X(getppid) X(gettid) X(getpgid) X(setpgid) X(getsid) X(setsid) X(getuid)         \
	X(geteuid) X(getgid) X(getegid) X(setuid) X(setgid) X(setreuid) X(setregid)                \
	X(setresuid) X(getresuid) X(setresgid) X(getresgid) X(setfsuid) X(setfsgid)                \
	X(getgroups) X(setgroups) X(capget) X(capset) X(getrlimit) X(setrlimit) X(prlimit64)       \
	X(getrusage) X(times) X(getpriority) X(setpriority) X(prctl) X(set_tid_address)            \
	X(personality) X(getcpu) X(seccomp)                                                                   \
	X(sched_yield) X(sched_setaffinity) X(sched_getaffinity) X(sched_setscheduler)             \
	X(sched_getscheduler) X(sched_setparam) X(sched_getparam) X(sched_get_priority_max)        \
	X(sched_get_priority_min) X(sched_rr_get_interval)                                         \
	/* signals, futexes */                                                                     \
	X(rt_sigaction) X(rt_sigprocmask) X(rt_sigpending) X(rt_sigsuspend) X(rt_sigtimedwait)     \
	X(rt_sigqueueinfo) X(rt_tgsigqueueinfo) X(rt_sigreturn) X(sigaltstack) X(kill) X(tkill)    \
	X(tgkill) X(restart_syscall) X(futex) X(set_robust_list) X(get_robust_list)                \
	/* time */                                                                                 \
	X(gettimeofday) X(settimeofday) X(clock_gettime) X(clock_settime) X(clock_getres)          \
	X(clock_nanosleep) X(nanosleep) X(getitimer) X(setitimer) X(timer_create)                  \
	X(timer_settime) X(timer_gettime) X(timer_getoverrun) X(timer_delete)                      \
	/* the machine */                                                                          \
	X(uname) X(sethostname) X(setdomainname) X(sysinfo) X(syslog) X(getrandom) X(reboot)       \
	X(vhangup)

/* Calls that x86_64 has and younger architectures express through the ones above. */
#define SYSCALLS_LEGACY(X)                                                                         \
	X(open) X(creat) X(stat) X(lstat) X(access) X(chmod) X(chown) X(lchown) X(utime)           \
	X(utimes) X(futimesat) X(link) X(symlink) X(readlink) X(unlink) X(rmdir) X(mkdir)          \
	X(mknod) X(rename) X(getdents) X(dup2) X(pipe) X(poll) X(select) X(epoll_create)           \
	X(epoll_wait) X(eventfd) X(signalfd) X(fork) X(vfork) X(getpgrp) X(alarm) X(pause)         \
	X(time) X(arch_prctl)

#define SYSCALL_PROTOTYPE(name) long sys_##name(struct trapframe *tf);
SYSCALLS(SYSCALL_PROTOTYPE)
#if ARCH_HAS_LEGACY_SYSCALLS
SYSCALLS_LEGACY(SYSCALL_PROTOTYPE)
#endif
