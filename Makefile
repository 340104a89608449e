# Rampart's one Makefile: every verb that a user types, and how each file is made. `make help` lists
# the verbs and the variables.

# Neither make nor the compiler's flags take a path with a blank in it.
ifneq ($(words $(CURDIR)),1)
$(error move this tree to a path without blanks: it lies in "$(CURDIR)")
endif

# ---- What the user may set --------------------------------------------------------------------

# What a verb is told is told on its own command line. The environment has names like these for other things (on WSL,
# NAME is the machine's), so they are not taken from there.
WORDS	:= NAME LAB FROM SEED STUDENT CHECK AT DEST PRIVATE DIAGNOSIS SUBMISSIONS OUT JOBS COURSE ROSTER SINCE DEBUG JSON \
	COSTS ARGS PYTEST
$(foreach w,$(WORDS),$(if $(filter environment,$(origin $(w))),$(eval undefine $(w))))

# The architecture: a folder below arch/. Tests that are not told one run on each.
TESTED	:= $(or $(ARCH),x86_64 aarch64)
ARCH	?= x86_64
# CPUs and MiB of memory of the machine that run, gdb and attack start.
SMP	?= 2
MEM	?= 256
# Added to the kernel's command line: harden=-smep, panic=5, "-- /bin/attack -l", ...
CMDLINE	?=
# The initramfs to boot instead of our own.
INITRD	?= $(B)/initrd.cpio
# 1 shows each command in full.
V	?= 0
# 1 leaves the deliberately broken device out of the kernel.
RELEASE	?= 0
# 0: branches through registers are left to the processor's predictors (row retpoline).
RETPOLINE ?= 1
# 1: returns go by a thunk, too, which no predictor of branches ever answers for (x86_64).
RETURN_THUNKS ?= 0
# Where to find a lab's answer: `make grade FROM=dir` takes only the files that the lab names.
FROM	?= .

PYTHON	?= /usr/bin/python3
# A static busybox of the architecture: this machine's, or one that is fetched.
HOST_BUSYBOX := $(firstword $(wildcard /bin/busybox /usr/bin/busybox /usr/sbin/busybox))
HOST	:= $(shell uname -m)
ifeq ($(ARCH),$(HOST))
BUSYBOX	?= $(HOST_BUSYBOX)
else
BUSYBOX	?= $(B)/busybox
endif

# ---- Toolchain --------------------------------------------------------------------------------

ifneq ($(ARCH),$(HOST))
CROSS	?= $(ARCH)-linux-gnu-
endif
ifneq ($(filter default undefined,$(origin CC)),)
CC	:= $(CROSS)gcc
endif
LD	:= $(CROSS)ld
OBJCOPY	:= $(CROSS)objcopy
STRIP	:= $(CROSS)strip
QEMU	?= qemu-system-$(ARCH)

MAKEFLAGS += -rR --no-print-directory
# A make below another has its jobs from there.
ifeq ($(MAKELEVEL)$(filter -j% --jobserver%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif
ifneq ($(V),1)
Q	:= @
endif
# Two columns of text, for which no process is started.
say	= $(info $()  $1 $2)

B	:= build/$(ARCH)
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.SECONDARY:

# ---- Kernel flags -----------------------------------------------------------------------------

# The headers that a compiler must bring.
FREESTANDING := $(shell $(CC) -print-file-name=include 2>/dev/null)
# Plain C without a library, and no more undefined behaviour than need be: a check that the compiler
# proves "impossible" must stay in the image.
CFLAGS_KERNEL := -std=gnu11 -O2 -g -ffreestanding -nostdinc \
	-isystem $(FREESTANDING) \
	-I. -Iarch/$(ARCH) -I$(B) -ffile-prefix-map=$(CURDIR)=. \
	-fno-common -fpie -fvisibility=hidden -fstack-protector-strong \
	-fno-strict-aliasing -fno-strict-overflow -fno-delete-null-pointer-checks \
	-ftrivial-auto-var-init=zero -fno-omit-frame-pointer \
	-fno-asynchronous-unwind-tables -fno-unwind-tables -Wframe-larger-than=2048 \
	-Wall -Wextra -Wmissing-prototypes -Wshadow -Wvla -Wformat=2 -Werror
CFLAGS_x86_64 := -m64 -mno-red-zone -mgeneral-regs-only -mcmodel=small -fcf-protection=none
CFLAGS_aarch64 := -march=armv8-a -mgeneral-regs-only -mcmodel=small -mno-outline-atomics \
	-mbranch-protection=none
# Where compiled code reads the canary: struct cpu's, through GS; struct thread's, through SP_EL0.
CANARY_OFFSET_x86_64 := 16
CANARY_OFFSET_aarch64 := 0
GUARD_x86_64 := -mstack-protector-guard=tls -mstack-protector-guard-reg=gs
GUARD_aarch64 := -mstack-protector-guard=sysreg -mstack-protector-guard-reg=sp_el0
CFLAGS_$(ARCH) += $(GUARD_$(ARCH)) -mstack-protector-guard-offset=$(CANARY_OFFSET_$(ARCH)) \
	-DCANARY_OFFSET=$(CANARY_OFFSET_$(ARCH))
# Branches through registers go by thunks, and nothing is to be found behind a branch that always leaves
# (kernel/harden/retpoline.c). Returns by thunks too cost three instructions more each, and are not the default.
SPECULATION_x86_64_gcc := -mindirect-branch=thunk-extern -mindirect-branch-register -mharden-sls=all \
	-fno-jump-tables
# (clang before 15 puts no barriers on x86_64.)
SPECULATION_x86_64_clang = -mretpoline-external-thunk -fno-jump-tables $(SLS_clang)
SPECULATION_aarch64_gcc := -mharden-sls=all
SPECULATION_aarch64_clang = $(SLS_clang)
RETURNS_x86_64 := -mfunction-return=thunk-extern
# What only one compiler knows. (clang's own assembler would read offsets.c's marker lines.)
CFLAGS_gcc := -fno-ipa-icf -Wmissing-format-attribute
# Before clang 16 zeroed locals must be asked for twice.
OFFSETS_clang := -fno-integrated-as
ZEROED	:= -enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang
COMPILER := $(if $(findstring clang,$(shell $(CC) --version 2>/dev/null)),clang,gcc)
ifeq ($(COMPILER),clang)
ifdef CROSS
override CC := $(CC) --target=$(ARCH)-linux-gnu
endif
CFLAGS_clang := $(shell $(CC) -Werror -ftrivial-auto-var-init=zero -fsyntax-only -x c /dev/null \
	2>/dev/null || echo $(ZEROED))
SLS_clang := $(shell $(CC) -Werror -mharden-sls=all -c -x c -o /dev/null /dev/null 2>/dev/null && \
	echo -mharden-sls=all)
endif

CFLAGS	:= $(CFLAGS_KERNEL) $(CFLAGS_$(ARCH)) $(CFLAGS_$(COMPILER)) -DRETPOLINE=$(RETPOLINE) \
	$(if $(filter 1,$(RETPOLINE)),$(SPECULATION_$(ARCH)_$(COMPILER))) -DRETURN_THUNKS=$(RETURN_THUNKS) \
	$(if $(filter 1,$(RETURN_THUNKS)),$(RETURNS_$(ARCH))) $(EXTRA_CFLAGS)
ifneq ($(RELEASE),1)
CFLAGS	+= -DVULN
endif
AFLAGS	:= $(CFLAGS) -D__ASSEMBLER__
# Linked high, movable anywhere: only relative relocations may remain, none of them in text.
LDFLAGS	:= -pie -z text --no-dynamic-linker -z noexecstack -z max-page-size=0x1000 \
	--build-id=none --fatal-warnings -T arch/$(ARCH)/kernel.lds

# ---- Kernel -----------------------------------------------------------------------------------

KSRC	:= $(sort $(wildcard kernel/*.c kernel/*/*.c arch/*.c arch/$(ARCH)/*.c arch/$(ARCH)/*.S))
KSRC	:= $(filter-out arch/$(ARCH)/offsets.c kernel/vdso/%,$(KSRC))
ifeq ($(RELEASE),1)
KSRC	:= $(filter-out kernel/dev/vuln%.c,$(KSRC))
endif
KOBJ	:= $(patsubst %,$(B)/%.o,$(basename $(KSRC)))

# A file that changes only when the flags or the list of sources do: everything depends on it. (Not when the
# tree is moved: where it lies is in no object.)
FLAGS	= $(subst $(CURDIR),,$(CC) $(CFLAGS) $(LDFLAGS) $(KSRC))
$(B)/flags: FORCE
	@mkdir -p $(sort $(dir $(KOBJ)))
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@

# Offsets of structure members for assembly: lines "->NAME value" in the compiler's own output.
$(B)/offsets.s: arch/$(ARCH)/offsets.c $(B)/flags
	$(call say,OFFSETS,$<)
	$(Q)$(CC) $(CFLAGS) $(OFFSETS_$(COMPILER)) -MMD -MP -MT $@ -MF $@.d -S -o $@ $<

$(B)/offsets.h: $(B)/offsets.s
	$(Q)sed -n 's/^.*->\([A-Za-z0-9_]*\) [$$#]*\(-\{0,1\}[0-9][0-9]*\).*$$/#define \1 \2/p' $< > $@
	$(Q)test -s $@ || { echo "$@: no offset found in $<" >&2; exit 1; }

$(B)/%.o: %.c $(B)/flags
	$(call say,CC     ,$<)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/%.o: %.S $(B)/offsets.h $(B)/flags
	$(call say,AS     ,$<)
	$(Q)$(CC) $(AFLAGS) -MMD -MP -c -o $@ $<

# The vDSO is user-mode code: a link of its own, which kernel/proc/vdso.c includes whole. The one with
# symbols is for gdb.
CFLAGS_VDSO := -std=gnu11 -O2 -g -ffreestanding -nostdinc -isystem $(FREESTANDING) \
	-I. -Iarch/$(ARCH) -ffile-prefix-map=$(CURDIR)=. -fPIC -fvisibility=hidden -fno-stack-protector \
	-fno-jump-tables -fasynchronous-unwind-tables -fno-common -Wall -Wextra -Wmissing-prototypes -Werror
LDFLAGS_VDSO := -shared -soname linux-vdso.so.1 --hash-style=both --eh-frame-hdr -z text -z noexecstack \
	-z max-page-size=0x1000 --no-undefined --build-id=none --fatal-warnings -T arch/$(ARCH)/vdso.lds

$(B)/vdso.so.sym: kernel/vdso/vdso.c arch/$(ARCH)/vdso.lds $(B)/flags
	$(call say,LD     ,$@)
	$(Q)$(CC) $(CFLAGS_VDSO) -MMD -MP -MT $@ -MF $(B)/vdso.d -c -o $(B)/vdso.o $<
	$(Q)$(LD) $(LDFLAGS_VDSO) -o $@ $(B)/vdso.o

$(B)/vdso.so: $(B)/vdso.so.sym
	$(Q)$(OBJCOPY) --strip-all $< $@

$(B)/kernel/proc/vdso.o: $(B)/vdso.so
-include $(B)/vdso.d

# Linked once; the functions' names then go into the space that kernel.lds leaves for them.
$(B)/rampart.sym: $(KOBJ) arch/$(ARCH)/kernel.lds grade/ksyms.py
	$(call say,LD     ,$@)
	$(Q)$(LD) $(LDFLAGS) -o $@ $(KOBJ)
	$(Q)$(PYTHON) -SE -m grade.ksyms $@

# What -kernel takes: an ELF file, or the bare image that begins with Linux's header.
IMAGE_x86_64 := --strip-debug
IMAGE_aarch64 := -O binary
$(B)/rampart: $(B)/rampart.sym
	$(call say,IMAGE  ,$@)
	$(Q)$(OBJCOPY) $(IMAGE_$(ARCH)) $< $@

-include $(KOBJ:.o=.d) $(B)/offsets.s.d

# ---- Userland ---------------------------------------------------------------------------------

# Ordinary programs, linked with the toolchain's libc: user/NAME/*.c is /bin/NAME (user/init is
# /init), each user/test/NAME.c is /bin/test-NAME, user/attack/*.c together are /bin/attack. Only
# user/bench/hello.c is a program of its own, the smallest: bench starts it as /bin/bench-hello.
CFLAGS_USER := -std=gnu11 -O2 -g -static -pthread -I. -Iuser/test/$(ARCH) -Wall -Wextra -Werror \
	-ffile-prefix-map=$(CURDIR)=. -Wl,--build-id=none $(EXTRA_CFLAGS_USER)

UDIRS	:= $(filter-out test,$(sort $(patsubst user/%/,%,$(dir $(wildcard user/*/*.c)))))
UTESTS	:= $(sort $(patsubst user/test/%.c,test-%,$(wildcard user/test/*.c)))
UHELLO	:= $(if $(wildcard user/bench/hello.c),bench-hello)
UPROGS	:= $(addprefix $(B)/user/,$(UDIRS) $(UTESTS) $(UHELLO))
USRC	= $(filter-out user/bench/hello.c,$(wildcard user/$*/*.c))

FLAGS_USER = $(subst $(CURDIR),,$(CC) $(CFLAGS_USER) $(UPROGS))
$(B)/user/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS_USER)' | cmp -s - $@ || echo '$(FLAGS_USER)' > $@

.SECONDEXPANSION:
$(addprefix $(B)/user/,$(UDIRS)): $(B)/user/%: $$(USRC) $$(wildcard user/*.h user/$$*/*.h) $(B)/user/flags
	$(call say,CCLD   ,$@)
	$(Q)$(CC) $(CFLAGS_USER) -o $@ $(USRC)

$(addprefix $(B)/user/,$(UTESTS)): $(B)/user/test-%: user/test/%.c \
		$$(wildcard user/*.h user/test/*.h user/test/$(ARCH)/*.h) \
		$(B)/user/flags
	$(call say,CCLD   ,$@)
	$(Q)$(CC) $(CFLAGS_USER) -o $@ $< $(LIBS)

# Those that are position-independent.
$(B)/user/test-pie: private CFLAGS_USER := $(filter-out -static,$(CFLAGS_USER)) -fPIE -static-pie
# As in a textbook: an address to guess, and nothing between a buffer and it.
$(B)/user/victim: private CFLAGS_USER := $(filter-out -static,$(CFLAGS_USER)) -fPIE -static-pie \
	-fno-stack-protector -U_FORTIFY_SOURCE
# Without a library, and its own interpreter.
$(B)/user/layout: private CFLAGS_USER := $(filter-out -static -pthread,$(CFLAGS_USER)) -ffreestanding -fPIE -pie -nostdlib \
	-fno-stack-protector -Wl,--dynamic-linker=/bin/layout

$(B)/user/bench-hello: user/bench/hello.c $(B)/user/flags
	$(call say,CCLD   ,$@)
	$(Q)$(CC) $(CFLAGS_USER) -o $@ $<

$(B)/user/test-libseccomp: private LIBS := -lseccomp

ifneq ($(ARCH),$(HOST))
$(B)/user/test-libseccomp: private CFLAGS_USER += -I$(B)/libseccomp -L$(B)/libseccomp
$(B)/user/test-libseccomp: $(B)/libseccomp/libseccomp.a
$(B)/libseccomp/libseccomp.a:
	$(call say,FETCH  ,$@)
	$(Q)$(PYTHON) -m grade.fetch_libseccomp --arch $(ARCH)

$(B)/busybox:
	$(call say,FETCH  ,$@)
	$(Q)$(PYTHON) -m grade.fetch_busybox --arch $(ARCH)
endif

# What the initramfs holds beside busybox is listed in grade/initrd.py.
$(B)/initrd.cpio: $(UPROGS) $(wildcard user/test/*.sh) $(wildcard user/etc/*) grade/initrd.py \
		$(B)/user/flags $(BUSYBOX)
	$(call say,CPIO   ,$@)
	$(Q)$(PYTHON) -m grade.initrd --busybox '$(BUSYBOX)' --ask '$(HOST_BUSYBOX)' --strip $(STRIP) -o $@ $(UPROGS) \
		$(addprefix --test=,$(wildcard user/test/*.sh))

# ---- The machine ------------------------------------------------------------------------------

MACHINE_x86_64 := -M q35 -cpu max
MACHINE_aarch64 := -M virt -cpu max,pauth-impdef=on
CONSOLE_x86_64 := ttyS0
CONSOLE_aarch64 := ttyAMA0
# -nodefaults and its friends: only the devices that are named here.
QFLAGS	= -accel tcg $(MACHINE_$(ARCH)) -smp $(SMP) -m $(MEM) -nodefaults -vga none -net none \
	-display none -no-reboot -kernel $(B)/rampart -initrd $(INITRD)
APPEND	= console=$(CONSOLE_$(ARCH)) $(CMDLINE)
# A path of a Unix socket must be short, so it is relative to the tree.
GDBSOCK	:= $(B)/gdb.sock
QGDB	= -S -chardev socket,id=gdb,path=$(GDBSOCK),server=on,wait=off -gdb chardev:gdb

# ---- Verbs ------------------------------------------------------------------------------------

.PHONY: FORCE build kernel initrd run gdb attack test soak ready tools bench iso test-bochs harden-report \
	linux handouts test-handouts check-headers clean help lab show grade why diagnose progress reset submit \
	solution grade-batch regrade gradescope lab-branches course-check course-demo tickets check-diagnosis similarity check-labs

build: kernel initrd ## the kernel and the initramfs (what a bare `make` does)

kernel: $(B)/rampart ## the kernel alone: build/ARCH/rampart, symbols in rampart.sym

ifeq ($(HOST_BUSYBOX),)
$(B)/initrd.cpio: no-busybox
no-busybox:
	@echo 'no busybox on this machine: run ./setup' >&2; exit 1
endif
initrd: $(B)/initrd.cpio ## the initramfs alone: build/ARCH/initrd.cpio

run: build ## boot to a shell on this terminal (ctrl-a x leaves); DEBUG=1 waits for `make gdb`
	$(Q)$(QEMU) $(QFLAGS) -serial mon:stdio $(if $(DEBUG),$(QGDB)) -append '$(APPEND)'

gdb: build ## debug: joins a `make run DEBUG=1`, or boots by itself with the console in a file
	$(Q)GDB='$(GDB)' $(PYTHON) -m grade.debug --arch $(ARCH) --socket $(GDBSOCK) \
		--console $(B)/console.log -- $(QEMU) $(QFLAGS) $(QGDB) -append '$(APPEND)'

own-attack = $(if $(wildcard .lab .course),$(shell $(PYTHON) -m grade.lab which --attack))
attack: build ## boot, run the attack NAME=... and power off; without NAME the lab's, or list them
	$(Q)$(QEMU) $(QFLAGS) -serial mon:stdio -append '$(APPEND) -- /bin/attack $(or $(NAME),$(own-attack),-l)'

# What is needed, for each architecture; then one pytest for all, so that none keeps another's from
# reporting, and its closing line is the last that is printed. One test more than there are processors: of a test and
# its guest one often waits for the other.
each	= +$(Q)set -e; for arch in $(TESTED); do $(MAKE) ARCH=$$arch
pytest	= $(Q)$(PYTHON) -m pytest grade/tests $(TESTED:%=--arch=%) -n $$(($$(nproc) + 1))
test: ## every test but the long ones, on both architectures, or on ARCH
	$(each) tools; done
	$(each) ready; done
	$(pytest) -m 'not soak and not bochs and not handouts' $(PYTEST)

soak: ## the long ones: forks by the thousand, garbage system calls, NMIs, kernels broken on purpose
	$(each) tools; done
	$(each) build; done
	$(pytest) -m soak $(PYTEST)

# Without the Linux kernel those tests fail that compare with it.
ready: build check-headers
	-$(Q)$(PYTHON) -m grade.fetch_linux --arch $(ARCH)

tools:
	@for tool in '$(firstword $(CC))' '$(LD)' '$(QEMU)'; do command -v "$$tool" >/dev/null || { \
		echo "no $$tool here for $(ARCH): run ./setup; the other architecture alone: make test ARCH=..." >&2; \
		exit 1; }; done

bench: build ## time Rampart beside Debian's Linux kernel; JSON=1, ARGS='--pti-off'; COSTS=1: by mitigation
	$(Q)$(PYTHON) -m grade.$(if $(COSTS),costs,bench) --arch $(ARCH) $(if $(JSON),--json) $(ARGS)

# Only where a PC's BIOS starts.
ISO	:= $(B)/rampart.iso
iso: build ## an image that boots through GRUB on a PC's BIOS: build/x86_64/rampart.iso (x86_64)
	$(if $(filter x86_64,$(ARCH)),,$(error there is no ISO for $(ARCH)))
	$(Q)$(PYTHON) -m grade.iso $(B)/rampart $(INITRD) $(ISO) --append '$(APPEND)'

test-bochs: build ## what only Bochs's processors enforce (x86_64; BOCHS=1 ./setup installs it)
	$(Q)$(PYTHON) -m pytest grade/tests/test_bochs.py -n 2 -m bochs $(PYTEST)

harden-report: build ## one table: each mitigation's state, attacks, checks and cost, all run now
	$(Q)$(PYTHON) -m grade.harden_report --arch $(ARCH) $(if $(JSON),--json)

linux: ## fetch the Linux kernel that bench compares with (by apt, unpacked and not installed)
	$(Q)$(PYTHON) -m grade.fetch_linux --arch $(ARCH)

# In a starter and in a course's branch the tree knows its lab.
ifeq ($(origin LAB),undefined)
LAB	= $(eval LAB := $(if $(wildcard .lab .course),$(shell $(PYTHON) -m grade.lab which)))$(LAB)
endif
LABS	:= $(notdir $(patsubst %/,%,$(dir $(wildcard labs/*/lab.toml))))
need-lab = $(if $(LAB),,$(error which lab? LAB=NAME, one of: $(LABS)))
lab-verb = $(need-lab)$(Q)$(PYTHON) -m grade.lab $(1) --arch $(ARCH) '$(LAB)'
seed	= $(if $(SEED),--seed '$(SEED)')
# Whether submissions come from a course's branches: COURSE=1 or 0; and whose twists count.
course	= $(if $(COURSE),--course $(if $(filter 0,$(COURSE)),no,yes))
roster	= $(if $(ROSTER),--roster '$(ROSTER)')

lab: ## make the starter of LAB=... in the new directory DEST=...
	$(need-lab)$(if $(DEST),,$(error where to? DEST=directory))
	$(call lab-verb,lab) '$(DEST)'

show: ## what LAB=... asks: files to edit, reading list, checks
	$(call lab-verb,show)

grade-batch: ## grade a class: LAB=... SUBMISSIONS=dir [OUT=dir JOBS=n SEED=n COURSE=1 ROSTER=file]; what is graded stays so
	$(need-lab)$(need-class)
	$(Q)$(PYTHON) -m grade.lab batch $(BATCH)

regrade: ## the same again with SEED=...; keeps the higher score and lists what changed
	$(need-lab)$(need-class)
	$(Q)$(PYTHON) -m grade.lab regrade $(BATCH)

gradescope: ## the zip that Gradescope takes for LAB=... [COURSE=1 ROSTER=file]: build/gradescope/LAB-ARCH.zip
	$(need-lab)
	$(Q)$(PYTHON) -m grade.lab gradescope --arch $(ARCH) '$(LAB)' $(seed) $(course) $(roster)

need-class = $(if $(SUBMISSIONS),,$(error where are they? SUBMISSIONS=directory))
BATCH	= --arch $(ARCH) '$(LAB)' --submissions '$(SUBMISSIONS)' $(if $(OUT),--out '$(OUT)') \
	$(if $(JOBS),--jobs '$(JOBS)') $(seed) $(course) $(roster)

grade: ## grade LAB=... as it stands here or in FROM=dir; SEED=... repeats a grade exactly; STUDENT=... is twisted
	$(call lab-verb,grade) --from '$(FROM)' $(seed) $(course) $(if $(STUDENT),--student '$(STUDENT)')

why: ## stop in GDB where CHECK=... begins to look; AT=failure: where it fails
	$(if $(CHECK),,$(error which check? CHECK=NAME, see `make show`))
	$(call lab-verb,why) '$(CHECK)' $(if $(AT),--fails) $(seed)

diagnose: ## GDB on the lab's broken kernel, whose source you do not have
	$(call lab-verb,diagnose)

progress: ## the labs, what each scored here, what is due when
	$(Q)$(PYTHON) -m grade.lab progress

reset: ## the lab's files as they came; your work is kept in .lab-backup
	$(call lab-verb,reset)

submit: ## check the list of files, build, pack LAB-submission.tar.gz
	$(call lab-verb,submit)

solution: ## after an attempt: what the reference does otherwise than FROM=dir, and why
	$(call lab-verb,solution) --from '$(FROM)'

lab-branches: ## publish the course of labs/course.toml: DEST=dir, and PRIVATE=dir with the solutions
	$(if $(DEST),,$(error where to? DEST=directory, and PRIVATE=directory for the instructor))
	$(Q)$(PYTHON) -m grade.lab branches '$(DEST)' $(if $(PRIVATE),--private '$(PRIVATE)') \
		$(if $(filter 0,$(DIAGNOSIS)),--no-diagnosis)

course-check: ## validate labs/course.toml, and prove that starters, solutions and mutants get what they should here
	$(Q)$(PYTHON) -m grade.lab course-check $(seed)

course-demo: ## publish a lab, grade six sample submissions, and show the reports: build/demo
	$(Q)$(PYTHON) -m grade.lab course-demo --arch $(ARCH) $(LAB)

tickets: ## what of each lab is one student's own, by the class key: ROSTER=file with names, DEST=dir
	$(if $(and $(ROSTER),$(DEST)),,$(error ROSTER=file DEST=directory))
	$(Q)$(PYTHON) -m grade.lab tickets '$(ROSTER)' '$(DEST)'

check-diagnosis: ## whether the diagnosis of STUDENT=... in FROM=dir is right
	$(call lab-verb,diagnosis) --from '$(FROM)' $(if $(STUDENT),--student '$(STUDENT)')

similarity: ## which submissions in SUBMISSIONS=dir look alike, or like the reference: a report, never a verdict
	$(if $(SUBMISSIONS),,$(error SUBMISSIONS=directory))
	$(call lab-verb,similarity) '$(SUBMISSIONS)'

check-labs: ## prove the labs (LAB=... for one; SINCE=commit: those that changes touch) on both architectures, or on ARCH
	$(Q)$(PYTHON) -m grade.lab check --arches '$(TESTED)' $(if $(SINCE),--since '$(SINCE)') $(LAB)

handouts: ## the chapters as a site that opens from disk: build/handouts/index.html (HANDOUTS=1 ./setup)
	@$(PYTHON) -c 'import mkdocs' 2>/dev/null || { echo 'no MkDocs here: HANDOUTS=1 ./setup' >&2; exit 1; }
	$(Q)$(PYTHON) -m mkdocs build --strict --quiet

test-handouts: ## links, listings, pictures, hints and search, in a browser (HANDOUTS=test ./setup)
	$(Q)$(PYTHON) -m pytest grade/tests/test_handouts.py $(PYTEST)

# Each header compiles alone, so that an include never depends on the one before it.
# (machine.h is the second half of arch/arch.h and is included by nothing else; asm.h is assembly.)
HEADERS	:= $(sort $(wildcard kernel/*.h kernel/*/*.h arch/*.h arch/$(ARCH)/*.h))
HEADERS	:= $(filter-out $(addprefix arch/$(ARCH)/,machine.h asm.h),$(HEADERS))
check-headers: $(HEADERS:%=$(B)/%.alone) ## each header compiles alone
$(B)/%.h.alone: %.h $(B)/flags
	@mkdir -p $(@D)
	@echo '#include "$<"' | $(CC) $(CFLAGS) -MMD -MP -MT $@ -MF $@.d -fsyntax-only -x c -
	@touch $@
-include $(HEADERS:%=$(B)/%.alone.d)

clean: ## remove everything that was built (a fetched Linux kernel too)
	$(Q)rm -rf build

help: ## this list
	@echo 'make VERB [VARIABLE=value ...]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/  \1\t\2/p' Makefile | expand -t 16
	@echo 'variables: ARCH=$(ARCH) SMP=$(SMP) MEM=$(MEM) V=$(V) RELEASE=$(RELEASE) CC=$(CC)'
	@echo '  CMDLINE=words for the kernel, "-- COMMAND" for init    INITRD=$(INITRD)'
	@echo '  RETPOLINE=$(RETPOLINE) RETURN_THUNKS=$(RETURN_THUNKS)'
