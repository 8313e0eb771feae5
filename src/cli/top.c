/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * top.c - GET /api/overview as lines of text; see top.h.
 *
 * A line is put together in columns, cut to the width, and only then marked for the
 * terminal, so that marks are never cut.  Where there are more rows than lines the four
 * tables take turns, one line each, until no line or no row is left: a long table
 * does not push a short one out.
 */
#include "cli/top.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "cli/answer.h"
#include "cli/span.h"

#define FRESH_MS   10000 /* a pulse that is older tells nothing of now */
#define QUIET_MS   40000 /* a node at rest tells its memory this often */
#define HEAD_LINES 3
#define ROWS_MOST  1000 /* of one table */

enum table { NODES = 0, QUEUES, SLOWEST, OLDEST, TABLES };

static const char *const members[TABLES] = {"nodes", "queues", "slowest", "oldest"};
static const char *const sort_names[] = {"waiting", "running", "oldest", "name"};

int
top_sort_parse(const char *name, enum top_sort *sort)
{
	for (int i = 0; i < TOP_SORT_COUNT; i++) {
		if (str_eq(name, sort_names[i])) {
			*sort = (enum top_sort)i;
			return 0;
		}
	}
	return -1;
}

static const char *
sort_name(enum top_sort sort)
{
	return sort < TOP_SORT_COUNT ? sort_names[sort] : "?";
}

/* ---------------------------------------------------------------- lines */

struct frame {
	struct strbuf *out;
	const struct top_view *v;
	int width;
	char line[TOP_WIDTH_MOST + 1];
	int at; /* columns of line that are used */
};

static void
put(struct frame *f, const char *text)
{
	for (; *text != '\0' && f->at < f->width; text++)
		f->line[f->at++] = *text >= ' ' && *text < 0x7f ? *text : '?';
}

static void putf(struct frame *f, const char *fmt, ...) ATTR_PRINTF(2, 3);

static void
putf(struct frame *f, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put(f, text);
}

/* a text in so many columns, its end cut off, and a blank behind it; NULL is - */
static void
put_cell(struct frame *f, const char *text, int width)
{
	char cell[TOP_WIDTH_MOST + 1];

	if (width > TOP_WIDTH_MOST)
		width = TOP_WIDTH_MOST;
	snprintf(
	    cell, sizeof(cell), "%-*.*s ", width, width, text != NULL ? text : "-");
	put(f, cell);
}

enum mark { PLAIN = 0, STRONG, REVERSE };

static void
end_line(struct frame *f, enum mark mark)
{
	static const char *const begin[] = {"", "\033[1m", "\033[7m"};
	bool marked = f->v->ansi && mark != PLAIN;

	/* a head reaches to the edge; other lines end where their text ends */
	if (mark == REVERSE && marked)
		while (f->at < f->width)
			f->line[f->at++] = ' ';
	while (!marked && f->at > 0 && f->line[f->at - 1] == ' ')
		f->at--;
	if (marked)
		strbuf_puts(f->out, begin[mark]);
	strbuf_put(f->out, f->line, (size_t)f->at);
	if (marked)
		strbuf_puts(f->out, "\033[0m");
	strbuf_putc(f->out, '\n');
	f->at = 0;
}

/* ---------------------------------------------------------------- numbers */

/* -1: absent or null */
static int64_t
age_of(struct json_object *object, const char *name)
{
	struct json_object *value = answer_member(object, name);

	return json_object_is_type(value, json_type_int) ? json_object_get_int64(value)
							 : -1;
}

/* a second, from what a node has counted in its last span */
static double
rate(struct json_object *node, const char *name)
{
	struct json_object *pulse = answer_member(node, "pulse");
	int64_t span_ms = answer_int(pulse, "span_ms"),
		age_ms = age_of(pulse, "age_ms");

	if (span_ms <= 0 || age_ms < 0 || age_ms > FRESH_MS)
		return 0;
	return (double)answer_int(pulse, name) * 1000.0 / (double)span_ms;
}

static double
rate_of_all(struct json_object *nodes, const char *name)
{
	double sum = 0;

	for (size_t i = 0; i < answer_count(nodes); i++)
		sum += rate(json_object_array_get_idx(nodes, i), name);
	return sum;
}

static int64_t
sum_of_all(struct json_object *nodes, const char *name)
{
	int64_t sum = 0;

	for (size_t i = 0; i < answer_count(nodes); i++)
		sum += answer_int(json_object_array_get_idx(nodes, i), name);
	return sum;
}

/* ---------------------------------------------------------------- head */

static void
put_head(struct frame *f, struct json_object *doc)
{
	struct json_object *nodes = answer_member(doc, "nodes");
	const char *at = answer_text(doc, "at");
	char n[SPAN_SIZE];

	putf(f, "%.40s  %.10s %.8s  %zu node%s, %lld workers  by %s%s",
	    answer_text(doc, "cluster") != NULL ? answer_text(doc, "cluster") : "?",
	    at != NULL ? at : "?", at != NULL && strlen(at) > 18 ? at + 11 : "?",
	    answer_count(nodes), answer_count(nodes) == 1 ? "" : "s",
	    (long long)sum_of_all(nodes, "workers"), sort_name(f->v->sort),
	    f->v->paused ? "  PAUSED" : "");
	end_line(f, STRONG);
	putf(f, "waiting %s%s", answer_is_true(doc, "estimated") ? "~" : "",
	    span_count((double)answer_int(doc, "waiting"), n));
	putf(f, "  running %s", span_count((double)sum_of_all(nodes, "running"), n));
	putf(f, "  a second: submitted %s",
	    span_count(rate_of_all(nodes, "submitted"), n));
	putf(f, " started %s", span_count(rate_of_all(nodes, "started"), n));
	putf(f, " done %s", span_count(rate_of_all(nodes, "succeeded"), n));
	putf(f, " failed %s", span_count(rate_of_all(nodes, "failed"), n));
	if (rate_of_all(nodes, "retried") > 0)
		putf(f, " retried %s", span_count(rate_of_all(nodes, "retried"), n));
	end_line(f, PLAIN);
	if (f->v->notice != NULL) {
		put(f, f->v->notice);
		end_line(f, STRONG);
	}
}

/* ---------------------------------------------------------------- rows */

static void
put_node_head(struct frame *f)
{
	put_cell(f, "NODE", 12);
	put_cell(f, "STATE", 11);
	put(f, "WRK RUNNING   START/S  DONE/S  FAIL/S  CPU%   MEM  LOAD   BEAT HOST");
}

static void
put_node(struct frame *f, struct json_object *node)
{
	struct json_object *pulse = answer_member(node, "pulse"),
			   *load = answer_member(pulse, "load");
	int64_t age_ms = age_of(pulse, "age_ms"),
		span_ms = answer_int(pulse, "span_ms");
	bool known = age_ms >= 0 && age_ms < QUIET_MS && span_ms > 0;
	char n[SPAN_SIZE];

	put_cell(f, answer_text(node, "id"), 12);
	put_cell(f, answer_text(node, "state"), 11);
	putf(f, "%3lld ", (long long)answer_int(node, "workers"));
	putf(f, "%7s ", span_count((double)answer_int(node, "running"), n));
	putf(f, "%9s ", span_count(rate(node, "started"), n));
	putf(f, "%7s ", span_count(rate(node, "succeeded"), n));
	putf(f, "%7s ", span_count(rate(node, "failed"), n));
	if (known)
		putf(f, "%5.0f ",
		    100.0 * (double)answer_int(pulse, "cpu_ms") / (double)span_ms);
	else
		put(f, "    - ");
	putf(f, "%5s ", known ? span_bytes(answer_int(pulse, "memory_bytes"), n) : "-");
	if (known && load != NULL && !json_object_is_type(load, json_type_null))
		putf(f, "%5.1f ", json_object_get_double(load));
	else
		put(f, "    - ");
	putf(f, "%6s ", span_text(age_of(node, "beat_age_ms"), n));
	put_cell(f, answer_text(node, "hostname"), 20);
	if (answer_is_true(node, "leads"))
		put(f, "leads");
}

static void
put_queue_head(struct frame *f)
{
	put_cell(f, "APPLICATION", 16);
	put_cell(f, "QUEUE", 20);
	put(f, " WAITING RUNNING  OLDEST ");
	put(f, "STATE   POOL");
}

static void
put_queue(struct frame *f, struct json_object *queue)
{
	char n[SPAN_SIZE], waiting[SPAN_SIZE + 2];

	put_cell(f, answer_text(queue, "application"), 16);
	put_cell(f, answer_text(queue, "queue"), 20);
	snprintf(waiting, sizeof(waiting), "%s%s",
	    answer_is_true(queue, "estimated") ? "~" : "",
	    span_count((double)answer_int(queue, "waiting"), n));
	putf(f, "%8s ", waiting);
	putf(f, "%7s ", span_count((double)answer_int(queue, "running"), n));
	putf(f, "%7s ", span_text(age_of(queue, "oldest_age_ms"), n));
	put_cell(f, answer_is_true(queue, "paused") ? "paused" : "-", 7);
	put_cell(f, answer_text(queue, "pool"), 16);
}

static void
put_task_head(struct frame *f, const char *age, const char *last)
{
	putf(f, "%8s ", age);
	put_cell(f, "TASK", 36);
	put_cell(f, "TYPE", 16);
	put_cell(f, "QUEUE", 16);
	put_cell(f, "APPLICATION", 16);
	put(f, last);
}

static void
put_task(struct frame *f, struct json_object *task, const char *last)
{
	char n[SPAN_SIZE];

	putf(f, "%8s ", span_text(age_of(task, "age_ms"), n));
	put_cell(f, answer_text(task, "id"), 36);
	put_cell(f, answer_text(task, "type"), 16);
	put_cell(f, answer_text(task, "queue"), 16);
	put_cell(f, answer_text(task, "application"), 16);
	put(f, last != NULL ? last : "");
}

static void
put_table_head(struct frame *f, enum table table)
{
	switch (table) {
	case NODES:
		put_node_head(f);
		break;
	case QUEUES:
		put_queue_head(f);
		break;
	case SLOWEST:
		put_task_head(f, "RUNS FOR", "NODE");
		break;
	default:
		put_task_head(f, "WAITS", "");
		break;
	}
	end_line(f, REVERSE);
}

static void
put_row(struct frame *f, enum table table, struct json_object *row)
{
	const char *node;

	switch (table) {
	case NODES:
		put_node(f, row);
		break;
	case QUEUES:
		put_queue(f, row);
		break;
	case SLOWEST:
		node = answer_text(row, "node");
		put_task(f, row, node != NULL ? node : answer_text(row, "leased_by"));
		break;
	default:
		put_task(f, row, answer_is_true(row, "paused") ? "paused" : "");
		break;
	}
	end_line(f, PLAIN);
}

/* ---------------------------------------------------------------- order */

static int
by_number(struct json_object *a, struct json_object *b, const char *name)
{
	int64_t x = age_of(a, name), y = age_of(b, name);

	return x < y ? 1 : x > y ? -1 : 0;
}

static int
by_name(struct json_object *a, struct json_object *b, const char *name)
{
	const char *x = answer_text(a, name), *y = answer_text(b, name);

	return strcmp(x != NULL ? x : "", y != NULL ? y : "");
}

static int
compare(struct json_object *a, struct json_object *b, enum top_sort sort)
{
	int order = 0;

	if (sort == TOP_WAITING)
		order = by_number(a, b, "waiting");
	else if (sort == TOP_RUNNING)
		order = by_number(a, b, "running");
	else if (sort == TOP_OLDEST)
		order = by_number(a, b, "oldest_age_ms");
	if (order == 0)
		order = by_name(a, b, "application");
	return order != 0 ? order : by_name(a, b, "queue");
}

/* the rows of a table in the order that is wanted; returned is heap, its elements are
 * borrowed; NULL: none */
static struct json_object **
take_rows(struct json_object *list, enum table table, enum top_sort sort, size_t *count)
{
	struct json_object **rows;
	size_t n = answer_count(list) < ROWS_MOST ? answer_count(list) : ROWS_MOST;

	*count = 0;
	rows = n > 0 ? mem_array(n, sizeof(struct json_object *)) : NULL;
	if (rows == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t to = i;

		rows[i] = json_object_array_get_idx(list, i);
		/* few, and nearly in order: insertion it is */
		for (; table == QUEUES && to > 0 &&
		       compare(rows[to - 1], rows[to], sort) > 0;
		     to--) {
			struct json_object *other = rows[to - 1];

			rows[to - 1] = rows[to];
			rows[to] = other;
		}
	}
	*count = n;
	return rows;
}

/* ---------------------------------------------------------------- frame */

/* turns rows that are there into lines that are given, table by table */
static void
share(const size_t wants[TABLES], size_t lines, size_t gets[TABLES])
{
	bool given = true;

	memset(gets, 0, TABLES * sizeof(gets[0]));
	while (given) {
		given = false;
		for (int t = 0; t < TABLES && lines > 0; t++) {
			if (gets[t] == wants[t])
				continue;
			gets[t]++;
			lines--;
			given = true;
		}
	}
}

void
top_frame(struct strbuf *out, struct json_object *overview, const struct top_view *v)
{
	struct frame f = {.out = out, .v = v, .width = v->width};
	struct json_object **rows[TABLES];
	size_t counts[TABLES], gets[TABLES], lines = SIZE_MAX, used = HEAD_LINES;

	if (f.width < TOP_WIDTH_LEAST)
		f.width = TOP_WIDTH_LEAST;
	if (f.width > TOP_WIDTH_MOST)
		f.width = TOP_WIDTH_MOST;
	for (int t = 0; t < TABLES; t++) {
		rows[t] = take_rows(answer_member(overview, members[t]), (enum table)t,
		    v->sort, &counts[t]);
		used += counts[t] > 0 ? 2 : 0; /* its head, and a blank line */
	}
	if (v->height > 0)
		lines = (size_t)v->height > used ? (size_t)v->height - used : 0;
	share(counts, lines, gets);
	put_head(&f, overview);
	for (int t = 0; t < TABLES; t++) {
		if (gets[t] > 0) {
			end_line(&f, PLAIN);
			put_table_head(&f, (enum table)t);
		}
		for (size_t i = 0; i < gets[t]; i++)
			put_row(&f, (enum table)t, rows[t][i]);
		mem_free(rows[t]);
	}
}
