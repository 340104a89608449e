#!/bin/sh
# Runs the regression programs that are named (without names, all) and says how each ended:
#   all.sh: test-NAME exited with N
# Exits with the number of those that failed.
if [ $# = 0 ]; then
	for file in /bin/test-*; do
		case ${file#/bin/test-} in
		confined | cow | disarm | exempt | forkbomb | forkexec | fuzz | hammer | hold | load | memhog | outputs | refs | rights | sparse | spaces | stale | turns) ;; # They load the kernel and judge nothing.
		*) set -- "$@" "${file#/bin/test-}" ;;
		esac
	done
fi
failed=0
for name; do
	echo "all.sh: test-$name begins"
	"/bin/test-$name"
	status=$?
	echo "all.sh: test-$name exited with $status"
	[ $status = 0 ] || failed=$((failed + 1))
done
echo "all.sh: done"
exit $failed
