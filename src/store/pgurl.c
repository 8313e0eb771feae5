/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgurl.c - what a connection string to PostgreSQL says about the way there; see
 * pgurl.h.
 *
 * libpq takes it apart, so that URIs, strings and the environment mean what they mean
 * when it connects.  What it has taken apart holds a password, and is wiped.
 */
#include "store/pgurl.h"

#include <libpq-fe.h>
#include <string.h>

#include "base/str.h"
#include "event/addr.h"

static void
info_free(PQconninfoOption *info)
{
	for (PQconninfoOption *o = info; o != NULL && o->keyword != NULL; o++) {
		if (o->val != NULL && o->dispchar[0] == '*')
			explicit_bzero(o->val, strlen(o->val));
	}
	if (info != NULL)
		PQconninfoFree(info);
}

static const char *
value_of(const PQconninfoOption *info, const char *keyword)
{
	for (; info != NULL && info->keyword != NULL; info++) {
		if (str_eq(info->keyword, keyword))
			return info->val != NULL ? info->val : "";
	}
	return "";
}

static const char *
value(
    const PQconninfoOption *info, const PQconninfoOption *defaults, const char *keyword)
{
	const char *own = value_of(info, keyword);

	return own[0] != '\0' ? own : value_of(defaults, keyword);
}

/* whether each of a comma list is this machine; libpq without a host takes a socket */
static bool
all_local(const char *list)
{
	char name[256];
	size_t len;

	for (;; list += len + 1) {
		len = strcspn(list, ",");
		if (len >= sizeof(name))
			return false;
		memcpy(name, list, len);
		name[len] = '\0';
		if (name[0] != '\0' && name[0] != '/' && name[0] != '@' &&
		    !addr_host_is_local(name))
			return false;
		if (list[len] == '\0')
			return true;
	}
}

enum pgurl_way
pgurl_way(const char *url)
{
	static const struct {
		const char *mode;
		enum pgurl_way way;
	} modes[] = {
	    {"verify-full", PGURL_VERIFIED},
	    {"verify-ca", PGURL_UNNAMED},
	    {"require", PGURL_UNCHECKED},
	};
	PQconninfoOption *info = PQconninfoParse(url, NULL);
	PQconninfoOption *defaults = PQconndefaults();
	enum pgurl_way way = PGURL_PLAIN;
	const char *addrs, *mode;

	if (info == NULL || defaults == NULL) {
		info_free(info);
		info_free(defaults);
		return PGURL_UNKNOWN;
	}
	addrs = value(info, defaults, "hostaddr");
	mode = value(info, defaults, "sslmode");
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		if (str_eq(mode, modes[i].mode))
			way = modes[i].way;
	}
	/* libpq: a root certificate beside require makes it verify-ca */
	if (way == PGURL_UNCHECKED && value(info, defaults, "sslrootcert")[0] != '\0')
		way = PGURL_UNNAMED;
	if (way != PGURL_VERIFIED &&
	    all_local(addrs[0] != '\0' ? addrs : value(info, defaults, "host")))
		way = PGURL_LOCAL;
	info_free(info);
	info_free(defaults);
	return way;
}

void
pgurl_judge(const char *key, const char *url, struct findings *found)
{
	static const char remedy[] =
	    "add sslmode=verify-full and sslrootcert=/path/of/the/ca.pem to it";

	switch (pgurl_way(url)) {
	case PGURL_UNKNOWN:
		findings_add(found, FINDING_FAULT,
		    "give it as postgresql://user@host:5432/name",
		    "%s is no connection string", key);
		break;
	case PGURL_PLAIN:
		findings_add(found, FINDING_WARNING, remedy,
		    "%s leads over a network, and nothing asks for TLS", key);
		break;
	case PGURL_UNCHECKED:
		findings_add(found, FINDING_WARNING, remedy,
		    "%s leads over a network with TLS, but who answers is not verified",
		    key);
		break;
	case PGURL_UNNAMED:
		findings_add(found, FINDING_WARNING, remedy,
		    "%s leads over a network with TLS, but the server's name is not "
		    "verified",
		    key);
		break;
	case PGURL_LOCAL:
		findings_add(
		    found, FINDING_FINE, NULL, "%s does not leave this machine", key);
		break;
	case PGURL_VERIFIED:
		findings_add(
		    found, FINDING_FINE, NULL, "%s is encrypted and verified", key);
		break;
	}
}
