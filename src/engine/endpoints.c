/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * endpoints.c - where applications want to be called, as a worker knows it; see
 * endpoints.h.
 *
 *     copy     an endpoint with its secrets opened; counted, since a request may still
 *              need it when another copy has taken its place
 *     load     one question under way, and who waits for its answer
 *
 * A change that is told while a load is under way makes it load again: its answer may
 * be from before.
 */
#include "engine/endpoints.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hmap.h"
#include "base/jscan.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/seal.h"
#include "base/str.h"
#include "engine/internal.h"
#include "store/endpoints.h"

#define SWEEP_MS   20000
#define HEADER_MAX 4096 /* bytes of one, in JSON */

struct copy {
	struct endpoint ep; /* first: what others hold is this */
	unsigned holders;
	int64_t until_ms; /* it is asked for again then */
	size_t key_len;
	char key[ENDPOINT_CONTEXT_SIZE];
};

struct load {
	struct endpoints *endpoints;
	int app_id;
	char name[NAME_MAX_BYTES + 1];
	bool again; /* it has changed since this was sent */
	TAILQ_HEAD(, endpoint_wait) waits;
	size_t key_len;
	char key[ENDPOINT_CONTEXT_SIZE];
};

struct endpoint_wait {
	TAILQ_ENTRY(endpoint_wait) link;
	struct load *load;
	endpoints_cb *cb;
	void *arg;
};

struct endpoints {
	struct engine *engine;
	struct sealkeys *keys;
	struct hmap *copies;
	struct hmap *loads;
	struct loop_timer *sweep; /* secrets that nobody needs are not kept */
};

static void on_loaded(const struct pgrows *rows, const struct pgerr *pe, void *arg);
static void sweep(void *arg);

char *
endpoint_context(int app_id, const char *name, char buf[ENDPOINT_CONTEXT_SIZE])
{
	snprintf(buf, ENDPOINT_CONTEXT_SIZE, "%d/%.*s", app_id, NAME_MAX_BYTES, name);
	return buf;
}

/* ---------------------------------------------------------------- copies */

struct endpoint *
endpoint_hold(const struct endpoint *ep)
{
	struct copy *c = CONTAINER_OF(ep, struct copy, ep);

	c->holders++;
	return &c->ep;
}

void
endpoint_let_go(struct endpoint *ep)
{
	struct copy *c = CONTAINER_OF(ep, struct copy, ep);

	if (ep == NULL || --c->holders > 0)
		return;
	whsecrets_fini(&c->ep.secrets);
	for (size_t i = 0; c->ep.headers[i] != NULL; i++)
		mem_free_secret(c->ep.headers[i], strlen(c->ep.headers[i]));
	mem_free_secret(c, sizeof(*c));
}

static void
forget(struct endpoints *es, struct copy *c)
{
	hmap_remove(es->copies, c->key, c->key_len);
	endpoint_let_go(&c->ep);
}

static void
forget_all(struct endpoints *es, int64_t now_ms, bool all)
{
	struct copy *c;
	size_t cursor = 0;

	while ((c = hmap_next(es->copies, &cursor)) != NULL) {
		if (all || now_ms >= c->until_ms)
			forget(es, c);
	}
}

static void
sweep(void *arg)
{
	struct endpoints *es = arg;

	forget_all(es, loop_now_ms(es->engine->loop), false);
	if (hmap_count(es->copies) > 0)
		loop_timer_start_ms(es->sweep, SWEEP_MS);
}

struct endpoints *
endpoints_create(struct engine *e, struct err *err)
{
	struct endpoints *es = mem_zero(sizeof(*es));

	if (es == NULL || (es->copies = hmap_create()) == NULL ||
	    (es->loads = hmap_create()) == NULL ||
	    (es->sweep = loop_timer_create(e->loop, sweep, es)) == NULL) {
		err_set(err, ERR_NOMEM, "endpoints");
		goto fail;
	}
	es->engine = e;
	if (e->settings->secrets_key_file[0] != '\0') {
		es->keys = sealkeys_load(e->settings->secrets_key_file, err);
		if (es->keys == NULL) {
			err_wrap(err, "secrets.key_file");
			goto fail;
		}
	}
	return es;
fail:
	endpoints_free(es);
	return NULL;
}

static void
load_free(struct load *ld)
{
	struct endpoint_wait *w;

	hmap_remove(ld->endpoints->loads, ld->key, ld->key_len);
	while ((w = TAILQ_FIRST(&ld->waits)) != NULL) {
		TAILQ_REMOVE(&ld->waits, w, link);
		mem_free(w);
	}
	mem_free(ld);
}

void
endpoints_free(struct endpoints *es)
{
	struct load *ld;
	size_t cursor = 0;

	if (es == NULL)
		return;
	while (es->loads != NULL && (ld = hmap_next(es->loads, &cursor)) != NULL)
		load_free(ld);
	if (es->copies != NULL)
		forget_all(es, 0, true);
	hmap_free(es->loads);
	hmap_free(es->copies);
	loop_timer_free(es->sweep);
	sealkeys_free(es->keys);
	mem_free(es);
}

const struct sealkeys *
endpoints_keys(const struct endpoints *es)
{
	return es->keys;
}

const struct endpoint *
endpoints_known(struct endpoints *es, int app_id, const char *name, int64_t version)
{
	char key[ENDPOINT_CONTEXT_SIZE];
	struct copy *c;

	endpoint_context(app_id, name, key);
	c = hmap_get(es->copies, key, strlen(key));
	if (c == NULL)
		return NULL;
	if (c->ep.version >= version && loop_now_ms(es->engine->loop) < c->until_ms)
		return &c->ep;
	forget(es, c);
	return NULL;
}

/* ---------------------------------------------------------------- reading one */

static int
add_header(struct endpoint *ep, size_t n, const struct jspan *key,
    const struct jspan *value, struct err *err)
{
	char name[128], text[HEADER_MAX];
	struct strbuf sb;

	if (jspan_string(key, name, sizeof(name), NULL, err) != 0 ||
	    jspan_string(value, text, sizeof(text), NULL, err) != 0)
		return -1;
	strbuf_init(&sb, sizeof(name) + sizeof(text));
	strbuf_printf(&sb, "%s: %s", name, text);
	explicit_bzero(text, sizeof(text));
	ep->headers[n] = strbuf_take(&sb, NULL);
	strbuf_fini(&sb);
	return ep->headers[n] != NULL ? 0 : err_set(err, ERR_NOMEM, "headers");
}

static int
read_headers(struct endpoint *ep, const char *json, struct err *err)
{
	const struct jscan_limits limits = {.max_depth = 2};
	struct jspan top, key, value;
	struct jwalk walk;
	size_t n = 0;

	if (json == NULL)
		return 0;
	if (jscan_check(json, strlen(json), &limits, &top, err) != 0)
		return -1;
	if (top.kind != JSON_OBJECT)
		return err_set(err, ERR_INVALID, "its headers are no object");
	jwalk_start(&walk, &top);
	while (n < ENDPOINT_HEADERS && jwalk_member(&walk, &key, &value)) {
		if (add_header(ep, n++, &key, &value, err) != 0)
			return -1;
	}
	return 0;
}

/* one or two sealed secrets, as whsecrets_parse reads them */
static int
read_secrets(const struct endpoints *es, struct endpoint *ep,
    const struct endpoint_loaded *row, struct err *err)
{
	char context[ENDPOINT_CONTEXT_SIZE], *one = NULL, *two = NULL;
	size_t one_len = 0, two_len = 0;
	struct strbuf both;
	int rc;

	if (es->keys == NULL)
		return err_set(err, ERR_NOT_FOUND,
		    "its secrets are sealed, and this node has no secrets.key_file");
	endpoint_context(ep->app_id, ep->name, context);
	strbuf_init(&both, 1024);
	rc = seal_open(es->keys, context, row->secret, &one, &one_len, err);
	if (rc == 0 && row->old_secret != NULL)
		rc = seal_open(es->keys, context, row->old_secret, &two, &two_len, err);
	if (rc == 0) {
		strbuf_printf(&both, "%s %s", one, two != NULL ? two : "");
		rc = whsecrets_parse(both.data, &ep->secrets, err);
	}
	mem_free_secret(one, one_len);
	mem_free_secret(two, two_len);
	explicit_bzero(both.data, both.len);
	strbuf_fini(&both);
	return rc;
}

/* NULL: see err; *c has one holder */
static struct copy *
copy_of(struct endpoints *es, const struct load *ld, const struct pgrows *rows,
    struct err *err)
{
	struct copy *c = mem_zero(sizeof(*c));
	struct endpoint_loaded row;
	int64_t fresh_ms = ENDPOINTS_FRESH_MS;

	if (c == NULL) {
		err_set(err, ERR_NOMEM, "an endpoint");
		return NULL;
	}
	c->holders = 1;
	endpoint_loaded_get(rows, 0, &row);
	c->ep.app_id = ld->app_id;
	memcpy(c->ep.name, ld->name, sizeof(c->ep.name));
	c->ep.version = row.version;
	c->ep.timeout_ms = row.timeout_ms;
	c->ep.disabled = row.disabled;
	memcpy(c->key, ld->key, sizeof(c->key));
	c->key_len = ld->key_len;
	if (weburl_parse(row.url, &c->ep.url, err) != 0 ||
	    read_headers(&c->ep, row.headers, err) != 0 ||
	    read_secrets(es, &c->ep, &row, err) != 0) {
		endpoint_let_go(&c->ep);
		return NULL;
	}
	/* an old secret signs no longer than was said */
	if (row.old_secret != NULL && row.old_left_ms < fresh_ms)
		fresh_ms = row.old_left_ms > 0 ? row.old_left_ms : 1;
	c->until_ms = loop_now_ms(es->engine->loop) + fresh_ms;
	return c;
}

/* without memory it is used once, and asked for again */
static void
keep(struct endpoints *es, struct copy *c)
{
	void *old = NULL;

	if (hmap_count(es->copies) >= ENDPOINTS_MOST)
		forget_all(es, 0, true);
	if (hmap_put(es->copies, c->key, c->key_len, c, &old) != 0)
		return;
	endpoint_hold(&c->ep);
	if (old != NULL)
		endpoint_let_go(&((struct copy *)old)->ep);
	if (!loop_timer_pending(es->sweep))
		loop_timer_start_ms(es->sweep, SWEEP_MS);
}

static int
ask(struct load *ld, struct err *err)
{
	struct pgparam p;
	int rc;

	pgparam_init(&p);
	pgparam_int4(&p, ld->app_id);
	pgparam_text(&p, ld->name);
	rc = store_exec(ld->endpoints->engine->store, STORE_READ, &endpoints_load, &p,
	    on_loaded, ld, err);
	pgparam_fini(&p);
	return rc;
}

static void
tell(struct load *ld, const struct endpoint *ep, const struct err *err)
{
	struct endpoint_wait *w;

	/* who asks from within asks anew */
	hmap_remove(ld->endpoints->loads, ld->key, ld->key_len);
	while ((w = TAILQ_FIRST(&ld->waits)) != NULL) {
		endpoints_cb *cb = w->cb;
		void *arg = w->arg;

		TAILQ_REMOVE(&ld->waits, w, link);
		mem_free(w);
		cb(ep, err, arg);
	}
	mem_free(ld);
}

static void
on_loaded(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct load *ld = arg;
	struct endpoints *es = ld->endpoints;
	struct err err = ERR_INIT;
	struct copy *c = NULL;

	if (es->engine->ending) {
		load_free(ld);
		return;
	}
	if (pe != NULL) {
		err_set(&err, ERR_IO, "database: %s", pe->text);
		tell(ld, NULL, &err);
		return;
	}
	if (ld->again) {
		ld->again = false;
		if (ask(ld, &err) != 0)
			tell(ld, NULL, &err);
		return;
	}
	if (pgrows_count(rows) == 0) {
		tell(ld, NULL, NULL);
		return;
	}
	c = copy_of(es, ld, rows, &err);
	if (c == NULL) {
		log_error(NULL, "an endpoint cannot be used",
		    "application=%d endpoint=%s reason=\"%.200s\"", ld->app_id,
		    ld->name, err.text);
		tell(ld, NULL, &err);
		return;
	}
	keep(es, c);
	tell(ld, &c->ep, NULL);
	endpoint_let_go(&c->ep);
}

static struct load *
load_begin(struct endpoints *es, int app_id, const char *name, struct err *err)
{
	struct load *ld = mem_zero(sizeof(*ld));

	if (ld == NULL) {
		err_set(err, ERR_NOMEM, "an endpoint");
		return NULL;
	}
	ld->endpoints = es;
	ld->app_id = app_id;
	TAILQ_INIT(&ld->waits);
	str_copy(ld->name, sizeof(ld->name), name);
	ld->key_len = strlen(endpoint_context(app_id, name, ld->key));
	if (hmap_put(es->loads, ld->key, ld->key_len, ld, NULL) != 0) {
		mem_free(ld);
		err_set(err, ERR_NOMEM, "an endpoint");
		return NULL;
	}
	if (ask(ld, err) != 0) {
		load_free(ld);
		return NULL;
	}
	return ld;
}

struct endpoint_wait *
endpoints_get(struct endpoints *es, int app_id, const char *name, endpoints_cb *cb,
    void *arg, struct err *err)
{
	struct endpoint_wait *w = mem_zero(sizeof(*w));
	char key[ENDPOINT_CONTEXT_SIZE];
	struct load *ld;

	if (w == NULL) {
		err_set(err, ERR_NOMEM, "an endpoint");
		return NULL;
	}
	endpoint_context(app_id, name, key);
	ld = hmap_get(es->loads, key, strlen(key));
	if (ld == NULL && (ld = load_begin(es, app_id, name, err)) == NULL) {
		mem_free(w);
		return NULL;
	}
	w->load = ld;
	w->cb = cb;
	w->arg = arg;
	TAILQ_INSERT_TAIL(&ld->waits, w, link);
	return w;
}

void
endpoints_cancel(struct endpoint_wait *w)
{
	TAILQ_REMOVE(&w->load->waits, w, link);
	mem_free(w);
}

/* ---------------------------------------------------------------- changes */

static void
forget_one(struct endpoints *es, int app_id, const char *name)
{
	char key[ENDPOINT_CONTEXT_SIZE];
	struct load *ld;
	struct copy *c;

	endpoint_context(app_id, name, key);
	c = hmap_get(es->copies, key, strlen(key));
	if (c != NULL)
		forget(es, c);
	ld = hmap_get(es->loads, key, strlen(key));
	if (ld != NULL)
		ld->again = true;
	/* it may be in use again */
	dispatch_endpoints_due(es->engine->dispatch, app_id);
}

void
endpoints_changed(struct endpoints *es, int app_id, const char *name)
{
	char text[ENDPOINT_CONTEXT_SIZE + 16];

	forget_one(es, app_id, name);
	snprintf(text, sizeof(text), "endpoint %d %s", app_id, name);
	broker_publish(es->engine->broker, text);
}

void
endpoints_told(struct endpoints *es, const char *text, size_t len)
{
	static const char word[] = "endpoint ";
	const size_t skip = sizeof(word) - 1;
	char copy[ENDPOINT_CONTEXT_SIZE + 16], *name;
	int64_t app_id;

	if (len < skip || len >= sizeof(copy) || memcmp(text, word, skip) != 0)
		return;
	memcpy(copy, text + skip, len - skip);
	copy[len - skip] = '\0';
	name = strchr(copy, ' ');
	if (name == NULL)
		return;
	*name++ = '\0';
	if (str_to_i64(copy, &app_id) == 0 && app_id > 0 && app_id <= INT32_MAX &&
	    name_check("endpoint", name, strlen(name), NULL) == 0)
		forget_one(es, (int)app_id, name);
}

struct disabling {
	struct endpoints *endpoints;
	int app_id;
	char name[NAME_MAX_BYTES + 1];
};

static void
on_disabled(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct disabling *d = arg;

	if (pe != NULL) {
		/* its breaker is open meanwhile, and the next request hears the same */
		log_warn(NULL, "an endpoint that is gone could not be disabled",
		    "application=%d endpoint=%s reason=\"%.200s\"", d->app_id, d->name,
		    pe->text);
	} else if (!d->endpoints->engine->ending && pgrows_bool(rows, 0, 0)) {
		score_add(d->endpoints->engine->slot,
		    SCORE_egress_endpoints_disabled_total, 1);
		endpoints_changed(d->endpoints, d->app_id, d->name);
	}
	mem_free(d);
}

void
endpoints_disable(struct endpoints *es, const struct endpoint *ep, const char *reason)
{
	struct disabling *d = mem_zero(sizeof(*d));
	struct pgparam p;

	if (d == NULL)
		return;
	d->endpoints = es;
	d->app_id = ep->app_id;
	memcpy(d->name, ep->name, sizeof(d->name));
	pgparam_init(&p);
	pgparam_int4(&p, ep->app_id);
	pgparam_text(&p, ep->name);
	pgparam_int8(&p, ep->version);
	pgparam_text(&p, reason);
	if (store_exec(es->engine->store, STORE_READ, &endpoints_disable_one, &p,
		on_disabled, d, NULL) != 0)
		mem_free(d); /* as if it had failed */
	pgparam_fini(&p);
}
