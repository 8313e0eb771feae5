/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * redisurl.h - redis://[[user]:password@]host[:port][/db], the same with rediss:// for
 * TLS, and unix:/path[?db=N], taken apart.
 */
#ifndef REDIS_REDISURL_H
#define REDIS_REDISURL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

struct redisurl {
	char host[256]; /* "unix:/path" for a socket */
	uint16_t port;	/* 6379 unless given */
	char username[128];
	char password[256]; /* percent-decoded */
	int database;
	bool tls; /* rediss:// */
};

int redisurl_parse(const char *text, struct redisurl *url, struct err *err) ATTR_CHECK;

#endif
