/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keycache.c - two bounded lists of keys, good and bad, under one map.
 *
 * Each list is in order of use; a full one gives up what was used least
 * recently.  They are apart so that a flood of invented keys cannot push out those that
 * work.
 */
#include "api/keycache.h"

#include <stdbool.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hmap.h"
#include "base/mem.h"

struct entry {
	TAILQ_ENTRY(entry) link;
	uint8_t hash[APIKEY_HASH];
	bool good;
	int app_id;
	char *scopes;	  /* owned; NULL: everything */
	int64_t asked_ms; /* when the question was sent that it answers */
	int64_t again_ms; /* not to be asked again before */
};

TAILQ_HEAD(entry_list, entry);

struct keycache {
	struct hmap *map;
	struct entry_list used[2]; /* by good; the most recently used first */
	size_t count[2];
};

struct keycache *
keycache_create(void)
{
	struct keycache *kc = mem_zero(sizeof(*kc));

	if (kc == NULL)
		return NULL;
	TAILQ_INIT(&kc->used[false]);
	TAILQ_INIT(&kc->used[true]);
	kc->map = hmap_create();
	if (kc->map == NULL) {
		mem_free(kc);
		return NULL;
	}
	return kc;
}

static void
forget(struct keycache *kc, struct entry *e)
{
	(void)hmap_remove(kc->map, e->hash, sizeof(e->hash));
	TAILQ_REMOVE(&kc->used[e->good], e, link);
	kc->count[e->good]--;
	mem_free(e->scopes);
	mem_free(e);
}

void
keycache_free(struct keycache *kc)
{
	struct entry *e;

	if (kc == NULL)
		return;
	for (int good = 0; good < 2; good++) {
		while ((e = TAILQ_FIRST(&kc->used[good])) != NULL)
			forget(kc, e);
	}
	hmap_free(kc->map);
	mem_free(kc);
}

enum key_verdict
keycache_look(struct keycache *kc, const uint8_t hash[APIKEY_HASH], int64_t now_ms,
    struct key_facts *facts)
{
	struct entry *e = hmap_get(kc->map, hash, APIKEY_HASH);
	int64_t age_ms;

	if (e == NULL)
		return KEY_UNKNOWN;
	age_ms = now_ms - e->asked_ms;
	if (age_ms > (e->good ? KEYCACHE_GOOD_MS : KEYCACHE_BAD_MS)) {
		forget(kc, e);
		return KEY_UNKNOWN;
	}
	TAILQ_REMOVE(&kc->used[e->good], e, link);
	TAILQ_INSERT_HEAD(&kc->used[e->good], e, link);
	if (!e->good)
		return KEY_BAD;
	facts->app_id = e->app_id;
	facts->scopes = e->scopes;
	if (age_ms < KEYCACHE_RENEW_MS || now_ms < e->again_ms)
		return KEY_GOOD;
	e->again_ms = now_ms + KEYCACHE_AGAIN_MS;
	return KEY_GOOD_ASK;
}

static void
put(struct keycache *kc, const uint8_t hash[APIKEY_HASH], const struct key_facts *facts,
    int64_t asked_ms)
{
	struct entry *e = hmap_get(kc->map, hash, APIKEY_HASH);
	bool good = facts != NULL;

	if (e != NULL)
		forget(kc, e);
	if (kc->count[good] >= (good ? KEYCACHE_GOOD_MAX : KEYCACHE_BAD_MAX))
		forget(kc, TAILQ_LAST(&kc->used[good], entry_list));
	e = mem_zero(sizeof(*e));
	if (e == NULL)
		return;
	memcpy(e->hash, hash, sizeof(e->hash));
	e->good = good;
	if (good) {
		e->app_id = facts->app_id;
		/* without memory for its bounds a key is not known at all */
		if (facts->scopes != NULL &&
		    (e->scopes = mem_strdup(facts->scopes)) == NULL) {
			mem_free(e);
			return;
		}
	}
	e->asked_ms = asked_ms;
	if (hmap_put(kc->map, e->hash, sizeof(e->hash), e, NULL) != 0) {
		mem_free(e->scopes);
		mem_free(e);
		return;
	}
	TAILQ_INSERT_HEAD(&kc->used[good], e, link);
	kc->count[good]++;
}

void
keycache_good(struct keycache *kc, const uint8_t hash[APIKEY_HASH],
    const struct key_facts *facts, int64_t asked_ms)
{
	put(kc, hash, facts, asked_ms);
}

void
keycache_bad(struct keycache *kc, const uint8_t hash[APIKEY_HASH], int64_t asked_ms)
{
	put(kc, hash, NULL, asked_ms);
}

size_t
keycache_count(const struct keycache *kc)
{
	return kc->count[false] + kc->count[true];
}
