/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cgroup.h - a control group (v2) for one command and all that it starts.
 *
 * They are made below the group that this process and its kin are in, its home, which
 * must be ours: delegated by systemd (Delegate=yes), or the top of a machine or
 * container where we are root.  A group with limits may hold groups or processes, not
 * both; so whoever prepares the home moves our processes into a group of their own in
 * it, once.  Processes that are not ours are never moved: then the home cannot be used.
 *
 *     HOME/shoal.node           master, workers, spawners, keepers
 *     HOME/shoal.<pid>-<n>      one command
 */
#ifndef PROC_CGROUP_H
#define PROC_CGROUP_H

#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"

#define CGROUP_PATH 512

/* controllers */
#define CGROUP_MEMORY 1u
#define CGROUP_PIDS   2u
#define CGROUP_CPU    4u

struct cgroup_limits {
	uint64_t memory_bytes, processes, cpu_percent; /* 0: no limit */
};
unsigned cgroup_controllers(const struct cgroup_limits *l); /* that these need */

/* ERR_INVALID: there is none, it lacks a controller, or we may not write there; what to
 * do is said */
int cgroup_home(
    unsigned controllers, char path[CGROUP_PATH], struct err *err) ATTR_CHECK;
/* the same, and makes it ready; kin: our topmost process.  What dead ones left behind
 * goes. */
int cgroup_prepare(unsigned controllers, pid_t kin, char path[CGROUP_PATH],
    struct err *err) ATTR_CHECK;

/* the steps of these, for any directory with the kernel's files: may we divide it so,
 * ... */
int cgroup_check(unsigned controllers, const char *home, struct err *err) ATTR_CHECK;
int cgroup_divide(
    unsigned controllers, pid_t kin, const char *home, struct err *err) ATTR_CHECK;
/* ... and these limits for what is in it; 0, or -1 and errno */
int cgroup_limit(const char *path, const struct cgroup_limits *l) ATTR_CHECK;

/* a new one in home; 0, or -1 and errno, and then there is none */
int cgroup_make(const char *home, const char *name, const struct cgroup_limits *l,
    char path[CGROUP_PATH]);
/* what is written there, "0", goes into it: for a child before exec; -1 and errno */
int cgroup_open_procs(const char *path);
/* KILL to all in it, at once; nothing on a kernel that cannot (before 5.14) */
void cgroup_kill(const char *path);
/* nobody is in it any more; what cannot be removed now goes with the next prepare */
void cgroup_remove(const char *path);

#endif
