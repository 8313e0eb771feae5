/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sandbox.c - what a command may not do although its user may: Landlock and seccomp.
 *
 * Landlock has no wrapper in the C library: its three system calls are made here, with
 * the rights that this kernel's version knows.  seccomp filters are compiled by
 * libseccomp, which knows the system calls of every architecture; once, since it
 * allocates: a new process only hands the finished program to the kernel.
 */
#include "proc/sandbox.h"
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef HAVE_LINUX_LANDLOCK_H
#include <linux/landlock.h>
#endif
#ifdef HAVE_SECCOMP
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#endif

#include "base/mem.h"

/* ---- Landlock ----------------------------------------------------------------------
 */

#if defined(HAVE_LINUX_LANDLOCK_H) && defined(SYS_landlock_create_ruleset)

/* rights that later headers name; the numbers are the kernel's contract */
#define FS_REFER     (UINT64_C(1) << 13)
#define FS_TRUNCATE  (UINT64_C(1) << 14)
#define FS_IOCTL_DEV (UINT64_C(1) << 15)
#define FS_FIRST     ((UINT64_C(1) << 13) - 1) /* all of the first version */

#define FS_READ                                                                        \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |                   \
	    LANDLOCK_ACCESS_FS_READ_DIR)
/* what may be said of a file; the others are a directory's */
#define FS_FILE                                                                        \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |                  \
	    LANDLOCK_ACCESS_FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

static const char *const always_read[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32",
    "/lib64", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/alternatives",
    "/etc/localtime"};
static const char *const always_write[] = {
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};

int
sandbox_landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
	    LANDLOCK_CREATE_RULESET_VERSION);

	return abi > 0 ? (int)abi : 0;
}

static uint64_t
handled(int abi)
{
	uint64_t rights = FS_FIRST;

	if (abi >= 2)
		rights |= FS_REFER;
	if (abi >= 3)
		rights |= FS_TRUNCATE;
	if (abi >= 5)
		rights |= FS_IOCTL_DEV;
	return rights;
}

static int
allow(int ruleset, const char *path, uint64_t rights)
{
	struct landlock_path_beneath_attr rule = {0};
	struct stat st;
	int fd = open(path, O_PATH | O_CLOEXEC), rc = -1, saved;

	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == 0) {
		rule.parent_fd = fd;
		rule.allowed_access = S_ISDIR(st.st_mode) ? rights : rights & FS_FILE;
		rc = (int)syscall(SYS_landlock_add_rule, ruleset,
		    LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	}
	saved = errno;
	close(fd);
	errno = saved;
	return rc;
}

static int
allow_list(int ruleset, const char *const *paths, size_t count, uint64_t rights)
{
	for (size_t i = 0; i < count; i++)
		if (allow(ruleset, paths[i], rights) != 0 && errno != ENOENT)
			return -1;
	return 0;
}

static int
allow_words(int ruleset, char *const *paths, uint64_t rights)
{
	for (; paths != NULL && *paths != NULL; paths++)
		if (allow(ruleset, *paths, rights) != 0)
			return -1;
	return 0;
}

int
sandbox_landlock(
    char *const *allow_read, char *const *allow_write, const char *directory)
{
	int abi = sandbox_landlock_abi(), ruleset, rc = -1, saved;
	struct landlock_ruleset_attr attr = {0};
	uint64_t all = handled(abi), reading = FS_READ & all;

	if (abi == 0) {
		errno = ENOSYS;
		return -1;
	}
	attr.handled_access_fs = all;
	/* the first version's size: all that is used of it */
	ruleset = (int)syscall(
	    SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	if (ruleset == -1)
		return -1;
	if (allow_list(ruleset, always_read, COUNT_OF(always_read), reading) == 0 &&
	    allow_list(ruleset, always_write, COUNT_OF(always_write), all) == 0 &&
	    allow_words(ruleset, allow_read, reading) == 0 &&
	    allow_words(ruleset, allow_write, all) == 0 &&
	    (directory == NULL || allow(ruleset, directory, all) == 0))
		rc = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
	saved = errno;
	close(ruleset);
	errno = saved;
	return rc;
}

#else

int
sandbox_landlock_abi(void)
{
	return 0;
}

int
sandbox_landlock(
    char *const *allow_read, char *const *allow_write, const char *directory)
{
	(void)allow_read;
	(void)allow_write;
	(void)directory;
	errno = ENOSYS;
	return -1;
}

#endif

/* ---- seccomp -----------------------------------------------------------------------
 */

#ifdef HAVE_SECCOMP

/* by name: which of them this architecture has, libseccomp knows */
static const char *const refused[] = {
    /* the machine */
    "acct", "adjtimex", "clock_adjtime", "clock_adjtime64", "clock_settime",
    "clock_settime64", "delete_module", "finit_module", "init_module", "ioperm", "iopl",
    "kexec_file_load", "kexec_load", "quotactl", "quotactl_fd", "reboot", "sethostname",
    "setdomainname", "settimeofday", "stime", "swapoff", "swapon", "syslog", "vhangup",
    /* what others see of the file system */
    "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr",
    "move_mount", "open_tree", "pivot_root", "umount", "umount2", "name_to_handle_at",
    "open_by_handle_at",
    /* other processes */
    "kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev",
    "ptrace", "setns", "unshare",
    /* doors into the kernel that few commands need and many attacks do */
    "add_key", "bpf", "io_uring_enter", "io_uring_register", "io_uring_setup", "keyctl",
    "lookup_dcookie", "perf_event_open", "personality", "request_key", "userfaultfd",
    "vm86", "vm86old", "modify_ldt"};

/* finished programs; [LAUNCH_SECCOMP_NONE] is empty */
static struct sock_fprog programs[LAUNCH_SECCOMP_COUNT];

bool
sandbox_has_seccomp(void)
{
	return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != -1;
}

static int
add_rules(scmp_filter_ctx ctx, enum launch_seccomp profile)
{
	int rc = 0;

	for (size_t i = 0; i < COUNT_OF(refused) && rc == 0; i++) {
		int nr = seccomp_syscall_resolve_name(refused[i]);

		if (nr == __NR_SCMP_ERROR)
			continue; /* younger than this libseccomp */
		rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), nr, 0);
		if (rc == -EDOM)
			rc = 0; /* not on this architecture */
	}
	/* a new user name space makes anybody root in it */
	if (rc == 0)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
		    SCMP_A0(SCMP_CMP_MASKED_EQ, 0x10000000, 0x10000000));
	/* its flags are out of a filter's sight; the C library then takes clone */
	if (rc == 0)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (rc == 0 && profile == LAUNCH_SECCOMP_NO_NETWORK)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
		    SCMP_A0(SCMP_CMP_NE, AF_UNIX));
	return rc;
}

/* libseccomp gives the program to a file only */
static int
export_program(scmp_filter_ctx ctx, struct sock_fprog *program)
{
	int fd = memfd_create("filter", MFD_CLOEXEC), rc;
	struct stat st;

	if (fd == -1)
		return -errno;
	rc = seccomp_export_bpf(ctx, fd);
	if (rc == 0 && fstat(fd, &st) != 0)
		rc = -errno;
	if (rc == 0) {
		size_t size = (size_t)st.st_size;
		struct sock_filter *code = mem_alloc(size);

		if (code == NULL)
			rc = -ENOMEM;
		else if (pread(fd, code, size, 0) != st.st_size) {
			mem_free(code);
			rc = -EIO;
		} else {
			program->filter = code;
			program->len = (unsigned short)(size / sizeof(*code));
		}
	}
	close(fd);
	return rc;
}

int
sandbox_prepare(struct err *err)
{
	for (int p = LAUNCH_SECCOMP_DEFAULT; p < LAUNCH_SECCOMP_COUNT; p++) {
		scmp_filter_ctx ctx;
		int rc;

		if (programs[p].filter != NULL)
			continue;
		ctx = seccomp_init(SCMP_ACT_ALLOW);
		if (ctx == NULL)
			return err_set(err, ERR_NOMEM, "seccomp filter");
		rc = add_rules(ctx, (enum launch_seccomp)p);
		if (rc == 0)
			rc = export_program(ctx, &programs[p]);
		seccomp_release(ctx);
		if (rc != 0)
			return err_errno(err, -rc, "seccomp filter");
	}
	return 0;
}

int
sandbox_seccomp(enum launch_seccomp profile)
{
	if (programs[profile].filter == NULL) {
		errno = ENOSYS;
		return -1;
	}
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &programs[profile], 0, 0);
}

#else

bool
sandbox_has_seccomp(void)
{
	return false;
}

int
sandbox_prepare(struct err *err)
{
	(void)err;
	return 0;
}

int
sandbox_seccomp(enum launch_seccomp profile)
{
	(void)profile;
	errno = ENOSYS;
	return -1;
}

#endif
