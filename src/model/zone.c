/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zone.c - the moments at which a zone's clocks change; see zone.h.
 *
 * A year is probed each PROBE_S; where two probes differ, the second of the change is
 * found by halving.  No zone has ever changed its clocks twice within that, there and
 * back again, and a test walks all changes of all zones against another implementation.
 */
#include "model/zone.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hmap.h"
#include "base/mem.h"
#include "base/str.h"

#define DEFAULT_DIR  "/usr/share/zoneinfo"
#define DAY_S	     86400
#define PROBE_S	     DAY_S
#define MARGIN_S     (2 * DAY_S)
#define CHANGES_MOST 16 /* in a year */
#define YEARS_KEPT   8	/* of a zone */
#define ZONES_KEPT   1024
#define PATH_SIZE    512
#define FAR_S	     (1LL << 40)

struct change {
	int64_t at_s;
	int32_t offset_s; /* from then on */
};

/* a year of UTC, with the changes of MARGIN_S around it */
struct zone_year {
	int year; /* 0: none */
	int64_t begin_s, end_s;
	int32_t first_s; /* the offset before the first change */
	int count;
	struct change changes[CHANGES_MOST];
};

struct zone {
	bool fixed; /* UTC */
	char name[ZONE_NAME_MAX + 1];
	char path[PATH_SIZE];
	struct stat file; /* as it was when the years were read */
	struct zone_year years[YEARS_KEPT];
	unsigned next_year; /* the one that is replaced next */
};

static struct hmap *zones; /* by name; made when first needed */

/* ---------------------------------------------------------------- names and files */

/* Area/Place: no segment begins with a dot, so none leads up or to a hidden file */
static bool
is_name(const char *name)
{
	size_t len = strlen(name);
	bool starts = true;

	if (len == 0 || len > ZONE_NAME_MAX)
		return false;
	for (; *name != '\0'; name++) {
		bool letter =
		    (*name >= 'A' && *name <= 'Z') || (*name >= 'a' && *name <= 'z');
		bool other = (*name >= '0' && *name <= '9') || *name == '_' ||
			     *name == '+' || *name == '-';

		if (*name == '/' ? starts : starts ? !letter : !letter && !other)
			return false;
		starts = *name == '/';
	}
	return !starts;
}

/* those count leap seconds, and these are the others again */
static bool
is_other_tree(const char *name)
{
	return str_starts(name, "right/") || str_starts(name, "posix/");
}

static int
look_at_file(const char *path, struct stat *st)
{
	char magic[4];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool good;

	if (fd < 0)
		return -1;
	good = fstat(fd, st) == 0 && S_ISREG(st->st_mode) &&
	       read(fd, magic, sizeof(magic)) == (ssize_t)sizeof(magic) &&
	       memcmp(magic, "TZif", sizeof(magic)) == 0;
	close(fd);
	return good ? 0 : -1;
}

static bool
is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
	       a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

void
zone_forget_all(void)
{
	struct zone *z;
	size_t cursor = 0;

	while (zones != NULL && (z = hmap_next(zones, &cursor)) != NULL) {
		hmap_remove(zones, z->name, strlen(z->name));
		mem_free(z);
	}
	hmap_free(zones);
	zones = NULL;
}

static struct zone *
remember(const char *name, const char *path, const struct stat *st, struct err *err)
{
	struct zone *z;

	if (zones != NULL && hmap_count(zones) >= ZONES_KEPT)
		zone_forget_all();
	if (zones == NULL)
		zones = hmap_create();
	z = zones != NULL ? mem_zero(sizeof(*z)) : NULL;
	if (z == NULL) {
		err_set(err, ERR_NOMEM, "time zone %s", name);
		return NULL;
	}
	str_copy(z->name, sizeof(z->name), name);
	str_copy(z->path, sizeof(z->path), path);
	z->fixed = str_eq(name, "UTC");
	z->file = *st;
	if (hmap_put(zones, z->name, strlen(z->name), z, NULL) != 0) {
		mem_free(z);
		err_set(err, ERR_NOMEM, "time zone %s", name);
		return NULL;
	}
	return z;
}

struct zone *
zone_get(const char *name, struct err *err)
{
	const char *dir = getenv("TZDIR");
	char path[PATH_SIZE], shown[80];
	struct stat st = {0};
	struct zone *z;

	str_printable(shown, sizeof(shown), name, strnlen(name, sizeof(shown)));
	if (!is_name(name) || is_other_tree(name)) {
		err_set(err, ERR_INVALID,
		    "'%s' is no name of a time zone, such as Europe/Berlin or UTC",
		    shown);
		return NULL;
	}
	if (dir == NULL || dir[0] != '/')
		dir = DEFAULT_DIR;
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path) ||
	    (!str_eq(name, "UTC") && look_at_file(path, &st) != 0)) {
		err_set(err, ERR_NOT_FOUND, "this node knows no time zone '%s'", shown);
		return NULL;
	}
	z = zones != NULL ? hmap_get(zones, name, strlen(name)) : NULL;
	if (z == NULL)
		return remember(name, path, &st, err);
	if (!z->fixed && (!str_eq(z->path, path) || !is_same_file(&z->file, &st))) {
		str_copy(z->path, sizeof(z->path), path);
		z->file = st;
		memset(z->years, 0, sizeof(z->years));
	}
	return z;
}

/* ---------------------------------------------------------------- years */

/* between these two the C library's local time is the zone's */
static int
enter(const struct zone *z, struct err *err)
{
	if (setenv("TZ", z->path, 1) != 0)
		return err_set(err, ERR_NOMEM, "time zone %s", z->name);
	tzset();
	return 0;
}

static void
leave(void)
{
	/* fails only without memory, and then the next enter says so */
	(void)setenv("TZ", "UTC0", 1);
	tzset();
}

static int32_t
offset_now(int64_t at_s)
{
	time_t t = (time_t)at_s;
	struct tm tm;

	/* cannot fail for years of four digits */
	return localtime_r(&t, &tm) != NULL ? (int32_t)tm.tm_gmtoff : 0;
}

/* the first second in (from, to] at which the offset is not any more what it was at
 * from; it differs at to */
static int64_t
find_change(int64_t from, int64_t to)
{
	int32_t offset = offset_now(from);

	while (to - from > 1) {
		int64_t middle = from + (to - from) / 2;

		if (offset_now(middle) == offset)
			from = middle;
		else
			to = middle;
	}
	return to;
}

static int
read_changes(const struct zone *z, struct zone_year *y, struct err *err)
{
	int64_t at = y->begin_s - MARGIN_S, end = y->end_s + MARGIN_S;
	int32_t offset = offset_now(at);

	y->first_s = offset;
	while (at < end) {
		int64_t to = at + PROBE_S < end ? at + PROBE_S : end;

		if (offset_now(to) == offset) {
			at = to;
			continue;
		}
		if (y->count == CHANGES_MOST)
			return err_set(err, ERR_LIMIT,
			    "the clocks of %s change more than %d times in %d", z->name,
			    CHANGES_MOST, y->year);
		at = find_change(at, to);
		offset = offset_now(at);
		y->changes[y->count++] = (struct change){at, offset};
	}
	return 0;
}

static const struct zone_year *
year_of(struct zone *z, int year, struct err *err)
{
	struct zone_year made = {.year = year}, *to;
	int rc;

	for (int i = 0; i < YEARS_KEPT; i++) {
		if (z->years[i].year == year)
			return &z->years[i];
	}
	made.begin_s = clock_days(year, 1, 1) * DAY_S;
	made.end_s = clock_days(year + 1, 1, 1) * DAY_S;
	if (enter(z, err) != 0)
		return NULL;
	rc = read_changes(z, &made, err);
	leave();
	if (rc != 0)
		return NULL;
	to = &z->years[z->next_year++ % YEARS_KEPT];
	*to = made;
	return to;
}

int
zone_span_at(struct zone *z, int64_t at_s, struct zone_span *span, struct err *err)
{
	const struct zone_year *y;
	int year, month, day, i = 0;

	if (z->fixed) {
		*span = (struct zone_span){-FAR_S, FAR_S, 0, 0, 0, -FAR_S, FAR_S};
		return 0;
	}
	clock_date(at_s / DAY_S, &year, &month, &day);
	if (at_s < 0 || year > 9999)
		return err_set(err, ERR_LIMIT, "the year is out of bounds");
	y = year_of(z, year, err);
	if (y == NULL)
		return -1;
	*span = (struct zone_span){.begin_s = y->begin_s,
	    .end_s = y->end_s,
	    .offset_s = y->first_s,
	    .before_s = y->first_s,
	    .since_s = y->begin_s};
	for (; i < y->count && y->changes[i].at_s <= at_s; i++) {
		span->before_s = span->offset_s;
		span->offset_s = y->changes[i].offset_s;
		span->since_s = y->changes[i].at_s;
	}
	span->after_s = i < y->count ? y->changes[i].offset_s : span->offset_s;
	span->until_s = i < y->count ? y->changes[i].at_s : y->end_s;
	if (span->begin_s < span->since_s)
		span->begin_s = span->since_s;
	if (span->end_s > span->until_s)
		span->end_s = span->until_s;
	return 0;
}
