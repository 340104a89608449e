/*
 * Where the kernel's parts lie in virtual memory.  Chosen once, before the first tables of the kernel's
 * own half are built; in start-up's first steps, which run at physical addresses, all three are 0.
 */
#pragma once

#include "kernel/types.h"

/* The image runs at its link address plus this. */
extern uint64_t image_slide;
/* Kernel virtual address of physical address 0.  Not 0: the layout is chosen. */
extern uint64_t direct_map_base;
/* Where kernel stacks and other kernel mappings go: KSTACK_AREA_SIZE bytes. */
extern uint64_t kstack_area_base;

/* Reads harden=, seeds the random generator and decides all three.  boot_info.cmdline is filled. */
void layout_choose(void);
