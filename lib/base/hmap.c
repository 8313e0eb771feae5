/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hmap.c - a hash map from byte strings to pointers.
 *
 * One array of entries, a power of two long, probed linearly.  A removed entry
 * leaves a tombstone unless the place behind it is free, in which case it and the
 * tombstones before it become free at once; so a walk never sees an entry move
 * and may remove the one it was just given.  Tombstones count as load; when the load
 * is three quarters the table is built anew in the size that its living entries
 * ask for.
 *
 * The hash is SipHash-1-3 under a random key of each map's own: the keys may be
 * chosen by an adversary.
 */
#include "base/hmap.h"

#include <assert.h>
#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"

#define CAP_MIN 16

/* stored in place of a hash; real ones are 2 or more */
#define HASH_FREE 0
#define HASH_TOMB 1

struct entry {
	uint64_t hash;
	const void *key; /* borrowed */
	size_t len;
	void *value;
};

struct hmap {
	struct entry *entries;
	size_t cap;  /* a power of two */
	size_t live; /* entries with a value */
	size_t load; /* the same with tombstones */
	uint64_t secret[2];
};

static inline uint64_t
rotl(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static inline void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

uint64_t
hmap_siphash13(const uint64_t secret[2], const void *bytes, size_t len)
{
	uint64_t v[4] = {
	    secret[0] ^ UINT64_C(0x736f6d6570736575),
	    secret[1] ^ UINT64_C(0x646f72616e646f6d),
	    secret[0] ^ UINT64_C(0x6c7967656e657261),
	    secret[1] ^ UINT64_C(0x7465646279746573),
	};
	const unsigned char *p = bytes;
	uint64_t word, last = (uint64_t)len << 56;
	size_t i;

	/* little-endian words: the same value on every machine */
	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, sizeof(word));
		word = le64toh(word);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	for (i = 0; i < len; i++)
		last |= (uint64_t)p[i] << (8 * i);
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint64_t
hash_of(const struct hmap *m, const void *key, size_t len)
{
	uint64_t hash = hmap_siphash13(m->secret, key, len);

	return hash > HASH_TOMB ? hash : hash + 2;
}

struct hmap *
hmap_create(void)
{
	struct hmap *m = mem_zero(sizeof(*m));

	if (m == NULL)
		return NULL;
	m->entries = mem_array(CAP_MIN, sizeof(*m->entries));
	if (m->entries == NULL) {
		mem_free(m);
		return NULL;
	}
	m->cap = CAP_MIN;
	random_bytes(m->secret, sizeof(m->secret));
	return m;
}

void
hmap_free(struct hmap *m)
{
	if (m == NULL)
		return;
	mem_free(m->entries);
	mem_free(m);
}

static struct entry *
find(const struct hmap *m, uint64_t hash, const void *key, size_t len)
{
	size_t i;

	/* ends: the load is never above three quarters */
	for (i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
		struct entry *e = &m->entries[i];

		if (e->hash == HASH_FREE)
			return NULL;
		if (e->hash == hash && e->len == len &&
		    (len == 0 || memcmp(e->key, key, len) == 0))
			return e;
	}
}

/* the first place that may take a new entry of this hash */
static struct entry *
place(struct entry *entries, size_t cap, uint64_t hash)
{
	size_t i = hash & (cap - 1);

	while (entries[i].hash > HASH_TOMB)
		i = (i + 1) & (cap - 1);
	return &entries[i];
}

static int
rebuild(struct hmap *m)
{
	struct entry *entries;
	size_t cap = CAP_MIN, i;

	/* at most half full afterwards, so that the next rebuild is far away */
	while (cap < 2 * (m->live + 1))
		cap *= 2;
	entries = mem_array(cap, sizeof(*entries));
	if (entries == NULL)
		return -1;
	for (i = 0; i < m->cap; i++)
		if (m->entries[i].hash > HASH_TOMB)
			*place(entries, cap, m->entries[i].hash) = m->entries[i];
	mem_free(m->entries);
	m->entries = entries;
	m->cap = cap;
	m->load = m->live;
	return 0;
}

int
hmap_put(struct hmap *m, const void *key, size_t len, void *value, void **old)
{
	uint64_t hash = hash_of(m, key, len);
	struct entry *e = find(m, hash, key, len);

	assert(value != NULL);
	if (e != NULL) {
		if (old != NULL)
			*old = e->value;
		e->key = key; /* the old one lies inside the old value */
		e->value = value;
		return 0;
	}
	if ((m->load + 1) * 4 > m->cap * 3 && rebuild(m) != 0)
		return -1;
	e = place(m->entries, m->cap, hash);
	if (e->hash == HASH_FREE)
		m->load++;
	*e = (struct entry){hash, key, len, value};
	m->live++;
	if (old != NULL)
		*old = NULL;
	return 0;
}

void *
hmap_get(const struct hmap *m, const void *key, size_t len)
{
	struct entry *e = find(m, hash_of(m, key, len), key, len);

	return e != NULL ? e->value : NULL;
}

void *
hmap_remove(struct hmap *m, const void *key, size_t len)
{
	struct entry *e = find(m, hash_of(m, key, len), key, len);
	void *value;
	size_t i;

	if (e == NULL)
		return NULL;
	value = e->value;
	*e = (struct entry){HASH_TOMB, NULL, 0, NULL};
	m->live--;
	/* no search goes on behind a free place: tombstones before it can go */
	i = (size_t)(e - m->entries);
	if (m->entries[(i + 1) & (m->cap - 1)].hash == HASH_FREE) {
		for (; m->entries[i].hash == HASH_TOMB; i = (i - 1) & (m->cap - 1)) {
			m->entries[i].hash = HASH_FREE;
			m->load--;
		}
	}
	return value;
}

size_t
hmap_count(const struct hmap *m)
{
	return m->live;
}

void *
hmap_next(const struct hmap *m, size_t *cursor)
{
	while (*cursor < m->cap) {
		const struct entry *e = &m->entries[(*cursor)++];

		if (e->hash > HASH_TOMB)
			return e->value;
	}
	return NULL;
}
