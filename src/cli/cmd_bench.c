/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_bench.c - shoal bench: how fast is this cluster, and how soon does it answer?
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonw.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "cli/bench.h"
#include "cli/cli.h"

#define HOUR_MS (3600LL * 1000)

static const struct args_option options[] = {
    {'c', "connections", ARGS_VALUE, "N",
	"Requests at a time. Default: 64; latency: 1."},
    {'n', "count", ARGS_VALUE, "N", "So many tasks."},
    {'t', "time", ARGS_VALUE, "TIME", "Submit for this long. Default: 10s."},
    {'b', "batch", ARGS_VALUE, "N", "Tasks in one request. Default: 1."},
    {0, "payload", ARGS_VALUE, "BYTES", "Size of each payload. Default: 200."},
    {0, "type", ARGS_VALUE, "TYPE", "Default: shoal.noop."},
    {'q', "queue", ARGS_VALUE, "QUEUE", "Default: the node's default."},
    {0, "outstanding", ARGS_VALUE, "N",
	"e2e: at most so many unfinished. Default: 4096."},
    {0, "metrics", ARGS_VALUE, "URL",
	"e2e: a node's address for developers; may be given again."},
    {.name = NULL},
};

static int
read_options(const struct args *a, struct bench_opts *o, struct err *err)
{
	int64_t connections = o->mode == BENCH_LATENCY ? 1 : 64;
	const char *type = args_text(a, "type");

	o->count = 0;
	o->duration_ms = 10000;
	o->batch = 1;
	o->payload_bytes = 200;
	o->outstanding = 4096;
	o->type = type != NULL ? type : "shoal.noop";
	o->queue = args_text(a, "queue");
	if (args_has(a, "count") && args_has(a, "time"))
		return err_set(
		    err, ERR_INVALID, "--count and --time exclude each other");
	if (args_int(a, "connections", 1, 20000, &connections, err) != 0 ||
	    args_int(a, "count", 1, 1000000000000LL, &o->count, err) != 0 ||
	    args_duration_ms(a, "time", 24 * HOUR_MS, &o->duration_ms, err) != 0 ||
	    args_int(a, "batch", 1, 1000, &o->batch, err) != 0 ||
	    args_int(a, "payload", 10, 1024 * 1024, &o->payload_bytes, err) != 0 ||
	    args_int(a, "outstanding", 1, 1000000000, &o->outstanding, err) != 0)
		return -1;
	if (o->mode == BENCH_LATENCY && o->batch > 1)
		return err_set(err, ERR_INVALID,
		    "latency waits for one task at a time: no --batch");
	o->connections = (int)connections;
	return 0;
}

/* the nodes whose /metrics are read; 0, or an exit status */
static int
open_nodes(const struct cli *cli, struct target *nodes, size_t *count)
{
	const char *token = getenv("SHOAL_ACCESS_TOKEN"), *url;
	struct err err = ERR_INIT;
	size_t cursor = 0;

	while ((url = args_next(&cli->args, "metrics", &cursor)) != NULL) {
		if (*count == BENCH_NODES)
			return cli_usage(cli, "more than %d nodes", BENCH_NODES);
		if (target_open(&nodes[(*count)++], url, token, &err) != 0)
			return cli_usage(cli, "%s", err.text);
	}
	if (*count > 0)
		return 0;
	url = getenv("SHOAL_PORTAL_URL");
	if (url == NULL || url[0] == '\0')
		return cli_usage(cli,
		    "e2e counts finished tasks at each node's /metrics: set "
		    "SHOAL_PORTAL_URL or give --metrics URL");
	*count = 1;
	return target_open(&nodes[0], url, token, &err) != 0
		   ? cli_usage(cli, "%s", err.text)
		   : 0;
}

static double
rate(uint64_t n, double seconds)
{
	return seconds > 0 ? (double)n / seconds : 0.0;
}

static const struct {
	const char *name;
	double share;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};

static void
put_text(const struct bench_opts *o, const struct bench_result *r)
{
	uint64_t counted = o->mode == BENCH_SUBMIT ? r->accepted : r->finished;

	printf("mode      %s, %d connections, %lld a request, payload %lld bytes, type "
	       "%s\n",
	    bench_mode_name(o->mode), o->connections, (long long)o->batch,
	    (long long)o->payload_bytes, o->type);
	printf("tasks     %llu accepted", (unsigned long long)r->accepted);
	if (o->mode != BENCH_SUBMIT)
		printf(", %llu finished", (unsigned long long)r->finished);
	printf(", %llu failed requests\n", (unsigned long long)r->errors);
	printf("time      %.3f s", r->total_seconds);
	if (o->mode == BENCH_E2E)
		printf(", of which submitting %.3f s", r->submit_seconds);
	printf("\nrate      %.0f tasks/s", rate(counted, r->total_seconds));
	if (o->mode == BENCH_E2E)
		printf(" from first submit to last finish; %.0f submitted a second",
		    rate(r->accepted, r->submit_seconds));
	printf("\n%s", o->mode == BENCH_LATENCY ? "result   " : "submit   ");
	for (size_t i = 0; i < COUNT_OF(quantiles); i++)
		printf(" %s %.2f", quantiles[i].name,
		    (double)histogram_quantile(&r->latency, quantiles[i].share) / 1000);
	printf(" max %.2f mean %.2f ms\n", (double)r->latency.max_us / 1000,
	    histogram_mean(&r->latency) / 1000);
	printf("client    %.0f %% of one processor\n",
	    r->total_seconds > 0 ? 100 * r->cpu_seconds / r->total_seconds : 0.0);
	if (r->errors > 0)
		printf("errors    the last one: %s\n", r->last_error.text);
}

static void
put_json(const struct bench_opts *o, const struct bench_result *r)
{
	uint64_t counted = o->mode == BENCH_SUBMIT ? r->accepted : r->finished;
	struct strbuf out;
	struct jsonw w;

	strbuf_init(&out, 65536);
	jsonw_init(&w, &out);
	jsonw_object(&w);
	jsonw_key(&w, "mode");
	jsonw_string(&w, bench_mode_name(o->mode));
	jsonw_key(&w, "connections");
	jsonw_int(&w, o->connections);
	jsonw_key(&w, "batch");
	jsonw_int(&w, o->batch);
	jsonw_key(&w, "payload_bytes");
	jsonw_int(&w, o->payload_bytes);
	jsonw_key(&w, "type");
	jsonw_string(&w, o->type);
	jsonw_key(&w, "accepted");
	jsonw_int(&w, (int64_t)r->accepted);
	jsonw_key(&w, "finished");
	jsonw_int(&w, (int64_t)r->finished);
	jsonw_key(&w, "errors");
	jsonw_int(&w, (int64_t)r->errors);
	jsonw_key(&w, "stalled");
	jsonw_bool(&w, r->stalled);
	jsonw_key(&w, "seconds");
	jsonw_double(&w, r->total_seconds);
	jsonw_key(&w, "rate");
	jsonw_double(&w, rate(counted, r->total_seconds));
	jsonw_key(&w, "submit_rate");
	jsonw_double(&w, rate(r->accepted, r->submit_seconds));
	jsonw_key(&w, "cpu_seconds");
	jsonw_double(&w, r->cpu_seconds);
	jsonw_key(&w, "latency_us");
	jsonw_object(&w);
	for (size_t i = 0; i < COUNT_OF(quantiles); i++) {
		jsonw_key(&w, quantiles[i].name);
		jsonw_int(&w, histogram_quantile(&r->latency, quantiles[i].share));
	}
	jsonw_key(&w, "max");
	jsonw_int(&w, r->latency.max_us);
	jsonw_key(&w, "mean");
	jsonw_double(&w, histogram_mean(&r->latency));
	jsonw_end(&w);
	jsonw_end(&w);
	cli_put_json(out.data, out.len);
	strbuf_fini(&out);
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
		(cli->json ? put_json : put_text)(o, r);
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
	struct bench_opts o = {.mode = BENCH_E2E};
	struct target *nodes;
	struct err err = ERR_INIT;
	int rc;

	if ((rc = cli_operands(cli, 0, 1)) != 0)
		return rc;
	if (bench_mode_parse(mode, &o.mode) != 0)
		return cli_usage(cli, "submit, e2e or latency, not '%s'", mode);
	if (read_options(&cli->args, &o, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	if ((rc = cli_connect(cli)) != 0)
		return rc;
	nodes = mem_array(BENCH_NODES, sizeof(*nodes));
	if (nodes == NULL) {
		err_set(&err, ERR_NOMEM, "bench");
		return cli_error(cli, &err);
	}
	if (o.mode == BENCH_E2E)
		rc = open_nodes(cli, nodes, &o.node_count);
	o.target = &cli->target;
	o.nodes = nodes;
	if (rc == 0)
		rc = bench(cli, &o);
	mem_free_secret(nodes, BENCH_NODES * sizeof(*nodes));
	return rc;
}

const struct cli_command cli_bench = {
    .name = "bench",
    .usage = "[submit|e2e|latency]",
    .summary = "Measures a cluster that has nothing else to do.",
    .help = "submit   submits as fast as the connections are answered\n"
	    "e2e      the same with a bounded backlog, until every task has finished "
	    "(default)\n"
	    "latency  submits and waits for the result, one task after the other\n"
	    "\n"
	    "e2e learns what has finished from /metrics of each node: the cluster must "
	    "have no other\n"
	    "work, and with several nodes --metrics names each of them.",
    .needs = CLI_SERVER,
    .options = options,
    .run = run,
};
