/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doctor_files.c - who may read and change the files that a node depends on.
 *
 * A secret that others can read is no secret, and a command that the service's user can
 * change is that user's way to run anything.  Rights are worked out from modes, for the
 * user and one group that workers run as, so that root can ask for another user;
 * access lists and further groups are not looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "cli/doctor.h"
#include "proc/child.h"

#define CONFIG_MOST (1u << 20)

/* ---------------------------------------------------------------- rights */

static bool
mode_allows(const struct stat *st, uid_t uid, gid_t gid, int want)
{
	mode_t bits = st->st_uid == uid	  ? st->st_mode >> 6
		      : st->st_gid == gid ? st->st_mode >> 3
					  : st->st_mode;

	if (uid == 0)
		return true;
	return ((want & R_OK) == 0 || (bits & 4) != 0) &&
	       ((want & W_OK) == 0 || (bits & 2) != 0) &&
	       ((want & X_OK) == 0 || (bits & 1) != 0);
}

char *
doctor_directory(const char *path, char *buf, size_t size)
{
	char *slash;

	if (!str_copy(buf, size, path))
		buf[0] = '\0';
	slash = strrchr(buf, '/');
	if (slash == NULL)
		str_copy(buf, size, ".");
	else
		slash[slash == buf ? 1 : 0] = '\0';
	return buf;
}

bool
doctor_may(const char *path, uid_t uid, gid_t gid, int want)
{
	char above[PATH_MAX];
	struct stat st;

	if (stat(path, &st) != 0 || !mode_allows(&st, uid, gid, want))
		return false;
	str_copy(above, sizeof(above), path);
	while (strcmp(above, "/") != 0 && strcmp(above, ".") != 0) {
		char below[PATH_MAX];

		str_copy(below, sizeof(below), above);
		doctor_directory(below, above, sizeof(above));
		if (stat(above, &st) != 0 || !mode_allows(&st, uid, gid, X_OK))
			return false;
	}
	return true;
}

/* ---------------------------------------------------------------- secrets */

void
doctor_secret_judge(const char *key, const char *path, struct findings *found)
{
	char remedy[PATH_MAX + 64];
	struct stat st;

	snprintf(remedy, sizeof(remedy), "chmod 0640 %s (or 0600)", path);
	if (stat(path, &st) != 0)
		findings_add(found, FINDING_FAULT,
		    "let the user that starts the node reach it", "%s: %s: %s", key,
		    path, strerror(errno));
	else if ((st.st_mode & S_IRWXO) != 0)
		findings_add(found, FINDING_FAULT, remedy,
		    "%s: everybody on this machine may reach %s (mode %04o)", key, path,
		    st.st_mode & 07777);
	else if ((st.st_mode & S_IWGRP) != 0)
		findings_add(found, FINDING_FAULT, remedy,
		    "%s: its group may write %s (mode %04o)", key, path,
		    st.st_mode & 07777);
	else
		findings_add(found, FINDING_FINE, NULL, "%s: %s is private", key, path);
}

static void
look_at_secret_files(const struct settings *s, struct findings *found)
{
	const struct secret_file *f;
	char name[256];

	TAILQ_FOREACH (f, &s->secret_files, link) {
		snprintf(name, sizeof(name), "%s_file", f->key);
		doctor_secret_judge(name, f->path, found);
	}
}

/* a value that stands in this text; those of URLs only where they hold a password */
static bool
stands_in(const struct conf_key *key, const char *value, const char *text)
{
	if (value == NULL || value[0] == '\0' || str_eq(value, key->def))
		return false;
	if (strstr(value, "://") != NULL && strchr(value, '@') == NULL)
		return false;
	return strstr(text, value) != NULL;
}

/* the first secret of a plain section that is written into the file; NULL: none */
static const struct conf_key *
secret_inside(const struct settings *s, const char *text)
{
	for (size_t i = 0; i < settings_schema.key_count; i++) {
		const struct conf_key *key = &settings_schema.keys[i];

		if ((key->flags & CONF_SECRET) != 0 &&
		    strchr(key->section, ':') == NULL &&
		    stands_in(
			key, *(char *const *)((const char *)s + key->offset), text))
			return key;
	}
	return NULL;
}

static void
look_at_config(const struct doctor *d, struct findings *found)
{
	char *text = mem_zero(CONFIG_MOST + 1), remedy[PATH_MAX + 96];
	const struct conf_key *key;
	struct stat st;
	FILE *f = fopen(d->config, "re");

	if (text == NULL || f == NULL || fstat(fileno(f), &st) != 0) {
		findings_add(found, FINDING_FAULT,
		    "let the user that starts the node read it", "%s: %s", d->config,
		    strerror(errno));
		goto out;
	}
	if (fread(text, 1, CONFIG_MOST, f) == 0 && ferror(f)) {
		findings_add(found, FINDING_FAULT, "look at the disk that it is on",
		    "%s cannot be read: %s", d->config, strerror(errno));
		goto out;
	}
	key = secret_inside(d->settings, text);
	snprintf(remedy, sizeof(remedy),
	    "chmod 0640 %s, or put the secret into a file of its own: %s_file = PATH",
	    d->config, key != NULL ? key->name : "");
	if ((st.st_mode & S_IWOTH) != 0)
		findings_add(found, FINDING_FAULT, "chmod o-w it",
		    "everybody may write %s, and so decides what runs here", d->config);
	else if (key != NULL && (st.st_mode & S_IROTH) != 0)
		findings_add(found, FINDING_FAULT, remedy,
		    "everybody may read %s, and %s.%s is in it", d->config,
		    key->section, key->name);
out:
	if (f != NULL)
		fclose(f);
	mem_free_secret(text, CONFIG_MOST + 1);
}

static void
look_at_keys(const struct doctor *d, struct findings *found)
{
	const char *path = d->settings->secrets_key_file;

	if (path[0] == '\0')
		return;
	/* its form, and that nobody else may reach it, loading has looked at */
	if (!doctor_may(path, d->uid, d->gid, R_OK))
		findings_add(found, FINDING_FAULT,
		    "chgrp it to the service's group, and chmod 0640",
		    "secrets.key_file: the user that workers run as cannot read %s",
		    path);
	else
		findings_add(found, FINDING_FINE, NULL,
		    "secrets.key_file: %s is private and can be read", path);
}

/* ---------------------------------------------------------------- commands */

/* the first of path and the directories above it that the user may change; NULL: none
 */
static const char *
changeable(char *path, uid_t uid, gid_t gid)
{
	struct stat st;

	while (path[1] != '\0') {
		if (stat(path, &st) == 0 && uid != 0 &&
		    (st.st_uid == uid || mode_allows(&st, uid, gid, W_OK)) &&
		    !(S_ISDIR(st.st_mode) && (st.st_mode & S_ISVTX) != 0 &&
			st.st_uid != uid))
			return path;
		*(strrchr(path, '/') == path ? path + 1 : strrchr(path, '/')) = '\0';
	}
	return NULL;
}

static void
look_at_command(
    const struct doctor *d, const struct type_settings *t, struct findings *found)
{
	char path[PATH_MAX], above[PATH_MAX];
	const char *place;
	struct err err = ERR_INIT;
	char **argv;

	if (argv_split(t->command, &argv, &err) != 0)
		return; /* loading has refused it */
	if (realpath(argv[0], path) == NULL) {
		findings_add(found, FINDING_FAULT,
		    "install it, or mend the path: its tasks would fail for good",
		    "type:%s.command: %s: %s", t->type, argv[0], strerror(errno));
	} else if (!doctor_may(path, d->uid, d->gid, X_OK) && t->user[0] == '\0') {
		findings_add(found, FINDING_FAULT, "chmod a+x it, and what is above it",
		    "type:%s.command: the user that workers run as may not execute %s",
		    t->type, path);
	} else {
		str_copy(above, sizeof(above), path);
		place = changeable(above, d->uid, d->gid);
		if (place != NULL)
			findings_add(found, FINDING_WARNING,
			    "give it to root, writable by root alone",
			    "type:%s.command: the user that workers run as may change "
			    "%s, and so what is run",
			    t->type, place);
	}
	mem_free(argv);
}

static void
look_at_commands(const struct doctor *d, struct findings *found)
{
	const struct type_settings *t;
	size_t before = found->count, commands = 0;

	TAILQ_FOREACH (t, &d->settings->types, link) {
		if (t->handler != HANDLER_EXEC && t->handler != HANDLER_STREAM)
			continue;
		look_at_command(d, t, found);
		commands++;
	}
	if (commands > 0 && found->count == before)
		findings_add(found, FINDING_FINE, NULL,
		    "commands of %zu type%s are there, and safe from the service's "
		    "user",
		    commands, commands == 1 ? "" : "s");
}

/* ---------------------------------------------------------------- places */

static void
look_at_log(const struct doctor *d, struct findings *found)
{
	const char *path = d->settings->log_file;
	char directory[PATH_MAX];
	struct stat st;
	bool there = stat(path, &st) == 0;

	if (path[0] != '/')
		return; /* standard error, or a journal */
	doctor_directory(path, directory, sizeof(directory));
	if (there ? doctor_may(path, d->uid, d->gid, W_OK)
		  : doctor_may(directory, d->uid, d->gid, W_OK | X_OK))
		findings_add(
		    found, FINDING_FINE, NULL, "log.file: %s can be written", path);
	else
		findings_add(found, FINDING_FAULT,
		    "make the directory and give it to the service's user: install -d "
		    "-o USER -m 0750 DIRECTORY",
		    "log.file: the user that workers run as cannot write %s", path);
}

static void
look_at_place(const char *key, const char *path, uid_t uid, gid_t gid, bool itself,
    struct findings *found)
{
	char directory[PATH_MAX];

	if (path[0] == '\0')
		return;
	if (itself)
		str_copy(directory, sizeof(directory), path);
	else
		doctor_directory(path, directory, sizeof(directory));
	/* the run-time directory of a service is made when the service starts */
	if (access(directory, F_OK) != 0 && str_starts(path, SHOAL_RUNDIR "/"))
		return;
	if (!doctor_may(directory, uid, gid, W_OK | X_OK))
		findings_add(found, FINDING_FAULT,
		    "make the directory, and give it to the user that needs it",
		    "%s: nothing can be made in %s", key, directory);
}

void
doctor_files(struct doctor *d, struct findings *found)
{
	const struct settings *s = d->settings;

	if (d->config != NULL)
		look_at_config(d, found);
	look_at_secret_files(s, found);
	look_at_keys(d, found);
	look_at_commands(d, found);
	look_at_log(d, found);
	look_at_place("node.temporary", s->node_temporary, d->uid, d->gid, true, found);
	look_at_place(
	    "node.pid_file", s->node_pid_file, geteuid(), getegid(), false, found);
	look_at_place("node.control_socket", s->node_control_socket, geteuid(),
	    getegid(), false, found);
}
