#!/bin/busybox sh
# debian.sh: what Debian's own programs do, dynamically linked and unmodified: bash, perl, python3, git, gcc and make.
# The test puts them beside this script. The same bytes come out on Linux and on Rampart: compiled objects
# and commits by their digests.

export PATH=/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C TZ=UTC0 HOME=/root PYTHONDONTWRITEBYTECODE=1 GIT_PAGER=cat
mkdir -p /tmp/debian /dev/shm
mount -t tmpfs shm /dev/shm 2>/dev/null
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd # which is udev's on Linux
cd /tmp/debian || exit 1

section() {
	echo "== $1"
}

section bash
bash -c '
	a=(one two three)
	echo "${a[@]/t/T}" $((2 ** 40)) "${#a[@]}"
	diff <(seq 3) <(seq 4)
	for i in 1 2 3; do (exit $i) & p[i]=$!; done
	for i in 1 2 3; do wait ${p[i]}; echo -n "$? "; done; echo
	trap "echo caught" USR1; kill -USR1 $$
	exec 7<>words; echo hello >&7; read -r word <words; echo "$word"
	printf "%s\n" {a..e} | while read -r l; do echo -n "$l."; done; echo'

section perl
perl -e '
	use POSIX;
	my %h = map { $_ => length } qw(alpha be gam);
	print join(",", map { "$_=$h{$_}" } sort keys %h), "\n";
	print strftime("%Y-%m-%d", gmtime(86400 * 365)), " ", `echo from a shell`;
	my $pid = fork; exit 3 unless $pid; waitpid($pid, 0); print $? >> 8, "\n";
	local $SIG{ALRM} = sub { print "alarm\n" }; alarm 1; pause;'

section python
python3 - <<'END'
import ctypes, decimal, hashlib, json, mmap, multiprocessing, os, select, signal, sqlite3, subprocess, tempfile, threading, time, zlib

print(json.dumps({"a": [1, 2.5, None]}), hashlib.sha256(b"x").hexdigest()[:16], zlib.crc32(b"abc"))
print(decimal.Decimal(2).sqrt())

total, lock = 0, threading.Lock()
def add():
    global total
    for _ in range(1000):
        with lock:
            total += 1
threads = [threading.Thread(target=add) for _ in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
print(total)

with multiprocessing.get_context("fork").Pool(3) as pool:
    print(sum(pool.map(abs, range(-500, 500))))

r, w = os.pipe()
e = select.epoll()
e.register(r, select.EPOLLIN)
os.write(w, b"!")
print(e.poll(5) == [(r, select.EPOLLIN)], os.read(r, 9))
signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.01)
time.sleep(0.1)
with tempfile.TemporaryFile() as f:
    f.write(bytes(8192)), f.flush()
    with mmap.mmap(f.fileno(), 8192) as m:
        m[5000:5003] = b"map"
    f.seek(4999)
    print(f.read(5))
print(subprocess.run(["sh", "-c", "cat; exit 4"], input=b"through a pipe", capture_output=True))
libc = ctypes.CDLL(None)
print(libc.strlen(b"seven!!"), ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda x: x + 1)(41))
db = sqlite3.connect("a.db")
db.execute("pragma journal_mode=wal")
db.execute("create table t (n, s)")
db.executemany("insert into t values (?, ?)", [(n, str(n) * 3) for n in range(100)])
db.commit()
print(db.execute("select sum(n), max(s) from t").fetchone(), db.execute("pragma integrity_check").fetchone())
try:
    os.kill(os.getpid(), 99)
except OSError as error:
    print(error)
END

section git
export GIT_AUTHOR_DATE='1000000000 +0000' GIT_COMMITTER_DATE='1000000000 +0000'
git config --global user.name nobody
git config --global user.email nobody@example.invalid
git config --global init.defaultBranch main
git config --global color.ui never
git init -q r && cd r || exit 1
seq 1000 >numbers
git add . && git commit -q -m 'a thousand' && git checkout -q -b side
sed -i s/77/seventy-seven/ numbers && git commit -q -a -m side && git checkout -q main
seq 1001 1010 >>numbers && git commit -q -a -m main && git merge -q -m both side
git log --graph --format='%h %s'
git diff --stat HEAD~1
git gc -q && git fsck 2>/dev/null && git count-objects # whose progress is a matter of time
cd ..

section gcc
cat >sieve.c <<'END'
#include <stdio.h>
#include <string.h>
#define N 100000
static char composite[N];
int
main(void)
{
	int primes = 0;

	for (long i = 2; i < N; i++) {
		if (composite[i])
			continue;
		primes++;
		for (long j = i * i; j < N; j += i)
			composite[j] = 1;
	}
	printf("%d primes below %d\n", primes, N);
	return strlen("seven..");
}
END
cat >Makefile <<'END'
sieve: sieve.o
	gcc -o $@ $^
%.o: %.c
	gcc -O2 -Wall -c -o $@ $<
END
make -j2
./sieve
echo "exited with $?"
sha256sum sieve.o sieve

cd /
echo 'debian.sh: done'
