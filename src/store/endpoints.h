/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * endpoints.h - statements about endpoints, and about tasks that run there; the meaning
 * is in conf/schema/0017-endpoints.sql.
 */
#ifndef STORE_ENDPOINTS_H
#define STORE_ENDPOINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pg/pgconn.h"
#include "pg/pgrows.h"

enum endpoint_given {
	ENDPOINT_URL = 1,
	ENDPOINT_HEADERS_GIVEN = 2,
	ENDPOINT_TIMEOUT = 4,
	ENDPOINT_DISABLED = 8,
};

/* app, name, by, most, given, url, headers, timeout ms, disabled, reason, secret: one
 * of enum endpoint_put */
enum endpoint_put {
	ENDPOINT_MADE = 0,
	ENDPOINT_CHANGED,
	ENDPOINT_TOO_MANY,
	ENDPOINT_NO_URL
};
extern const struct pgstmt endpoints_put;
/* app, name, by, secret, overlap ms: whether there is one */
extern const struct pgstmt endpoints_rotate;
/* app, name, by: 0 deleted, 1 there is none, 2 types run there */
extern const struct pgstmt endpoints_delete;
/* app, name (or NULL: all), after (or NULL), most; see endpoint_row_get */
extern const struct pgstmt endpoints_list;

struct endpoint_row {
	const char *name, *url;
	const char *headers;		   /* JSON; NULL: none */
	int64_t timeout_ms;		   /* 0: the type's */
	int64_t old_until_us, disabled_us; /* 0: not */
	const char *reason;		   /* or NULL */
	int64_t created_us, updated_us;
};
void endpoint_row_get(const struct pgrows *rows, int row, struct endpoint_row *e);

/* app, name: for a worker's copy; see endpoint_loaded_get */
extern const struct pgstmt endpoints_load;

struct endpoint_loaded {
	int64_t version;
	const char *url, *headers; /* headers: NULL: none */
	int64_t timeout_ms;
	bool disabled;
	const char *secret, *old_secret; /* sealed; old: NULL: none any more */
	int64_t old_left_ms;		 /* of the old one */
};
void endpoint_loaded_get(const struct pgrows *rows, int row, struct endpoint_loaded *e);

/* app, name, version, reason: whether it was disabled by this */
extern const struct pgstmt endpoints_disable_one;

/* me, batch, app or NULL, most, places of each endpoint, then of some: applications,
 * endpoints, places.  Columns of a claim, and
 *     13 type  14 endpoint  15 its version  16 the type's timeout ms  17 its backoff
 * application 0: another worker is at it */
extern const struct pgstmt endpoints_claim;
#define CLAIM_TYPE	   13
#define CLAIM_ENDPOINT	   14
#define CLAIM_VERSION	   15
#define CLAIM_TYPE_TIMEOUT 16
#define CLAIM_TYPE_BACKOFF 17

/* app, name, limits of new names and of types, endpoint, timeout ms, max attempts,
 * backoff: as types_put, and 4: there is no such endpoint */
extern const struct pgstmt endpoints_put_type;

#endif
