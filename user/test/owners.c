/*
 * Who may do what with files: modes, owners, groups, set-ID bits, and whose rights count.
 */
#include "user/test/test.h"
#include <pthread.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

static int
can(const char *path, int how)
{
	return access(path, how) == 0;
}

static void
permission_matrix(void)
{
	static const struct {
		uid_t uid;
		gid_t gid;
		mode_t mode;
		int want;		/* R_OK, W_OK, X_OK bits for the student, group 1000 */
	} m[] = {
		{ 1000, 1000, 0700, 7 }, { 1000, 1000, 0077, 0 }, { 1000, 2000, 0400, 4 }, { 2000,
			1000, 0740, 4 },
		{ 2000, 1000, 0707, 0 }, { 2000, 1000, 0070, 7 }, { 2000, 2000, 0774, 4 }, { 2000,
			2000, 0773, 3 },
		{ 2000, 2000, 0771, 1 }, { 2000, 2000, 0770, 0 }, { 2000, 3333, 0750, 5 }, { 0, 0,
			0666, 6 },
		{ 0, 0, 0000, 0 }, { 1000, 1000, 0200, 2 },
	};
	char name[300];
	gid_t extra = 3333;

	for (unsigned i = 0; i < sizeof(m) / sizeof(m[0]); i++) {
		snprintf(name, sizeof(name), "f%u", i);
		t_put(name, "text", 0644);
		ok(chown(name, m[i].uid, m[i].gid));
		ok(chmod(name, m[i].mode));
		/* Root reads and writes all, and executes what anyone may. */
		check(can(name, R_OK | W_OK));
		check_eq(can(name, X_OK), (m[i].mode & 0111) != 0);
		ok(snprintf(name, sizeof(name), "d%u", i));
		ok(mkdir(name, 0755));
		ok(chown(name, m[i].uid, m[i].gid));
		ok(chmod(name, m[i].mode));
	}
	pid_t p = t_fork();
	if (p == 0) {
		ok(setgroups(1, &extra));
		ok(setresgid(1000, 1000, 1000));
		ok(setresuid(1000, 1000, 1000));
		for (unsigned i = 0; i < sizeof(m) / sizeof(m[0]); i++) {
			struct stat st;
			int fd;

			snprintf(name, sizeof(name), "f%u", i);
			for (int how = 1; how <= 7; how++)
				check_eq(can(name, how), (m[i].want & how) == how);
			fd = open(name, O_RDONLY);
			check_eq(fd >= 0, (m[i].want & R_OK) != 0);
			fd = open(name, O_WRONLY);
			check_eq(fd >= 0, (m[i].want & W_OK) != 0);
			fd = open(name, O_RDWR);
			check_eq(fd >= 0, (m[i].want & 6) == 6);
			check_eq(truncate(name, 1) == 0, (m[i].want & W_OK) != 0);
			snprintf(name, sizeof(name), "d%u", i);
			fd = open(name, O_RDONLY);
			check_eq(fd >= 0, (m[i].want & R_OK) != 0);
			check_eq(chdir(name) == 0, (m[i].want & X_OK) != 0);
			if (m[i].want & X_OK)
				ok(chdir(".."));
			snprintf(name, sizeof(name), "d%u/x", i);
			fd = open(name, O_WRONLY | O_CREAT, 0600);
			check_eq(fd >= 0, (m[i].want & 3) == 3);
			if (fd < 0)
				check_eq(errno, EACCES);
			errno = 0;
			check(stat(name, &st) == 0 || errno == ((m[i].want & X_OK)
				? ENOENT : EACCES));
			ok(fd < 0 ? 0 : unlink(name));
		}
		/* This directory is root's. */
		fails(open("new", O_WRONLY | O_CREAT, 0600), EACCES);
		_exit(0);
	}
	exits(p, 0);
}

static void
real_and_effective_ids_for_access(void)
{
	t_put("f", "", 0644);
	ok(chmod("f", 0600));
	ok(setresuid(STUDENT, 0, 0));
	fails(access("f", R_OK), EACCES);		/* By the real one. */
	ok(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));	/* By the effective one. */
	ok(open("f", O_RDONLY));
	fails(access("f", 8), EINVAL);
	fails(access("absent", F_OK), ENOENT);
}

static void
owners_and_modes(void)
{
	struct stat st;

	t_put("f", "", 0644);
	ok(chmod("f", 07777));
	ok(stat("f", &st));
	check_eq(st.st_mode & 07777, 07777);
	ok(chown("f", 5, 6));
	ok(stat("f", &st));
	check(st.st_uid == 5 && st.st_gid == 6 && (st.st_mode & 07777) == 01777);
	ok(chown("f", -1, 7));
	ok(stat("f", &st));
	check(st.st_uid == 5 && st.st_gid == 7);
	ok(symlink("f", "s"));
	ok(lchown("s", 8, 8));
	ok(stat("f", &st));
	check_eq(st.st_uid, 5);
	ok(lstat("s", &st));
	check_eq(st.st_uid, 8);
	ok(fchownat(AT_FDCWD, "s", 9, 9, 0));
	ok(stat("f", &st));
	check_eq(st.st_uid, 9);
	int fd = ok(open("f", O_RDONLY));
	ok(fchmod(fd, 0600));
	ok(fchown(fd, 1000, 1000));
	ok(mkdir("sg", 0755));
	ok(chown("sg", 0, 77));
	ok(chmod("sg", 02777));
	ok(mkdir("sticky", 0755));
	ok(chmod("sticky", 01777));
	t_put("sticky/root", "", 0644);
	ok(chmod("sticky/root", 0666));
	pid_t p = t_fork();
	if (p == 0) {
		t_become(STUDENT);
		ok(chmod("f", 0640));
		fails(chown("f", 0, -1), EPERM);
		fails(chown("f", -1, 0), EPERM);
		ok(chown("f", 1000, 1000));
		fails(chmod("sticky", 0755), EPERM);
		close(ok(open("sg/f", O_CREAT | O_WRONLY, 0644)));
		ok(mkdir("sg/d", 0755));
		ok(stat("sg/f", &st));
		check(st.st_gid == 77 && st.st_uid == 1000);
		ok(stat("sg/d", &st));
		check(st.st_gid == 77 && (st.st_mode & 02000) != 0);
		ok(chmod("sg/f", 02755));	/* Not in group 77: the bit is dropped. */
		ok(stat("sg/f", &st));
		check_eq(st.st_mode & 07777, 0755);
		fails(unlink("sticky/root"), EPERM);
		fails(rename("sticky/root", "sticky/x"), EPERM);
		close(ok(open("sticky/root", O_WRONLY)));
		t_put("sticky/own", "", 0644);
		fails(rename("sticky/own", "sticky/root"), EPERM);
		ok(unlink("sticky/own"));
		fails(mknod("sticky/dev", S_IFCHR | 0600, makedev(1, 3)), EPERM);
		ok(mkfifo("sticky/fifo", 0600));
		fails(chroot("/"), EPERM);
		_exit(0);
	}
	exits(p, 0);
	umask(0);
	close(ok(open("u0", O_CREAT | O_WRONLY, 0666)));
	check_eq(umask(0137), 0);
	close(ok(open("u1", O_CREAT | O_WRONLY, 0777)));
	ok(mkdir("u2", 0777));
	check_eq(umask(01022), 0137);
	check_eq(umask(022), 022);
	ok(stat("u0", &st));
	check_eq(st.st_mode & 07777, 0666);
	ok(stat("u1", &st));
	check_eq(st.st_mode & 07777, 0640);
	ok(stat("u2", &st));
	check_eq(st.st_mode & 07777, 0640);
	ok(mknod("plain", S_IFREG | 0600, 0));
	fails(mknod("dir", S_IFDIR | 0700, 0), EPERM);
	/* Devices open where the mount lets them. */
	ok(mkdir("m", 0755));
	ok(mount("none", "m", "tmpfs", 0, NULL));
	ok(mknod("m/null", S_IFCHR | 0600, makedev(1, 3)));
	fd = ok(open("m/null", O_RDWR));
	check_eq(write(fd, "x", 1), 1);
	close(fd);
	ok(mknod("m/nodev", S_IFCHR | 0600, makedev(250, 250)));
	fails(open("m/nodev", O_RDONLY), ENXIO);
	ok(mount("none", "m", NULL, MS_REMOUNT | MS_NODEV, NULL));
	fails(open("m/null", O_RDWR), EACCES);
	ok(umount("m"));
}

/* Changing neither owner nor group takes the set-ID bits away all the same, which not everybody may. */
static void
chown_of_nothing(void)
{
	static const struct {
		uid_t uid;		/* The file's. */
		mode_t mode, after;	/* The same: a student may not. */
		int err;
	} all[] = {
		{ 0, 04755, 04755, EPERM }, { 0, 02755, 02755, EPERM }, { 0, 06755, 06755, EPERM }, { 5, 04644, 04644, EPERM },
		{ 0, 0755, 0755, 0 }, { 0, 01600, 01600, 0 }, { STUDENT, 06755, 0755, 0 }, { STUDENT, 04644, 0644, 0 },
		{ STUDENT, 01755, 01755, 0 },
	};
	struct stat st;
	pid_t p;

	t_put("f", "", 0644);
	ok(mkdir("d", 0755));
	ok(chmod("d", 06777));
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int fd = ok(open("f", O_RDONLY));

		for (int by_fd = 0; by_fd < 2; by_fd++) {
			ok(chown("f", all[i].uid, all[i].uid));
			ok(chmod("f", all[i].mode));
			p = t_fork();
			if (p == 0) {
				t_become(STUDENT);
				errno = 0;
				long r = by_fd ? fchown(fd, -1, -1) : chown("f", -1, -1);
				check_eq(errno, all[i].err);
				check_eq(r, all[i].err ? -1 : 0);
				_exit(0);
			}
			exits(p, 0);
			ok(stat("f", &st));
			check(st.st_uid == all[i].uid && st.st_gid == all[i].uid);
			check_eq(st.st_mode & 07777, all[i].after);
		}
		close(fd);
	}
	p = t_fork();
	if (p == 0) {
		t_become(STUDENT);
		ok(chown("d", -1, -1));		/* Of directories they say something else. */
		_exit(0);
	}
	exits(p, 0);
	ok(stat("d", &st));
	check_eq(st.st_mode & 07777, 06777);
	/* Root may. */
	ok(chmod("f", 06755));
	ok(chown("f", -1, -1));
	ok(stat("f", &st));
	check_eq(st.st_mode & 07777, 0755);
}

/* Keeps the file busy, so that whoever asks for it has to wait. */
static void *
write_all_the_time(void *fd)
{
	static char block[1 << 20];

	while (pwrite((int)(intptr_t)fd, block, sizeof(block), 0) > 0)
		continue;
	return NULL;
}

static void *
chmod_all_the_time(void *fd)
{
	while (fchmod((int)(intptr_t)fd, 06755) == 0)
		continue;
	check_eq(errno, EPERM);
	return NULL;
}

/*
 * Whether a chmod may is decided with the change, not before a chown that comes in between. To pass proves little: it
 * takes chance to come in between.
 */
static void
chmod_while_it_becomes_roots(void)
{
	struct stat st;

	ok(mkdir("open", 0755));
	ok(chown("open", STUDENT, STUDENT));
	for (long end = t_now() + 500; t_now() < end;) {
		int begun[2];
		char c;

		ok(pipe(begun));
		pid_t p = t_fork();
		if (p == 0) {
			pthread_t t;

			t_become(STUDENT);
			intptr_t fd = ok(open("open/f", O_RDWR | O_CREAT | O_EXCL, 0755));
			zero(pthread_create(&t, NULL, write_all_the_time, (void *)fd));
			for (int i = 0; i < 4; i++)
				zero(pthread_create(&t, NULL, chmod_all_the_time, (void *)fd));
			check_eq(write(begun[1], "x", 1), 1);
			for (;;)
				pause();
		}
		close(begun[1]);
		check_eq(read(begun[0], &c, 1), 1);
		t_msleep(10);
		ok(chown("open/f", 0, 0));
		t_msleep(5);
		kill(p, SIGKILL);
		dies(p, SIGKILL);
		ok(stat("open/f", &st));
		check_eq(st.st_uid, 0);
		check_eq(st.st_mode & 07777, 0755);
		ok(unlink("open/f"));
		close(begun[0]);
	}
}

/* Rights over files are those of the file-system user ID, which root may change alone. */
static void
file_system_user_ids(void)
{
	struct timespec old[2] = { { 9, 0 }, { 9, 0 } };
	struct stat st;

	t_put("f", "", 0644);
	ok(chmod("f", 0666));
	t_put("program", "", 0644);
	ok(chmod("program", 04777));
	ok(mkdir("open", 0755));
	ok(chmod("open", 0777));
	setfsuid(STUDENT);
	check_eq(setfsuid(-1), STUDENT);
	check_eq(geteuid(), 0);
	fails(chmod("f", 04777), EPERM);
	fails(chown("f", STUDENT, -1), EPERM);
	fails(chown("f", -1, STUDENT), EPERM);
	fails(chown("program", -1, -1), EPERM);
	fails(utimensat(AT_FDCWD, "f", old, 0), EPERM);
	ok(utimensat(AT_FDCWD, "f", NULL, 0));
	fails(mknod("open/dev", S_IFCHR | 0600, makedev(1, 3)), EPERM);
	fails(mknod("open/dev", S_IFBLK | 0600, makedev(7, 0)), EPERM);
	ok(mkfifo("open/fifo", 0600));
	fails(mkfifo("fifo", 0600), EACCES);
	t_put("open/f", "", 0644);
	ok(stat("open/f", &st));
	check_eq(st.st_uid, STUDENT);
	ok(chmod("open/f", 04755));
	fails(chown("open/f", 0, -1), EPERM);
	int fd = ok(open("program", O_WRONLY));
	check_eq(write(fd, "x", 1), 1);		/* Root's own write would leave the bit. */
	close(fd);
	ok(stat("program", &st));
	check_eq(st.st_mode & 07777, 0777);
	setfsuid(0);
	check_eq(setfsuid(-1), 0);
	ok(chmod("f", 04777));
	fd = ok(open("f", O_WRONLY));
	check_eq(write(fd, "x", 1), 1);
	close(fd);
	ok(stat("f", &st));
	check_eq(st.st_mode & 07777, 04777);
	ok(chown("f", STUDENT, STUDENT));
	ok(utimensat(AT_FDCWD, "f", old, 0));
	ok(mknod("open/dev", S_IFCHR | 0600, makedev(1, 3)));
	/* It follows the effective one, and goes back to root alone. */
	ok(seteuid(STUDENT));
	check_eq(setfsuid(-1), STUDENT);
	fails(chown("program", STUDENT, -1), EPERM);
	setfsuid(0);
	check_eq(setfsuid(-1), 0);
	check_eq(geteuid(), STUDENT);
	ok(chmod("program", 0600));
	ok(chown("program", STUDENT, -1));
	ok(unlink("open/dev"));
	ok(mknod("open/dev", S_IFCHR | 0600, makedev(1, 3)));
}

/* Who is not of the group makes no program that is. */
static void
new_files_in_directories_of_a_group(void)
{
	static const struct {
		uid_t uid;
		bool member;
		mode_t mode, want;
	} all[] = {
		{ STUDENT, false, 02777, 0777 }, { STUDENT, true, 02777, 02777 }, { 0, false, 02777, 02777 },
		{ STUDENT, false, 02711, 0711 }, { STUDENT, false, 02767, 02767 }, { STUDENT, false, 0777, 0777 },
		{ STUDENT, false, 06777, 04777 },
	};
	gid_t group = 77;
	struct stat st;

	ok(mkdir("sg", 0755));
	ok(chown("sg", 0, group));
	ok(chmod("sg", 02777));
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		pid_t p = t_fork();

		if (p == 0) {
			ok(setgroups(all[i].member, &group));
			ok(setresgid(STUDENT, STUDENT, STUDENT));
			ok(setresuid(all[i].uid, all[i].uid, all[i].uid));
			umask(0);
			close(ok(open("sg/f", O_WRONLY | O_CREAT | O_EXCL, all[i].mode)));
			ok(mknod("sg/n", S_IFREG | all[i].mode, 0));
			_exit(0);
		}
		exits(p, 0);
		ok(stat("sg/f", &st));
		check(st.st_uid == all[i].uid && st.st_gid == group);
		check_eq(st.st_mode & 07777, all[i].want);
		ok(stat("sg/n", &st));
		check(st.st_uid == all[i].uid && st.st_gid == group);
		check_eq(st.st_mode & 07777, all[i].want);
		ok(unlink("sg/f"));
		ok(unlink("sg/n"));
	}
}

static const struct test tests[] = {
	TEST(permission_matrix),
	TEST(real_and_effective_ids_for_access),
	TEST(owners_and_modes),
	TEST(chown_of_nothing),
	TEST(chmod_while_it_becomes_roots),
	TEST(file_system_user_ids),
	TEST(new_files_in_directories_of_a_group),
	{ NULL, NULL },
};

int
main(int argc, char **argv)
{
	return t_main(argc, argv, tests);
}
