/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * devstore.h - the private PostgreSQL and Redis of shoald --dev.
 */
#ifndef DEV_DEVSTORE_H
#define DEV_DEVSTORE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"
#include "dev/devdir.h"
#include "dev/devstate.h"
#include "model/settings.h"

#define DEVSTORE_URL_SIZE 256

struct devstore {
	const struct devdir *dir; /* borrowed */
	struct devstate *state;	  /* borrowed */
	bool fsync;
	char initdb[PATH_MAX], postgres[PATH_MAX], redis_server[PATH_MAX];
};

/* finds the programs; ERR_NOT_FOUND names what is missing and how to get it */
int devstore_init(struct devstore *st, const struct devdir *dir, struct devstate *state,
    const struct settings *settings, struct err *err) ATTR_CHECK;

/* servers of an earlier run in this directory whose supervisor was killed: ends and
 * awaits them */
int devstore_end_leftovers(const struct devstore *st, struct err *err) ATTR_CHECK;

/*
 * The cluster is made beside its final place and moved there when initdb was through,
 * so that half a cluster is never used: start, await the pid, then done with its wait
 * status.
 */
bool devstore_has_cluster(const struct devstore *st);
int devstore_initdb_start(
    const struct devstore *st, pid_t *pid, struct err *err) ATTR_CHECK;
int devstore_initdb_done(
    const struct devstore *st, int status, struct err *err) ATTR_CHECK;

/* pick chooses the port anew when the remembered one is taken: only before the node
 * knows it */
int devstore_postgres_start(
    const struct devstore *st, bool pick, pid_t *pid, struct err *err) ATTR_CHECK;
int devstore_redis_start(
    const struct devstore *st, bool pick, pid_t *pid, struct err *err) ATTR_CHECK;

/* 0 once it answers; otherwise why not */
int devstore_postgres_answers(const struct devstore *st, struct err *err) ATTR_CHECK;
int devstore_redis_answers(const struct devstore *st, struct err *err) ATTR_CHECK;

/* makes the database if there is none */
int devstore_create_database(const struct devstore *st, struct err *err) ATTR_CHECK;
/* the urls for the node, passwords included; return buf */
char *devstore_database_url(const struct devstore *st, char buf[DEVSTORE_URL_SIZE]);
char *devstore_redis_url(const struct devstore *st, char buf[DEVSTORE_URL_SIZE]);

#endif
