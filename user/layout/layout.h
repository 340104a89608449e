/* Where the kernel put one program: what /bin/layout writes to descriptor LAYOUT_FD. */
#pragma once

#include <stdint.h>

#define LAYOUT_FD 3

struct layout {
	uint64_t stack;	      /* first stack pointer */
	uint64_t mmap;	      /* what mmap gives first */
	uint64_t interpreter; /* lowest address of PT_INTERP's image */
	uint64_t vdso;	      /* its ELF header */
	uint64_t program;     /* lowest address of the program's image */
	uint64_t heap;	      /* first break */
};
