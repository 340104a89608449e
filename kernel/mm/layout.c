/* Where the kernel's parts lie in virtual memory: the places for which everything was linked, or others. */
#include "kernel/mm/layout.h"

#include "arch/arch.h"
#include "kernel/harden/harden.h"
#include "kernel/harden/kaslr.h"
#include "kernel/lib/random.h"

/* A debugger, too, reads them at their fixed physical addresses: `direct_map_base` is written last. */
uint64_t image_slide ro_after_init;
uint64_t kstack_area_base ro_after_init;
uint64_t direct_map_base ro_after_init;

void
layout_choose(void)
{
	struct layout l = {0, ARCH_KSTACK_AREA_LINK, ARCH_DIRECT_MAP_LINK};

	harden_parse();
	random_init();
	if (harden_wanted(HARDEN_KASLR))
		kaslr_choose(&l);
	image_slide = l.image_slide;
	kstack_area_base = l.kstack_area;
	WRITE_ONCE(direct_map_base, l.direct_map);
}
