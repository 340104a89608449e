/* What execve's two files share: a new program on its way. */
#pragma once

#include "kernel/proc/pid.h"

#define HEADER_SIZE	1024 /* first bytes of the file; holds most programs' headers */

/* Strings one after another in kernel pages: read from the user once, then copied to the stack. */
struct strings {
	char **pages;
	size_t npages, capacity;
	size_t used;  /* bytes, NULs included */
	size_t limit; /* bytes that strings and pointers may have */
	size_t count; /* strings */
};

struct exec_state {
	struct file *file; /* program, or script at first */
	const char *path;  /* as the caller named it: AT_EXECFN, comm */
	char *fd_path;	   /* where path points if it is relative to a descriptor */
	bool path_closes;  /* path names a descriptor that exec closes */
	/* argv, then envp; the first `skip` bytes are the argv[0] that a script's interpreter
	 * replaces */
	struct strings strings;
	size_t argc, envc, skip;
	char *prefix; /* strings that a script's interpreters put in front */
	size_t prefix_len, prefix_count;
	struct exec_layout layout;
	struct elf_image image;
	struct vm *vm;
	struct sighand *sighand; /* a new one, if the old one is shared with others */
	struct files *files;	 /* the same for descriptors */
	struct cred cred;
	bool secure, setid, readable;
	size_t header_len;
	uint8_t header[HEADER_SIZE];
};

/* Copies argv and envp, each string and pointer once.  0, -E2BIG, -EFAULT, -ENOMEM, -EINTR. */
must_use int exec_read_strings(struct exec_state *e, const struct exec_source *src);
void exec_free_strings(struct strings *s);
/* Maps and fills the stack of e->vm; the program's first stack pointer in *sp.  0 or -errno. */
must_use int exec_build_stack(struct exec_state *e, uint64_t *sp);
