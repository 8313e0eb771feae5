/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_doctor.c - shoal doctor: what is wrong with a set-up, and what to do.
 *
 * Loads the settings as the node does, then asks every part in turn.  A part that
 * cannot be asked is a fault of its own and keeps none of the others from being looked
 * at.  The exit status is for scripts: 0 fine, 1 warnings with --strict, 2 faults.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/doctor.h"
#include "proc/procutil.h"

#define DEFAULT_CONFIG SHOAL_SYSCONFDIR "/shoald.conf"
#define OUT_MAX	       (1u << 20)

enum doctor_exit { DOCTOR_FINE = 0, DOCTOR_WARNINGS = 1, DOCTOR_FAULTS = 2 };

extern char **environ;

static const struct {
	const char *name;
	void (*look)(struct doctor *d, struct findings *found);
} parts[] = {
    {"files", doctor_files},
    {"tls", doctor_tls},
    {"machine", doctor_machine},
    {"ports", doctor_ports},
    {"postgresql", doctor_postgres},
    {"redis", doctor_redis},
};

static const struct args_option options[] = {
    {'c', "config", ARGS_VALUE, "FILE", "The node's configuration."},
    {'o', "option", ARGS_VALUE, "S.K=V",
	"A setting, as shoald takes it. May be given again."},
    {'s', "strict", ARGS_FLAG, NULL, "Warnings make the exit status 1."},
    {'q', "quiet", ARGS_FLAG, NULL, "Show warnings and faults only."},
    {.name = NULL},
};

/* everything that was found, part by part */
struct report {
	const struct cli *cli;
	struct strbuf json;
	struct jsonw w;
	size_t counts[FINDING_FAULT + 1];
};

static void
show_text(const struct cli *cli, const char *part, const struct finding *f)
{
	if (f->weight == FINDING_FINE && args_has(&cli->args, "quiet"))
		return;
	printf("%-8s %-13s ",
	    f->weight == FINDING_FINE	   ? "ok"
	    : f->weight == FINDING_WARNING ? "warning"
					   : "FAULT",
	    part);
	answer_put_text(stdout, f->text);
	if (f->remedy[0] != '\0') {
		printf("\n%22s -> ", "");
		answer_put_text(stdout, f->remedy);
	}
	putchar('\n');
}

static void
put(struct report *r, const char *part, const struct finding *f)
{
	r->counts[f->weight]++;
	if (!r->cli->json) {
		show_text(r->cli, part, f);
		return;
	}
	jsonw_object(&r->w);
	jsonw_member_string(&r->w, "part", part);
	jsonw_member_string(&r->w, "weight", finding_weight_name(f->weight));
	jsonw_member_string(&r->w, "text", f->text);
	jsonw_member_string(&r->w, "remedy", f->remedy[0] != '\0' ? f->remedy : NULL);
	jsonw_end(&r->w);
}

static void
tell(struct report *r, const char *part, const struct findings *found)
{
	struct finding more = {.weight = FINDING_FINE};

	for (size_t i = 0; i < found->count; i++)
		put(r, part, &found->list[i]);
	if (found->left_out > 0) {
		snprintf(more.text, sizeof(more.text),
		    "%zu more are not shown, none of them heavier than those that are",
		    found->left_out);
		put(r, part, &more);
	}
	if (!r->cli->json)
		(void)fflush(stdout); /* the next part may take seconds */
}

static struct settings *
load(struct cli *cli, const char **path, struct findings *found)
{
	char *given[ARGS_GIVEN + 1];
	const char *option;
	size_t n = 0, cursor = 0;
	struct err err = ERR_INIT;
	struct settings *s;

	*path = args_text(&cli->args, "config");
	if (*path == NULL && getenv("SHOALD_CONFIG") == NULL &&
	    access(DEFAULT_CONFIG, F_OK) == 0)
		*path = DEFAULT_CONFIG;
	while ((option = args_next(&cli->args, "option", &cursor)) != NULL)
		given[n++] = (char *)(uintptr_t)option; /* only read */
	given[n] = NULL;
	s = settings_load(*path, environ, given, &err);
	if (s == NULL)
		findings_add(found, FINDING_FAULT,
		    strstr(err.text, strerror(EACCES)) != NULL
			? "run this as the user that starts the node, or let that user "
			  "and its group read the file (chown, chmod 0640)"
			: "mend that line; shoald.conf(5) tells what each setting "
			  "takes, "
			  "and shoald -t tries it again",
		    "%s", err.text);
	else
		findings_add(found, FINDING_FINE, NULL, "the configuration %s is good",
		    *path != NULL ? *path : "(no file)");
	return s;
}

static void
examine(struct report *r, const struct settings *s, const char *path)
{
	struct doctor d = {.settings = s, .config = path};
	struct findings *found = mem_zero(sizeof(*found));
	struct err err = ERR_INIT;

	if (found == NULL)
		return;
	d.uid = geteuid();
	d.gid = getegid();
	if (d.uid == 0 && s->node_user[0] != '\0' &&
	    priv_lookup(s->node_user, s->node_group, &d.uid, &d.gid, &err) != 0) {
		findings_add(found, FINDING_FAULT,
		    "make that user, or name another in node.user and node.group", "%s",
		    err.text);
		tell(r, "configuration", found);
	}
	if (s->node_pid_file[0] == '\0' ||
	    pidfile_read(s->node_pid_file, &d.master, NULL) != 0)
		d.master = 0;
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		memset(found, 0, sizeof(*found));
		parts[i].look(&d, found);
		tell(r, parts[i].name, found);
	}
	mem_free(found);
}

static void
put_result(struct report *r, const char *status)
{
	jsonw_end(&r->w);
	jsonw_member_string(&r->w, "status", status);
	jsonw_member_int(&r->w, "warnings", (int64_t)r->counts[FINDING_WARNING]);
	jsonw_member_int(&r->w, "faults", (int64_t)r->counts[FINDING_FAULT]);
	jsonw_end(&r->w);
	if (r->cli->json)
		cli_put_json(r->json.data, r->json.len);
	else
		printf("%zu fault%s, %zu warning%s, %zu fine\n",
		    r->counts[FINDING_FAULT], r->counts[FINDING_FAULT] == 1 ? "" : "s",
		    r->counts[FINDING_WARNING],
		    r->counts[FINDING_WARNING] == 1 ? "" : "s",
		    r->counts[FINDING_FINE]);
}

static int
run(struct cli *cli)
{
	struct report r = {.cli = cli};
	struct findings *found;
	struct settings *s;
	const char *path;
	int rc;

	if ((rc = cli_operands(cli, 0, 0)) != 0)
		return rc;
	found = mem_zero(sizeof(*found));
	if (found == NULL)
		return CLI_FAILED;
	/* what is found is said here, once */
	log_set_level(LOG_ERROR);
	strbuf_init(&r.json, OUT_MAX);
	jsonw_init(&r.w, &r.json);
	jsonw_object(&r.w);
	jsonw_key(&r.w, "findings");
	jsonw_array(&r.w);
	s = load(cli, &path, found);
	tell(&r, "configuration", found);
	mem_free(found);
	if (s != NULL)
		examine(&r, s, path);
	settings_free(s);
	put_result(&r, r.counts[FINDING_FAULT] > 0     ? "fault"
		       : r.counts[FINDING_WARNING] > 0 ? "warning"
						       : "fine");
	strbuf_fini(&r.json);
	if (r.counts[FINDING_FAULT] > 0)
		return DOCTOR_FAULTS;
	return r.counts[FINDING_WARNING] > 0 && args_has(&cli->args, "strict")
		   ? DOCTOR_WARNINGS
		   : DOCTOR_FINE;
}

const struct cli_command cli_doctor = {
    .name = "doctor",
    .usage = "",
    .summary = "Looks at a node's whole set-up, and says what to mend.",
    .help =
	"To be run where the node is (or will be), best as the user that starts it: "
	"its\n"
	"configuration, files, certificates, limits, ports, and both stores.  Each "
	"finding is ok, a\n"
	"warning (it works, until something happens) or a FAULT, with what to do "
	"behind "
	"->.\n"
	"Exit status: 0 no fault, 1 warnings with --strict, 2 faults.",
    .options = options,
    .run = run,
};
