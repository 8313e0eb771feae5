/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * target.c - the node that a command talks to; see target.h.
 *
 * Owns the one way in which a key gets from the environment or a file into a request,
 * and the text of requests.  A key is never taken from the command line, where every
 * user of the machine could read it.
 */
#include "cli/target.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static int
secret_check(const char *secret, struct err *err)
{
	size_t len = strlen(secret);

	if (len >= TARGET_SECRET)
		return err_set(err, ERR_INVALID, "the key is longer than %d bytes",
		    TARGET_SECRET - 1);
	for (size_t i = 0; i < len; i++) {
		if (secret[i] <= ' ' || secret[i] >= 0x7f)
			return err_set(err, ERR_INVALID,
			    "the key has a blank or a character that no key has");
	}
	return 0;
}

static int
resolve(struct target *t, struct err *err)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	char port[8];
	int rc;

	snprintf(port, sizeof(port), "%u", (unsigned)t->url.port);
	rc = getaddrinfo(t->url.host, port, &hints, &list);
	if (rc != 0)
		return err_set(err, ERR_IO, "no address of host %s: %s", t->url.host,
		    rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
	for (struct addrinfo *ai = list; ai != NULL && t->addr_count < TARGET_ADDRS;
	     ai = ai->ai_next) {
		struct addr *a = &t->addrs[t->addr_count++];

		memcpy(&a->storage, ai->ai_addr, ai->ai_addrlen);
		a->len = ai->ai_addrlen;
	}
	freeaddrinfo(list);
	return 0;
}

int
target_open(struct target *t, const char *url, const char *secret,
    const struct tlsclient *tls, struct err *err)
{
	struct target out;

	memset(&out, 0, sizeof(out));
	if (url_parse(url, &out.url, err) != 0)
		return -1;
	if (out.url.tls && tls == NULL)
		return err_set(err, ERR_INVALID, "URL '%.200s': not over TLS", url);
	out.tls = out.url.tls ? tls : NULL;
	if (secret != NULL) {
		if (secret_check(secret, err) != 0)
			return -1;
		(void)str_copy(out.secret, sizeof(out.secret), secret);
	}
	if (resolve(&out, err) != 0) {
		target_wipe(&out);
		return -1;
	}
	*t = out;
	target_wipe(&out);
	return 0;
}

void
target_wipe(struct target *t)
{
	explicit_bzero(t->secret, sizeof(t->secret));
}

int
target_secret_file(const char *path, char secret[TARGET_SECRET], struct err *err)
{
	char line[TARGET_SECRET + 8];
	FILE *f = fopen(path, "re");
	char *start;
	int rc = 0;

	if (f == NULL)
		return err_errno(err, errno, "key file %s", path);
	if (fgets(line, sizeof(line), f) == NULL) {
		rc = err_set(err, ERR_INVALID, "key file %s is empty", path);
	} else {
		start = str_trim(line);
		if (start[0] == '\0' || !str_copy(secret, TARGET_SECRET, start))
			rc =
			    err_set(err, ERR_INVALID, "key file %s holds no key", path);
	}
	explicit_bzero(line, sizeof(line));
	fclose(f);
	return rc;
}

void
target_request(const struct target *t, const char *method, const char *path,
    const char *body, size_t len, struct strbuf *out)
{
	strbuf_printf(out, "%s %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: shoal\r\n",
	    method, t->url.prefix, path, t->url.authority);
	if (t->secret[0] != '\0')
		strbuf_printf(out, "Authorization: Bearer %s\r\n", t->secret);
	if (body != NULL)
		strbuf_printf(out,
		    "Content-Type: application/json\r\nContent-Length: %zu\r\n", len);
	else if (!str_eq(method, "GET"))
		strbuf_puts(out, "Content-Length: 0\r\n");
	strbuf_puts(out, "\r\n");
	if (body != NULL)
		strbuf_put(out, body, len);
}
