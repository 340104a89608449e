/* The system's names, as uname(2) gives them. */
#pragma once

#include "kernel/lib/spinlock.h"
#include "kernel/types.h"

#define UTSNAME_LEN 65

struct utsname {
	char sysname[UTSNAME_LEN], nodename[UTSNAME_LEN], release[UTSNAME_LEN],
		version[UTSNAME_LEN], machine[UTSNAME_LEN], domainname[UTSNAME_LEN];
};

extern struct spinlock utsname_lock;
extern struct utsname utsname; /* [utsname_lock] */
