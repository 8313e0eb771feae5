/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * budget.h - whether PostgreSQL is set up for this cluster: versions, settings, and the
 * arithmetic of connections.  Pure: inspect.h reads the facts.
 */
#ifndef STORE_BUDGET_H
#define STORE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "model/findings.h"

#define BUDGET_TEXT_SIZE 280

/* what PostgreSQL says of itself, and what this node is going to do with it */
struct budget_facts {
	int64_t server_version;	 /* such as 150004 */
	bool read_only;		 /* a standby, or told to be */
	int64_t max_connections; /* of the server, or of the role if that is less */
	int64_t reserved;	 /* of these, for superusers */
	int64_t others;		 /* sessions that are not Shoal's */
	int64_t nodes;		 /* alive, this one included: at least 1 */
	int64_t workers;	 /* of this node; the others are taken to be like it */
	int64_t connections;	 /* database.connections */
	bool fsync_off, commit_off; /* synchronous_commit of our role */
	int64_t standbys;	    /* streaming now */
	bool synchronous_standbys;  /* synchronous_standby_names is set */
};

struct budget {
	int64_t a_worker, a_node, nodes; /* connections at the most */
	int64_t all;			 /* nodes, leader and others */
	int64_t room;			 /* max_connections less reserved */
	bool fits;
};

void budget_count(const struct budget_facts *f, struct budget *b);
/* the arithmetic in one sentence; returns buf */
char *budget_text(const struct budget_facts *f, char buf[BUDGET_TEXT_SIZE]);
/* adds what is found, fine things too */
void budget_judge(const struct budget_facts *f, struct findings *found);

#endif
