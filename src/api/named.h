/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * named.h - what an application has by name: how it is listed and read, and what the
 * changes of all such things have in common.
 *
 * A kind is a row of facts.  Its calls keep in c->extra what they need, which begins
 * with a struct named_call.  A change is committed first, and what it made is read
 * again for the answer.  Refused here: 404 not_found, and 400 invalid_parameter for a
 * name that cannot be and is to be made.
 */
#ifndef API_NAMED_H
#define API_NAMED_H

#include "api/call.h"

struct named_call;

struct named_kind {
	const char *what;   /* one of them, for messages */
	const char *member; /* a list of them, in its answer */
	size_t size;	    /* of what is in c->extra */
	int page,
	    page_most; /* rows of a page, otherwise and at the most; 0: no pages */
	const struct pgstmt *rows; /* one, or a page and one more, by name */
	void (*params)(struct pgparam *p, int app_id, const struct named_call *n);
	/* row i as JSON; its name, borrowed from rows */
	const char *(*write)(struct jsonw *w, const struct pgrows *rows, int i,
	    const struct named_call *n);
	/* what the caller is to do when nobody knows whether a change was made */
	const char *unsure;
};

struct named_call {
	const struct named_kind *kind;
	const char *name;  /* of the path; NULL: a list */
	const char *after; /* the cursor, both borrowed from the request */
	int limit;	   /* rows that are shown; 0: all */
	int status;	   /* of the answer with it: 200 unless set */
	bool secret; /* the answer is nobody else's to see: wiped when it was sent */
	char by[APIKEY_PUBLIC + 1]; /* who asks */
};

/* params of most lists with pages */
void named_page_params(struct pgparam *p, int app_id, const struct named_call *n);

/* whole handlers */
void named_get_list(
    struct api *api, struct httpreq *req, int app_id, const struct named_kind *kind);
void named_get(
    struct api *api, struct httpreq *req, int app_id, const struct named_kind *kind);

enum named_use {
	NAMED_READ, /* a name that cannot be is one that is not there */
	NAMED_MAKE  /* it is refused */
};
/* c with what the path names, NULL: answered.  known: the query's parameters */
struct call *named_begin(struct api *api, struct httpreq *req, int app_id,
    const struct named_kind *kind, enum named_use use, const char *const known[]);
/* the same for a change with a body, of which the headers were looked at */
struct call *named_begin_body(struct api *api, struct httpreq *req, int app_id,
    const struct named_kind *kind, enum named_use use, const char **body, size_t *len);

/* asks about what the path names, of a request without a body */
void named_ask_for(struct api *api, struct httpreq *req, int app_id,
    const struct named_kind *kind, call_question *question);
/* for questions: api->params, begun with the application and the name */
struct pgparam *named_params(struct call *c);

/* questions and answers of a change */
bool named_ask(struct call *c); /* a call_question: reads it again and answers */
bool named_change(
    struct call *c, const struct pgstmt *stmt, pgconn_done_cb *cb) ATTR_CHECK;
void named_change_failed(struct call *c, const struct pgerr *pe);
void named_not_found(struct call *c);
void named_deleted(struct call *c); /* 204 */

#endif
