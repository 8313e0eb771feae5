/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth.c - from a Bearer key to an application.
 *
 * A question (struct ask) stands for one key, however many requests wait for it.
 * Questions gather while a statement is under way and leave together, so that any
 * number of keys, invented ones too, costs one statement at a time on the read lane.
 * Requests that wait have a bound; beyond it they get 503.
 *
 * A key without the right form or checksum is refused with no question at all.
 */
#include "api/auth.h"

#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "api/keycache.h"
#include "base/hmap.h"
#include "base/mem.h"
#include "base/str.h"
#include "face/problem.h"
#include "store/apikey.h"
#include "store/reads.h"

#define BATCH_MAX 128
#define KEPT_MAX  10000
#define ASKS_MAX  10000

struct kept {
	TAILQ_ENTRY(kept) link;
	struct httpreq *req;
};

struct ask {
	TAILQ_ENTRY(ask) link;
	char public_id[APIKEY_PUBLIC + 1];
	uint8_t hash[APIKEY_HASH];
	TAILQ_HEAD(, kept) kept; /* none: a refresh in the background */
};

TAILQ_HEAD(ask_list, ask);

struct auth {
	struct loop *loop;
	struct store *store;
	auth_cb *cb;
	void *arg;
	struct keycache *cache;
	struct hmap *by_hash;	   /* every ask in either list */
	struct ask_list gathering; /* not sent yet */
	struct ask_list sent;	   /* in the statement that is under way */
	int64_t sent_ms;
	size_t kept_count;
	struct loop_defer *send;
	struct pgparam params;
};

static void send_now(void *arg);

struct auth *
auth_create(struct loop *l, struct store *st, auth_cb *cb, void *arg, struct err *err)
{
	struct auth *au = mem_zero(sizeof(*au));

	if (au == NULL) {
		err_set(err, ERR_NOMEM, "authentication");
		return NULL;
	}
	au->loop = l;
	au->store = st;
	au->cb = cb;
	au->arg = arg;
	TAILQ_INIT(&au->gathering);
	TAILQ_INIT(&au->sent);
	pgparam_init(&au->params);
	au->cache = keycache_create();
	au->by_hash = hmap_create();
	au->send = loop_defer_create(l, send_now, au);
	if (au->cache == NULL || au->by_hash == NULL || au->send == NULL) {
		err_set(err, ERR_NOMEM, "authentication");
		auth_free(au);
		return NULL;
	}
	return au;
}

static void
free_asks(struct auth *au, struct ask_list *asks)
{
	struct ask *a;
	struct kept *k;

	while ((a = TAILQ_FIRST(asks)) != NULL) {
		while ((k = TAILQ_FIRST(&a->kept)) != NULL) {
			TAILQ_REMOVE(&a->kept, k, link);
			httpreq_drop(k->req);
			mem_free(k);
		}
		TAILQ_REMOVE(asks, a, link);
		(void)hmap_remove(au->by_hash, a->hash, sizeof(a->hash));
		mem_free(a);
	}
}

void
auth_free(struct auth *au)
{
	if (au == NULL)
		return;
	free_asks(au, &au->gathering);
	free_asks(au, &au->sent);
	loop_defer_free(au->send);
	hmap_free(au->by_hash);
	keycache_free(au->cache);
	pgparam_fini(&au->params);
	mem_free(au);
}

/* ---------------------------------------------------------------- answers */

/* the text never tells whether the key exists */
void
auth_refuse(struct httpreq *req, const char *detail)
{
	httpreq_set_header(req, "WWW-Authenticate", "Bearer realm=\"shoal\"");
	httpreq_problem(req, 401, "unauthorized", "%s", detail);
}

static void
bad_key(struct httpreq *req)
{
	auth_refuse(req, "The API key is not valid: unknown, expired or revoked.");
}

static void
away(struct httpreq *req)
{
	problem_unavailable(req, "unavailable",
	    "The API key cannot be checked now; nothing was done. Try again soon.");
}

enum verdict { ASK_FAILED = 0, ASK_BAD, ASK_GOOD };

/* ends the question: all that wait for it go on, or are answered */
static void
settle(
    struct auth *au, struct ask *a, enum verdict verdict, const struct key_facts *facts)
{
	struct kept *k;

	(void)hmap_remove(au->by_hash, a->hash, sizeof(a->hash));
	if (verdict == ASK_GOOD)
		keycache_good(au->cache, a->hash, facts, au->sent_ms);
	else if (verdict == ASK_BAD)
		keycache_bad(au->cache, a->hash, au->sent_ms);
	while ((k = TAILQ_FIRST(&a->kept)) != NULL) {
		struct httpreq *req = k->req;

		TAILQ_REMOVE(&a->kept, k, link);
		mem_free(k);
		au->kept_count--;
		if (httpreq_is_gone(req))
			httpreq_drop(req);
		else if (verdict == ASK_GOOD)
			au->cb(req, facts, au->arg);
		else if (verdict == ASK_BAD)
			bad_key(req);
		else
			away(req);
	}
	mem_free(a);
}

static void
settle_all(struct auth *au, const struct pgrows *rows)
{
	static const uint8_t nobody[APIKEY_HASH];
	struct ask_list asks = TAILQ_HEAD_INITIALIZER(asks);
	struct ask *a;

	/* settling may bring new questions; they must not meet these in the list */
	TAILQ_CONCAT(&asks, &au->sent, link);
	while ((a = TAILQ_FIRST(&asks)) != NULL) {
		const uint8_t *hash = nobody;
		enum verdict verdict = ASK_BAD;
		struct key_facts facts = {0};
		bool live = false;

		TAILQ_REMOVE(&asks, a, link);
		for (int r = 0; rows != NULL && r < pgrows_count(rows); r++) {
			struct key_row k;

			key_row_get(rows, r, &k);
			if (str_eq(k.public_id, a->public_id) && k.hash != NULL) {
				hash = k.hash;
				live = k.live;
				facts.app_id = k.app_id;
				facts.scopes = k.scopes;
			}
		}
		/* an unknown id is compared too, with the hash of nothing */
		if (apikey_hash_equal(hash, a->hash) && live)
			verdict = ASK_GOOD;
		settle(au, a, rows == NULL ? ASK_FAILED : verdict, &facts);
	}
}

/* ---------------------------------------------------------------- questions */

static void
answered(const struct pgrows *rows, const struct pgerr *err, void *arg)
{
	struct auth *au = arg;

	(void)err; /* whatever it was, the keys are not known now; pgconn and store log
		      it */
	settle_all(au, rows);
	if (!TAILQ_EMPTY(&au->gathering))
		loop_defer_start(au->send);
}

static void
send_now(void *arg)
{
	struct auth *au = arg;
	struct ask *a;
	int count = 0;

	if (!TAILQ_EMPTY(&au->sent))
		return; /* the answer starts us again */
	pgparam_reset(&au->params);
	pgparam_array(&au->params, PGTYPE_TEXT);
	while (count < BATCH_MAX && (a = TAILQ_FIRST(&au->gathering)) != NULL) {
		TAILQ_REMOVE(&au->gathering, a, link);
		TAILQ_INSERT_TAIL(&au->sent, a, link);
		pgparam_elem_text(&au->params, a->public_id, strlen(a->public_id));
		count++;
	}
	pgparam_array_end(&au->params);
	if (count == 0)
		return;
	au->sent_ms = loop_now_ms(au->loop);
	if (store_exec(au->store, STORE_READ, &reads_keys, &au->params, answered, au,
		NULL) == 0)
		return;
	settle_all(au, NULL);
	if (!TAILQ_EMPTY(&au->gathering))
		loop_defer_start(au->send);
}

/* the question about this key, a new one if need be; NULL: too many, or no memory */
static struct ask *
ask_for(struct auth *au, const struct apikey *key)
{
	struct ask *a = hmap_get(au->by_hash, key->hash, sizeof(key->hash));

	if (a != NULL)
		return a;
	if (hmap_count(au->by_hash) >= ASKS_MAX || (a = mem_zero(sizeof(*a))) == NULL)
		return NULL;
	memcpy(a->public_id, key->public_id, sizeof(a->public_id));
	memcpy(a->hash, key->hash, sizeof(a->hash));
	TAILQ_INIT(&a->kept);
	if (hmap_put(au->by_hash, a->hash, sizeof(a->hash), a, NULL) != 0) {
		mem_free(a);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&au->gathering, a, link);
	loop_defer_start(au->send);
	return a;
}

static enum auth_answer
keep(struct auth *au, const struct apikey *key, struct httpreq *req)
{
	struct kept *k = NULL;
	struct ask *a = NULL;

	if (au->kept_count < KEPT_MAX && (a = ask_for(au, key)) != NULL)
		k = mem_zero(sizeof(*k));
	if (k == NULL) {
		/* an ask without a request is harmless: it is a refresh */
		problem_unavailable(req, "overloaded",
		    "Too many API keys wait to be checked; nothing was "
		    "done. Try again soon.");
		return AUTH_REFUSED;
	}
	k->req = req;
	TAILQ_INSERT_TAIL(&a->kept, k, link);
	au->kept_count++;
	return AUTH_KEPT;
}

const char *
auth_bearer(const struct httpreq *req)
{
	const char *header = httpreq_header(req, "Authorization");

	if (header == NULL || strncasecmp(header, "Bearer", 6) != 0 ||
	    (header[6] != ' ' && header[6] != '\0'))
		return NULL;
	header += 6;
	return header + strspn(header, " ");
}

enum auth_answer
auth_check(
    struct auth *au, struct httpreq *req, const char *bearer, struct key_facts *facts)
{
	struct apikey key;
	size_t len;

	if (bearer == NULL) {
		auth_refuse(req,
		    httpreq_header(req, "Authorization") == NULL
			? "An API key is needed, as Authorization: Bearer KEY."
			: "The Authorization header is not of the form Bearer KEY.");
		return AUTH_REFUSED;
	}
	len = strlen(bearer);
	/* the whole form is looked at only when the key is not known */
	if (!apikey_digest(bearer, len, key.hash)) {
		bad_key(req);
		return AUTH_REFUSED;
	}
	switch (keycache_look(au->cache, key.hash, loop_now_ms(au->loop), facts)) {
	case KEY_GOOD_ASK:
		if (apikey_parse(bearer, len, &key))
			(void)ask_for(au, &key);
		return AUTH_KNOWN;
	case KEY_GOOD:
		return AUTH_KNOWN;
	case KEY_BAD:
		bad_key(req);
		return AUTH_REFUSED;
	case KEY_UNKNOWN:
		break;
	}
	if (!apikey_parse(bearer, len, &key)) {
		bad_key(req);
		return AUTH_REFUSED;
	}
	return keep(au, &key, req);
}

char *
auth_public_id(const struct httpreq *req, char id[APIKEY_PUBLIC + 1])
{
	const char *header = httpreq_header(req, "Authorization");
	struct apikey key;

	id[0] = '\0';
	if (header == NULL || strncasecmp(header, "Bearer", 6) != 0)
		return id;
	header += 6;
	header += strspn(header, " ");
	if (apikey_parse(header, strlen(header), &key))
		memcpy(id, key.public_id, sizeof(key.public_id));
	return id;
}
