/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zone.h - what the clocks of a place show: IANA time zones by name.
 *
 * The C library reads the system's zoneinfo files and applies their rules; it is kept
 * well, and a reader of ours would have to be kept as well.  Its interface is the TZ
 * variable and tzset(), which are the process': so all use of them is here.  A year
 * of a zone is asked for once, with TZ set for that long and then to UTC0, and
 * remembered as the moments when its clocks change; all else is arithmetic on these.
 * Not for processes with several threads.
 *
 * Files are those below TZDIR, or /usr/share/zoneinfo.  A file that was replaced (the
 * system's zone data was brought up to date) is read anew.  UTC needs no file.
 */
#ifndef MODEL_ZONE_H
#define MODEL_ZONE_H

#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

#define ZONE_NAME_MAX 64

struct zone;

/*
 * A time during which a zone's offset from UTC stays the same, cut at the ends of a
 * year of UTC.  The changes before and after it are told if they lie within it or
 * within two days of it; if not, before_s or after_s is offset_s.
 */
struct zone_span {
	int64_t begin_s, end_s; /* seconds since 1970; the end is outside */
	int32_t offset_s;	/* local time is so much ahead of UTC */
	int32_t before_s;	/* and was before since_s */
	int32_t after_s;	/* and will be from until_s on */
	int64_t since_s, until_s;
};

/*
 * The zone of that name, kept for the life of the process.  Looks at the file each
 * time: ERR_INVALID if it is no name of a zone, ERR_NOT_FOUND if there is no such file
 * (any more).
 */
struct zone *zone_get(const char *name, struct err *err) ATTR_CHECK;
/* the span that a moment, from 1970 to the year 9999, lies in */
int zone_span_at(
    struct zone *z, int64_t at_s, struct zone_span *span, struct err *err) ATTR_CHECK;
/* all that is remembered goes, and zones got before with it */
void zone_forget_all(void);

#endif
