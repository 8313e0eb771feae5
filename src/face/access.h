/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * access.h - who may see the inside of a node.
 *
 * access.token opens it from anywhere; without a token, the networks of access.networks
 * may.  The address is the client's own, as http.trusted_proxies have told it.  Where
 * somebody else may be behind it (Forwarded, X-Forwarded-For or Via from who is not
 * trusted, or a trusted proxy that does not say for whom it speaks) only the token
 * counts: a proxy on the same machine would open the node to everybody otherwise.
 */
#ifndef FACE_ACCESS_H
#define FACE_ACCESS_H

#include "base/attr.h"
#include "base/err.h"
#include "http/httpd.h"

struct access;

enum access_verdict {
	ACCESS_STRANGER = 0,
	ACCESS_WRONG_TOKEN, /* from wherever it came */
	ACCESS_ALLOWED,
};

/* both copied; token "" or NULL: no token opens */
struct access *access_create(
    const char *token, const char *networks, struct err *err) ATTR_CHECK;
void access_free(struct access *ac); /* NULL is fine */
/* the decision itself; authorization NULL: the header is absent */
enum access_verdict access_decide(const struct access *ac, const char *authorization,
    const char *peer, bool forwarded);
enum access_verdict access_check(const struct access *ac, const struct httpreq *req);
/* as access_check, but whoever may not see it is answered (401, 403): false then, and
 * req is gone */
bool access_demand(const struct access *ac, struct httpreq *req) ATTR_CHECK;

#endif
