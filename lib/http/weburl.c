/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * weburl.c - http and https URLs, read strictly; see weburl.h.
 *
 * The text is taken apart from left to right, and what is kept is written anew from the
 * parts: whoever reads it next meets nothing that was not looked at here.  Pure.
 */
#include "http/weburl.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static bool
is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9');
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* of RFC 3986's characters, those that a path and a query may have */
static bool
is_path_char(char c)
{
	return is_alnum(c) || strchr("-._~!$&'()*+,;=:@/?", c) != NULL;
}

static int
read_scheme(const char **at, struct weburl *u, struct err *err)
{
	char word[9];
	size_t i;

	for (i = 0; i < sizeof(word) - 1 && (*at)[i] != '\0'; i++)
		word[i] = lower((*at)[i]);
	word[i] = '\0';
	u->tls = str_starts(word, "https://");
	if (!u->tls && !str_starts(word, "http://"))
		return err_set(
		    err, ERR_INVALID, "the URL must begin with https:// or http://");
	u->port = u->tls ? 443 : 80;
	*at += u->tls ? 8 : 7;
	return 0;
}

static int
read_ipv6(const char **at, struct weburl *u, struct err *err)
{
	const char *end = strchr(*at, ']');
	uint8_t bytes[16];
	size_t len;

	len = end != NULL ? (size_t)(end - *at) - 1 : 0;
	if (len == 0 || len >= INET6_ADDRSTRLEN)
		return err_set(err, ERR_INVALID,
		    "the URL's host has a bracket without an address");
	for (size_t i = 0; i < len; i++)
		u->host[i] = lower((*at)[i + 1]);
	u->host[len] = '\0';
	if (inet_pton(AF_INET6, u->host, bytes) != 1)
		return err_set(err, ERR_INVALID,
		    "the URL's host is no IPv6 address without a zone");
	/* the one form of it, so that the text that is made is what others would make
	 */
	inet_ntop(AF_INET6, bytes, u->host, sizeof(u->host));
	u->literal = true;
	*at = end + 1;
	return 0;
}

static bool
is_number(const char *label)
{
	size_t hex = label[0] == '0' && lower(label[1]) == 'x' ? 2 : 0;

	for (const char *p = label + hex; *p != '\0'; p++) {
		if (hex == 0 && (*p < '0' || *p > '9'))
			return false;
		if (hex != 0 && str_hex_digit(*p) < 0)
			return false;
	}
	return true;
}

static int
check_label(const char *label, size_t len, struct err *err)
{
	if (len == 0)
		return err_set(err, ERR_INVALID, "the URL's host has an empty part");
	if (len > 63)
		return err_set(err, ERR_INVALID,
		    "a part of the URL's host is longer than 63 bytes");
	if (label[0] == '-' || label[len - 1] == '-')
		return err_set(err, ERR_INVALID,
		    "a part of the URL's host begins or ends with '-'");
	return 0;
}

static int
read_name(const char **at, struct weburl *u, struct err *err)
{
	const char *label = u->host, *p;
	uint8_t bytes[4];
	size_t len = 0;

	for (; is_alnum(**at) || **at == '-' || **at == '.'; (*at)++) {
		if (len == sizeof(u->host) - 1)
			return err_set(err, ERR_INVALID,
			    "the URL's host is longer than 253 bytes");
		u->host[len++] = lower(**at);
	}
	u->host[len] = '\0';
	if (len == 0)
		return err_set(err, ERR_INVALID, "the URL has no host");
	for (p = u->host;; p++) {
		if (*p != '.' && *p != '\0')
			continue;
		if (check_label(label, (size_t)(p - label), err) != 0)
			return -1;
		if (*p == '\0')
			break;
		label = p + 1;
	}
	/* a host whose last part is a number is an address to some readers */
	if (!is_number(label))
		return 0;
	if (inet_pton(AF_INET, u->host, bytes) != 1)
		return err_set(err, ERR_INVALID,
		    "the URL's host ends in a number but is no IPv4 address such as "
		    "192.0.2.1");
	u->literal = true;
	return 0;
}

static int
read_port(const char **at, struct weburl *u, struct err *err)
{
	unsigned port = 0;
	size_t len = 0;

	if (**at != ':')
		return 0;
	for ((*at)++; **at >= '0' && **at <= '9' && len < 6; (*at)++, len++)
		port = port * 10 + (unsigned)(**at - '0');
	if (port < 1 || port > 65535 || len > 5 || (*at)[-(ptrdiff_t)len] == '0')
		return err_set(
		    err, ERR_INVALID, "the URL's port is no number from 1 to 65535");
	u->port = (uint16_t)port;
	return 0;
}

static int
check_rest(const char *at, struct err *err)
{
	if (*at != '\0' && *at != '/' && *at != '?') {
		if (*at == '@')
			return err_set(err, ERR_INVALID,
			    "the URL has a user name: use the headers setting");
		return err_set(err, ERR_INVALID,
		    "the URL's host has a character that no name has (international "
		    "names are written as xn--)");
	}
	for (; *at != '\0'; at++) {
		if (*at == '#')
			return err_set(err, ERR_INVALID,
			    "the URL has a fragment, which is never sent");
		if (*at == '%' &&
		    (str_hex_digit(at[1]) < 0 || str_hex_digit(at[2]) < 0))
			return err_set(err, ERR_INVALID,
			    "the URL has a '%%' without two hexadecimal digits");
		if (*at != '%' && !is_path_char(*at))
			return err_set(err, ERR_INVALID,
			    "the URL has a character that must be percent-encoded");
	}
	return 0;
}

static void
write_text(struct weburl *u, const char *rest)
{
	bool v6 = strchr(u->host, ':') != NULL;
	char port[8] = "";

	if (u->port != (u->tls ? 443 : 80))
		snprintf(port, sizeof(port), ":%u", u->port);
	snprintf(u->text, sizeof(u->text), "%s://%s%s%s%s%s%s",
	    u->tls ? "https" : "http", v6 ? "[" : "", u->host, v6 ? "]" : "", port,
	    rest[0] == '/' ? "" : "/", rest);
}

int
weburl_parse(const char *text, struct weburl *url, struct err *err)
{
	struct weburl u = {.tls = false};
	const char *at = text;

	if (strnlen(text, WEBURL_MOST + 1) > WEBURL_MOST)
		return err_set(
		    err, ERR_INVALID, "the URL is longer than %d bytes", WEBURL_MOST);
	for (const char *p = text; *p != '\0'; p++) {
		if (*p <= ' ' || *p > '~')
			return err_set(err, ERR_INVALID,
			    "the URL has a space, a control character or one that is "
			    "not ASCII");
		if (*p == '\\')
			return err_set(err, ERR_INVALID, "the URL has a backslash");
	}
	if (read_scheme(&at, &u, err) != 0)
		return -1;
	/* before the host: what stands in front of an @ is no host at all */
	if (memchr(at, '@', strcspn(at, "/?#")) != NULL)
		return err_set(err, ERR_INVALID,
		    "the URL has a user name: use the headers setting");
	if ((*at == '[' ? read_ipv6(&at, &u, err) : read_name(&at, &u, err)) != 0 ||
	    read_port(&at, &u, err) != 0 || check_rest(at, err) != 0)
		return -1;
	write_text(&u, at);
	*url = u;
	return 0;
}
