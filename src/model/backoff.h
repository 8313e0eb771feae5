/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backoff.h - how long a task rests before its next attempt.
 *
 * A rule comes as JSON, in a request or in the column shoal.task.backoff:
 *
 *     {"kind":"polynomial"}
 *     {"kind":"exponential","base":10,"factor":2,"cap":3600,"jitter":0.2}
 *     {"kind":"fixed","delay":60,"jitter":0.1}
 *     [5,60,600]
 *
 * or, in the settings, also as words: "exponential base=10s factor=2 cap=1h
 * jitter=20%". Durations in JSON are seconds (to the millisecond) or ISO 8601 ("PT5M").
 * Pure: no clock, no I/O; the caller brings the random bits.
 */
#ifndef MODEL_BACKOFF_H
#define MODEL_BACKOFF_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/jscan.h"

#define BACKOFF_MAX_MS	  (366LL * 86400 * 1000)
#define BACKOFF_LIST_MOST 16
#define BACKOFF_TEXT_SIZE 256

enum backoff_kind {
	BACKOFF_POLYNOMIAL = 0, /* n^4 + 15 s and up to 10 (n + 1) s */
	BACKOFF_EXPONENTIAL,	/* base * factor^n, never more than cap */
	BACKOFF_FIXED,
	BACKOFF_LIST, /* one delay each; the last repeats */
	BACKOFF_KIND_COUNT
};

/* n counts the failures before this one; jitter takes off up to that share of a delay
 */
struct backoff {
	enum backoff_kind kind;
	double factor;			      /* EXPONENTIAL */
	double jitter;			      /* EXPONENTIAL, FIXED: 0 to 1 */
	int64_t cap_ms;			      /* EXPONENTIAL */
	size_t count;			      /* LIST */
	int64_t delays_ms[BACKOFF_LIST_MOST]; /* EXPONENTIAL: the base; FIXED: one */
};

/* a rule out of JSON that jscan_check has passed; ERR_INVALID says what is wrong */
int backoff_read(
    const struct jspan *value, struct backoff *b, struct err *err) ATTR_CHECK;
/* the same from bytes that nobody has checked */
int backoff_parse_json(
    const char *bytes, size_t len, struct backoff *b, struct err *err) ATTR_CHECK;
/* a setting: words, or JSON */
int backoff_parse_setting(
    const char *text, struct backoff *b, struct err *err) ATTR_CHECK;
/* the one JSON text of a rule, defaults filled in; returns buf */
char *backoff_text(const struct backoff *b, char buf[BACKOFF_TEXT_SIZE]);

/*
 * NULL: polynomial, which makes 15 s, 16 s, 31 s, 96 s ... and about 20 days over 25
 * attempts; it alone is cut at 30 days.  random: any 64 random bits.
 */
int64_t backoff_ms(const struct backoff *b, int failures_before, uint64_t random);

#endif
