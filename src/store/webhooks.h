/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * webhooks.h - statements about webhooks and their deliveries; the meaning is in
 * conf/schema/0018-webhooks.sql.
 *
 * As in reads.h: the constant, what its parameters are, one function that takes a row
 * apart.  Texts in a row are borrowed from the result.
 */
#ifndef STORE_WEBHOOKS_H
#define STORE_WEBHOOKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"
#include "pg/pgconn.h"
#include "pg/pgparam.h"
#include "pg/pgrows.h"

#define WEBHOOKS_MOST 50 /* of one application */

/* ---------------------------------------------------------------- webhooks */

enum webhook_put_outcome {
	WEBHOOK_MADE = 0,
	WEBHOOK_REPLACED,
	WEBHOOK_TOO_MANY,
	WEBHOOK_NO_ENDPOINT,
};

/* app, name, endpoint, states, types, queues (NULL: all), payload, most, limit of
 * names, by; enum webhook_put_outcome.  54000: too many queues */
extern const struct pgstmt webhooks_put;
extern const struct pgstmt webhooks_delete; /* app, name, by; was there one */
/* app, name (NULL: all); see webhook_row_get */
extern const struct pgstmt webhooks_list;

struct webhook_row {
	const char *name, *endpoint;
	struct pgarray states; /* numbers */
	struct pgarray types, queues;
	bool all_types, all_queues; /* the arrays are not there */
	bool payload;
	int64_t created_us, updated_us;
	int64_t worked_us, failed_us, failing_since_us, disabled_us; /* 0: not */
	const char *last_error, *disabled_why;			     /* NULL: none */
};
void webhook_row_get(const struct pgrows *rows, int row, struct webhook_row *w);

/* ---------------------------------------------------------------- deliveries */

enum webhook_resend_outcome {
	RESEND_MADE = 0,
	RESEND_NO_WEBHOOK,
	RESEND_DISABLED,
	RESEND_NO_TASK,
	RESEND_NOT_ENDED,
};

/* app, name, task, aging ms; enum webhook_resend_outcome, id, webhook-id */
extern const struct pgstmt webhooks_resend;
/* app, name, aging ms; the delivery's id, NULL: no such webhook */
extern const struct pgstmt webhooks_test;
/* app, name, before (NULL: from the newest), most; no row: no such webhook; the first
 * is not a delivery, then see webhook_delivery_get */
extern const struct pgstmt webhooks_deliveries;

struct webhook_delivery_row {
	struct uuid id, message;
	struct uuid task; /* whose end it tells ... */
	int told;	  /* ... and in which state; -1: a test */
	int state;	  /* the delivery's own */
	int attempt, max_attempts;
	const char *code, *error;	       /* NULL: none */
	int64_t made_us, next_us, finished_us; /* 0: none */
};
void webhook_delivery_get(
    const struct pgrows *rows, int row, struct webhook_delivery_row *d);

/* ---------------------------------------------------------------- the leader */

/* behind this app, events to look at, aging ms, patience ms; no row: there is nothing
 * to settle.  Else app, deliveries made (-1: they could not be, why is the reason),
 * more, webhook that was disabled, why: the first row is of the app */
extern const struct pgstmt webhooks_settle;
/* app, id, most; app and id (NULL: the walk has ended), removed */
extern const struct pgstmt webhooks_prune;

#endif
