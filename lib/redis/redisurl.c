/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * redisurl.c - a Redis address in one line of settings, taken apart.
 *
 * Strict where leniency would connect somewhere else than was meant: a port, a database
 * number or an escape that is not one is refused, never guessed.  No sentence
 * repeats the text, because it may hold a password.
 */
#include "redis/redisurl.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/str.h"

#define SCHEME	     "redis://"
#define SCHEME_TLS   "rediss://"
#define SCHEME_UNIX  "unix:"
#define DATABASE_MAX 65535

/* percent-decodes len bytes into to; a NUL inside would cut the text silently */
static int
decode(char *to, size_t size, const char *from, size_t len, const char *what,
    struct err *err)
{
	size_t used = 0;
	char byte;

	for (size_t i = 0; i < len; i++) {
		byte = from[i];
		if (byte == '%') {
			char pair[3] = {0};

			if (len - i < 3)
				goto bad_escape;
			memcpy(pair, from + i + 1, 2);
			if (str_unhex(pair, &byte, 1) != 0 || byte == '\0')
				goto bad_escape;
			i += 2;
		}
		if (used + 1 >= size)
			return err_set(err, ERR_INVALID,
			    "the %s in a Redis address has more than %zu bytes", what,
			    size - 1);
		to[used++] = byte;
	}
	to[used] = '\0';
	return 0;
bad_escape:
	return err_set(
	    err, ERR_INVALID, "the %s in a Redis address has a bad %% escape", what);
}

static int
parse_database(const char *text, int *database, struct err *err)
{
	int64_t n;

	if (str_to_i64(text, &n) != 0 || n < 0 || n > DATABASE_MAX)
		return err_set(err, ERR_INVALID,
		    "the database of a Redis address is a number up to %d",
		    DATABASE_MAX);
	*database = (int)n;
	return 0;
}

static int
parse_unix(const char *path, struct redisurl *url, struct err *err)
{
	struct sockaddr_un un;
	size_t len = strcspn(path, "?");

	if (path[0] != '/')
		return err_set(err, ERR_INVALID,
		    "a Redis address of a socket has an absolute path, as "
		    "in unix:/path");
	if (len >= sizeof(un.sun_path))
		return err_set(err, ERR_INVALID,
		    "a socket's path has at most %zu bytes", sizeof(un.sun_path) - 1);
	if (path[len] == '?') {
		const char *query = path + len + 1;

		if (!str_starts(query, "db="))
			return err_set(err, ERR_INVALID,
			    "a Redis address of a socket knows only ?db=N");
		if (parse_database(query + 3, &url->database, err) != 0)
			return -1;
	}
	snprintf(url->host, sizeof(url->host), SCHEME_UNIX "%.*s", (int)len, path);
	return 0;
}

/* user:password or :password */
static int
parse_userinfo(const char *text, size_t len, struct redisurl *url, struct err *err)
{
	const char *colon = memchr(text, ':', len);
	size_t user_len;

	if (colon == NULL)
		return err_set(err, ERR_INVALID,
		    "a Redis address gives credentials as user:password@ or "
		    ":password@");
	user_len = (size_t)(colon - text);
	if (decode(url->username, sizeof(url->username), text, user_len, "user name",
		err) != 0)
		return -1;
	return decode(url->password, sizeof(url->password), colon + 1,
	    len - user_len - 1, "password", err);
}

static int
parse_host(const char *text, size_t len, struct redisurl *url, struct err *err)
{
	const char *end = text + len, *host = text, *host_end;
	char port[8];
	uint64_t n;

	if (len > 0 && text[0] == '[') {
		host = text + 1;
		host_end = memchr(host, ']', len - 1);
		if (host_end == NULL)
			goto bad_host;
		text = host_end + 1;
	} else {
		host_end = memchr(text, ':', len);
		if (host_end == NULL)
			host_end = end;
		text = host_end;
	}
	if (host_end == host || (size_t)(host_end - host) >= sizeof(url->host))
		goto bad_host;
	for (const char *p = host; p < host_end; p++)
		if (*p <= ' ' || *p > '~' || *p == '?' || *p == '#' || *p == '%')
			goto bad_host;
	memcpy(url->host, host, (size_t)(host_end - host));
	url->host[host_end - host] = '\0';

	if (text == end)
		return 0;
	if (*text != ':' || (size_t)(end - text - 1) >= sizeof(port))
		goto bad_port;
	memcpy(port, text + 1, (size_t)(end - text - 1));
	port[end - text - 1] = '\0';
	if (str_to_u64(port, &n) != 0 || n < 1 || n > UINT16_MAX)
		goto bad_port;
	url->port = (uint16_t)n;
	return 0;
bad_host:
	return err_set(
	    err, ERR_INVALID, "a Redis address has a host, as in redis://host:6379/0");
bad_port:
	return err_set(
	    err, ERR_INVALID, "the port of a Redis address is a number, 1 to 65535");
}

int
redisurl_parse(const char *text, struct redisurl *url, struct err *err)
{
	struct redisurl out = {.port = 6379};
	const char *slash, *at, *rest;
	size_t authority;

	if (str_starts(text, SCHEME_UNIX)) {
		if (parse_unix(text + strlen(SCHEME_UNIX), &out, err) != 0)
			return -1;
		*url = out;
		return 0;
	}
	out.tls = str_starts(text, SCHEME_TLS);
	if (!out.tls && !str_starts(text, SCHEME))
		return err_set(err, ERR_INVALID,
		    "a Redis address begins with redis://, rediss:// or unix:/");
	rest = text + strlen(out.tls ? SCHEME_TLS : SCHEME);

	/* a slash in a password is escaped, an at sign too; the last one counts anyway
	 */
	slash = strchr(rest, '/');
	authority = slash != NULL ? (size_t)(slash - rest) : strlen(rest);
	at = memrchr(rest, '@', authority);
	if (at != NULL) {
		if (parse_userinfo(rest, (size_t)(at - rest), &out, err) != 0)
			return -1;
		authority -= (size_t)(at + 1 - rest);
		rest = at + 1;
	}
	if (parse_host(rest, authority, &out, err) != 0)
		return -1;
	if (slash != NULL && slash[1] != '\0' &&
	    parse_database(slash + 1, &out.database, err) != 0)
		return -1;
	*url = out;
	return 0;
}
