"""The harness that looks at a running Rampart from outside: QEMU, gdbstub, page tables, exceptions."""
