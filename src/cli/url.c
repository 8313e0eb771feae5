/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * url.c - the few URLs that a client of one service needs; see url.h.
 *
 * Strict on purpose: a typing error in SHOAL_URL should be said here, in one sentence,
 * and not show as a strange answer from somewhere else.
 */
#include "cli/url.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static const char unreserved[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
static const char host_bytes[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";

static int
parse_port(const char *text, size_t len, uint16_t *port, struct err *err)
{
	char digits[8];
	int64_t n;

	if (len == 0 || len >= sizeof(digits))
		return err_set(err, ERR_INVALID, "its port is not a number");
	memcpy(digits, text, len);
	digits[len] = '\0';
	if (str_to_i64(digits, &n) != 0 || n < 1 || n > UINT16_MAX)
		return err_set(
		    err, ERR_INVALID, "its port %s is outside 1-65535", digits);
	*port = (uint16_t)n;
	return 0;
}

/* text[0..len) is host[:port] or [v6][:port] */
static int
parse_authority(const char *text, size_t len, struct url *u, struct err *err)
{
	const char *host = text, *after;
	size_t host_len;
	bool v6 = len > 0 && text[0] == '[';

	if (memchr(text, '@', len) != NULL)
		return err_set(
		    err, ERR_INVALID, "it holds a user name; keys are given otherwise");
	if (v6) {
		host = text + 1;
		after = memchr(host, ']', len - 1);
		if (after == NULL)
			return err_set(err, ERR_INVALID, "its '[' is not closed");
		host_len = (size_t)(after - host);
		if (host_len != strspn(host, "0123456789abcdefABCDEF:."))
			return err_set(err, ERR_INVALID, "its host is no IPv6 address");
		after++;
	} else {
		host_len = strspn(host, host_bytes);
		if (host_len > len)
			host_len = len;
		after = host + host_len;
	}
	if (host_len == 0 || host_len >= sizeof(u->host))
		return err_set(err, ERR_INVALID, "it names no host");
	u->port = u->tls ? 443 : 80;
	if (after < text + len) {
		if (*after != ':')
			return err_set(err, ERR_INVALID,
			    "its host has a character that no host has");
		if (parse_port(after + 1, (size_t)(text + len - after - 1), &u->port,
			err) != 0)
			return -1;
	}
	memcpy(u->host, host, host_len);
	u->host[host_len] = '\0';
	if (u->port == (u->tls ? 443 : 80))
		snprintf(
		    u->authority, sizeof(u->authority), v6 ? "[%s]" : "%s", u->host);
	else
		snprintf(u->authority, sizeof(u->authority), v6 ? "[%s]:%u" : "%s:%u",
		    u->host, (unsigned)u->port);
	return 0;
}

static int
parse(const char *text, struct url *u, struct err *err)
{
	const char *start, *path;
	size_t len;

	u->tls = str_starts(text, "https://");
	if (!u->tls && !str_starts(text, "http://"))
		return err_set(
		    err, ERR_INVALID, "it does not begin with http:// or https://");
	u->scheme = u->tls ? "https" : "http";
	start = text + strlen(u->scheme) + strlen("://");
	if (strpbrk(start, "?#") != NULL)
		return err_set(err, ERR_INVALID, "it has a query or a fragment");
	path = start + strcspn(start, "/");
	if (parse_authority(start, (size_t)(path - start), u, err) != 0)
		return -1;
	len = strlen(path);
	while (len > 0 && path[len - 1] == '/')
		len--;
	if (len >= sizeof(u->prefix))
		return err_set(err, ERR_INVALID, "its path is too long");
	for (size_t i = 0; i < len; i++) {
		if (path[i] <= ' ' || path[i] == 0x7f)
			return err_set(err, ERR_INVALID, "its path has a blank in it");
	}
	memcpy(u->prefix, path, len);
	u->prefix[len] = '\0';
	return 0;
}

int
url_parse(const char *text, struct url *u, struct err *err)
{
	struct url out;

	memset(&out, 0, sizeof(out));
	if (parse(text, &out, err) != 0)
		return err_wrap(err, "URL '%.200s'", text);
	*u = out;
	return 0;
}

void
url_encode(struct strbuf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (strchr(unreserved, *text) != NULL)
			strbuf_putc(out, *text);
		else
			strbuf_printf(out, "%%%02X", (unsigned)(unsigned char)*text);
	}
}
