#!/bin/sh
# Runs the regression programs that are named (all without a name) and says how each ended:
#   all.sh: /bin/test-NAME exited with N
# Exits with the number of those that failed.
for name in ${*:-fork_cow mmap signals threads process files pipes_poll tty clocks hostile fpu tlb}; do
	echo "all.sh: test-$name begins"
	"/bin/test-$name"
	status=$?
	echo "all.sh: test-$name exited with $status"
	[ $status = 0 ] || failed=$((failed + 1))
done
echo "all.sh: done"
exit ${failed:-0}
