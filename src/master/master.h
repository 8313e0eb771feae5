/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * master.h - the process that holds the sockets and keeps the others alive.
 *
 *     master_create   binds, opens the control socket; nothing runs yet
 *     (daemonize)
 *     master_run      forks the workers and supervises them until the node is to stop
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/err.h"
#include "master/migrator.h"
#include "model/settings.h"
#include "worker/worker.h"

struct master;

typedef int worker_fn(const struct worker_env *env);
/* the settings once more from all their sources, for HUP */
typedef struct settings *master_load_fn(void *arg, struct err *err);

struct inheritance;

struct master_opts {
	struct settings *settings; /* given */
	master_load_fn *load;
	void *load_arg; /* borrowed */
	worker_fn *worker;
	migrator_fn *migrate; /* NULL: the schema counts as ready */
	const char *title;    /* of the process, after "shoald: "; borrowed */
	/* what to execute for an upgrade, as this process was; NULL: it cannot be */
	const char *program;
	char *const *argv; /* borrowed */
	/* from an old master or from systemd; its sockets are taken; NULL: nothing */
	struct inheritance *inheritance;
};

struct master *master_create(
    const struct master_opts *opts, struct err *err) ATTR_CHECK;
/* the node's exit status; -1 with err when it could not begin */
int master_run(struct master *m, struct err *err) ATTR_CHECK;
void master_free(struct master *m); /* NULL is fine */

#endif
