/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * confread.h - an INI text as a list of its lines' meaning; private to conf.
 */
#ifndef BASE_CONFREAD_H
#define BASE_CONFREAD_H

#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/strbuf.h"

#define CONF_TEXT_MAX ((size_t)1 << 20) /* bytes of one file */
#define CONF_VALUE_MAX                                                                 \
	((size_t)16 << 10) /* bytes of one value, continued lines joined */
#define CONF_ROWS_MAX 10000

struct confrow {
	char *section;
	char *name; /* NULL: the header of the section, value unused */
	struct strbuf value;
	unsigned line; /* where it begins, from 1 */
};

struct confrows {
	struct confrow *rows;
	size_t count, cap;
};

/* rows is empty on failure; messages begin with "line N: " */
int confread_text(
    const char *text, size_t len, struct confrows *rows, struct err *err) ATTR_CHECK;
/* wipes the values: some are secrets */
void confrows_fini(struct confrows *rows);

#endif
