/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command.c - how the command of each type is started, from its settings.
 *
 * One entry a type, found by its settings' address: both live as long as the
 * configuration.
 */
#include "model/command.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "proc/child.h"
#include "proc/procutil.h"
#include "proc/sandbox.h"

struct command {
	const struct type_settings *type;
	char **argv, **reads, **writes; /* owned */
	struct launch_spec spec;
};

struct commands {
	struct command *list;
	size_t count;
};

static bool
has_command(const struct type_settings *t)
{
	return t->command[0] != '\0';
}

static void
add_limit(struct launch_spec *spec, int resource, int64_t value)
{
	spec->limits[spec->limit_count++] =
	    (struct launch_limit){resource, (uint64_t)value};
}

static void
set_limits(struct launch_spec *spec, const struct type_settings *t)
{
	/* a core holds payloads */
	add_limit(spec, RLIMIT_CORE, 0);
	if (t->max_cpu_ms > 0)
		add_limit(spec, RLIMIT_CPU, (t->max_cpu_ms + 999) / 1000);
	if (t->max_memory_bytes > 0)
		add_limit(spec, RLIMIT_AS, t->max_memory_bytes);
	if (t->max_file_size_bytes > 0)
		add_limit(spec, RLIMIT_FSIZE, t->max_file_size_bytes);
	if (t->max_processes > 0)
		add_limit(spec, RLIMIT_NPROC, t->max_processes);
	if (t->max_open_files > 0)
		add_limit(spec, RLIMIT_NOFILE, t->max_open_files);
}

static void
set_group(struct launch_spec *spec, const struct type_settings *t)
{
	spec->group = (struct cgroup_limits){(uint64_t)t->group_memory_bytes,
	    (uint64_t)t->group_processes, (uint64_t)t->group_cpu_percent};
	spec->grouped = cgroup_controllers(&spec->group) != 0;
}

static int
set_sandbox(struct command *c, const struct type_settings *t, struct err *err)
{
	if (t->allow_read[0] != '\0' || t->allow_write[0] != '\0') {
		if (sandbox_landlock_abi() == 0)
			return err_set(err, ERR_INVALID,
			    "type:%s.allow_read and allow_write need Landlock, which "
			    "this kernel does not have or has switched off: leave them "
			    "empty, or add landlock to the kernel's lsm= parameter",
			    t->type);
		if (argv_split(t->allow_read, &c->reads, err) != 0 ||
		    argv_split(t->allow_write, &c->writes, err) != 0)
			return -1;
		c->spec.allow_read = c->reads;
		c->spec.allow_write = c->writes;
	}
	c->spec.seccomp = (enum launch_seccomp)t->seccomp;
	if (c->spec.seccomp != LAUNCH_SECCOMP_NONE && !sandbox_has_seccomp())
		return err_set(err, ERR_INVALID,
		    "type:%s.seccomp needs a kernel with seccomp filters and a build "
		    "with libseccomp: set it to none",
		    t->type);
	return 0;
}

static int
set_user(struct launch_spec *spec, const struct type_settings *t, struct err *err)
{
	spec->uid = (uid_t)-1;
	spec->gid = (gid_t)-1;
	if (t->user[0] == '\0')
		return 0;
	if (priv_lookup(t->user, t->group, &spec->uid, &spec->gid, err) != 0) {
		err->code = ERR_INVALID; /* it will not come by waiting */
		return err_wrap(err, "type:%s.user", t->type);
	}
	return 0;
}

static int
command_init(struct command *c, const struct type_settings *t, struct err *err)
{
	c->type = t;
	if (argv_split(t->command, &c->argv, err) != 0)
		return -1;
	c->spec.argv = c->argv;
	c->spec.cwd = t->directory[0] != '\0' ? t->directory : NULL;
	c->spec.private_directory = t->directory[0] == '\0';
	c->spec.nice = (int)t->nice;
	for (int i = 0; i < LAUNCH_FDS; i++)
		c->spec.fds[i] = -1;
	set_limits(&c->spec, t);
	set_group(&c->spec, t);
	if (set_sandbox(c, t, err) != 0)
		return -1;
	return set_user(&c->spec, t, err);
}

struct commands *
commands_create(const struct settings *settings, struct err *err)
{
	struct commands *cs = mem_zero(sizeof(*cs));
	const struct type_settings *t;
	size_t count = 0;

	TAILQ_FOREACH (t, &settings->types, link)
		count += has_command(t);
	if (cs != NULL)
		cs->list = mem_array(count + 1, sizeof(*cs->list));
	if (cs == NULL || cs->list == NULL) {
		mem_free(cs);
		err_set(err, ERR_NOMEM, "commands");
		return NULL;
	}
	TAILQ_FOREACH (t, &settings->types, link) {
		if (has_command(t) &&
		    command_init(&cs->list[cs->count++], t, err) != 0) {
			commands_free(cs);
			return NULL;
		}
	}
	return cs;
}

void
commands_free(struct commands *cs)
{
	if (cs == NULL)
		return;
	for (size_t i = 0; i < cs->count; i++) {
		mem_free(cs->list[i].argv);
		mem_free(cs->list[i].reads);
		mem_free(cs->list[i].writes);
	}
	mem_free(cs->list);
	mem_free(cs);
}

const struct launch_spec *
commands_of(const struct commands *cs, const struct type_settings *t)
{
	for (size_t i = 0; i < cs->count; i++)
		if (cs->list[i].type == t)
			return &cs->list[i].spec;
	return NULL;
}

static bool
same_words(char *const *a, char *const *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	for (; *a != NULL && *b != NULL; a++, b++)
		if (!str_eq(*a, *b))
			return false;
	return *a == *b;
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : str_eq(a, b);
}

static bool
same_limits(const struct launch_spec *a, const struct launch_spec *b)
{
	if (a->limit_count != b->limit_count || a->grouped != b->grouped ||
	    a->group.memory_bytes != b->group.memory_bytes ||
	    a->group.processes != b->group.processes ||
	    a->group.cpu_percent != b->group.cpu_percent)
		return false;
	for (size_t i = 0; i < a->limit_count; i++)
		if (a->limits[i].resource != b->limits[i].resource ||
		    a->limits[i].value != b->limits[i].value)
			return false;
	return true;
}

bool
commands_have(const struct commands *cs, const struct launch_spec *spec)
{
	for (size_t i = 0; i < cs->count; i++) {
		const struct launch_spec *own = &cs->list[i].spec;

		if (own->uid == spec->uid &&
		    (own->uid == (uid_t)-1 || own->gid == spec->gid) &&
		    own->nice == spec->nice && own->seccomp == spec->seccomp &&
		    own->private_directory == spec->private_directory &&
		    same_words(own->argv, spec->argv) &&
		    same_text(own->cwd, spec->cwd) && same_limits(own, spec) &&
		    same_words(own->allow_read, spec->allow_read) &&
		    same_words(own->allow_write, spec->allow_write))
			return true;
	}
	return false;
}

unsigned
commands_controllers(const struct settings *settings)
{
	const struct type_settings *t;
	struct launch_spec spec;
	unsigned all = 0;

	TAILQ_FOREACH (t, &settings->types, link) {
		if (!has_command(t))
			continue;
		set_group(&spec, t);
		all |= cgroup_controllers(&spec.group);
	}
	return all;
}

bool
commands_need_root(const struct settings *settings)
{
	const struct type_settings *t;

	TAILQ_FOREACH (t, &settings->types, link)
		if (t->user[0] != '\0')
			return true;
	/* control groups that were given to root are his to divide */
	return commands_controllers(settings) != 0;
}

int
commands_check_groups(const struct settings *settings, struct err *err)
{
	unsigned controllers = commands_controllers(settings);
	char home[CGROUP_PATH];

	if (controllers == 0 || cgroup_home(controllers, home, err) == 0)
		return 0;
	return err_wrap(
	    err, "type:NAME.group_memory, group_processes or group_cpu cannot be kept");
}

/* ---- who could change what runs ----------------------------------------------------
 */

/* NULL: nobody but the operator; what is wrong with it, else */
static const char *
complaint(bool switches, const struct stat *st)
{
	bool sticky = S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX) != 0;

	if (st->st_uid != 0 && (switches || st->st_uid != geteuid()))
		return "belongs to a user who is neither root nor the operator";
	if ((st->st_mode & S_IWOTH) != 0 && !sticky)
		return "is writable by everybody";
	if ((st->st_mode & S_IWGRP) != 0 && !sticky && st->st_gid != 0 &&
	    (switches || st->st_gid != getegid()))
		return "is writable by its group";
	return NULL;
}

static int
check_file(
    const struct type_settings *t, const char *command, bool switches, struct err *err)
{
	char path[PATH_MAX], *slash;
	struct stat st;

	/* links are followed once, so that what is looked at is what would run */
	if (realpath(command, path) == NULL) {
		log_warn(NULL, "a command cannot be found",
		    "type=%s command=%s reason=\"%s\"", t->type, command,
		    strerror(errno));
		return 0;
	}
	for (;;) {
		const char *what = NULL;

		if (stat(path, &st) == 0)
			what = complaint(switches, &st);
		if (what != NULL && switches)
			return err_set(err, ERR_INVALID,
			    "type:%s.command: %s %s, and could be changed to run "
			    "anything: give it to root, writable by root alone",
			    t->type, path, what);
		if (what != NULL) {
			log_warn(NULL, "others could change what a command runs",
			    "type=%s path=%s reason=\"%s\"", t->type, path, what);
			return 0;
		}
		if (path[1] == '\0')
			return 0;
		slash = strrchr(path, '/');
		slash[slash == path ? 1 : 0] = '\0';
	}
}

int
commands_check_files(const struct settings *settings, struct err *err)
{
	bool root = geteuid() == 0;
	const struct type_settings *t;

	TAILQ_FOREACH (t, &settings->types, link) {
		bool switches =
		    root && (settings->node_user[0] != '\0' || t->user[0] != '\0');
		char **argv;
		int rc;

		if (!has_command(t))
			continue;
		if (!root && t->user[0] != '\0')
			return err_set(err, ERR_INVALID,
			    "type:%s.user needs a node that is started as root: only "
			    "root can start processes of another user",
			    t->type);
		if (argv_split(t->command, &argv, err) != 0)
			return -1;
		rc = check_file(t, argv[0], switches, err);
		mem_free(argv);
		if (rc != 0)
			return -1;
	}
	return 0;
}
