/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * turns.c - whose turn it is among workers; see turns.h.  Without I/O and clocks.
 */
#include "engine/turns.h"

#include <inttypes.h>
#include <string.h>

#include "base/hmap.h"
#include "base/mem.h"
#include "base/str.h"

#define SHARE_ONE  100	   /* of one who waits all the time */
#define SHARE_MOST 1000000 /* of one worker: a message may say anything */

/* another worker at which some wait for the same */
struct mate {
	uint64_t who;
	int64_t share; /* as in struct crowd */
	int64_t told_ms;
};

/* all that wait for the same thing */
struct crowd {
	uint64_t name;
	int here;	 /* wait now */
	int64_t area;	 /* of them, times the milliseconds, since told_ms */
	int64_t at_ms;	 /* area is as of then */
	int64_t used_ms; /* somebody waited then */
	/* what was told last, and when: SHARE_ONE for each who waited all the time, at
	 * least 1 if any did */
	int64_t share;
	int64_t told_ms;
	bool left_over;
	int64_t rest_ms; /* until then */
	struct mate *mates;
	size_t count, room;
};

struct turns {
	uint64_t me;
	struct hmap *crowds;
};

/* the same on every node */
static uint64_t
number_of(const char *who)
{
	static const uint64_t key[2] = {0x7475726e73, 0x77686f};

	return hmap_siphash13(key, who, strlen(who));
}

struct turns *
turns_create(const char *me)
{
	struct turns *ts = mem_zero(sizeof(*ts));

	if (ts == NULL || (ts->crowds = hmap_create()) == NULL) {
		mem_free(ts);
		return NULL;
	}
	ts->me = number_of(me);
	return ts;
}

static void
crowd_free(struct turns *ts, struct crowd *c)
{
	hmap_remove(ts->crowds, &c->name, sizeof(c->name));
	mem_free(c->mates);
	mem_free(c);
}

void
turns_free(struct turns *ts)
{
	struct crowd *c;
	size_t cursor = 0;

	if (ts == NULL)
		return;
	while ((c = hmap_next(ts->crowds, &cursor)) != NULL)
		crowd_free(ts, c);
	hmap_free(ts->crowds);
	mem_free(ts);
}

static struct crowd *
find(const struct turns *ts, uint64_t name)
{
	return hmap_get(ts->crowds, &name, sizeof(name));
}

static void
count(struct crowd *c, int more, int64_t now_ms)
{
	c->area += c->here * (now_ms - c->at_ms);
	c->at_ms = c->used_ms = now_ms;
	c->here += more;
}

void
turns_enter(struct turns *ts, uint64_t name, int64_t now_ms)
{
	struct crowd *c = find(ts, name);

	if (c == NULL) {
		if (hmap_count(ts->crowds) >= TURNS_CROWDS ||
		    (c = mem_zero(sizeof(*c))) == NULL)
			return;
		c->name = name;
		c->at_ms = c->told_ms = now_ms;
		if (hmap_put(ts->crowds, &c->name, sizeof(c->name), c, NULL) != 0) {
			mem_free(c);
			return;
		}
	}
	count(c, 1, now_ms);
}

void
turns_leave(struct turns *ts, uint64_t name, int64_t now_ms)
{
	struct crowd *c = find(ts, name);

	/* (one that came when there was no room is not counted) */
	if (c != NULL && c->here > 0)
		count(c, -1, now_ms);
}

static void
drop_old(struct crowd *c, int64_t now_ms)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->count; i++) {
		if (now_ms - c->mates[i].told_ms < TURNS_OLD_MS)
			c->mates[kept++] = c->mates[i];
	}
	c->count = kept;
}

bool
turns_is_ours(struct turns *ts, uint64_t name, uint32_t lot, int64_t now_ms)
{
	struct crowd *c = find(ts, name);
	uint64_t before = 0, all, at;

	if (c == NULL || c->share == 0)
		return true; /* nobody has heard of us */
	drop_old(c, now_ms);
	all = (uint64_t)c->share;
	for (size_t i = 0; i < c->count; i++) {
		all += (uint64_t)c->mates[i].share;
		if (c->mates[i].who < ts->me)
			before += (uint64_t)c->mates[i].share;
	}
	at = lot * all >> 32;
	return at >= before && at < before + (uint64_t)c->share;
}

bool
turns_is_scarce(struct turns *ts, uint64_t name, int64_t now_ms)
{
	struct crowd *c = find(ts, name);
	int64_t others = 0;

	if (c == NULL || c->share == 0 || c->left_over)
		return false;
	drop_old(c, now_ms);
	for (size_t i = 0; i < c->count; i++)
		others += c->mates[i].share;
	return others >= SHARE_ONE;
}

void
turns_left_over(struct turns *ts, uint64_t name, bool left)
{
	struct crowd *c = find(ts, name);

	if (c != NULL)
		c->left_over = left;
}

void
turns_rest(struct turns *ts, uint64_t name, int64_t turn_ms, int64_t now_ms)
{
	struct crowd *c = find(ts, name);
	int64_t all, ms;

	if (c == NULL || c->share == 0)
		return;
	drop_old(c, now_ms);
	all = c->share;
	for (size_t i = 0; i < c->count; i++)
		all += c->mates[i].share;
	if (all == c->share)
		return; /* nobody was waiting for it elsewhere */
	ms = turn_ms * all / c->share;
	c->rest_ms = now_ms + (ms < TURNS_REST_MS ? ms : TURNS_REST_MS);
}

bool
turns_rests(const struct turns *ts, uint64_t name, int64_t now_ms)
{
	const struct crowd *c = find(ts, name);

	return c != NULL && now_ms < c->rest_ms;
}

bool
turns_any(const struct turns *ts)
{
	return hmap_count(ts->crowds) > 0;
}

size_t
turns_tell(struct turns *ts, struct strbuf *text, int64_t now_ms)
{
	struct crowd *c;
	size_t cursor = 0, told = 0;
	int64_t span_ms, share, was;

	while ((c = hmap_next(ts->crowds, &cursor)) != NULL) {
		if (c->here == 0 && now_ms - c->used_ms >= TURNS_OLD_MS) {
			crowd_free(ts, c);
			continue;
		}
		if (c->here > 0)
			count(c, 0, now_ms);
		span_ms = now_ms - c->told_ms;
		share = span_ms > 0 ? SHARE_ONE * c->area / span_ms : 0;
		if (share == 0 && (c->here > 0 || c->area > 0))
			share = 1;
		else if (share > SHARE_MOST)
			share = SHARE_MOST;
		c->area = 0;
		c->at_ms = c->told_ms = now_ms;
		was = c->share;
		c->share = told < TURNS_TOLD ? share : 0; /* 0: it looks at each hint */
		if (told == TURNS_TOLD || (share == 0 && was == 0))
			continue;
		strbuf_printf(text, " %016" PRIx64 ":%" PRId64, c->name, c->share);
		told++;
	}
	return told;
}

static void
learn(struct crowd *c, uint64_t who, int64_t share, int64_t now_ms)
{
	struct mate *more;
	size_t i = 0, room;

	while (i < c->count && c->mates[i].who != who)
		i++;
	if (i == c->count) {
		drop_old(c, now_ms);
		if (c->count == TURNS_MATES)
			return;
		if (c->count == c->room) {
			room = c->room == 0 ? 8 : 2 * c->room;
			more = mem_resize(c->mates, room, sizeof(*more));
			if (more == NULL)
				return;
			c->mates = more;
			c->room = room;
		}
		i = c->count++;
	}
	c->mates[i] = (struct mate){who, share, now_ms};
}

void
turns_told(struct turns *ts, const char *who, char *text, int64_t now_ms)
{
	uint64_t number = number_of(who), name;
	char *word, *colon;
	struct crowd *c;
	unsigned char bytes[sizeof(name)];
	int64_t share;

	while ((word = strsep(&text, " ")) != NULL) {
		colon = strchr(word, ':');
		if (colon == NULL)
			continue;
		*colon = '\0';
		if (str_unhex(word, bytes, sizeof(bytes)) != 0 ||
		    str_to_i64(colon + 1, &share) != 0 || share < 0 ||
		    share > SHARE_MOST)
			continue;
		name = 0;
		for (size_t i = 0; i < sizeof(bytes); i++)
			name = name << 8 | bytes[i];
		c = find(ts, name);
		if (c != NULL && number != ts->me)
			learn(c, number, share, now_ms);
	}
}
