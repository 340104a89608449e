#!/bin/sh
# Gradescope runs this once, when it makes the container's image: installs what grading takes, and builds the pristine
# tree, so that a submission is compiled and nothing else. AUTOGRADER is for a trial elsewhere.
set -eu
cd "${AUTOGRADER:-/autograder}/source/rampart"
. ../lab.sh
ARCH=$LAB_ARCH ./setup
/usr/bin/python3 -m grade.lab warm "$LAB" --arch "$LAB_ARCH"
# A submission is built and run as somebody else, who need not look around here.
chmod -R go-w .
