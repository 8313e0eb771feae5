/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * database.c - the database of a command; see database.h.
 *
 * Whoever may read the node's configuration may manage its applications: the database's
 * own rights are the only check, as for a person with psql.
 */
#include "cli/database.h"

#include <stdlib.h>
#include <unistd.h>

#include "model/settings.h"

#define DEFAULT_CONFIG SHOAL_SYSCONFDIR "/shoald.conf"

extern char **environ;

struct session *
database_open(const struct cli *cli, struct err *err)
{
	const char *path = args_text(&cli->args, "config"),
		   *url = getenv("SHOAL_DATABASE_URL");
	char *options[ARGS_GIVEN + 1];
	const char *option;
	size_t n = 0, cursor = 0;
	struct settings *settings;
	struct session *se;

	while ((option = args_next(&cli->args, "option", &cursor)) != NULL)
		options[n++] = (char *)(uintptr_t)option; /* only read */
	options[n] = NULL;
	if (path == NULL && n == 0 && url != NULL && url[0] != '\0')
		return session_open(url, NULL, err);
	/* from here on as the node itself does it */
	if (path == NULL && getenv("SHOALD_CONFIG") == NULL &&
	    access(DEFAULT_CONFIG, F_OK) == 0)
		path = DEFAULT_CONFIG;
	settings = settings_load(path, environ, options, err);
	if (settings == NULL)
		return NULL;
	se = session_open(settings->database_url, settings->database_password, err);
	settings_free(settings);
	return se;
}
