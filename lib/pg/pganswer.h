/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pganswer.h - the answer to one pipelined unit, put together from libpq's results.
 *
 * For pgconn alone.  Feed it what PQgetResult returns until the answer is whole.
 */
#ifndef PG_PGANSWER_H
#define PG_PGANSWER_H

#include <stdbool.h>

#include <libpq-fe.h>

#include "pg/pgconn.h"

struct pganswer {
	PGresult *rows;	   /* owned; NULL: none yet, or an error */
	struct pgerr err;  /* class NONE: no error so far */
	unsigned results;  /* seen, without the sync */
	bool null_due;	   /* the NULL after the last result has not been seen */
	bool not_prepared; /* the prepare in front of the unit failed */
};

enum pganswer_step {
	PGANSWER_MORE,
	PGANSWER_WHOLE,	 /* the sync has come: rows or err is final */
	PGANSWER_MISFIT, /* not what a unit can be answered by: we are out of step */
};

void pganswer_reset(struct pganswer *a); /* storage that was zeroed before */
/* res is given.  prepares: the unit is led by a prepare, whose result comes first. */
enum pganswer_step pganswer_take(struct pganswer *a, PGresult *res, bool prepares);

#endif
