/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * devtext.c - what shoald --dev writes for the node, for a shell and for a person.
 *
 * The configuration holds the secrets, so that none is an argument of the node.
 * The other two are made from the settings in force, whoever set them: a user's
 * -o listen.applications=... shows in DIR/env and in the welcome.
 */
#include "dev/devtext.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "base/str.h"
#include "model/listen.h"

#define URL_SIZE 160

void
devtext_conf(const struct devstore *st, struct strbuf *out)
{
	char path[DEVDIR_PATH_SIZE], url[DEVSTORE_URL_SIZE];

	/* inih reads at most 200 bytes a line; DEVDIR_MAX keeps these below */
	strbuf_puts(
	    out, "; written by shoald --dev at every start\n[node]\ndrain_delay = 0\n");
	strbuf_printf(out, "pid_file = %s\n", devdir_path(st->dir, "shoald.pid", path));
	strbuf_printf(
	    out, "control_socket = %s\n", devdir_path(st->dir, "shoald.sock", path));
	strbuf_puts(out, "\n[listen]\napplications = 127.0.0.1:8000\n"
			 "developers = 127.0.0.1:8080\n");
	strbuf_printf(out, "\n[access]\ntoken = %s\n", st->state->access_token);
	strbuf_printf(out, "\n[secrets]\nkey_file = %s\n",
	    devdir_path(st->dir, DEV_KEY_FILE, path));
	strbuf_printf(out, "\n[database]\nurl = %s\n", devstore_database_url(st, url));
	strbuf_printf(out, "\n[redis]\nurl = %s\n", devstore_redis_url(st, url));
}

int
devtext_first_address(const char *list, struct addr *a, bool *tls)
{
	struct listen_item item;
	char text[LISTEN_ITEM_SIZE];
	size_t len = strcspn(list, ",");
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&a->storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&a->storage;

	if (len >= sizeof(text))
		return -1;
	memcpy(text, list, len);
	text[len] = '\0';
	if (listen_parse(str_trim(text), &item, NULL) != 0)
		return -1;
	*a = item.addr;
	*tls = item.tls;
	/* "any" is an address to listen on, not to connect to */
	if (a->sa.sa_family == AF_INET && in->sin_addr.s_addr == htonl(INADDR_ANY))
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
		in6->sin6_addr = in6addr_loopback;
	return 0;
}

static char *
url_of(const char *list, char buf[URL_SIZE])
{
	char text[ADDR_TEXT_SIZE];
	struct addr a;
	bool tls;

	buf[0] = '\0';
	if (devtext_first_address(list, &a, &tls) == 0)
		snprintf(buf, URL_SIZE, "%s%s",
		    a.sa.sa_family == AF_UNIX ? ""
		    : tls		      ? "https://"
					      : "http://",
		    addr_format(&a, text));
	return buf;
}

/* in single quotes, in which a shell takes everything literally but the quote itself */
static void
put_export(struct strbuf *out, const char *name, const char *value)
{
	strbuf_printf(out, "export %s='", name);
	for (; *value != '\0'; value++) {
		if (*value == '\'')
			strbuf_puts(out, "'\\''");
		else
			strbuf_putc(out, *value);
	}
	strbuf_puts(out, "'\n");
}

void
devtext_env(const struct settings *settings, const char *api_key, struct strbuf *out)
{
	char url[URL_SIZE];

	put_export(out, "SHOAL_URL", url_of(settings->listen_applications, url));
	put_export(out, "SHOAL_PORTAL_URL", url_of(settings->listen_developers, url));
	put_export(out, "SHOAL_API_KEY", api_key);
	put_export(out, "SHOAL_DATABASE_URL", settings->database_url);
	put_export(out, "SHOAL_REDIS_URL", settings->redis_url);
	put_export(out, "SHOAL_ACCESS_TOKEN", settings->access_token);
}

void
devtext_welcome(const struct settings *settings, const struct devdir *dir,
    const char *api_key, FILE *out)
{
	char url[URL_SIZE], path[DEVDIR_PATH_SIZE];

	fprintf(out, "\nShoal is up, with a PostgreSQL and a Redis of its own.\n\n");
	fprintf(out, "  applications   %s/v1\n",
	    url_of(settings->listen_applications, url));
	fprintf(out, "  developers     %s\n", url_of(settings->listen_developers, url));
	fprintf(out, "  API key        %s\n", api_key);
	fprintf(out, "  directory      %s%s\n\n", dir->path,
	    dir->temporary ? " (removed at the end)" : "");
	fprintf(out, "Submit a task and wait for its result:\n\n");
	fprintf(out, "  . %s\n", devdir_path(dir, "env", path));
	fprintf(out,
	    "  curl -sS \"$SHOAL_URL/v1/tasks?wait=10\" -H \"Authorization: Bearer "
	    "$SHOAL_API_KEY\" \\\n"
	    "       -H 'Content-Type: application/json' -d "
	    "'{\"type\":\"shoal.echo\",\"payload\":{\"hello\":\"world\"}}'\n\n");
	fprintf(out, "Ctrl-C takes everything down.\n\n");
	fflush(out);
}
