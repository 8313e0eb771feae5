/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sandbox.h - what a command may not do although its user may: Landlock and seccomp.
 *
 * Landlock (allow_read, allow_write): the file system is what the two lists name.  What
 * any program needs is added to the readable: /usr /bin /sbin /lib /lib32 /lib64
 * /etc/ld.so.cache /etc/ld.so.preload /etc/alternatives /etc/localtime, and /dev/null
 * /dev/zero /dev/full /dev/random /dev/urandom, which may be written too.  Reading
 * includes executing.
 *
 * seccomp: what LAUNCH_SECCOMP_DEFAULT refuses fails with EPERM: mounting, modules,
 * tracing, namespaces, keys, clocks, BPF, rebooting and the like.  With
 * LAUNCH_SECCOMP_NO_NETWORK so does making a socket that is not a local one.
 */
#ifndef PROC_SANDBOX_H
#define PROC_SANDBOX_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/err.h"
#include "proc/launch.h"

/* 0: this kernel has no Landlock, or it is switched off */
int sandbox_landlock_abi(void);
/* whether this build and this kernel have seccomp filters */
bool sandbox_has_seccomp(void);

/* builds the filters, once, before commands are started: they are only applied later */
int sandbox_prepare(struct err *err) ATTR_CHECK;

/*
 * Both for a new process between fork and exec, with no_new_privs set: they allocate
 * nothing and work in one that shares its parent's memory.  -1 and errno.  directory
 * (may be NULL) may be written too.
 */
int sandbox_landlock(
    char *const *allow_read, char *const *allow_write, const char *directory);
int sandbox_seccomp(enum launch_seccomp profile);

#endif
