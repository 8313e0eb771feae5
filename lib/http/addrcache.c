/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * addrcache.c - the addresses of names that were resolved a moment ago; see
 * addrcache.h.
 *
 * Each entry lives equally long, so the oldest is the first to end.
 */
#include "http/addrcache.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hmap.h"
#include "base/mem.h"
#include "event/resolve.h"

#define KEY_SIZE 270 /* host:port */

struct entry {
	TAILQ_ENTRY(entry) link; /* oldest first */
	char key[KEY_SIZE];
	int64_t until_ms;
	size_t count;
	struct addr addrs[RESOLVE_MAX];
};

struct addrcache {
	int64_t keep_ms;
	struct hmap *by_key;
	TAILQ_HEAD(, entry) ages;
};

struct addrcache *
addrcache_create(int64_t keep_ms)
{
	struct addrcache *ac = mem_zero(sizeof(*ac));

	if (ac == NULL)
		return NULL;
	ac->keep_ms = keep_ms;
	TAILQ_INIT(&ac->ages);
	ac->by_key = hmap_create();
	if (ac->by_key == NULL) {
		mem_free(ac);
		return NULL;
	}
	return ac;
}

static void
forget(struct addrcache *ac, struct entry *en)
{
	hmap_remove(ac->by_key, en->key, strlen(en->key));
	TAILQ_REMOVE(&ac->ages, en, link);
	mem_free(en);
}

void
addrcache_free(struct addrcache *ac)
{
	if (ac == NULL)
		return;
	while (!TAILQ_EMPTY(&ac->ages))
		forget(ac, TAILQ_FIRST(&ac->ages));
	hmap_free(ac->by_key);
	mem_free(ac);
}

static struct entry *
find(struct addrcache *ac, const char *host, uint16_t port, char key[KEY_SIZE])
{
	snprintf(key, KEY_SIZE, "%s:%u", host, port);
	return hmap_get(ac->by_key, key, strlen(key));
}

void
addrcache_put(struct addrcache *ac, const char *host, uint16_t port,
    const struct addr *addrs, size_t count, int64_t now_ms)
{
	char key[KEY_SIZE];
	struct entry *en = find(ac, host, port, key);

	if (en != NULL)
		forget(ac, en);
	if (hmap_count(ac->by_key) >= ADDRCACHE_MOST)
		forget(ac, TAILQ_FIRST(&ac->ages));
	en = mem_zero(sizeof(*en));
	if (en == NULL)
		return;
	memcpy(en->key, key, sizeof(key));
	en->until_ms = now_ms + ac->keep_ms;
	en->count = count < RESOLVE_MAX ? count : RESOLVE_MAX;
	memcpy(en->addrs, addrs, en->count * sizeof(addrs[0]));
	if (hmap_put(ac->by_key, en->key, strlen(en->key), en, NULL) != 0) {
		mem_free(en);
		return;
	}
	TAILQ_INSERT_TAIL(&ac->ages, en, link);
}

const struct addr *
addrcache_get(struct addrcache *ac, const char *host, uint16_t port, int64_t now_ms,
    size_t *count)
{
	char key[KEY_SIZE];
	struct entry *en = find(ac, host, port, key);

	if (en == NULL)
		return NULL;
	if (now_ms >= en->until_ms) {
		forget(ac, en);
		return NULL;
	}
	*count = en->count;
	return en->addrs;
}
