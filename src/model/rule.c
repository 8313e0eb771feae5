/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rule.c - from readings of a clock to instants; see rule.h.
 *
 * Time is walked in spans of one offset.  Within a span a reading is an instant, plus
 * the offset; what is special lies at the changes: readings left out before a span
 * begins (a gap), readings that come again in the next (an overlap).  So nothing is
 * ever guessed and corrected, and a rule that names few days costs few spans.
 */
#include "model/rule.h"

#include <string.h>

#define SECOND_US 1000000LL
#define DAY_S	  86400
/* readings of one moment in two zones are less apart */
#define APART_S	     (2 * DAY_S)
#define COUNTED_MOST 20000 /* missed instants that are counted one by one */

static int64_t
floor_s(int64_t us)
{
	return us >= 0 ? us / SECOND_US : -((-us + SECOND_US - 1) / SECOND_US);
}

static int64_t
larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t
smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* readings that a gap at the beginning of sp left out; the first that the rule names,
 * or false */
static bool
in_gap(const struct rule *r, const struct zone_span *sp, int64_t *named_s)
{
	if (cron_is_steady(&r->cron) || sp->offset_s <= sp->before_s)
		return false;
	*named_s = cron_next(&r->cron, sp->since_s + sp->before_s);
	return *named_s < sp->since_s + sp->offset_s;
}

static int
found(struct fire *f, int64_t at_us, int32_t offset_s, int64_t named_s,
    enum fire_kind kind)
{
	*f = (struct fire){at_us, offset_s, named_s, kind};
	return 0;
}

/* the first reading of the span from at_s on that fires; CRON_NEVER if none does, and
 * *named_s is the first one at all then */
static int64_t
in_span(
    const struct rule *r, const struct zone_span *sp, int64_t at_s, int64_t *named_s)
{
	int64_t low = at_s + sp->offset_s, high = sp->end_s + sp->offset_s;

	if (!cron_is_steady(&r->cron)) {
		if (r->overlap == RULE_OVERLAP_FIRST && sp->offset_s < sp->before_s)
			low = larger(low, sp->since_s + sp->before_s);
		if (r->overlap == RULE_OVERLAP_SECOND && sp->after_s < sp->offset_s)
			high = smaller(high, sp->until_s + sp->after_s);
	}
	*named_s = cron_next(&r->cron, low);
	return *named_s < high ? *named_s : CRON_NEVER;
}

static enum fire_kind
kind_of(const struct zone_span *sp, int64_t named_s)
{
	if (sp->offset_s < sp->before_s && named_s < sp->since_s + sp->before_s)
		return FIRE_SECOND;
	if (sp->after_s < sp->offset_s && named_s >= sp->until_s + sp->after_s)
		return FIRE_FIRST;
	return FIRE_NORMAL;
}

static int
next_of_every(const struct rule *r, int64_t at_s, struct fire *f, struct err *err)
{
	int64_t named_s = cron_next(&r->cron, at_s);
	struct zone_span sp;

	if (zone_span_at(r->zone, named_s, &sp, err) != 0)
		return -1;
	return found(
	    f, named_s * SECOND_US, sp.offset_s, named_s + sp.offset_s, FIRE_NORMAL);
}

int
rule_next(const struct rule *r, int64_t after_us, bool skipped, struct fire *f,
    struct err *err)
{
	int64_t at_s = floor_s(after_us) + 1, named_s, gap_s;
	struct zone_span sp;

	if (at_s < 0)
		at_s = 0;
	if (r->cron.every_s != 0)
		return next_of_every(r, at_s, f, err);
	for (;;) {
		if (zone_span_at(r->zone, at_s, &sp, err) != 0)
			return -1;
		if (at_s == sp.since_s && in_gap(r, &sp, &gap_s)) {
			int64_t told_us = at_s * SECOND_US - SECOND_US / 2;

			if (r->gap == RULE_GAP_SKIP && skipped && after_us < told_us)
				return found(
				    f, told_us, sp.before_s, gap_s, FIRE_GAP_SKIPPED);
			/* (a reading at the very end of the gap is an ordinary one) */
			if (r->gap == RULE_GAP_END &&
			    cron_next(&r->cron, at_s + sp.offset_s) !=
				at_s + sp.offset_s)
				return found(f, at_s * SECOND_US, sp.offset_s, gap_s,
				    FIRE_GAP_END);
		}
		if (in_span(r, &sp, at_s, &named_s) != CRON_NEVER)
			return found(f, (named_s - sp.offset_s) * SECOND_US,
			    sp.offset_s, named_s, kind_of(&sp, named_s));
		if (named_s == CRON_NEVER)
			return err_set(err, ERR_NOT_FOUND, "it does not come any more");
		/* on to the next span, or nearer to the reading, if none comes again */
		at_s = sp.after_s < sp.offset_s ? sp.end_s
						: larger(sp.end_s, named_s - APART_S);
	}
}

const char *
fire_kind_text(enum fire_kind kind)
{
	static const char *const texts[FIRE_KIND_COUNT] = {
	    [FIRE_NORMAL] = "normal",
	    [FIRE_GAP_END] = "gap: run at its end",
	    [FIRE_GAP_SKIPPED] = "gap: skipped",
	    [FIRE_FIRST] = "overlap: first",
	    [FIRE_SECOND] = "overlap: second",
	};

	return (unsigned)kind < FIRE_KIND_COUNT ? texts[kind] : "unknown";
}

/* ---------------------------------------------------------------- missed fires */

/* the last instants, up to a number of them, in a ring */
struct ring {
	int64_t at_us[RULE_MISSED_MOST];
	int size;
	int64_t count; /* ever put */
};

/* walks instants after after_us up to now_us, no more than most; *next_us is the one
 * that follows */
static int
walk(const struct rule *r, int64_t after_us, int64_t now_us, int64_t most,
    struct ring *ring, int64_t *next_us, struct err *err)
{
	struct fire f;

	ring->count = 0;
	*next_us = 0;
	for (;;) {
		struct err none = ERR_INIT;

		if (rule_next(r, after_us, false, &f, &none) != 0) {
			if (none.code == ERR_NOT_FOUND || none.code == ERR_LIMIT)
				return 0;
			*err = none;
			return -1;
		}
		*next_us = f.at_us;
		if (f.at_us > now_us || ring->count == most)
			return 0;
		ring->at_us[ring->count++ % ring->size] = f.at_us;
		after_us = f.at_us;
	}
}

/*
 * The last ones, when there are too many to count from the first: from such a time on
 * that there are enough, and not too many.
 */
static int
walk_back(const struct rule *r, int64_t now_us, struct ring *ring, int64_t *next_us,
    struct err *err)
{
	int64_t few_us = 0, many_us = 0, back_us = ring->size * SECOND_US;

	for (;;) {
		if (walk(r, now_us - back_us, now_us, COUNTED_MOST, ring, next_us,
			err) != 0)
			return -1;
		if (ring->count < ring->size)
			few_us = back_us;
		else if (*next_us != 0 && *next_us <= now_us)
			many_us = back_us;
		else
			return 0;
		back_us = many_us == 0 ? 2 * back_us : few_us + (many_us - few_us) / 2;
	}
}

int
rule_due(const struct rule *r, enum rule_missed policy, int limit, int64_t next_us,
    int64_t now_us, struct rule_due *due, struct err *err)
{
	struct ring ring = {.size = policy == RULE_MISSED_ALL ? limit : 1};
	int64_t after_us = next_us - 1, last_us, first_us;
	struct fire f;
	int kept;

	if (ring.size < 1 || ring.size > RULE_MISSED_MOST)
		return err_set(err, ERR_BUG, "%d missed fires", ring.size);
	memset(due, 0, sizeof(*due));
	if (walk(r, after_us, now_us, COUNTED_MOST, &ring, &due->next_us, err) != 0)
		return -1;
	due->missed = ring.count;
	if (ring.count == COUNTED_MOST && due->next_us != 0 && due->next_us <= now_us) {
		due->more = true;
		if (walk_back(r, now_us, &ring, &due->next_us, err) != 0)
			return -1;
	}
	if (ring.count == 0)
		return 0;
	kept = (int)smaller(ring.count, ring.size);
	for (int i = 0; i < kept; i++)
		due->at_us[i] = ring.at_us[(ring.count - kept + i) % ring.size];
	last_us = due->at_us[kept - 1];
	if (policy == RULE_MISSED_SKIP && now_us - last_us > RULE_MISSED_MS * 1000)
		kept = 0;
	due->count = kept;
	due->missed -= kept;
	if (due->missed > 0) {
		if (rule_next(r, after_us, false, &f, err) != 0)
			return -1;
		first_us = f.at_us;
		due->first_us = first_us;
	}
	return 0;
}

/* ---------------------------------------------------------------- names */

const char *
rule_gap_name(int gap)
{
	static const char *const names[RULE_GAP_COUNT] = {"end", "skip"};

	return gap >= 0 && gap < RULE_GAP_COUNT ? names[gap] : NULL;
}

const char *
rule_overlap_name(int overlap)
{
	static const char *const names[RULE_OVERLAP_COUNT] = {
	    "first", "second", "both"};

	return overlap >= 0 && overlap < RULE_OVERLAP_COUNT ? names[overlap] : NULL;
}

const char *
rule_missed_name(int missed)
{
	static const char *const names[RULE_MISSED_COUNT] = {"latest", "skip", "all"};

	return missed >= 0 && missed < RULE_MISSED_COUNT ? names[missed] : NULL;
}
