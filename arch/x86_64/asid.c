/* Address-space identifiers are not used: each write of CR3 forgets all translations that are not global. */
#include "x86.h"

bool
arch_asid_supported(void)
{
	return false;
}

bool
arch_asid_reuse_is_clean(void)
{
	return true;
}
