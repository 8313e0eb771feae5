/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ask.h - a question to a node and what is shown of its answer, as most commands do it.
 *
 * Each connects (the command has not), and returns the program's exit status; what went
 * wrong has been said.
 * With --json answers are shown as they came, and show is not called.
 */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include "base/strbuf.h"
#include "cli/cli.h"

#define ASK_MS	      30000 /* patience with one answer */
#define ASK_PAGE_MOST 100   /* of a list at a time, the node's own bound */

struct json_object;

typedef void ask_show(struct json_object *doc);

/* 0: the answer, a success, is the caller's to client_answer_fini; body NULL: none */
int ask_answer(struct cli *cli, const char *method, const struct strbuf *path,
    const struct strbuf *body, struct client_answer *answer) ATTR_CHECK;
/* body NULL: none; show NULL: the answer has nothing to show */
int ask(struct cli *cli, const char *method, const struct strbuf *path,
    const struct strbuf *body, ask_show *show);
/* base, the name as a segment of the path, and what follows; name NULL: base alone */
void ask_put_path(
    struct strbuf *path, const char *base, const char *name, const char *rest);
/* the same, asked */
int ask_name(struct cli *cli, const char *method, const char *base, const char *name,
    const char *rest, const struct strbuf *body, ask_show *show);
/* DELETE of what has that name, and says so */
int ask_delete(struct cli *cli, const char *base, const char *name);
/* all pages of the list at that path, each shown by itself under one head */
int ask_pages(struct cli *cli, const char *base, const char *name, const char *rest,
    void (*head)(void), ask_show *show);

#endif
