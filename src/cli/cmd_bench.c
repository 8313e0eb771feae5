/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_bench.c - shoal bench: how fast is this cluster, and how soon does it answer?
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/bench.h"
#include "cli/bench_report.h"
#include "cli/bench_request.h"
#include "cli/cli.h"

#define HOUR_MS (3600LL * 1000)

#define LOAD_RATE 5000 /* tasks a second that loading may be slow as, unless told */

static const struct args_option options[] = {
    {'c', "connections", ARGS_VALUE, "N",
	"Requests at a time. Default: 64; wait and start: 1."},
    {'n', "count", ARGS_VALUE, "N",
	"So many tasks. Default: by time; drain: 100000; backlog: 1000000."},
    {'t', "time", ARGS_VALUE, "TIME", "Submit for this long. Default: 10s."},
    {'b', "batch", ARGS_VALUE, "N", "Tasks in one request. Default: 1."},
    {0, "payload", ARGS_VALUE, "BYTES", "Size of each payload. Default: 200."},
    {0, "type", ARGS_VALUE, "TYPE", "Default: shoal.noop."},
    {'q', "queue", ARGS_VALUE, "QUEUE", "Default: the node's default."},
    {0, "outstanding", ARGS_VALUE, "N",
	"e2e: at most so many unfinished. Default: 4096."},
    {0, "hold", ARGS_VALUE, "TIME",
	"drain, backlog: due so long after the start. Default: enough for 5000 a "
	"second."},
    {0, "held", ARGS_FLAG, NULL,
	"drain, backlog: something else holds the tasks back; see shoal(1)."},
    {0, "metrics", ARGS_VALUE, "URL",
	"e2e, drain, backlog: a node's address for developers; may be given again."},
    {.name = NULL},
};

/* options that say nothing to this mode are mistakes */
static int
check_options(const struct args *a, const struct bench_opts *o, struct err *err)
{
	const char *name = bench_mode_name(o->mode);

	if (!bench_mode_loads(o->mode) && (args_has(a, "hold") || args_has(a, "held")))
		return err_set(err, ERR_INVALID, "%s holds nothing back", name);
	if (args_has(a, "hold") && args_has(a, "held"))
		return err_set(
		    err, ERR_INVALID, "--hold and --held exclude each other");
	if (args_has(a, "count") && args_has(a, "time") && o->mode != BENCH_BACKLOG)
		return err_set(
		    err, ERR_INVALID, "--count and --time exclude each other");
	if (args_has(a, "time") && o->mode == BENCH_DRAIN)
		return err_set(
		    err, ERR_INVALID, "drain ends with its tasks: no --time");
	if (o->batch > 1 && o->mode == BENCH_DRAIN)
		return err_set(err, ERR_INVALID, "drain loads by %d: no --batch",
		    BENCH_LOAD_BATCH);
	if (o->batch > 1 && (o->mode == BENCH_WAIT || o->mode == BENCH_START))
		return err_set(err, ERR_INVALID,
		    "%s waits for one task at a time: no --batch", name);
	return 0;
}

static int
read_options(const struct args *a, struct bench_opts *o, struct err *err)
{
	bool one = o->mode == BENCH_WAIT || o->mode == BENCH_START;
	int64_t connections = one ? 1 : 64;
	const char *type = args_text(a, "type");

	o->count = o->mode == BENCH_DRAIN ? 100000 : 0;
	if (o->mode == BENCH_BACKLOG)
		o->count = 1000000;
	o->duration_ms = 10000;
	o->batch = 1;
	o->payload_bytes = 200;
	o->outstanding = 4096;
	o->type = type != NULL ? type : "shoal.noop";
	o->queue = args_text(a, "queue");
	if (args_int(a, "connections", 1, 20000, &connections, err) != 0 ||
	    args_int(a, "count", 1, 1000000000000LL, &o->count, err) != 0 ||
	    args_duration_ms(a, "time", 24 * HOUR_MS, &o->duration_ms, err) != 0 ||
	    args_int(a, "batch", 1, 1000, &o->batch, err) != 0 ||
	    args_int(a, "payload", BENCH_PAYLOAD_LEAST, 1024 * 1024, &o->payload_bytes,
		err) != 0 ||
	    args_int(a, "outstanding", 1, 1000000000, &o->outstanding, err) != 0)
		return -1;
	o->connections = (int)connections;
	if (bench_mode_loads(o->mode) && !args_has(a, "held")) {
		o->hold_ms = 2000 + o->count * 1000 / LOAD_RATE;
		if (args_duration_ms(a, "hold", 24 * HOUR_MS, &o->hold_ms, err) != 0)
			return -1;
		if (o->hold_ms == 0)
			return err_set(err, ERR_INVALID, "--hold 0 holds nothing back");
	}
	return check_options(a, o, err);
}

/* standard error, so that --json stays one document; scripts wait for this line */
static void
on_loaded(uint64_t tasks, double seconds, void *arg)
{
	(void)arg;
	fprintf(stderr, "shoal: bench: loaded %llu tasks in %.3f s\n",
	    (unsigned long long)tasks, seconds);
}

/*
 * The nodes that requests go to, the one that cli_connect has opened among them; 0, or
 * an exit status.
 */
static int
open_targets(struct cli *cli, struct target *targets, size_t *count)
{
	struct err err = ERR_INIT;
	size_t cursor = 0;
	const char *url;
	int rc;

	while ((url = args_next(&cli->args, "url", &cursor)) != NULL) {
		if (*count == BENCH_TARGETS)
			return cli_usage(cli, "more than %d nodes", BENCH_TARGETS);
		if (cli_target(cli, &targets[*count], url, cli->target.secret, &err) !=
		    0) {
			rc = cli_error(cli, &err);
			return err.code == ERR_INVALID ? CLI_USAGE : rc;
		}
		++*count;
	}
	if (*count == 0)
		targets[(*count)++] = cli->target;
	return 0;
}

/* the nodes whose /metrics are read; 0, or an exit status */
static int
open_nodes(struct cli *cli, enum bench_mode mode, struct target *nodes, size_t *count)
{
	const char *token = getenv("SHOAL_ACCESS_TOKEN"), *url;
	struct err err = ERR_INIT;
	size_t cursor = 0;

	while ((url = args_next(&cli->args, "metrics", &cursor)) != NULL) {
		if (*count == FINISHED_NODES)
			return cli_usage(cli, "more than %d nodes", FINISHED_NODES);
		if (cli_target(cli, &nodes[(*count)++], url, token, &err) != 0)
			return cli_usage(cli, "%s", err.text);
	}
	if (*count > 0)
		return 0;
	url = getenv("SHOAL_PORTAL_URL");
	if (url == NULL || url[0] == '\0')
		return cli_usage(cli,
		    "%s counts finished tasks at each node's /metrics: set "
		    "SHOAL_PORTAL_URL or give --metrics URL",
		    bench_mode_name(mode));
	*count = 1;
	return cli_target(cli, &nodes[0], url, token, &err) != 0
		   ? cli_usage(cli, "%s", err.text)
		   : 0;
}

static int
bench(const struct cli *cli, const struct bench_opts *o)
{
	struct bench_result *r = mem_zero(sizeof(*r));
	struct err err = ERR_INIT;
	int rc = CLI_OK;

	if (r == NULL) {
		err_set(&err, ERR_NOMEM, "bench");
		return cli_error(cli, &err);
	}
	if (bench_run(o, r, &err) != 0) {
		rc = cli_error(cli, &err);
	} else {
		(cli->json ? bench_report_json : bench_report_text)(o, r);
		if (r->stalled) {
			fprintf(stderr,
			    "shoal: bench: nothing finished for 30 s: %llu of %llu\n",
			    (unsigned long long)r->finished,
			    (unsigned long long)r->accepted);
			rc = CLI_TIMEOUT;
		}
	}
	mem_free(r);
	return rc;
}

static int
run(struct cli *cli)
{
	const char *mode = cli->args.operand_count > 0 ? cli->args.operands[0] : "e2e";
	struct bench_opts o = {.mode = BENCH_E2E, .on_loaded = on_loaded};
	struct target *targets, *nodes;
	struct err err = ERR_INIT;
	int rc;

	if ((rc = cli_operands(cli, 0, 1)) != 0)
		return rc;
	if (bench_mode_parse(mode, &o.mode) != 0)
		return cli_usage(
		    cli, "submit, e2e, drain, backlog, wait or start, not '%s'", mode);
	if (read_options(&cli->args, &o, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	if ((rc = cli_connect(cli)) != 0)
		return rc;
	targets = mem_array(BENCH_TARGETS + FINISHED_NODES, sizeof(*targets));
	if (targets == NULL) {
		err_set(&err, ERR_NOMEM, "bench");
		return cli_error(cli, &err);
	}
	nodes = targets + BENCH_TARGETS;
	rc = open_targets(cli, targets, &o.target_count);
	if (rc == 0 && bench_mode_counts(o.mode))
		rc = open_nodes(cli, o.mode, nodes, &o.node_count);
	o.targets = targets;
	o.nodes = nodes;
	if (rc == 0)
		rc = bench(cli, &o);
	mem_free_secret(targets, (BENCH_TARGETS + FINISHED_NODES) * sizeof(*targets));
	return rc;
}

const struct cli_command cli_bench = {
    .name = "bench",
    .usage = "[submit|e2e|drain|backlog|wait|start]",
    .summary = "Measures a cluster that has nothing else to do.",
    .help =
	"submit   submits as fast as the connections are answered\n"
	"e2e      the same with a bounded backlog, until every task has finished "
	"(default)\n"
	"drain    loads tasks that are held back, then measures how fast they go\n"
	"backlog  the same, and submits beside it\n"
	"wait     submits and waits for the result, one task after the other\n"
	"start    from the submit to the handler's start, on an idle queue; the "
	"database's clock\n"
	"         must be this machine's\n"
	"\n"
	"e2e, drain and backlog learn what has finished from /metrics of each node: "
	"the cluster\n"
	"must have no other work, and with several nodes --metrics names each of "
	"them.\n"
	"--url may be given again: connections go round the nodes.",
    .needs = CLI_SERVER,
    .options = options,
    .run = run,
};
