/*
 * Files: names, contents, times, mounts, and the errno of everything that cannot be (owners.c: who may; descriptors.c:
 * what is open).
 */
#include "user/test/test.h"
#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <utime.h>

/* The file holds exactly this text. */
static void
holds(const char *path, const char *text)
{
	char buf[300] = { 0 };
	int fd = ok(open(path, O_RDONLY));

	check_eq(read(fd, buf, sizeof(buf)), (ssize_t)strlen(text));
	check(strcmp(buf, text) == 0);
	close(fd);
}

static void
open_flags(void)
{
	int fd, dir;

	fails(open("a", O_RDONLY), ENOENT);
	fd = ok(open("a", O_RDWR | O_CREAT | O_EXCL, 0666));
	fails(open("a", O_RDWR | O_CREAT | O_EXCL, 0666), EEXIST);
	check_eq(write(fd, "hello", 5), 5);
	fails(open("a", O_RDONLY | O_DIRECTORY), ENOTDIR);
	fails(open("a/", O_RDONLY), ENOTDIR);
	fails(open("a/b", O_RDONLY), ENOTDIR);
	fails(open("new/", O_WRONLY | O_CREAT, 0666), EISDIR);
	close(ok(open("a", O_WRONLY)));
	holds("a", "hello");
	close(ok(open("a", O_WRONLY | O_TRUNC)));
	holds("a", "");
	fd = ok(open("a", O_WRONLY | O_APPEND));
	check_eq(write(fd, "one", 3), 3);
	check_eq(lseek(fd, 0, SEEK_SET), 0);
	check_eq(write(fd, "two", 3), 3);
	holds("a", "onetwo");
	check_eq(lseek(fd, 0, SEEK_CUR), 6);
	ok(mkdir("d", 0755));
	fails(open("d", O_WRONLY), EISDIR);
	fails(open("d", O_RDONLY | O_CREAT, 0644), EISDIR);
	dir = ok(open("d", O_RDONLY | O_DIRECTORY));
	fails(read(dir, &fd, 1), EISDIR);
	fails(write(dir, &fd, 1), EBADF);
	close(ok(openat(dir, "in", O_WRONLY | O_CREAT, 0644)));
	ok(access("d/in", F_OK));
	fails(openat(fd, "x", O_RDONLY), ENOTDIR);
	fails(openat(999, "x", O_RDONLY), EBADF);
	close(ok(openat(999, "/tmp", O_RDONLY)));
	ok(symlink("a", "l"));
	fails(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
	close(ok(open("l", O_RDONLY)));
	fails(open("l", O_WRONLY | O_CREAT | O_EXCL, 0600), EEXIST);
	ok(symlink("made", "m"));
	close(ok(open("m", O_WRONLY | O_CREAT, 0600)));	/* Through the dangling link. */
	ok(access("made", F_OK));
	fails(open("", O_RDONLY), ENOENT);
	int ro = ok(open("a", O_RDONLY)), wo = ok(open("a", O_WRONLY));
	fails(write(ro, "x", 1), EBADF);
	fails(read(wo, &fd, 1), EBADF);
	int path = ok(open("a", O_PATH));
	fails(read(path, &fd, 1), EBADF);
	struct stat st;
	ok(fstat(path, &st));
	check_eq(st.st_size, 6);
	check_eq(fcntl(ro, F_GETFL) & O_ACCMODE, O_RDONLY);
	check_eq(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
	ok(fcntl(fd, F_SETFL, 0));
	check_eq(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY);
}

static void
reading_and_writing_at(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));
	char a[8] = { 0 }, b[8] = { 0 }, c[8] = { 0 };
	struct iovec out[3] = { { "abc", 3 }, { "", 0 }, { "defg", 4 } };
	struct iovec in[2] = { { a, 2 }, { b, 8 } };

	check_eq(writev(fd, out, 3), 7);
	check_eq(lseek(fd, 0, SEEK_CUR), 7);
	check_eq(pread(fd, c, 3, 2), 3);
	check(memcmp(c, "cde", 3) == 0);
	check_eq(pwrite(fd, "XY", 2, 5), 2);
	check_eq(lseek(fd, 0, SEEK_CUR), 7);
	check_eq(lseek(fd, 1, SEEK_SET), 1);
	check_eq(readv(fd, in, 2), 6);
	check(memcmp(a, "bc", 2) == 0 && memcmp(b, "deXY", 4) == 0);
	check_eq(preadv(fd, in, 1, 0), 2);
	check(memcmp(a, "ab", 2) == 0);
	check_eq(pwritev(fd, out, 1, 10), 3);
	check_eq(read(fd, a, 8), 6);
	check(memcmp(a, "\0\0\0abc", 6) == 0);
	check_eq(read(fd, a, 8), 0);
	fails(pread(fd, a, 1, -1), EINVAL);
	fails(pwrite(fd, a, 1, -1), EINVAL);
	fails(readv(fd, in, -1), EINVAL);
	fails(readv(fd, in, 1025), EINVAL);
	check_eq(readv(fd, in, 0), 0);
	in[0].iov_len = SIZE_MAX;
	fails(readv(fd, in, 2), EINVAL);
	check_eq(read(fd, NULL, 0), 0);
	check_eq(write(fd, NULL, 0), 0);
}

static void
seeking_holes_and_truncating(void)
{
	int fd = ok(open("f", O_RDWR | O_CREAT, 0600));
	struct stat st;
	char c = 'x';

	fails(lseek(fd, -1, SEEK_SET), EINVAL);
	fails(lseek(fd, 0, 99), EINVAL);
	fails(lseek(999, 0, SEEK_SET), EBADF);
	check_eq(lseek(fd, 100000, SEEK_SET), 100000);
	check_eq(read(fd, &c, 1), 0);
	check_eq(write(fd, "x", 1), 1);
	ok(fstat(fd, &st));
	check_eq(st.st_size, 100001);
	check_eq(st.st_blocks, 8);
	check_eq(pread(fd, &c, 1, 50000), 1);
	check_eq(c, 0);
	check_eq(lseek(fd, -1, SEEK_END), 100000);
	long data = lseek(fd, 0, SEEK_DATA);
	check(data == 98304 || data == 0);		/* A file system may see data everywhere. */
	long hole = lseek(fd, 0, SEEK_HOLE);
	check(hole == 0 || hole == 100001);
	check_eq(lseek(fd, 99999, SEEK_HOLE), 100001);
	fails(lseek(fd, 100001, SEEK_DATA), ENXIO);
	ok(ftruncate(fd, 10));
	ok(fstat(fd, &st));
	check_eq(st.st_size, 10);
	ok(ftruncate(fd, 5000));
	check_eq(pread(fd, &c, 1, 4999), 1);
	check_eq(c, 0);
	fails(ftruncate(fd, -1), EINVAL);
	fails(truncate("absent", 0), ENOENT);
	fails(truncate(".", 0), EISDIR);
	int ro = ok(open("f", O_RDONLY));
	fails(ftruncate(ro, 0), EINVAL);
	fails(lseek(ok(open("/dev/null", O_RDONLY)) + 100, 0, SEEK_SET), EBADF);
	int fds[2];
	ok(pipe(fds));
	fails(lseek(fds[0], 0, SEEK_SET), ESPIPE);
	fails(pread(fds[0], &c, 1, 0), ESPIPE);
	fails(ftruncate(fds[1], 0), EINVAL);
	/* What lay beyond a cut is gone for good. */
	int g = ok(open("g", O_RDWR | O_CREAT, 0600));
	check_eq(write(g, "secret", 6), 6);
	ok(ftruncate(g, 2));
	ok(ftruncate(g, 6));
	char buf[6];
	check_eq(pread(g, buf, 6, 0), 6);
	check(memcmp(buf, "se\0\0\0\0", 6) == 0);
}

static void
links_and_unlinks(void)
{
	struct stat st;

	t_put("a", "text", 0644);
	ok(link("a", "b"));
	ok(stat("a", &st));
	check_eq(st.st_nlink, 2);
	fails(link("a", "b"), EEXIST);
	fails(link("absent", "c"), ENOENT);
	ok(mkdir("d", 0755));
	fails(link("d", "e"), EPERM);
	ok(unlink("a"));
	holds("b", "text");
	int fd = ok(open("b", O_RDWR));
	ok(unlink("b"));
	ok(fstat(fd, &st));
	check_eq(st.st_nlink, 0);
	check_eq(write(fd, "TE", 2), 2);	/* Alive while open. */
	fails(unlink("b"), ENOENT);
	fails(unlink("d"), EISDIR);
	fails(unlink("d/"), EISDIR);
	fails(rmdir("b"), ENOENT);
	t_put("f", "", 0644);
	fails(rmdir("f"), ENOTDIR);
	fails(unlink("f/"), ENOTDIR);
	fails(rmdir("."), EINVAL);
	fails(rmdir("d/.."), ENOTEMPTY);
	fails(rmdir("/"), EBUSY);
	t_put("d/x", "", 0644);
	fails(rmdir("d"), ENOTEMPTY);
	ok(unlinkat(AT_FDCWD, "d/x", 0));
	fails(unlinkat(AT_FDCWD, "d", 0), EISDIR);
	ok(stat("d", &st));
	check_eq(st.st_nlink, 2);
	ok(mkdir("d/sub", 0755));
	ok(stat("d", &st));
	check_eq(st.st_nlink, 3);
	ok(rmdir("d/sub"));
	ok(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
	fails(unlinkat(AT_FDCWD, "d", 0x1234), EINVAL);
	fails(mkdir("f", 0755), EEXIST);
	fails(mkdir(".", 0755), EEXIST);
	fails(mkdir("f/x", 0755), ENOTDIR);
	ok(mkdir("slash/", 0755));
	/* A symlink may be linked to itself, not through. */
	ok(symlink("f", "s"));
	ok(link("s", "s2"));
	ok(lstat("s2", &st));
	check(S_ISLNK(st.st_mode) && st.st_nlink == 2);
	ok(linkat(AT_FDCWD, "s", AT_FDCWD, "f2", AT_SYMLINK_FOLLOW));
	ok(lstat("f2", &st));
	check(S_ISREG(st.st_mode));
}

static void
symbolic_links(void)
{
	char buf[300], name[300], path[5000];
	struct stat st;

	ok(mkdir("d", 0755));
	t_put("d/f", "here", 0644);
	ok(symlink("d", "sd"));
	ok(symlink("d/f", "sf"));
	holds("sf", "here");
	holds("sd/f", "here");
	check_eq(readlink("sf", buf, sizeof(buf)), 3);
	check_eq(readlink("sf", buf, 2), 2);
	fails(readlink("d", buf, sizeof(buf)), EINVAL);
	fails(readlink("sf", buf, 0), EINVAL);
	ok(lstat("sf", &st));
	check(S_ISLNK(st.st_mode) && st.st_size == 3 && (st.st_mode & 0777) == 0777);
	ok(symlink("loop", "loop"));
	fails(open("loop", O_RDONLY), ELOOP);
	fails(stat("loop/x", &st), ELOOP);
	ok(lstat("loop", &st));
	fails(symlink("", "empty"), ENOENT);
	fails(symlink("x", "sf"), EEXIST);
	/* Forty may be followed, not more. */
	t_put("l0", "deep", 0644);
	for (int i = 1; i <= 41; i++) {
		snprintf(buf, sizeof(buf), "l%d", i - 1);
		snprintf(name, sizeof(name), "l%d", i);
		ok(symlink(buf, name));
	}
	ok(stat("l40", &st));
	fails(stat("l41", &st), ELOOP);
	memset(name, 'n', 255);
	name[255] = 0;
	t_put(name, "", 0644);
	ok(unlink(name));
	name[255] = 'n';
	name[256] = 0;
	fails(open(name, O_WRONLY | O_CREAT, 0600), ENAMETOOLONG);
	memset(path, '/', 4095);
	path[4095] = 0;
	ok(stat(path, &st));			/* Slashes all the way to the root. */
	path[4095] = '/';
	path[4096] = 0;
	fails(stat(path, &st), ENAMETOOLONG);
	fails(rmdir("sd"), ENOTDIR);
	ok(unlink("sd"));
	ok(lstat("d/f", &st));
	ok(symlink("nowhere", "dangling"));
	fails(stat("dangling", &st), ENOENT);
	fails(mkdir("dangling", 0755), EEXIST);
}

static void
renames(void)
{
	struct stat st;

	t_put("a", "A", 0644);
	t_put("b", "B", 0644);
	ok(rename("a", "b"));
	holds("b", "A");
	fails(rename("a", "c"), ENOENT);
	ok(mkdir("d", 0755));
	ok(mkdir("e", 0755));
	t_put("e/x", "", 0644);
	fails(rename("b", "d"), EISDIR);
	fails(rename("d", "b"), ENOTDIR);
	fails(rename("d", "e"), ENOTEMPTY);
	ok(rename("e", "d"));
	fails(stat("e", &st), ENOENT);
	ok(stat("d/x", &st));
	ok(mkdir("d/in", 0755));
	fails(rename("d", "d/in/d"), EINVAL);
	fails(rename("d/in", "d"), ENOTEMPTY);
	fails(rename(".", "x"), EBUSY);
	fails(rename("d", ".."), EBUSY);
	fails(rename("b", "b/"), ENOTDIR);
	ok(link("b", "b2"));
	ok(rename("b", "b2"));			/* The same file: nothing happens. */
	ok(stat("b", &st));
	check_eq(st.st_nlink, 2);
	t_put("c", "C", 0644);
	fails(renameat2(AT_FDCWD, "c", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
	holds("c", "C");
	ok(renameat2(AT_FDCWD, "c", AT_FDCWD, "n", RENAME_NOREPLACE));
	ok(renameat2(AT_FDCWD, "n", AT_FDCWD, "d", RENAME_EXCHANGE));
	holds("d", "C");
	ok(stat("n/in", &st));
	fails(renameat2(AT_FDCWD, "d", AT_FDCWD, "absent", RENAME_EXCHANGE), ENOENT);
	fails(renameat2(AT_FDCWD, "d", AT_FDCWD, "n", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
	fails(renameat2(AT_FDCWD, "d", AT_FDCWD, "n", 0x100), EINVAL);
	/* An open directory follows its files' new parent. */
	ok(mkdir("p", 0755));
	ok(mkdir("q", 0755));
	ok(rename("n", "p/n"));
	ok(stat("p", &st));
	check_eq(st.st_nlink, 3);
	ok(chdir("p/n"));
	ok(rename("../../p/n", "../../q/n"));
	char cwd[300];
	check(getcwd(cwd, sizeof(cwd)) != NULL && strcmp(cwd + strlen(cwd) - 4, "/q/n") == 0);
	ok(stat("../../q/n/x", &st));
}

static void
directories_are_read_whole(void)
{
	char name[300];
	int seen[300] = { 0 }, n = 0;
	long where[4] = { 0 };
	struct dirent *e;
	DIR *d;

	ok(mkdir("d", 0755));
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d/%d", i);
		close(ok(open(name, O_CREAT | O_WRONLY, 0600)));
	}
	d = opendir("d");
	check(d != NULL);
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.') {
			check(e->d_type == DT_DIR);
			n += 1000;
			continue;
		}
		check(e->d_type == DT_REG && e->d_ino != 0);
		check_eq(seen[atoi(e->d_name)]++, 0);
		n++;
		if (n % 1000 == 100) {
			where[0] = telldir(d);
			e = readdir(d);
			where[1] = atoi(e->d_name);
			seen[where[1]]++;
			n++;
		}
	}
	check_eq(n, 2300);
	seekdir(d, where[0]);
	e = readdir(d);
	check_eq(atoi(e->d_name), where[1]);
	/* Removing while reading: each that stays is seen, once. */
	rewinddir(d);
	memset(seen, 0, sizeof(seen));
	n = 0;
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		check_eq(seen[atoi(e->d_name)]++, 0);
		snprintf(name, sizeof(name), "d/%s", e->d_name);
		ok(unlink(name));
		n++;
	}
	check_eq(n, 300);
	closedir(d);
	ok(rmdir("d"));
	ok(mkdir("d", 0755));
	int fd = ok(open("d", O_RDONLY));
	char buf[24];
	fails(syscall(SYS_getdents64, fd, buf, 10), EINVAL);
	ok(rmdir("d"));
	fails(syscall(SYS_getdents64, fd, buf, 24), ENOENT);
	fails(syscall(SYS_getdents64, ok(open("/dev/null", O_RDONLY)), buf, 24), ENOTDIR);
	fails(openat(fd, "x", O_CREAT | O_WRONLY, 0600), ENOENT);
}

static void
stat_and_statx(void)
{
	struct stat st, l;
	struct statx x;
	struct statfs fs;

	t_put("f", "12345", 0644);
	ok(chmod("f", 0640));
	ok(stat("f", &st));
	check(S_ISREG(st.st_mode) && st.st_size == 5 && st.st_nlink == 1 && st.st_uid == 0 &&
		st.st_gid == 0);
	check_eq(st.st_mode & 07777, 0640);
	check_eq(st.st_blksize, 4096);
	check(st.st_ino != 0);
	ok(symlink("f", "s"));
	ok(fstatat(AT_FDCWD, "s", &l, AT_SYMLINK_NOFOLLOW));
	check(S_ISLNK(l.st_mode) && l.st_ino != st.st_ino && l.st_dev == st.st_dev);
	ok(stat("s", &l));
	check_eq(l.st_ino, st.st_ino);
	ok(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x));
	check(x.stx_ino == st.st_ino && x.stx_size == 5 && (x.stx_mode & 07777) == 0640 &&
		x.stx_nlink == 1);
	check_eq(makedev(x.stx_dev_major, x.stx_dev_minor), st.st_dev);
	check_eq(x.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
	check_eq(x.stx_mtime.tv_sec, st.st_mtim.tv_sec);
	int fd = ok(open("f", O_RDONLY));
	ok(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &x));
	check_eq(x.stx_ino, st.st_ino);
	fails(statx(fd, "", 0, STATX_ALL, &x), ENOENT);
	fails(statx(AT_FDCWD, "f", 0x40000000, STATX_ALL, &x), EINVAL);
	ok(fstatat(fd, "", &l, AT_EMPTY_PATH));
	fails(fstatat(AT_FDCWD, "f", &l, 0x8000), EINVAL);
	fails(fstat(999, &l), EBADF);
	ok(stat("/dev/null", &st));
	check(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
	ok(statfs(".", &fs));
	check(fs.f_type == 0x01021994 && fs.f_bsize == 4096 && fs.f_namelen == 255);
	ok(statfs("/proc", &fs));
	check_eq(fs.f_type, 0x9fa0);
	fails(statfs("absent", &fs), ENOENT);
	ok(stat("/proc/self/stat", &st));
	check(S_ISREG(st.st_mode));
}

static void
times(void)
{
	struct timespec t[2] = { { 1000, 5 }, { 2000, 6 } }, now;
	struct stat st, old;
	struct utimbuf u = { 11, 22 };

	t_put("f", "x", 0644);
	ok(utimensat(AT_FDCWD, "f", t, 0));
	ok(stat("f", &st));
	check(st.st_atim.tv_sec == 1000 && st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 6);
	t[0].tv_nsec = UTIME_OMIT;
	t[1].tv_nsec = UTIME_NOW;
	clock_gettime(CLOCK_REALTIME, &now);
	ok(utimensat(AT_FDCWD, "f", t, 0));
	ok(stat("f", &st));
	check(st.st_atim.tv_sec == 1000 && st.st_mtim.tv_sec >= now.tv_sec - 1);
	ok(utime("f", &u));
	ok(stat("f", &st));
	check(st.st_atim.tv_sec == 11 && st.st_mtim.tv_sec == 22 && st.st_ctim.tv_sec > 1000000);
	int fd = ok(open("f", O_WRONLY));
	t[0] = t[1] = (struct timespec){ 5, 5 };
	ok(futimens(fd, t));
	check_eq(write(fd, "y", 1), 1);
	ok(stat("f", &st));
	check(st.st_mtim.tv_sec > 1000000 && st.st_atim.tv_sec == 5);	/* Writing is a change. */
	ok(mkdir("d", 0755));
	t[0] = t[1] = (struct timespec){ 7, 7 };
	ok(utimensat(AT_FDCWD, "d", t, 0));
	ok(stat("d", &old));
	t_put("d/f", "", 0644);
	ok(stat("d", &st));
	check(st.st_mtim.tv_sec > old.st_mtim.tv_sec);
	t[0].tv_nsec = 1000000000;
	fails(utimensat(AT_FDCWD, "f", t, 0), EINVAL);
	fails(utimensat(AT_FDCWD, "absent", NULL, 0), ENOENT);
	ok(symlink("f", "s"));
	t[0] = t[1] = (struct timespec){ 9, 0 };
	ok(utimensat(AT_FDCWD, "s", t, AT_SYMLINK_NOFOLLOW));
	ok(lstat("s", &st));
	check_eq(st.st_mtim.tv_sec, 9);
	ok(stat("f", &st));
	check(st.st_mtim.tv_sec != 9);
	ok(chmod("f", 0666));
	t_become(STUDENT);
	ok(utimensat(AT_FDCWD, "f", NULL, 0));
	t[0] = t[1] = (struct timespec){ 9, 0 };
	fails(utimensat(AT_FDCWD, "f", t, 0), EPERM);
}

static void
changed_root_holds(void)
{
	struct stat st, top;
	char buf[300];

	ok(mkdir("jail", 0755));
	ok(mkdir("jail/in", 0755));
	t_put("outside", "secret", 0644);
	t_put("jail/inside", "public", 0644);
	ok(symlink("/outside", "jail/abs"));
	ok(symlink("../../../../outside", "jail/rel"));
	ok(stat("jail", &top));
	ok(chdir("jail"));
	ok(chroot("."));
	ok(chdir("/"));
	holds("/inside", "public");
	fails(open("/outside", O_RDONLY), ENOENT);
	fails(open("../outside", O_RDONLY), ENOENT);
	fails(open("../../../../../outside", O_RDONLY), ENOENT);
	fails(open("/in/../../outside", O_RDONLY), ENOENT);
	fails(open("abs", O_RDONLY), ENOENT);
	fails(open("rel", O_RDONLY), ENOENT);
	ok(stat("/..", &st));
	check(st.st_ino == top.st_ino && st.st_dev == top.st_dev);
	check(getcwd(buf, sizeof(buf)) != NULL && strcmp(buf, "/") == 0);
	fails(chroot("inside"), ENOTDIR);
	fails(chroot("absent"), ENOENT);
}

static void
current_directory(void)
{
	char buf[300], top[300];
	int fd = ok(open(".", O_RDONLY));

	check(getcwd(top, sizeof(top)) != NULL);
	ok(mkdir("d", 0755));
	ok(chdir("d"));
	check(getcwd(buf, sizeof(buf)) != NULL && strncmp(buf, top, strlen(top)) == 0 &&
		strcmp(buf + strlen(top), "/d") == 0);
	check_eq(syscall(SYS_getcwd, buf, sizeof(buf)), (long)strlen(top) + 3);
	fails(syscall(SYS_getcwd, buf, 3), ERANGE);
	ok(rmdir("../d"));
	fails(syscall(SYS_getcwd, buf, sizeof(buf)), ENOENT);
	fails(open("x", O_CREAT | O_WRONLY, 0600), ENOENT);
	fails(chdir("/nonexistent"), ENOENT);
	ok(fchdir(fd));
	t_put("f", "", 0644);
	fails(chdir("f"), ENOTDIR);
	fails(fchdir(ok(open("f", O_RDONLY))), ENOTDIR);
	fails(fchdir(999), EBADF);
}

static void
mounts(void)
{
	struct stat st, below;
	int fd;

	ok(mkdir("m", 0755));
	ok(mkdir("n", 0755));
	t_put("m/below", "", 0644);
	ok(stat("m", &below));
	ok(mount("none", "m", "tmpfs", 0, "mode=700"));
	ok(stat("m", &st));
	check(st.st_dev != below.st_dev && (st.st_mode & 0777) == 0700);
	fails(stat("m/below", &st), ENOENT);
	t_put("m/above", "x", 0644);
	fails(link("m/above", "hard"), EXDEV);
	fails(rename("m/above", "moved"), EXDEV);
	fails(rmdir("m"), EBUSY);
	fails(rename("m", "mm"), EBUSY);
	fd = ok(open("m/above", O_RDONLY));
	fails(umount("m"), EBUSY);
	close(fd);
	ok(stat("m/..", &st));
	ok(stat(".", &below));
	check_eq(st.st_ino, below.st_ino);
	ok(mount("m", "n", NULL, MS_BIND, NULL));
	holds("n/above", "x");
	ok(umount("n"));
	fails(mount("none", "absent", "tmpfs", 0, NULL), ENOENT);
	fails(mount("none", "m/above", "tmpfs", 0, NULL), ENOTDIR);
	fails(mount("none", "m", "nosuchfs", 0, NULL), ENODEV);
	fails(umount("n"), EINVAL);
	fails(umount("absent"), ENOENT);
	fails(umount2("m", 0x1000), EINVAL);
	ok(mount("none", "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
	fails(open("m/new", O_CREAT | O_WRONLY, 0600), EROFS);
	fails(unlink("m/above"), EROFS);
	fails(mkdir("m/d", 0700), EROFS);
	fails(chmod("m/above", 0777), EROFS);
	fails(open("m/above", O_RDWR), EROFS);
	fails(access("m/above", W_OK), EROFS);
	close(ok(open("m/above", O_RDONLY)));
	fd = ok(open("m/above", O_RDONLY));
	ok(umount2("m", MNT_DETACH));
	char c;
	check_eq(read(fd, &c, 1), 1);
	ok(stat("m/below", &st));
	t_become(STUDENT);
	fails(mount("none", "m", "tmpfs", 0, NULL), EPERM);
	fails(umount("/proc"), EPERM);
}

static long
pivot_root(const char *new_root, const char *put_old)
{
	return syscall(SYS_pivot_root, new_root, put_old);
}

/* A new root lies below the old one: from above, it would come to lie below itself. */
static void
roots_are_exchanged_downwards(void)
{
	char buf[4096];

	ok(mkdir("a", 0755));
	ok(mount("none", "a", "tmpfs", 0, NULL));
	ok(mkdir("a/old", 0755));
	ok(mkdir("a/b", 0755));
	ok(mount("none", "a/b", "tmpfs", 0, NULL));
	ok(mkdir("a/b/old", 0755));
	pid_t p = t_fork();
	if (p == 0) {
		ok(chdir("a"));
		ok(chroot("b"));
		fails(pivot_root(".", "old"), EINVAL);
		fails(pivot_root(".", "."), EINVAL);
		fails(pivot_root("/", "old"), EBUSY);
		kill(getpid(), SIGKILL);
	}
	dies(p, SIGKILL);
	int fd = ok(open("/proc/self/mounts", O_RDONLY));	/* It has an end. */
	while (ok(read(fd, buf, sizeof(buf))) > 0)
		continue;
	p = t_fork();
	if (p == 0) {
		ok(chroot("a"));
		ok(chdir("/b"));
		ok(pivot_root(".", "old"));
		ok(access("/old/b", F_OK));
		fails(access("/b", F_OK), ENOENT);
		kill(getpid(), SIGKILL);
	}
	dies(p, SIGKILL);
	ok(access("a/old/b", F_OK));		/* What was below is above now. */
	ok(umount("a/old"));
	ok(umount("a"));
	ok(rmdir("a"));
}

static void
full_file_system(void)
{
	static char block[65536];
	int fd;
	ssize_t n;

	ok(mkdir("m", 0755));
	ok(mount("none", "m", "tmpfs", 0, "size=256k"));
	fd = ok(open("m/f", O_CREAT | O_WRONLY, 0600));
	do
		n = write(fd, block, sizeof(block));
	while (n > 0);
	check_eq(errno, ENOSPC);
	ok(ftruncate(fd, 0));
	/* What was freed can be used. */
	check_eq(pwrite(fd, block, sizeof(block), 0), sizeof(block));
	close(fd);
	ok(umount("m"));
}

static void
a_file_ends_where_offsets_do(void)
{
	int fd = ok(open("f", O_CREAT | O_RDWR | O_APPEND, 0600));
	char text[] = "0123456789";
	struct stat st;

	ok(ftruncate(fd, LONG_MAX - 4));
	check_eq(write(fd, text, 10), 4);
	ok(lseek(fd, 0, SEEK_SET));
	fails(write(fd, text, 10), EFBIG);
	ok(fstat(fd, &st));
	check_eq(st.st_size, LONG_MAX);
	check_eq(pread(fd, text, 3, LONG_MAX - 3), 3);
	check(memcmp(text, "123", 3) == 0);
}

static void
a_hole_is_read_as_far_as_the_buffer_goes(void)
{
	char *m = t_map(2 * PAGE, PROT_READ | PROT_WRITE);
	int fd = ok(open("f", O_CREAT | O_RDWR, 0600));

	ok(ftruncate(fd, 4 * PAGE));
	memset(m, 'x', 2 * PAGE);
	ok(mprotect(m + PAGE, PAGE, PROT_NONE));
	check_eq(pread(fd, m + PAGE - 100, 200, 0), 100);
	check(m[PAGE - 101] == 'x' && m[PAGE - 100] == 0 && m[PAGE - 1] == 0);
	fails(pread(fd, m + PAGE, 200, 0), EFAULT);
	ok(munmap(m, 2 * PAGE));
}

/* A file is not told to whom space goes that it asked for and did not get. */
static void
what_an_allocation_did_not_get_is_free(void)
{
	static char block[65536];
	struct stat st;
	int fd, other;

	ok(mkdir("m", 0755));
	ok(mount("none", "m", "tmpfs", 0, "size=256k"));
	fd = ok(open("m/f", O_CREAT | O_WRONLY, 0600));
	other = ok(open("m/g", O_CREAT | O_WRONLY, 0600));
	check_eq(write(other, block, sizeof(block)), sizeof(block));
	ok(fallocate(fd, FALLOC_FL_KEEP_SIZE, PAGE, PAGE));
	fails(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 60 * PAGE), ENOSPC);
	fails(fallocate(fd, 0, 0, 60 * PAGE), ENOSPC);
	fails(fallocate(fd, 0, 0, 65 * PAGE), ENOSPC);
	ok(fstat(fd, &st));
	check(st.st_size == 0 && st.st_blocks == 8);	/* What it got before is its own. */
	check_eq(write(other, block, sizeof(block)), sizeof(block));
	check_eq(write(other, block, sizeof(block)), sizeof(block));
	ok(fallocate(fd, 0, 0, 8 * PAGE));
	ok(fstat(fd, &st));
	check(st.st_size == 8 * PAGE && st.st_blocks == 64);
	close(fd);
	close(other);
	ok(umount("m"));
}

static void
device_files(void)
{
	char buf[100];
	int fd;

	memset(buf, 'x', sizeof(buf));
	fd = ok(open("/dev/null", O_RDWR));
	check_eq(read(fd, buf, 10), 0);
	check_eq(write(fd, buf, 10), 10);
	fd = ok(open("/dev/zero", O_RDWR));
	check_eq(read(fd, buf, 50), 50);
	check(buf[0] == 0 && buf[49] == 0 && buf[50] == 'x');
	check_eq(write(fd, buf, 10), 10);
	char *m = ok(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	check_eq(m[100], 0);
	m[100] = 1;
	fd = ok(open("/dev/full", O_RDWR));
	fails(write(fd, buf, 1), ENOSPC);
	check_eq(read(fd, buf, 1), 1);
	fd = ok(open("/dev/urandom", O_RDONLY));
	memset(buf, 0, 64);
	check_eq(read(fd, buf, 64), 64);
	check(memcmp(buf, buf + 32, 32) != 0);
	check_eq(syscall(SYS_getrandom, buf, 64, 0), 64);
	fails(syscall(SYS_getrandom, buf, 64, 0x100), EINVAL);
	fails(ioctl(ok(open("/dev/zero", O_RDONLY)), 0x5401, buf), ENOTTY);
}

static const struct test tests[] = {
	TEST(open_flags),
	TEST(reading_and_writing_at),
	TEST(seeking_holes_and_truncating),
	TEST(links_and_unlinks),
	TEST(symbolic_links),
	TEST(renames),
	TEST(directories_are_read_whole),
	TEST(stat_and_statx),
	TEST(times),
	TEST(changed_root_holds),
	TEST(current_directory),
	TEST(mounts),
	TEST(roots_are_exchanged_downwards),
	TEST(a_hole_is_read_as_far_as_the_buffer_goes),
	TEST(full_file_system),
	TEST(a_file_ends_where_offsets_do),
	TEST(what_an_allocation_did_not_get_is_free),
	TEST(device_files),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
