/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backoff.c - how long a task rests before its next attempt; see backoff.h.
 *
 * Each kind has a row in one table: its name and the options that it knows.  Both forms
 * of a rule, JSON and words, are read by it.  A new kind is a row, a case in
 * backoff_ms, a line in api/openapi.yaml and in the manual.
 */
#include "model/backoff.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"

#define POLYNOMIAL_MAX_MS (30LL * 86400 * 1000)
#define FACTOR_MOST	  100.0
#define DEFAULT_BASE_MS	  10000
#define DEFAULT_FACTOR	  2.0
#define DEFAULT_CAP_MS	  (3600 * 1000)
#define SETTING_MOST	  256

enum option {
	OPTION_BASE = 1,
	OPTION_FACTOR = 2,
	OPTION_CAP = 4,
	OPTION_JITTER = 8,
	OPTION_DELAY = 16
};

static const struct {
	const char *name;
	unsigned knows;
	unsigned needs;
	const char *options; /* for messages */
} kinds[BACKOFF_KIND_COUNT] = {
    [BACKOFF_POLYNOMIAL] = {"polynomial", 0, 0, "no options"},
    [BACKOFF_EXPONENTIAL] = {"exponential",
	OPTION_BASE | OPTION_FACTOR | OPTION_CAP | OPTION_JITTER, 0,
	"base, factor, cap and jitter"},
    [BACKOFF_FIXED] = {"fixed", OPTION_DELAY | OPTION_JITTER, OPTION_DELAY,
	"delay and jitter"},
};

static const struct {
	const char *name;
	enum option option;
} options[] = {
    {"base", OPTION_BASE},
    {"factor", OPTION_FACTOR},
    {"cap", OPTION_CAP},
    {"jitter", OPTION_JITTER},
    {"delay", OPTION_DELAY},
};

/* ---------------------------------------------------------------- options by name */

static int
set_duration(const char *name, int64_t ms, int64_t min_ms, int64_t *to, struct err *err)
{
	if (ms < min_ms || ms > BACKOFF_MAX_MS)
		return err_set(err, ERR_INVALID, "%s must be %sat most 366 days", name,
		    min_ms > 0 ? "more than nothing and " : "");
	*to = ms;
	return 0;
}

static int
set_number(
    const char *name, double n, double min, double max, double *to, struct err *err)
{
	if (!isfinite(n) || n < min || n > max)
		return err_set(err, ERR_INVALID, "%s must be a number from %g to %g",
		    name, min, max);
	*to = n;
	return 0;
}

static int
find_kind(const char *name, struct backoff *b, struct err *err)
{
	char shown[64];

	for (int i = 0; i < BACKOFF_KIND_COUNT; i++) {
		if (kinds[i].name == NULL || !str_eq(name, kinds[i].name))
			continue;
		*b = (struct backoff){.kind = (enum backoff_kind)i,
		    .factor = DEFAULT_FACTOR,
		    .cap_ms = DEFAULT_CAP_MS,
		    .delays_ms = {DEFAULT_BASE_MS}};
		return 0;
	}
	str_printable(shown, sizeof(shown), name, strlen(name));
	return err_set(err, ERR_INVALID,
	    "kind '%s' is none of polynomial, exponential and fixed", shown);
}

/* 0: b's kind knows no such option, and err says so */
static unsigned
find_option(const struct backoff *b, const char *name, struct err *err)
{
	char shown[64];

	for (size_t i = 0; i < COUNT_OF(options); i++) {
		if (str_eq(name, options[i].name) &&
		    (kinds[b->kind].knows & options[i].option) != 0)
			return options[i].option;
	}
	str_printable(shown, sizeof(shown), name, strlen(name));
	(void)!err_set(err, ERR_INVALID, "%s knows %s, and no '%s'",
	    kinds[b->kind].name, kinds[b->kind].options, shown);
	return 0;
}

static int
set_option(struct backoff *b, unsigned option, const char *name, int64_t ms, double n,
    struct err *err)
{
	switch (option) {
	case OPTION_BASE:
		return set_duration(name, ms, 1, &b->delays_ms[0], err);
	case OPTION_DELAY:
		return set_duration(name, ms, 0, &b->delays_ms[0], err);
	case OPTION_CAP:
		return set_duration(name, ms, 1, &b->cap_ms, err);
	case OPTION_FACTOR:
		return set_number(name, n, 1, FACTOR_MOST, &b->factor, err);
	default:
		return set_number(name, n, 0, 1, &b->jitter, err);
	}
}

/* what belongs together: all options are read */
static int
check_rule(const struct backoff *b, unsigned seen, struct err *err)
{
	if ((kinds[b->kind].needs & ~seen) != 0)
		return err_set(err, ERR_INVALID, "fixed needs a delay");
	if (b->kind == BACKOFF_EXPONENTIAL && b->delays_ms[0] > b->cap_ms)
		return err_set(err, ERR_INVALID, "base must not be above cap");
	return 0;
}

/* ---------------------------------------------------------------- JSON */

/* seconds, or ISO 8601 */
static int
read_duration(const char *name, const struct jspan *value, int64_t *ms, struct err *err)
{
	char text[64];
	double seconds;

	if (value->kind == JSON_NUMBER && jspan_double(value, &seconds, NULL) == 0 &&
	    isfinite(seconds) && seconds >= 0) {
		*ms = seconds * 1000 > (double)BACKOFF_MAX_MS
			  ? BACKOFF_MAX_MS + 1
			  : (int64_t)(seconds * 1000 + 0.5);
		return 0;
	}
	if (value->kind == JSON_STRING &&
	    jspan_string(value, text, sizeof(text), NULL, NULL) == 0 &&
	    units_iso8601_ms(text, ms) == 0)
		return 0;
	return err_set(err, ERR_INVALID,
	    "%s must be a number of seconds or an ISO 8601 duration such as \"PT5M\"",
	    name);
}

static int
read_list(const struct jspan *array, struct backoff *b, struct err *err)
{
	struct backoff made = {.kind = BACKOFF_LIST};
	struct jspan value;
	struct jwalk walk;
	char name[32];
	int64_t ms;

	jwalk_start(&walk, array);
	while (jwalk_element(&walk, &value)) {
		if (made.count == BACKOFF_LIST_MOST)
			return err_set(err, ERR_INVALID, "a list has at most %d delays",
			    BACKOFF_LIST_MOST);
		snprintf(name, sizeof(name), "delay %zu", made.count + 1);
		if (read_duration(name, &value, &ms, err) != 0 ||
		    set_duration(name, ms, 0, &made.delays_ms[made.count], err) != 0)
			return -1;
		made.count++;
	}
	if (made.count == 0)
		return err_set(err, ERR_INVALID, "a list has at least one delay");
	*b = made;
	return 0;
}

static int
read_option(const struct jspan *key, const struct jspan *value, struct backoff *b,
    unsigned *seen, struct err *err)
{
	char name[64];
	unsigned option;
	int64_t ms = 0;
	double n = 0;

	if (jspan_string(key, name, sizeof(name), NULL, NULL) != 0)
		(void)str_copy(name, sizeof(name), "(a long name)");
	option = find_option(b, name, err);
	if (option == 0)
		return -1;
	if ((*seen & option) != 0)
		return err_set(err, ERR_INVALID, "%s is said twice", name);
	*seen |= option;
	if (option == OPTION_FACTOR || option == OPTION_JITTER) {
		if (value->kind != JSON_NUMBER || jspan_double(value, &n, NULL) != 0)
			n = NAN;
	} else if (read_duration(name, value, &ms, err) != 0) {
		return -1;
	}
	return set_option(b, option, name, ms, n, err);
}

int
backoff_read(const struct jspan *value, struct backoff *b, struct err *err)
{
	struct backoff made;
	struct jspan kind, key, member;
	struct jwalk walk;
	unsigned seen = 0;
	char name[32];

	if (value->kind == JSON_ARRAY)
		return read_list(value, b, err);
	if (value->kind != JSON_OBJECT)
		return err_set(err, ERR_INVALID,
		    "it must be an object with a kind, or a list of delays");
	if (!jspan_get(value, "kind", &kind) || kind.kind != JSON_STRING)
		return err_set(err, ERR_INVALID,
		    "kind must be \"polynomial\", \"exponential\" or \"fixed\"");
	if (jspan_string(&kind, name, sizeof(name), NULL, NULL) != 0)
		(void)str_copy(name, sizeof(name), "(a long name)");
	if (find_kind(name, &made, err) != 0)
		return -1;
	jwalk_start(&walk, value);
	while (jwalk_member(&walk, &key, &member)) {
		if (!jspan_is(&key, "kind")) {
			if (read_option(&key, &member, &made, &seen, err) != 0)
				return -1;
		} else if (member.at != kind.at) {
			return err_set(err, ERR_INVALID, "kind is said twice");
		}
	}
	if (check_rule(&made, seen, err) != 0)
		return -1;
	*b = made;
	return 0;
}

int
backoff_parse_json(const char *bytes, size_t len, struct backoff *b, struct err *err)
{
	const struct jscan_limits limits = {.max_depth = 4, .check_keys = 1};
	struct jspan value;

	if (jscan_check(bytes, len, &limits, &value, err) != 0)
		return -1;
	return backoff_read(&value, b, err);
}

/* ---------------------------------------------------------------- words */

/* "20%" is 0.2 */
static double
read_number(const char *text)
{
	char *end;
	double n;

	if (*text < '0' || *text > '9')
		return NAN;
	n = strtod(text, &end);
	if (*end == '%') {
		n /= 100;
		end++;
	}
	return *end == '\0' ? n : NAN;
}

static int
read_word(char *word, struct backoff *b, unsigned *seen, struct err *err)
{
	char *value = strchr(word, '=');
	unsigned option;
	int64_t ms = 0;
	double n = 0;

	if (value == NULL)
		return err_set(err, ERR_INVALID,
		    "options are written as base=10s, after the kind");
	*value++ = '\0';
	option = find_option(b, word, err);
	if (option == 0)
		return -1;
	if ((*seen & option) != 0)
		return err_set(err, ERR_INVALID, "%s is said twice", word);
	*seen |= option;
	if (option == OPTION_FACTOR || option == OPTION_JITTER)
		n = read_number(value);
	else if (units_duration_ms(value, &ms, err) != 0)
		return -1;
	return set_option(b, option, word, ms, n, err);
}

int
backoff_parse_setting(const char *text, struct backoff *b, struct err *err)
{
	char copy[SETTING_MOST], *rest = copy, *word;
	struct backoff made;
	unsigned seen = 0;
	bool named = false;

	if (text[0] == '{' || text[0] == '[')
		return backoff_parse_json(text, strlen(text), b, err);
	if (!str_copy(copy, sizeof(copy), text))
		return err_set(
		    err, ERR_INVALID, "it is longer than %d bytes", SETTING_MOST - 1);
	while ((word = strsep(&rest, " \t")) != NULL) {
		if (word[0] == '\0')
			continue;
		if (!named && find_kind(word, &made, err) != 0)
			return -1;
		if (named && read_word(word, &made, &seen, err) != 0)
			return -1;
		named = true;
	}
	if (!named)
		return err_set(err, ERR_INVALID, "it is empty");
	if (check_rule(&made, seen, err) != 0)
		return -1;
	*b = made;
	return 0;
}

/* ---------------------------------------------------------------- and back */

/* 1.5 for 1500 ms: digits alone, so that no locale and no rounding is asked */
static size_t
seconds_text(int64_t ms, char *to, size_t size)
{
	int n = snprintf(
	    to, size, "%lld.%03lld", (long long)(ms / 1000), (long long)(ms % 1000));
	size_t len = n > 0 ? (size_t)n : 0;

	while (len > 0 && to[len - 1] == '0')
		len--;
	if (len > 0 && to[len - 1] == '.')
		len--;
	to[len] = '\0';
	return len;
}

char *
backoff_text(const struct backoff *b, char buf[BACKOFF_TEXT_SIZE])
{
	char delay[32], cap[32];
	size_t len = 0;

	(void)seconds_text(b->delays_ms[0], delay, sizeof(delay));
	(void)seconds_text(b->cap_ms, cap, sizeof(cap));
	switch (b->kind) {
	case BACKOFF_EXPONENTIAL:
		snprintf(buf, BACKOFF_TEXT_SIZE,
		    "{\"kind\":\"exponential\",\"base\":%s,\"factor\":%.15g,\"cap\":%s,"
		    "\"jitter\":%.15g}",
		    delay, b->factor, cap, b->jitter);
		break;
	case BACKOFF_FIXED:
		snprintf(buf, BACKOFF_TEXT_SIZE,
		    "{\"kind\":\"fixed\",\"delay\":%s,\"jitter\":%.15g}", delay,
		    b->jitter);
		break;
	case BACKOFF_LIST:
		for (size_t i = 0; i < b->count; i++) {
			buf[len++] = i == 0 ? '[' : ',';
			len += seconds_text(
			    b->delays_ms[i], buf + len, BACKOFF_TEXT_SIZE - len);
		}
		buf[len] = ']';
		buf[len + 1] = '\0';
		break;
	case BACKOFF_POLYNOMIAL:
	case BACKOFF_KIND_COUNT:
		(void)str_copy(buf, BACKOFF_TEXT_SIZE, "{\"kind\":\"polynomial\"}");
		break;
	}
	return buf;
}

_Static_assert(BACKOFF_LIST_MOST * sizeof("31622400.001") + 2 <= BACKOFF_TEXT_SIZE,
    "the longest list fits");

/* ---------------------------------------------------------------- the delay */

static int64_t
polynomial_ms(int64_t n, uint64_t random)
{
	int64_t ms;

	if (n > 1000)
		n = 1000;
	ms = (n * n * n * n + 15) * 1000 +
	     (int64_t)(random % (uint64_t)(10000 * (n + 1)));
	return ms > POLYNOMIAL_MAX_MS ? POLYNOMIAL_MAX_MS : ms;
}

static int64_t
exponential_ms(const struct backoff *b, int64_t n)
{
	double ms = (double)b->delays_ms[0];

	while (n-- > 0 && ms < (double)b->cap_ms && b->factor > 1)
		ms *= b->factor;
	return ms < (double)b->cap_ms ? (int64_t)ms : b->cap_ms;
}

/* drawn evenly from what is left when up to that share is taken off */
static int64_t
take_off(int64_t ms, double jitter, uint64_t random)
{
	uint64_t most = (uint64_t)((double)ms * jitter);

	return ms - (int64_t)(random % (most + 1));
}

int64_t
backoff_ms(const struct backoff *b, int failures_before, uint64_t random)
{
	int64_t n = failures_before > 0 ? failures_before : 0;

	switch (b != NULL ? b->kind : BACKOFF_POLYNOMIAL) {
	case BACKOFF_EXPONENTIAL:
		return take_off(exponential_ms(b, n), b->jitter, random);
	case BACKOFF_FIXED:
		return take_off(b->delays_ms[0], b->jitter, random);
	case BACKOFF_LIST:
		return b->delays_ms[(size_t)n < b->count ? (size_t)n : b->count - 1];
	case BACKOFF_POLYNOMIAL:
	case BACKOFF_KIND_COUNT:
		break;
	}
	return polynomial_ms(n, random);
}
