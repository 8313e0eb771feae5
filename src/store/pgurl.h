/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgurl.h - what a connection string to PostgreSQL says about the way there.
 */
#ifndef STORE_PGURL_H
#define STORE_PGURL_H

#include "model/findings.h"

enum pgurl_way {
	PGURL_UNKNOWN = 0, /* it is no connection string */
	PGURL_LOCAL,	   /* unix sockets and loopback only */
	PGURL_PLAIN,	   /* over a network, perhaps without TLS */
	PGURL_UNCHECKED,   /* with TLS, and the server may be anybody */
	PGURL_UNNAMED,	   /* its certificate is checked, its name is not */
	PGURL_VERIFIED,	   /* sslmode=verify-full */
};

/* the environment (PGSSLMODE, PGHOST) counts as it does for libpq */
enum pgurl_way pgurl_way(const char *url);
/* adds a warning if the way leads over a network without verification; key names the
 * setting */
void pgurl_judge(const char *key, const char *url, struct findings *found);

#endif
