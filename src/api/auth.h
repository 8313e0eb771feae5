/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth.h - which application does this request speak for?
 *
 * Keys come as Authorization: Bearer KEY and in no other way.  A key that is known well
 * is served from the cache; all keys that are not go to PostgreSQL together, one
 * statement at a time. While PostgreSQL is away, known keys work until they are
 * KEYCACHE_GOOD_MS old.
 */
#ifndef API_AUTH_H
#define API_AUTH_H

#include "api/keycache.h"
#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"
#include "http/httpd.h"
#include "store/apikey.h"
#include "store/store.h"

struct auth;

/* from the loop, for a request that auth_check has kept: it may go on */
typedef void auth_cb(struct httpreq *req, const struct key_facts *facts, void *arg);

struct auth *auth_create(struct loop *l, struct store *st, auth_cb *cb, void *arg,
    struct err *err) ATTR_CHECK;
/* the store is gone: its callbacks have come.  Requests still kept are dropped. */
void auth_free(struct auth *au);

enum auth_answer {
	AUTH_KNOWN = 1, /* facts are filled, for this turn of the loop */
	AUTH_KEPT,	/* the callback comes, or auth answers 401 or 503 itself */
	AUTH_REFUSED,	/* answered: req is gone */
};
/* bearer: auth_bearer's, of this request */
enum auth_answer auth_check(struct auth *au, struct httpreq *req, const char *bearer,
    struct key_facts *facts) ATTR_CHECK;

/* what stands behind "Bearer", whatever it is; NULL: nothing of that form */
const char *auth_bearer(const struct httpreq *req);
/* answers with 401 */
void auth_refuse(struct httpreq *req, const char *detail);

/* the public id of the key of a request that has passed, for people; "" without;
 * returns id */
char *auth_public_id(const struct httpreq *req, char id[APIKEY_PUBLIC + 1]);

#endif
