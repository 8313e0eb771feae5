/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * admin.h - applications and their keys, for commands that go through the
 * configuration's database.
 *
 * Blocking, on a session (session.h).
 */
#ifndef STORE_ADMIN_H
#define STORE_ADMIN_H

#include "base/attr.h"
#include "base/err.h"
#include "base/seal.h"
#include "store/apikey.h"
#include "store/session.h"

/* ERR_CONFLICT: the name is taken; ERR_INVALID: no name (names.h).  app_id may be NULL
 */
int admin_app_create(
    struct session *se, const char *name, int *app_id, struct err *err) ATTR_CHECK;
/* columns: id, name, created_at (RFC 3339), live keys, weight */
int admin_app_list(
    struct session *se, session_row *row, void *arg, struct err *err) ATTR_CHECK;
#define ADMIN_WEIGHT_MAX 1000
/* The application's share of starts beside others, with an event that says who changed
 * it.  ERR_NOT_FOUND: no such application.  before may be NULL */
int admin_app_weight(struct session *se, const char *name, int weight, int *before,
    struct err *err) ATTR_CHECK;
/*
 * A new key for the application; key->text is shown once and kept nowhere (wipe it).
 * ERR_NOT_FOUND: no such application.  expires_seconds 0: never.
 * scopes: words with commas between; NULL: it may do everything.
 */
int admin_key_create(struct session *se, const char *app, const char *label,
    int64_t expires_seconds, const char *scopes, struct apikey *key,
    struct err *err) ATTR_CHECK;
/* app NULL: of all.  columns: public id, application, label, created_at, expires_at,
 * revoked_at, scopes */
int admin_key_list(struct session *se, const char *app, session_row *row, void *arg,
    struct err *err) ATTR_CHECK;
/*
 * Seals the secrets of all endpoints anew that are not sealed with the key that seals
 * now.  Stops at the first that does not open.  count: how many were.
 */
int admin_reseal(struct session *se, const struct sealkeys *keys, int *count,
    struct err *err) ATTR_CHECK;
/* effective within 5 s on every node; ERR_NOT_FOUND: none, or revoked before */
int admin_key_revoke(
    struct session *se, const char *public_id, struct err *err) ATTR_CHECK;

#endif
