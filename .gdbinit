# Rampart under GDB: symbols, and commands that know the kernel. Start GDB at the root of the tree.
#
# GDB reads this file by itself only from places that it trusts. Either say so once, in ~/.config/gdb/gdbinit:
#     add-auto-load-safe-path /path/to/this/tree
# or start with: gdb -x .gdbinit      (`make gdb` does that)
#
# ARCH=aarch64 in the environment selects the other architecture; on a PC it takes gdb-multiarch.

set confirm off
set pagination off
set print pretty on
set disassemble-next-line auto
# A kernel's frames end at its entry points, not at main().
set backtrace past-main off

source grade/gdb/rampart_gdb.py
