/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doctor.h - what shoal doctor looks at, one function for each part of a set-up.
 *
 * Each adds what it finds, fine things too, with what to do about the others
 * (model/findings.h).  They ask, and change nothing that stays: a key that is written
 * to Redis goes by itself.
 *
 * New part?  A function here, a file doctor_PART.c, and a row in cmd_doctor.c.
 */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/uuid.h"
#include "model/findings.h"
#include "model/settings.h"

struct doctor {
	const struct settings *settings;
	const char *config; /* the file; NULL: none */
	/* whom workers run as: node.user when root starts the node, else ourselves */
	uid_t uid;
	gid_t gid;
	pid_t master; /* of the node that runs with this pid file; 0: none */
	/* learned from PostgreSQL */
	char database_id[UUID_TEXT_SIZE]; /* "": not known */
	int64_t workers;		  /* of the whole cluster; 0: not known */
};

void doctor_files(struct doctor *d, struct findings *found);
void doctor_tls(struct doctor *d, struct findings *found);
void doctor_machine(struct doctor *d, struct findings *found);
void doctor_ports(struct doctor *d, struct findings *found);
void doctor_postgres(struct doctor *d, struct findings *found);
void doctor_redis(struct doctor *d, struct findings *found);

/* ---- what more than one of them needs ---- */

/* whether that user, with this one group, may do this (R_OK, W_OK, X_OK) with path,
 * and go through all directories above it; false also where path is not */
bool doctor_may(const char *path, uid_t uid, gid_t gid, int want);
/* the directory of path, "/" or "." where it has none; returns buf */
char *doctor_directory(const char *path, char *buf, size_t size);
/* seconds that a store's clock is before ours, told of a store by this name */
void doctor_clock_judge(
    const char *store, double ahead_s, double unsure_s, struct findings *found);

/* a file that nobody but its owner and group may reach; key names the setting, as it is
 * written */
void doctor_secret_judge(const char *key, const char *path, struct findings *found);
/* whether the private key in path belongs to the first certificate of the other file;
 * nothing is said if it does */
void doctor_pair_judge(
    const char *key, const char *certificate, const char *path, struct findings *found);

/* a file of certificates or a bundle of authorities as of now_s, seconds since 1970 */
void doctor_certificates_judge(const char *key, const char *path, bool authorities,
    int64_t now_s, struct findings *found);

/* what pg_settings says, as text; "" is what it does not know */
struct postgres_settings {
	char wal_level[16], synchronous_commit[16], default_read_only[8], isolation[24],
	    autovacuum[8], encoding[16];
	int64_t statement_timeout_ms, idle_timeout_ms, lock_timeout_ms;
	int64_t max_wal_bytes; /* or what checkpoint_segments stands for; 0: not told */
};
void doctor_postgres_judge(const struct postgres_settings *ps, struct findings *found);

#endif
