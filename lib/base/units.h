/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * units.h - durations and sizes as people write them.
 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

#define UNITS_TEXT_SIZE 32

/* a whole number and ms, s, m, min, h or d ("1500ms", "30s", "15min"); a bare number is
 * seconds */
int units_duration_ms(const char *text, int64_t *ms, struct err *err) ATTR_CHECK;
/* ISO 8601: "P1DT2H30M", "PT1.5S", "P2W"; neither years nor months, which have no
 * length of their own; -1 if it is not that, or finer than a millisecond */
int units_iso8601_ms(const char *text, int64_t *ms) ATTR_CHECK;
/* a whole number and nothing, B, KiB, MiB or GiB ("256KiB"); K, M and G mean the same
 */
int units_size_bytes(const char *text, int64_t *bytes, struct err *err) ATTR_CHECK;
/* the shortest exact spelling; returns buf */
char *units_duration_text(int64_t ms, char buf[UNITS_TEXT_SIZE]);
char *units_size_text(int64_t bytes, char buf[UNITS_TEXT_SIZE]);

#endif
