/* The vDSO as every program has it: two areas of one file, [vvar] and [vdso] right above. */
#pragma once

#include "kernel/types.h"
#include "kernel/vdso/data.h"

struct vm;
struct vma;

/* The page [vvar]: user mode reads all of it, so it holds nothing else. */
union vdso_page {
	struct vdso_data data;
	uint8_t page[PAGE_SIZE];
};
extern union vdso_page vdso_page;

void vdso_init(void);
/* Maps it at hint, or below the mmap top (hint 0; what is there stays).  0 or -errno. */
must_use int vdso_map(struct vm *vm, uint64_t hint);
/* "[vdso]" or "[vvar]" if a is that area, else NULL. */
const char *vdso_area_name(const struct vma *a);
