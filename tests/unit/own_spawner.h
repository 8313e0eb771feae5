/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * own_spawner.h - a spawner of the test's own, and a launcher on it.
 */
#ifndef UNIT_OWN_SPAWNER_H
#define UNIT_OWN_SPAWNER_H

#include "proc/launch.h"
#include "proc/spawner.h"

struct own_spawner {
	pid_t pid;
	int door[2]; /* SPAWNER_INSIDE, SPAWNER_OUTSIDE */
	int control; /* ours */
	struct spawner_opts opts;
};

/* what opts says of users and what is allowed holds; the rest is filled in */
void own_spawner_start(struct own_spawner *s, const struct spawner_opts *opts);
void own_spawner_again(struct own_spawner *s); /* after its death, at the same door */
void own_spawner_kill(struct own_spawner *s);
void own_spawner_stop(struct own_spawner *s); /* in good order, which is asserted */

#endif
