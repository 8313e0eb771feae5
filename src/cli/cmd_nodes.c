/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_nodes.c - shoal nodes and drain: the cluster's nodes, seen and ordered about.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/jsonw.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/span.h"

#define BODY_MAX     (8 * 1024)
#define WAIT_MOST_MS (INT64_C(7) * 86400 * 1000)
#define LOOK_MS	     500

/* ---------------------------------------------------------------- output */

static void
put_uptime(struct json_object *node)
{
	const char *started = answer_text(node, "started_at");
	char span[SPAN_SIZE];
	int64_t at_us;

	if (started == NULL || clock_parse(started, &at_us) != 0)
		str_copy(span, sizeof(span), "-");
	else
		span_text((clock_wall_us() - at_us) / 1000, span);
	printf("%7s ", span);
}

static void
put_pools(struct json_object *node)
{
	struct json_object *pools = answer_member(node, "pools");

	for (size_t i = 0; i < answer_count(pools); i++) {
		if (i > 0)
			putchar(',');
		answer_put_text(stdout,
		    json_object_get_string(json_object_array_get_idx(pools, i)));
	}
}

static void
print_head(void)
{
	printf("%-12s %-11s %7s %7s %12s %6s %-10s %-14s %s\n", "NODE", "STATE",
	    "UPTIME", "WORKERS", "RUNNING", "BEAT", "VERSION", "HOST", "POOLS");
}

static void
print_node(struct json_object *node)
{
	struct json_object *order = answer_member(node, "order"),
			   *age = answer_member(node, "beat_age_ms");
	char running[32], beat[SPAN_SIZE] = "-";

	snprintf(running, sizeof(running), "%lld/%lld",
	    (long long)answer_int(node, "running"),
	    (long long)answer_int(node, "slots"));
	if (json_object_is_type(age, json_type_int))
		span_text(json_object_get_int64(age), beat);
	answer_put_column(stdout, answer_text(node, "id"), 12);
	putchar(' ');
	answer_put_column(stdout, answer_text(node, "state"), 11);
	putchar(' ');
	put_uptime(node);
	printf("%7zu %12s %6s ", answer_count(answer_member(node, "workers")), running,
	    beat);
	answer_put_column(stdout, answer_text(node, "version"), 10);
	putchar(' ');
	answer_put_column(stdout, answer_text(node, "hostname"), 14);
	putchar(' ');
	put_pools(node);
	if (answer_is_true(node, "leads"))
		fputs(" (leads)", stdout);
	putchar('\n');
	if (order == NULL || answer_text(order, "reason") == NULL)
		return;
	printf("  %s at %s: ", answer_text(order, "action"),
	    answer_text(order, "ordered_at"));
	answer_put_text(stdout, answer_text(order, "reason"));
	putchar('\n');
}

static void
show_nodes(struct json_object *doc)
{
	print_head();
	answer_each(doc, "nodes", print_node);
}

/* ---------------------------------------------------------------- orders */

static int
order(struct cli *cli, const char *node, const char *verb)
{
	const char *reason = args_text(&cli->args, "reason");
	struct strbuf body;
	struct jsonw w;
	int rc;

	strbuf_init(&body, BODY_MAX);
	jsonw_init(&w, &body);
	jsonw_object(&w);
	if (args_has(&cli->args, "leave"))
		jsonw_member_bool(&w, "leave", true);
	if (args_has(&cli->args, "tasks-only"))
		jsonw_member_bool(&w, "tasks_only", true);
	if (reason != NULL)
		jsonw_member_string(&w, "reason", reason);
	jsonw_end(&w);
	rc = ask_name(cli, "POST", "/api/nodes/", node, verb, &body, NULL);
	strbuf_fini(&body);
	return rc;
}

/* how far an order has come; running: what has not ended there */
enum progress { UNDER_WAY, DONE, UNKNOWN };

static enum progress
look(const struct cli *cli, const char *node, int64_t *running)
{
	struct client_answer answer;
	struct err err = ERR_INIT;
	struct json_object *doc, *nodes;
	enum progress how = UNKNOWN;

	if (client_call(
		cli->client, "GET", "/api/nodes", NULL, 0, ASK_MS, &answer, &err) != 0)
		return UNKNOWN;
	doc = answer.status == 200 ? answer_parse(answer.body, answer.len, &err) : NULL;
	nodes = answer_member(doc, "nodes");
	if (nodes != NULL)
		how = DONE; /* it has left, unless it is in the list */
	for (size_t i = 0; i < answer_count(nodes); i++) {
		struct json_object *one = json_object_array_get_idx(nodes, i);
		const char *id = answer_text(one, "id"),
			   *state = answer_text(one, "state");

		if (id == NULL || state == NULL || !str_eq(id, node))
			continue;
		*running = answer_int(one, "running");
		how = !args_has(&cli->args, "leave") && *running == 0 &&
			      (str_eq(state, "drained") ||
				  (args_has(&cli->args, "tasks-only") &&
				      str_eq(state, "maintenance")))
			  ? DONE
			  : UNDER_WAY;
	}
	json_object_put(doc);
	client_answer_fini(&answer);
	return how;
}

/*
 * Until the node has nothing left to do, or is gone.  One that does not answer may be
 * the very node that leaves, behind the same address as others: it is asked again.
 */
static int
wait_until_done(const struct cli *cli, const char *node, int64_t patience_ms)
{
	const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
	int64_t began_ms = clock_mono_ms(), running = -1, told = -1;

	for (;;) {
		enum progress how = look(cli, node, &running);

		if (how == DONE)
			return CLI_OK;
		if (how == UNDER_WAY && running != told && !cli->json) {
			fprintf(stderr, "shoal: %s: %lld tasks run there\n",
			    cli->command->name, (long long)running);
			told = running;
		}
		if (clock_mono_ms() - began_ms >= patience_ms) {
			fprintf(stderr, "shoal: %s: %s\n", cli->command->name,
			    how == UNKNOWN
				? "no node answers; whether it is done is not known"
				: "it is not done yet; it goes on draining");
			return how == UNKNOWN ? CLI_UNAVAILABLE : CLI_TIMEOUT;
		}
		nanosleep(&pause, NULL);
	}
}

/* ---------------------------------------------------------------- commands */

static int
run_nodes(struct cli *cli)
{
	const char *verb = cli->args.operand_count > 0 ? cli->args.operands[0] : "list";
	int rc;

	if (str_eq(verb, "resume"))
		return (rc = cli_operands(cli, 2, 2)) != 0
			   ? rc
			   : order(cli, cli->args.operands[1], "/resume");
	if (!str_eq(verb, "list"))
		return cli_usage(cli, "list or resume, not '%s'", verb);
	if ((rc = cli_operands(cli, 0, 1)) != 0)
		return rc;
	return ask_name(cli, "GET", "/api/nodes", NULL, NULL, NULL, show_nodes);
}

static int
run_drain(struct cli *cli)
{
	int64_t patience_ms = WAIT_MOST_MS;
	struct err err = ERR_INIT;
	int rc;

	if ((rc = cli_operands(cli, 1, 1)) != 0)
		return rc;
	if (args_has(&cli->args, "leave") && args_has(&cli->args, "tasks-only"))
		return cli_usage(
		    cli, "--tasks-only keeps the node and --leave ends it: choose one");
	if (args_text(&cli->args, "wait") != NULL &&
	    args_duration_ms(&cli->args, "wait", WAIT_MOST_MS, &patience_ms, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	rc = order(cli, cli->args.operands[0], "/drain");
	if (rc != CLI_OK || !args_has(&cli->args, "wait"))
		return rc;
	return wait_until_done(cli, cli->args.operands[0], patience_ms);
}

static const struct args_option nodes_options[] = {
    {0, "reason", ARGS_VALUE, "TEXT", "Of resume: why, for the record."},
    {.name = NULL},
};

static const struct args_option drain_options[] = {
    {0, "leave", ARGS_FLAG, NULL, "The node ends, as at a TERM."},
    {0, "tasks-only", ARGS_FLAG, NULL,
	"Maintenance: no tasks, but requests go on coming."},
    {0, "reason", ARGS_VALUE, "TEXT", "Why, shown by shoal nodes."},
    {'w', "wait", ARGS_OPTIONAL, "DURATION",
	"Until nothing runs there any more (with --leave: until it is gone)."},
    {.name = NULL},
};

const struct cli_command cli_nodes = {
    .name = "nodes",
    .usage = "[list] | resume NODE",
    .summary = "Lists the cluster's nodes, and lets a drained one work again.",
    .needs = CLI_PORTAL,
    .options = nodes_options,
    .run = run_nodes,
};

const struct cli_command cli_drain = {
    .name = "drain",
    .usage = "NODE",
    .summary = "Lets a node take no more tasks, or leave.",
    .help = "The order is kept in the database and reaches the node within seconds, "
	    "whichever node\n"
	    "takes it.  The node's /health says 503, what runs there ends, or is given "
	    "back after\n"
	    "node.shutdown_timeout.  shoal nodes resume NODE takes it back.",
    .needs = CLI_PORTAL,
    .options = drain_options,
    .run = run_drain,
};
