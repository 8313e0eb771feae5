/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rule.h - when a schedule fires: a cron rule read off the clocks of a zone.
 *
 * Pure but for the zone's data.  The contract for the nights on which clocks change:
 *
 * A gap: clocks go forward, and readings that the rule names do not come.
 *     end     it fires once, at the end of the gap (the default)
 *     skip    it does not fire for them
 * An overlap: clocks go back, and readings that the rule names come twice.
 *     first   it fires the first time (the default)
 *     second  it fires the second time
 *     both    it fires both times
 *
 * A rule that names every hour of the day (each 5 minutes, each hour, @hourly) is
 * steady: it goes by real time.  It fires whenever the clocks show a reading that it
 * names, so that in a gap nothing is made up for, since nothing was missed, and in an
 * overlap it goes on.  gap and overlap say nothing then, nor for @every, which reads no
 * clock at all.
 *
 * An instant is one fire, however many readings lead to it.
 */
#ifndef MODEL_RULE_H
#define MODEL_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "model/cron.h"
#include "model/zone.h"

/* the numbers are those of shoal.schedule's columns */
enum rule_gap { RULE_GAP_END = 0, RULE_GAP_SKIP, RULE_GAP_COUNT };
enum rule_overlap {
	RULE_OVERLAP_FIRST = 0,
	RULE_OVERLAP_SECOND,
	RULE_OVERLAP_BOTH,
	RULE_OVERLAP_COUNT
};
enum rule_missed {
	RULE_MISSED_LATEST = 0,
	RULE_MISSED_SKIP,
	RULE_MISSED_ALL,
	RULE_MISSED_COUNT
};

struct rule {
	struct cron cron;
	struct zone *zone; /* borrowed */
	enum rule_gap gap;
	enum rule_overlap overlap;
};

enum fire_kind {
	FIRE_NORMAL = 0,
	FIRE_GAP_END,	  /* at the end of a gap, for readings within it */
	FIRE_GAP_SKIPPED, /* none: only told to who asks for it */
	FIRE_FIRST,	  /* in an overlap, the first time */
	FIRE_SECOND,
	FIRE_KIND_COUNT /* keep last */
};

struct fire {
	int64_t at_us;	  /* whole seconds since 1970, but for one that is skipped */
	int32_t offset_s; /* local time is so much ahead of UTC */
	int64_t named_s;  /* the reading that the rule names, as if it were UTC */
	enum fire_kind kind;
};

/*
 * The first fire after that moment; skipped: also those that are left out, half a
 * second before the gap's end.  ERR_NOT_FOUND: there is none any more.
 */
int rule_next(const struct rule *r, int64_t after_us, bool skipped, struct fire *f,
    struct err *err) ATTR_CHECK;
/* "gap: run at its end" */
const char *fire_kind_text(enum fire_kind kind);

#define RULE_MISSED_MS	 60000 /* a fire that is later than this was missed */
#define RULE_MISSED_MOST 1000

/* what a schedule does that was to fire at next_us, now */
struct rule_due {
	int64_t at_us[RULE_MISSED_MOST]; /* instants to fire, oldest first */
	int count;
	int64_t missed;	  /* instants that are passed over */
	bool more;	  /* at least so many: they were not all counted */
	int64_t first_us; /* the first of those passed over; 0: none */
	int64_t next_us;  /* the next instant; 0: none */
};

/*
 * Instants from next_us to now_us have come.  The last of them is fired, unless it was
 * missed and the policy is skip; of those before, all with the policy all, up to limit
 * fires.  (A fire is late by seconds when the leader changes: that alone is no reason
 * to leave it out.)
 */
int rule_due(const struct rule *r, enum rule_missed policy, int limit, int64_t next_us,
    int64_t now_us, struct rule_due *due, struct err *err) ATTR_CHECK;

/* names of the three choices: "end", "first", "latest"; NULL out of range */
const char *rule_gap_name(int gap);
const char *rule_overlap_name(int overlap);
const char *rule_missed_name(int missed);

#endif
