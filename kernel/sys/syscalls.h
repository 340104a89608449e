/* Prototypes of all sys_ functions. */
#pragma once

#include "kernel/sys/table.h"
