#!/bin/busybox sh
# busybox.sh: one pass through what people do with a shell, under Debian's unmodified busybox.
# The same bytes come out on Linux and on Rampart, with one CPU and with four: nothing here prints a process
# number, a time of day, an inode number or the order of a directory. A difference is a bug in one of the two.

umask 022
export LC_ALL=C TZ=UTC0 HOME=/root PS1= PS4='+ '
TOP=/tmp/busybox-test
BB=/bin/busybox
$BB rm -rf $TOP
$BB mkdir -p $TOP/bin $TOP/w || exit 1
$BB chmod 755 $TOP $TOP/w
$BB cp $BB $TOP/bin/busybox
for a in $($BB --list); do
	case $a in busybox) ;; *) $BB ln -s busybox $TOP/bin/$a ;; esac
done
export PATH=$TOP/bin
cd $TOP/w || exit 1
grep -q '^student:' /etc/passwd 2>/dev/null ||
	echo 'student:x:1000:1000:Student:/home/student:/bin/sh' >>/etc/passwd
grep -q '^student:' /etc/group 2>/dev/null || echo 'student:x:1000:' >>/etc/group

section() {
	cd $TOP/w || exit 1
	echo "== $1"
}

# One name a line, whatever the terminal.
ls() {
	$TOP/bin/ls -1 "$@"
}

# say LABEL COMMAND...: its output behind a label, and its exit status.
say() {
	local l=$1 r
	shift
	"$@" >$TOP/out 2>&1
	r=$?
	sed "s/^/$l: /" $TOP/out
	echo "$l = $r"
}

# is_running PID NAME: waits until the background process has executed the program.
is_running() {
	local i=0
	until [ "$(cat /proc/$1/comm 2>/dev/null)" = $2 ] || [ $i -gt 50 ]; do sleep 0.1; i=$((i + 1)); done
}

# as_student COMMAND: what an ordinary user may do.
as_student() {
	su student -c "cd $TOP/w; export PATH=$PATH TZ=UTC0; umask 022; $1" 2>&1
}

# ------------------------------------------------------------------------------------------------------------
section "text: data"
cat >poem <<'EOF'
The quick brown fox
jumps over the lazy dog
and the dog, being lazy,
lets the fox pass.

The end; the END.
EOF
seq 1 1000 >numbers
cat >table <<'EOF'
alice	30	oslo
bob	25	lima
carol	35	oslo
dave	25	cairo
erin	41	lima
frank	30	oslo
EOF
wc poem numbers table
md5sum poem numbers table
sha256sum poem
sha1sum <numbers
sha512sum <table
crc32 poem

section "text: sed"
sed 's/the/THE/' poem
sed -n '2,3p' poem
sed -n '$=' numbers
sed -e '/^$/d' -e 's/\([a-z]*\) \([a-z]*\)/\2 \1/' poem
sed 'y/abc/xyz/;2q' poem
sed -n '/fox/{s/fox/cat/gp}' poem
sed '1!G;h;$!d' table
printf 'a\nb\nc\n' | sed '2i\
inserted' | sed '$a\
appended'
cp poem poem2; sed -i 's/lazy/busy/g' poem2; diff poem poem2; echo "diff $?"
printf 'one two  three\n' | sed -E 's/([a-z]+) +([a-z]+)/\2,\1/g'

section "text: awk"
awk -F'\t' '{ n[$3]++; s[$3] += $2 } END { for (c in n) print c, n[c], s[c] / n[c] }' table | sort
awk 'BEGIN { for (i = 0; i < 5; i++) printf "%d %x %o %5.2f|", i * 7, i * 7, i * 7, i / 3; print "" }'
awk 'NR % 250 == 0 { t += $1; print NR, $1, t }' numbers
awk '{ print length($0), toupper(substr($0, 1, 5)), index($0, "o"), NF }' poem
awk 'function f(n) { return n < 2 ? n : f(n - 1) + f(n - 2) } BEGIN { print f(17) }'
awk 'BEGIN { s = "a:b:c"; n = split(s, p, ":"); print n, p[1], p[3]; gsub(/b/, "[&]", s); print s; print match(s, /:c/) }'
awk 'BEGIN { while (("echo one; echo two" | getline l) > 0) print "got", l; close("x"); print "end" | "cat"; }'
awk 'BEGIN { exit 3 }'; echo "awk exit $?"
awk 'BEGIN { printf "%.3e %g\n", 123456.789, 1e10; print int(-3.7), 7 % 3 }'

section "text: grep"
grep -n the poem
grep -in THE poem
grep -c o poem
grep -v o poem
grep -E '^(The|and)' poem
grep -o '[a-z]*o[a-z]*' poem
grep -q nothing poem; echo "none $?"
grep -w end poem; grep -l fox poem table numbers
grep -F '.' poem
grep -A1 -B1 being poem
grep x /nonexistent; echo "missing $?"
mkdir g g/h; cp poem g/p; cp table g/h/t; grep -r lima g | sort

section "text: sort, uniq, cut, tr"
sort -k2,2n -k1,1r table
sort -t'	' -k3 -u table | cut -f3
sort -rn numbers | head -3
cut -f3 table | sort | uniq -c | sort -rn | sed 's/^ *//'
cut -f3 table | sort | uniq -d
cut -c1-3 table
cut -d' ' -f2- poem
tr a-z A-Z <poem | head -2
tr -d aeiou <poem | tail -1
tr -s l <poem | sed -n 2p
tr -cd 0-9 <table; echo
printf '3\n10\n2\n' | sort; printf '3\n10\n2\n' | sort -n; printf 'b\na\n' | sort -c; echo "unsorted $?"

section "text: pieces"
head -c 10 poem; echo
tail -c 6 poem
tail -n +999 numbers
head -n 2 numbers table
tac table | head -1
rev table | head -1
nl poem
fold -w 7 table | head -4
paste table numbers | head -2
paste -s -d+ table | cut -c1-20
expand table | head -1
unexpand -a <poem | head -1
seq 5 -2 -3 | tr '\n' ' '; seq -w 8 11 | tr '\n' ' '; echo
factor 1001 65537 999999
od -c poem | head -3
od -An -tx1 -N 16 poem
od -An -td4 -j 4 -N 8 poem
hexdump -C poem | head -2
xxd poem | head -2
printf 'hello' | xxd -p | tee h.hex | xxd -r -p; echo; cat h.hex
base64 poem | tee p64 | head -1; base64 -d p64 | cmp - poem && echo "base64 same"
uuencode -m name <table | head -2
strings -n 6 poem | head -2
printf '%s|%5d|%-5s|%05.1f|%x|%c|%b|%%\n' str 42 ab 3.14159 255 xyz 'a\tb'
printf '%d %s\n' 1 a 2 b 3
echo -e 'tab\there\0101'; echo -n 'no newline'; echo
expr 6 \* 7; expr length abcdef; expr abcdef : 'abc\(.*\)'; expr 1 \> 2; echo "expr $?"
echo '2^64; scale=10; 22/7; obase=16; 255' | bc
echo '10 3 / p 2 8 ^ p [la]p' | dc
dos2unix <poem | cmp - poem && echo "dos2unix same"
shuf numbers | sort -n | cmp - numbers && echo "shuf same"
cal 9 1752 | tail -n +2

section "text: diff and patch"
sed -e 's/fox/cat/' -e '2d' -e '$a\
added' poem >poem3
diff -u -L a -L b poem poem3; echo "diff $?"
diff -u poem poem3 >p.diff
cp poem p4; patch p4 <p.diff; cmp p4 poem3 && echo "patched same"
patch -R p4 <p.diff; cmp p4 poem && echo "reversed same"
cmp poem poem3; echo "cmp $?"
mkdir d1 d2; echo 1 >d1/a; echo 2 >d2/a; echo 3 >d2/b; diff -rq d1 d2 | sort; echo "diff -r $?"

section "text: xargs, tee"
seq 1 10 | xargs -n 3 echo
printf 'a b\0c d\0' | xargs -0 -n 1 echo item
echo x y z | xargs -I{} echo "<{}>"
seq 1 3 | xargs -n1 sh -c 'exit 1'; echo "xargs $?"
seq 1 3000 | xargs echo | wc -w
echo both | tee t1 t2 >/dev/null; cat t1 t2
echo more | tee -a t1 | cat; wc -l <t1

# ------------------------------------------------------------------------------------------------------------
section "files: names and links"
mkdir -p f/a/b/c f/d; echo one >f/a/1; echo two >f/a/b/2; echo three >f/a/b/c/3
ln f/a/1 f/d/hard; ln -s ../a/b f/d/soft; ln -s nowhere f/d/dangling
find f | sort
find f -type f -name '[12]' | sort
find f -type l | sort
find f -type d -maxdepth 2 | sort
find f -name 3 -exec cat {} \;
find f -type f -size -2 -print0 | sort -z | xargs -0 cat
find -L f/d -name 2
stat -c '%n %F %h %s %a %u:%g' f/a/1 f/d/hard f/d/soft; stat -c '%F %h %a' f/a/b
readlink f/d/soft; readlink -f f/d/soft; realpath f/d/../d/soft/c/3
cat f/d/soft/2; cat f/d/dangling; echo "dangling $?"
[ -L f/d/soft ] && [ -d f/d/soft ] && [ ! -e f/d/dangling ] && [ -h f/d/dangling ] && echo "tests hold"
[ f/a/1 -ef f/d/hard ] && echo "same file"
ls f/a f/d; ls -R f; ls -F f/d; ls -p f
basename /x/y/z.c .c; dirname /x/y/z.c
ln -s loop1 loop2; ln -s loop2 loop1; cat loop1; echo "loop $?"
ln f/a/1 f/d/hard; echo "ln $?"
ln -sfn ../a f/d/soft; readlink f/d/soft; rm f/d/dangling
mkdir f; echo "mkdir $?"
mkdir no/such; echo "mkdir $?"
rmdir f; echo "rmdir $?"
cat f; echo "cat dir $?"
cd f/a/1; echo "cd file $?"
n=$(printf 'n%.0s' $(seq 1 255)); : >$n && echo "255 is a name"; touch ${n}n 2>/dev/null; echo "256 $?"; rm $n

section "files: copy, move, remove"
cp -a f f2; find f2 | sort | wc -l; diff -r f f2; echo "same $?"
stat -c '%h' f2/a/1
mv f2/a/1 f2/moved; cat f2/moved; mv f2/moved f2/d/; ls f2/d
echo old >r1; echo new >r2; ln r1 r1keep; mv r2 r1; cat r1 r1keep; ls r2; echo "gone $?"
mv f2 f2/a; echo "into itself $?"
mkdir e1 e2; touch e2/x; mv -T e1 e2; echo "over nonempty $?"; rm e2/x; mv -T e1 e2; echo "over empty $?"
cp poem /nonexistent/x; echo "cp $?"
cp -r f f3; rm -r f3; ls f3; echo "rm -r $?"
rm nothing; echo "rm $?"; rm -f nothing; echo "rm -f $?"; rm f; echo "rm dir $?"
unlink r1; ls r1; echo "unlink $?"
echo alive >u; exec 5<u; rm u; cat <&5; exec 5<&-
d=$(mktemp -d $TOP/w/tmp.XXXXXX); [ -d "$d" ] && stat -c %a "$d"; t=$(mktemp -p "$d"); stat -c '%a %s' "$t"; rm -r "$d"
mkfifo pipe1; stat -c %F pipe1; (echo through the fifo >pipe1) & cat pipe1; wait; rm pipe1

section "files: modes and times"
touch m; chmod 640 m; stat -c %a m; chmod u+x,g-r,o=w m; stat -c '%a %A' m
chmod a-rwx m; stat -c %A m; chmod 7755 m; stat -c %A m; chmod 1777 f2; stat -c %A f2
for u in 000 022 077 027; do (umask $u; >u$u; mkdir ud$u; stat -c '%a' u$u ud$u; umask); done
umask -S
chown 12:34 m; stat -c '%u %g %a' m; chown student m; stat -c %U m; chgrp 0 m; stat -c %g m
touch -d '2001-02-03 04:05:06' m; stat -c %Y m; stat -c %y m | cut -c1-19; date -r m '+%F %T'
touch -d '2011-01-01 00:00:00' m2; [ m2 -nt m ] && echo newer; touch -r m m2; stat -c %Y m2
find . -name 'm*' -newermt '2001-01-01' ! -newermt '2002-01-01' 2>/dev/null | sort
chmod 644 m; chown 0:0 m; ls -l m m2
touch -c absent; ls absent; echo "touch -c $?"
date -u -d '2020-02-29 12:34:56' '+%a %b %d %H:%M:%S %j %s'; date -u -d @86400 +%F

section "files: contents"
dd if=/dev/zero of=z bs=1k count=64 2>/dev/null; stat -c '%s %b' z; du -k z
dd if=poem of=part bs=4 skip=1 count=2 2>/dev/null; cat part; echo
printf 'ABCD' | dd of=part conv=notrunc bs=1 seek=2 2>/dev/null; cat part; echo
truncate -s 1M sparse; stat -c '%s %b' sparse; printf x | dd of=sparse bs=1 seek=500000 conv=notrunc 2>/dev/null
stat -c '%s %b' sparse; md5sum sparse; truncate -s 500001 sparse; tail -c 3 sparse | od -An -tx1
truncate -s 10 sparse; truncate -s 20 sparse; od -An -tx1 sparse
echo first >app; echo second >>app; cat app; >app; wc -c <app
seq 1 20000 >big; wc big; md5sum big; tail -c 100 big | md5sum; cat big big big | md5sum
dd if=big of=big2 bs=777 2>/dev/null; cmp big big2 && echo "dd same"
sync; echo "sync $?"

section "files: archives"
tar cf t.tar f; tar tf t.tar | sort; mkdir x; tar xf t.tar -C x; diff -r f x/f; echo "tar same $?"
stat -c '%h' x/f/a/1; readlink x/f/d/soft
tar czf t.tgz f; mkdir y; tar xzf t.tgz -C y; diff -r x y; echo "tgz same $?"
gzip -c big >big.gz; gunzip -c big.gz | cmp - big && echo "gzip same"; gzip -t big.gz; echo "gzip -t $?"
zcat big.gz | wc -l; cp big3 big 2>/dev/null; cp big big3; gzip big3; ls big3*; gunzip big3.gz; ls big3*
printf 'not gzip' >bad.gz; gunzip bad.gz; echo "bad $?"
bzip2 -c big | bunzip2 -c | cmp - big && echo "bzip2 same"
find f | sort | cpio -o -H newc 2>/dev/null >f.cpio; mkdir c; (cd c && cpio -idm 2>/dev/null <../f.cpio); diff -r f c/f; echo "cpio same $?"
cat big | gzip -9 | gzip -d | md5sum

section "files: many"
mkdir many; i=0; while [ $i -lt 500 ]; do : >many/file$i; i=$((i + 1)); done; ls many | wc -l
ls many | sort -k1.5n | sed -n '1p;$p'
rm many/*5; ls many | wc -l; ls many | md5sum
rm -r many; ls many 2>&1 | wc -l
p=.; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do p=$p/deep; mkdir $p; done; echo end >$p/x; cat $p/x
find deep | wc -l; (cd $p; pwd | sed "s|$TOP||"; cd ../../..; pwd | sed "s|$TOP||"); rm -r deep

# ------------------------------------------------------------------------------------------------------------
section "sh: words"
x=hello; echo "${x}world ${#x} ${x%lo} ${x#he} ${y:-default} ${x:+set} ${x/l/L} ${x//l/L} ${x:1:3}"
f=/a/b/c.tar.gz; echo "${f##*/} ${f%%.*} ${f%/*} ${f#*.}"
echo "$((1 + 2 * 3)) $((17 % 5)) $((1 << 10)) $((0xff & ~0xf)) $((5 > 3 ? 10 : 20)) $((-7 / 2))"
i=5; echo $((i++)) $((++i)) $i $((i *= 2)) $i
echo 'single $x' "double $x" esc\$aped `echo back`tick $(echo $(echo nested))
set -- a 'b c' d; echo $# "$1" "$2" "$@"; for w in "$@"; do echo "<$w>"; done; shift; echo "$*"
IFS=:; set -- $(echo 1:2:3); echo $# $3; unset IFS
echo a{1,2}b; echo f/*/*; echo no*match
(cd f; echo */)
eval 'z=eval; echo $z'; unset z; echo "[${z-unset}]"
readonly RO=1; (RO=2) 2>/dev/null; echo "readonly $?"
: ${q:=assigned}; echo $q; (: ${r:?"r is not set"}) 2>&1 | sed 's/.*r: //'
echo ~ | sed 's/^\//home /'; a=$(printf 'x\n\n\n'); echo "[$a]"

section "sh: control"
for i in 1 2 3; do [ $i = 2 ] && continue; echo $i; done
i=0; while :; do i=$((i + 1)); [ $i -gt 3 ] && break; done; echo $i
until [ $i -eq 0 ]; do i=$((i - 1)); done; echo $i
for c in apple banana cherry 42 ''; do
	case $c in a*) echo A;; *an*) echo AN;; [0-9]*) echo NUM;; '') echo EMPTY;; *) echo OTHER;; esac
done
fact() { [ $1 -le 1 ] && echo 1 && return; echo $(($1 * $(fact $(($1 - 1))))); }
fact 10
early() { return 7; echo never; }; early; echo "return $?"
scope() { local v=inner; v2=global; echo $v; }; v=outer; scope; echo $v $v2
if false; then echo no; elif true; then echo elif; else echo else; fi
! true; echo $?; true && false || echo or
(exit 9); echo "subshell $?"; { echo group; }
false | true; echo "pipe $?"; true | false; echo "pipe $?"
(set -o pipefail; false | true; echo "pipefail $?")
(set -e; echo before; false; echo never); echo "set -e $?"
(set -e; if false; then :; fi; false || true; echo survived); echo "set -e $?"
(set -u; echo $undefined_thing) 2>/dev/null; echo "set -u $?"
(set -x; echo traced) 2>&1
(set -f; echo *.nothing *)
while getopts ab:c o -a -b val -c rest; do echo "$o=${OPTARG-}"; done; echo $OPTIND
test 1 -lt 2 -a abc = abc; echo $?; [ -z "" ]; echo $?; [[ abc == a* ]]; echo $?
nosuchcommand 2>/dev/null; echo "127 is $?"; ./poem 2>/dev/null; echo "126 is $?"
type cd | head -1; command -v fact; alias ll='ls -l'; alias ll
$BB sh -c 'echo "$0 $1 $#"' zero one; echo 'echo from stdin $1' | sh -s arg
cat >script <<'EOF'
#!/bin/busybox sh
echo "script $# $1"; exit 5
EOF
chmod +x script; ./script arg; echo "script $?"; . ./poem3 2>/dev/null; echo 'v=sourced' >src; . ./src; echo $v
read a b <<EOF
first second third
EOF
echo "$a|$b"; printf 'l1\nl2\\\n' | while read -r l; do echo "[$l]"; done; echo x | (read; echo $REPLY) 2>/dev/null

section "sh: redirections"
echo out >r; echo err >&2 2>>r; cat r
{ echo o; echo e >&2; } >o 2>e; cat o e; { echo o; echo e >&2; } >oe 2>&1; cat oe
{ echo o; echo e >&2; } 2>&1 >/dev/null | sed 's/^/piped /'
exec 3>three; echo to three >&3; exec 3>&-; cat three; (echo x >&3) 2>/dev/null; echo "closed $?"
exec 4<numbers; read a <&4; read b <&4; echo $a $b; exec 4<&-
echo 12345 >rw; exec 6<>rw; read -n 2 a <&6; echo -n X >&6; exec 6>&-; echo "$a"; cat rw
(echo text >&-) 2>/dev/null; echo "to closed $?"; cat <&- 2>/dev/null; echo "from closed $?"
set -C; echo first >nc; (echo second >nc) 2>/dev/null; echo "noclobber $?"; echo third >|nc; cat nc; set +C
cat <<EOF
here $x $((1 + 1)) $(echo cmd)
EOF
cat <<'EOF'
quoted $x
EOF
cat <<-EOF
	tabs gone
	EOF
cat <<A; cat <<B
a
A
b
B
cat </nonexistent; echo "no input $?"; echo x >/nonexistent/y; echo "no output $?"
(exec 7>&1; echo seven >&7); echo a | cat - poem | head -1; yes | head -3; yes n | head -100000 | wc -l
seq 1 100000 | tail -1; seq 1 100000 | head -1; echo "sigpipe quiet"

section "sh: background"
(sleep 0.1; echo late) & wait; echo early or late
sh -c 'exit 3' & wait $!; echo "wait $?"
sh -c 'exit 4' & a=$!; sh -c 'exit 5' & b=$!; wait $b; echo $?; wait $a; echo $?
wait 99999; echo "not mine $?"
for i in 1 2 3 4 5 6 7 8; do (echo $i >bg$i) & done; wait; cat bg1 bg8
r=$( (echo sub) & wait); echo $r
i=0; while [ $i -lt 50 ]; do true & i=$((i + 1)); done; wait; echo "fifty waited"
sh -c 'sh -c "sleep 0.2; echo orphan >orphan; stat -c %n orphan >/dev/null; grep ^PPid: /proc/self/status >ppid" & exit'
i=0; while [ ! -s ppid ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done; cat orphan
sh -c '(sh -c "sleep 0.3; awk \"{ print \\\$4 }\" /proc/\$\$/stat >ppid2" &) ; exit'
i=0; while [ ! -s ppid2 ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done; cat ppid2

# ------------------------------------------------------------------------------------------------------------
section "signals"
for s in HUP INT QUIT KILL TERM USR1 PIPE ALRM; do
	sh -c "kill -$s \$\$; sleep 0.1; echo survived $s" 2>/dev/null; echo "$s $?"
done 2>/dev/null
sleep 100 & p=$!; kill -0 $p; echo "alive $?"; kill $p; wait $p 2>/dev/null; echo "wait $?"; kill -0 $p 2>/dev/null; echo "dead $?"
sleep 100 & p=$!; kill -STOP $p; i=0
until grep -q '^State:	T' /proc/$p/status || [ $i -gt 50 ]; do sleep 0.1; i=$((i + 1)); done
grep '^State' /proc/$p/status; kill -CONT $p; kill -9 $p; wait $p 2>/dev/null; echo "killed $?"
sh -c 'trap "echo got TERM" TERM; kill $$; echo after'
sh -c 'trap "echo usr1" USR1; trap "echo usr2" USR2; kill -USR1 $$; kill -USR2 $$; kill -USR1 $$'
sh -c 'trap "echo leaving" EXIT; echo body; exit 3'; echo "exit $?"
sh -c 'trap "" INT; kill -INT $$; echo ignored; sh -c "kill -INT \$\$; echo inherited"; trap - INT; kill -INT $$; echo never' ; echo "int $?"
sh -c 'trap "echo caught; exit 12" TERM; (sleep 0.1; kill $$) & while :; do sleep 0.05; done'; echo "loop $?"
sh -c 'trap "echo child" CHLD; true & wait; echo ok' | sort -u
sh -c 'trap "echo woke" USR1; (sleep 0.2; kill -USR1 $$) & wait $!; r=$?; wait; echo done'
timeout 0.2 sleep 10; echo "timeout $?"; timeout 5 true; echo "in time $?"; timeout -s KILL 0.2 sleep 10 2>/dev/null; echo "timeout -s $?"
timeout 5 sh -c 'exit 7'; echo "passes $?"
kill -l 9; kill -l 15; kill -l TERM; kill -9 999999 2>/dev/null; echo "no such $?"
setsid sh -c 'awk "{ print (\$1 == \$6) }" /proc/self/stat; sh -c "exit 8"'; echo "setsid $?"
(trap '' PIPE; yes 2>/dev/null | head -1); sh -c 'yes | head -1 >/dev/null; echo over'
sh -c 'kill -SEGV $$' 2>/dev/null; echo "segv $?"; sh -c 'kill -ABRT $$' 2>/dev/null; echo "abrt $?"
usleep 1000; echo "usleep $?"; time -f '%x' sh -c 'exit 2' 2>&1 | tail -1

section "ps"
sleep 77 & p=$!; is_running $p sleep
ps -o pid,ppid,comm,args | awk -v p=$p -v me=$$ '$1 == p && $2 == me { print $3, $4, $5 }'
ps -o pid,comm | awk '$1 == 1 { n++ } END { print "init", n }'
tr '\0' ' ' </proc/$p/cmdline; echo; cat /proc/$p/comm; readlink /proc/$p/cwd | sed "s|$TOP||"; readlink /proc/$p/exe | sed "s|$TOP||"
ls /proc 2>/dev/null | grep -c "^$p\$"; pidof sleep | grep -cw $p
renice 5 -p $p >/dev/null 2>&1; awk '{ print "nice", $19 }' /proc/$p/stat
kill $p; wait $p 2>/dev/null; [ -d /proc/$p ]; echo "gone $?"
sleep 55 & is_running $! sleep; sleep 56 & is_running $! sleep; killall sleep; wait 2>/dev/null; echo "killall"

section "job control"
cat >jobs.sh <<'EOF'
set -m
sleep 1 &
jobs | sed 's/  */ /g'
wait; jobs
sleep 60 & kill -STOP %1; i=0
while ! jobs | grep -q Stopped && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done
jobs | sed 's/  */ /g'
bg %1 >/dev/null; sleep 0.1; jobs | sed 's/  */ /g'
kill %1; wait %1 2>/dev/null; echo "status $?"
sh -c 'kill -STOP $$; echo resumed; exit 6' &
i=0; while ! jobs | grep -q Stopped && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done
fg %2 >/dev/null 2>&1 || fg >/dev/null 2>&1; echo "fg"
sh -c 'awk "{ print (\$1 == \$5 || \$5 == \$4), (\$5 == \$8) }" /proc/self/stat'
sh -c 'sleep 0.2; awk "{ print (\$5 == \$8) }" /proc/self/stat' & wait
EOF
if (: </dev/tty) 2>/dev/null; then sh jobs.sh 2>/dev/null </dev/tty; else echo "no terminal"; fi

# ------------------------------------------------------------------------------------------------------------
section "users"
id -u; id -un; whoami
as_student 'id -u; id -g; id -un; whoami; echo $HOME' | sed 's|/home/student|HOME|'
chmod 777 .; echo secret >priv; chmod 600 priv; echo public >pub; chmod 644 pub; mkdir -m 700 pdir; echo i >pdir/in; mkdir -m 711 xdir; echo i >xdir/in
as_student 'cat priv; echo $?; cat pub; echo x >pub; echo $?; ls pdir; echo $?; cat pdir/in; echo $?; ls xdir; echo $?; cat xdir/in; echo $?'
as_student 'chown 0 pub; echo $?; chmod 777 pub; echo $?; >mine; stat -c "%U %G %a" mine; chown 0 mine; echo $?; chmod 4755 mine; stat -c %a mine; chgrp 0 mine; echo $?'
as_student 'kill -9 1; echo $?; kill -0 1; echo $?; chroot / true; echo $?; mount -t tmpfs none xdir; echo $?; hostname foo; echo $?'
as_student 'touch -d "2000-01-01 00:00:00" pub; echo $?; touch pub; echo $?; mkdir xdir/no; echo $?; rm -f xdir/in; echo $?; ln -s x xdir/l; echo $?'
mkdir -m 1777 sticky; echo r >sticky/root; as_student 'rm -f sticky/root; echo $?; mv sticky/root sticky/x; echo $?; >sticky/own; rm sticky/own; echo $?'
mkdir sg; chgrp 1000 sg; chmod 2777 sg; >sg/f; mkdir sg/d; stat -c '%g %A' sg/f sg/d
cp $BB suid; chown 1000 suid; chmod 4755 suid; ln -s suid stat2; stat -c '%A %u' suid
chmod 000 priv; cat priv; chown student priv; as_student 'cat priv; echo $?; chmod 400 priv; cat priv; echo x >priv; echo $?'
chmod 070 pub; chown student:student pub; as_student 'cat pub; echo "group does not help the owner $?"'
printf '#!/bin/busybox sh\necho ran\n' >noexec; chmod 644 noexec; ./noexec; echo "root noexec $?"; chmod 111 noexec; as_student './noexec; echo $?'
as_student 'nice=$(awk "{ print \$19 }" /proc/self/stat); renice -1 -p $$ >/dev/null 2>&1; echo "renice $? $nice"'
as_student 'ulimit -n 20; ulimit -n; ulimit -n 99; echo $?' | tail -3

section "mounts"
mkdir mnt mnt2; echo below >mnt/below
say mount mount -t tmpfs -o size=1m,mode=755 tmpfs mnt
ls mnt; echo above >mnt/above; ls mnt; stat -c '%a %F' mnt
grep "$TOP/w/mnt " /proc/mounts | cut -d' ' -f1-3 | sed "s|$TOP||"
mountpoint -q mnt 2>/dev/null; [ "$(stat -c %d mnt)" != "$(stat -c %d .)" ] && echo "another device"
(cd mnt && umount $TOP/w/mnt) 2>&1 | sed "s|$TOP||"; ls mnt
exec 8<mnt/above; umount mnt 2>&1 | sed "s|$TOP||"; exec 8<&-
dd if=/dev/zero of=mnt/fill bs=64k count=32 2>&1 | grep -c 'No space left'; [ $(stat -c %s mnt/fill) -le 1048576 ] && echo "bounded"; rm mnt/fill
ln mnt/above hardx; echo "cross link $?"; mv mnt/above moved; cat moved; ls mnt
say bind mount --bind f mnt2
cat mnt2/a/1; echo through >mnt2/new; cat f/new; rm f/new; ls mnt2/new; umount mnt2; ls mnt2 | wc -l
say again mount -t tmpfs -o ro none mnt2
touch mnt2/x; echo "read only $?"; mount -o remount,rw mnt2; : >mnt2/x; echo "read write $?"; umount mnt2
mount -t tmpfs -o noexec,nosuid none mnt2; printf '#!/bin/busybox sh\necho ran\n' >mnt2/s; chmod +x mnt2/s; ./mnt2/s; echo "noexec $?"; umount mnt2
mkdir mnt/inner; mount -t tmpfs none mnt/inner; umount mnt 2>&1 | sed "s|$TOP||"; umount mnt/inner; umount mnt; cat mnt/below
say nofs mount -t nosuchfs none mnt
say nodir mount -t tmpfs none absent
say notmnt umount mnt
rmdir mnt2; echo "rmdir $?"
mkdir jail jail/bin jail/tmp jail/proc; cp $BB jail/bin/; ln -s busybox jail/bin/sh; ln -s busybox jail/bin/ls; ln -s busybox jail/bin/cat; echo inside >jail/tmp/file
chroot jail /bin/sh -c 'PATH=/bin; pwd; ls -1 /; cat /tmp/file; cd /; cd ../../..; ls -1; cat ../../etc/passwd'; echo "chroot $?"
ln -s /tmp/file jail/abs; chroot jail /bin/cat /abs
mount -t proc proc jail/proc; chroot jail /bin/cat /proc/self/comm; chroot jail /bin/sh -c 'cd /; /bin/busybox readlink /proc/self/root'; umount jail/proc
chroot jail /bin/nothing; echo "nothing $?"; chroot absent /bin/sh; echo "absent $?"

# ------------------------------------------------------------------------------------------------------------
section "proc"
awk '{ print (NF >= 44), $2, ($4 > 0), ($23 > 0), ($24 > 0) }' /proc/self/stat
(exec 9<poem; readlink /proc/self/fd/9 >/dev/null; sh -c 'readlink /proc/$$/fd/9' | sed "s|$TOP||")
ls /proc/self/fd </dev/null | head -3 | tr '\n' ' '; echo
grep -c '^MemTotal: *[0-9]* kB$' /proc/meminfo; grep -c '^MemFree:' /proc/meminfo
a=$(cut -d. -f1 /proc/uptime); sleep 1.1; b=$(cut -d. -f1 /proc/uptime); [ $b -gt $a ] && echo "time passes"
[ -s /proc/version ] && [ -s /proc/cpuinfo ] && [ -s /proc/loadavg ] && [ -r /proc/cmdline ] && echo "exist"
[ "$(grep -c ^processor /proc/cpuinfo)" = "$(nproc)" ] && echo "processors agree"
grep -c '^cpu ' /proc/stat; grep -E '^(Name|Uid|Gid|PPid|State):' /proc/self/status | grep -v PPid
readlink /proc/self | grep -c '^[0-9]*$'; sh -c '[ "$(readlink /proc/self/cwd)" = "$(pwd)" ]' && echo "cwd agrees"
grep -c '\[stack\]' /proc/self/maps; awk '$2 ~ /w/ && $2 ~ /x/ { n++ } END { print n + 0, "writable and executable" }' /proc/self/maps
cat /proc/nothing; echo "nothing $?"; (: >/proc/version) 2>/dev/null; mkdir /proc/x 2>/dev/null; echo "mkdir $?"
sh -c 'cat /proc/$$/environ | tr "\0" "\n" | grep ^HOME=; cat /proc/$$/cmdline | tr "\0" "|"; :'; echo
grep -qw tmpfs /proc/filesystems && grep -qw proc /proc/filesystems && echo "filesystems"
uname -s; uname -m; free | awk '/^Mem:/ { print ($2 > 0), ($2 >= $3) }'; [ "$(hostname)" = "$(uname -n)" ] && echo "one name"

section "devices"
stat -c '%F %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty
cat /dev/null | wc -c; echo x >/dev/null; echo "null $?"
head -c 5 /dev/zero | od -An -tx1; (echo x >/dev/full) 2>&1 | sed 's/.*: //'; head -c 3 /dev/full | od -An -tx1
head -c 32 /dev/urandom | wc -c; a=$(head -c 16 /dev/urandom | md5sum); b=$(head -c 16 /dev/urandom | md5sum); [ "$a" != "$b" ] && echo "random differs"
tty >/dev/null 2>&1 </dev/null; echo "not a tty $?"; [ -c /dev/console ] && echo "console"
mknod nul c 1 3; echo x >nul; echo "mknod $?"; mknod ff p; stat -c %F ff; as_student 'mknod dd c 1 3; echo $?'
cat /proc/self/fd/0 <poem | head -1; echo to stderr 2>err >/proc/self/fd/2; cat err

cd /
rm -rf $TOP
[ -e $TOP ]; echo "clean $?"
echo "busybox.sh: done"
sleep 0.3	# When the session's leader exits, Linux drops what the serial port has not sent yet.
