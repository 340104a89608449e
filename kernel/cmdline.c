/* The kernel's command line. */
#include "kernel/cmdline.h"

#include "arch/arch.h"
#include "kernel/lib/string.h"

/* Finds the next word at *p, NULL at the end or at `--`; *p moves behind it. */
static const char *
next_word(const char **p, size_t *len)
{
	const char *s = *p, *start;
	bool quoted = false;

	while (*s == ' ')
		s++;
	for (start = s; *s && (quoted || *s != ' '); s++) {
		if (*s == '"')
			quoted = !quoted;
	}
	*p = s;
	*len = (size_t)(s - start);
	if (*len == 0 || (*len == 2 && start[0] == '-' && start[1] == '-'))
		return NULL;
	return start;
}

bool
cmdline_has(const char *name)
{
	const char *p = boot_info.cmdline, *word;
	size_t len;

	while ((word = next_word(&p, &len))) {
		if (len == strlen(name) && memcmp(word, name, len) == 0)
			return true;
	}
	return false;
}

bool
cmdline_get(const char *name, char *buf, size_t size)
{
	const char *p = boot_info.cmdline, *word;
	size_t len, n = strlen(name);
	bool found = false;

	buf[0] = '\0';
	while ((word = next_word(&p, &len))) {
		size_t used = 0;

		if (len <= n || word[n] != '=' || memcmp(word, name, n) != 0)
			continue;
		for (size_t i = n + 1; i < len; i++) {
			if (word[i] != '"' && used + 1 < size)
				buf[used++] = word[i];
		}
		buf[used] = '\0';
		found = true;
	}
	return found;
}
