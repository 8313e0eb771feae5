/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ask.c - a question to a node and what is shown of its answer; see ask.h.
 */
#include "cli/ask.h"

#include <stdio.h>

#include <json-c/json.h>

#include "base/str.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/url.h"

#define PATH_BYTES   4096
#define CURSOR_BYTES 512

int
ask_answer(struct cli *cli, const char *method, const struct strbuf *path,
    const struct strbuf *body, struct client_answer *answer)
{
	struct err err = ERR_INIT;
	int rc;

	if (strbuf_failed(path) || (body != NULL && strbuf_failed(body)))
		return cli_usage(cli, "what is to be sent is too long");
	if ((rc = cli_connect(cli)) != 0)
		return rc;
	if (client_call(cli->client, method, path->data,
		body != NULL ? body->data : NULL, body != NULL ? body->len : 0, ASK_MS,
		answer, &err) != 0)
		return cli_error(cli, &err);
	if (answer->status >= 200 && answer->status <= 299)
		return 0;
	rc = cli_problem(cli, answer);
	client_answer_fini(answer);
	return rc;
}

int
ask(struct cli *cli, const char *method, const struct strbuf *path,
    const struct strbuf *body, ask_show *show)
{
	struct client_answer answer;
	struct err err = ERR_INIT;
	struct json_object *doc = NULL;
	int rc;

	if ((rc = ask_answer(cli, method, path, body, &answer)) != 0)
		return rc;
	if (cli->json) {
		if (answer.len > 0)
			cli_put_json(answer.body, answer.len);
	} else if (show != NULL) {
		doc = answer_parse(answer.body, answer.len, &err);
		if (doc != NULL)
			show(doc);
		else
			rc = cli_error(cli, &err);
	}
	json_object_put(doc);
	client_answer_fini(&answer);
	return rc;
}

void
ask_put_path(struct strbuf *path, const char *base, const char *name, const char *rest)
{
	strbuf_puts(path, base);
	if (name == NULL)
		return;
	url_encode(path, name);
	strbuf_puts(path, rest);
}

int
ask_name(struct cli *cli, const char *method, const char *base, const char *name,
    const char *rest, const struct strbuf *body, ask_show *show)
{
	struct strbuf path;
	int rc;

	strbuf_init(&path, PATH_BYTES);
	ask_put_path(&path, base, name, rest);
	rc = ask(cli, method, &path, body, show);
	strbuf_fini(&path);
	return rc;
}

int
ask_delete(struct cli *cli, const char *base, const char *name)
{
	int rc = ask_name(cli, "DELETE", base, name, "", NULL, NULL);

	if (rc == CLI_OK && !cli->json)
		puts("deleted");
	return rc;
}

/* cursor is "" after the last one */
static int
ask_page(struct cli *cli, const struct strbuf *page, ask_show *show, char *cursor,
    size_t cursor_size)
{
	struct client_answer answer;
	struct err err = ERR_INIT;
	struct json_object *doc;
	const char *next;
	int rc = CLI_OK;

	if (client_call(
		cli->client, "GET", page->data, NULL, 0, ASK_MS, &answer, &err) != 0)
		return cli_error(cli, &err);
	doc = answer_parse(answer.body, answer.len, &err);
	if (answer.status != 200)
		rc = cli_problem(cli, &answer);
	else if (doc == NULL)
		rc = cli_error(cli, &err);
	else if (cli->json)
		cli_put_json(answer.body, answer.len);
	else
		show(doc);
	next = answer_text(doc, "next_cursor");
	if (!str_copy(cursor, cursor_size, next != NULL ? next : ""))
		rc = cli_usage(cli, "the node's cursor is too long");
	json_object_put(doc);
	client_answer_fini(&answer);
	return rc;
}

int
ask_pages(struct cli *cli, const char *base, const char *name, const char *rest,
    void (*head)(void), ask_show *show)
{
	char cursor[CURSOR_BYTES] = "";
	struct strbuf page;
	int rc;

	if ((rc = cli_connect(cli)) != 0)
		return rc;
	if (!cli->json)
		head();
	strbuf_init(&page, PATH_BYTES);
	do {
		strbuf_reset(&page);
		ask_put_path(&page, base, name, rest);
		strbuf_printf(&page, "?limit=%d", ASK_PAGE_MOST);
		if (cursor[0] != '\0') {
			strbuf_puts(&page, "&cursor=");
			url_encode(&page, cursor);
		}
		if (strbuf_failed(&page))
			rc = cli_usage(cli, "the name is too long");
		else
			rc = ask_page(cli, &page, show, cursor, sizeof(cursor));
	} while (rc == CLI_OK && cursor[0] != '\0' && !ferror(stdout));
	strbuf_fini(&page);
	return rc;
}
