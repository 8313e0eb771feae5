/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * launchwire.h - what launcher, spawner and keeper say to each other.
 *
 * Messages of sequenced packet sockets between processes of one program, in the
 * machine's own layout.  Each begins with its kind.
 *
 *     launcher -> door     HELLO with one end of the launcher's connection
 *     launcher -> spawner  LAUNCH with the words, and up to 4 descriptors; SIGNAL, KILL
 *     keeper -> launcher   STARTED, EXITED, ENDED (the spawner, when it must)
 *     master -> spawner    GONE: that process is dead, and so shall be all it started
 *     spawner -> master    SETTLED: it is
 *
 * The spawner believes no length and no count: what it gets may come from a broken
 * process.
 */
#ifndef PROC_LAUNCHWIRE_H
#define PROC_LAUNCHWIRE_H

#include <stdint.h>

#include "proc/launch.h"

#define WIRE_WORDS 512 /* argv, env and paths of one request together */

enum wire_kind {
	WIRE_HELLO = 1,
	WIRE_LAUNCH,
	WIRE_SIGNAL,
	WIRE_KILL,
	WIRE_STARTED,
	WIRE_EXITED,
	WIRE_ENDED,
	WIRE_GONE,
	WIRE_SETTLED,
};

/* where the start of a command failed */
enum wire_step {
	STEP_NONE = 0,
	STEP_REQUEST,
	STEP_REFUSED,
	STEP_FORK,
	STEP_DIRECTORY,
	STEP_GROUP,
	STEP_DUP,
	STEP_PARENT,
	STEP_USER,
	STEP_LIMIT,
	STEP_CHDIR,
	STEP_SANDBOX,
	STEP_EXEC,
	STEP_COUNT
};

#define WIRE_PRIVATE_DIRECTORY 1u
#define WIRE_CWD	       2u /* the words begin with the directory */
#define WIRE_LANDLOCK	       4u
#define WIRE_GROUPED	       8u

struct wire_launch {
	uint32_t kind;
	uint32_t flags;
	uint64_t id;
	int64_t uid, gid; /* -1: as the spawner says */
	int32_t nice;
	uint32_t seccomp;
	/* bit i: descriptor i comes with the message */
	uint32_t fds;
	uint32_t limit_count;
	struct {
		int64_t resource;
		uint64_t value;
	} limits[LAUNCH_LIMITS];
	uint64_t group_memory, group_processes, group_cpu;
	/* of the words that follow, each with its NUL: [cwd] argv env read write */
	uint32_t argv_count, env_count, read_count, write_count;
};

/* SIGNAL, KILL */
struct wire_order {
	uint32_t kind;
	int32_t signo;
	uint64_t id;
};

/* STARTED, EXITED, ENDED */
struct wire_news {
	uint32_t kind;
	uint32_t step; /* enum wire_step */
	uint64_t id;
	int32_t pid, status, errnum;
	uint32_t unused;
};

/* HELLO, GONE, SETTLED */
struct wire_process {
	uint32_t kind;
	int32_t pid;
};

#endif
