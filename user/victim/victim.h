/* What the victim and its attacker have agreed on without knowing each other. */
#pragma once

#include <stdint.h>

#define SAFE_FD	   3
#define SAFE_MAGIC 0x5eed0fbadc0ffee5ull /* MAGIC of user/attack/attack.h */
